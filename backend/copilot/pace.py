"""How often a growing text is sent again.

Copilot's protocol sends the whole text with every update. At a fixed rate the bytes would grow with the square
of the text's length; here the interval grows with the text, so that bytes grow with time.
"""

from __future__ import annotations


def cost(text: str) -> int:
    """About how many bytes `text` takes as JSON: six for a character outside ASCII, one for the others."""
    if text.isascii():
        return len(text)
    ascii_length = len(text.encode("ascii", "ignore"))
    return ascii_length + 6 * (len(text) - ascii_length)


def interval(size: int, updates_per_second: float, bytes_per_second: float) -> float:
    """Seconds until the next update after one of `size` bytes."""
    return max(1.0 / updates_per_second, size / bytes_per_second)
