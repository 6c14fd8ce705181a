"""What the queue raises, one small class for each cause that a caller can act on."""

from __future__ import annotations

import asyncio


class QueueFull(asyncio.QueueFull):
    """Raised when an item is put without waiting and there is no room."""

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(f"the queue {name!r} holds {capacity} items, which is all it may")


class QueueEmpty(asyncio.QueueEmpty):
    """Raised when an item is taken without waiting and none is to spare for it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the queue {name!r} has no item")


class QueueClosed(RuntimeError):
    """Raised when an item is put into a closed queue, or taken from a closed queue that is empty."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the queue {name!r} is closed")
