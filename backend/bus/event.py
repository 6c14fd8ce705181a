"""`Event`, what the bus carries, and `DONE`, what `publish()` returns when there is nothing to wait for."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import types
from collections.abc import Coroutine, Generator, Mapping
from time import monotonic
from typing import Any, Final, cast

_ids: Final = itertools.count(1)
_lock: Final = threading.Lock()


class Event:
    """Something that happened. Small (104 bytes with its time), and not to be changed once published.

    type: dotted words, such as `chat.delta`. data: the details; may be shared, so treat it as read-only.
    source: which part of which program. session: the chat session it belongs to. time: when it was made, by
    `time.monotonic()`. Build it with keywords or in this order.

    `id` and `wall` cost nothing until they are asked for. The class is not frozen, and not a dataclass:
    that would double the time it takes to make one (docs/benchmarks.md).
    """

    __slots__ = ("_id", "_wall", "data", "session", "source", "time", "type")

    def __init__(self, type: str, data: Mapping[str, Any], source: str, session: str | None = None) -> None:
        self.type = type
        self.data = data
        self.source = source
        self.session = session
        self.time = monotonic()

    @property
    def id(self) -> int:
        """Unique within the process. Given out on first use, so ids rise by when they were first read."""
        try:
            return self._id
        except AttributeError:
            with _lock:  # two threads may ask at the same moment
                if not hasattr(self, "_id"):
                    self._id: int = next(_ids)
                return self._id

    @property
    def wall(self) -> float:
        """When it was made, as seconds since the epoch; worked out on first use from `time`."""
        try:
            return self._wall
        except AttributeError:
            self._wall: float = time.time() - (monotonic() - self.time)
            return self._wall

    def __repr__(self) -> str:
        # The values may be a user's text or a secret, and a repr ends up in logs.
        return f"<Event {self.type} from {self.source}: {', '.join(map(str, self.data)) or 'no data'}>"


def _published() -> Generator[None, None, None]:
    """A generator that ends at once. At its end it can be iterated again and again, and always ends."""
    yield from ()


def _ended(generator: Generator[None, None, None]) -> Generator[None, None, None]:
    for _ in generator:
        pass
    return generator


class _Done(Coroutine[Any, Any, None]):
    """A coroutine that has ended already and, unlike a real one, can be awaited again and again, on any loop.

    Awaiting it makes no object, enters no frame and takes no turn of the loop, for `__await__` is a method of C
    that answers with a generator at its end. One object, shared by all, works with `await`, `gather`, `wait_for`,
    `shield`, `create_task` and `TaskGroup`. It has no state, so that tasks do not meet in it.
    """

    __slots__ = ()
    __await__ = _ended(_published()).__iter__

    def send(self, value: None) -> None:
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> None:
        raise kind if value is None else value

    def close(self) -> None:
        """Nothing to close."""

    def __repr__(self) -> str:
        return "<published>"


def _done() -> Coroutine[Any, Any, None]:
    # Up to Python 3.11 a generator passes for a coroutine everywhere, and `await` goes to it directly: that takes
    # 5 % off `await publish` with one plain handler. Later ones refuse it as a task.
    if sys.version_info >= (3, 12):
        return _Done()
    passes_for_one: Any = types.coroutine(_published)()
    return cast("Coroutine[Any, Any, None]", _ended(passes_for_one))


DONE: Final = _done()
