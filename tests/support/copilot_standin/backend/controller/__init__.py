"""Part of the stand-in; the name and place are those that the seams look for."""
