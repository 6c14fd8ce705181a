"""Answers that a page can come back to: over HTTP, over a WebSocket, after a cut."""
