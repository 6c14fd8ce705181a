"""The server side of the stand-in, laid out as the seams expect it."""
