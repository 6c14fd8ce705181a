"""`Event`, what the bus carries, and `DONE`, what `publish()` returns when there is nothing to wait for."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
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


class _NoLoop:
    """Enough of a loop to make a future that belongs to none."""

    def get_debug(self) -> bool:
        return False


class _Finished(asyncio.Future[None]):
    """A finished future of no particular loop that also passes for a coroutine.

    Awaiting a finished future costs nothing: no coroutine object is made, no frame entered, no turn of the
    loop taken. What a future cannot do, being run as a task, `send()` adds. So one object, shared by all,
    works with `await`, `gather`, `wait_for`, `shield`, `create_task` and `TaskGroup`, on any loop.
    """

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def add_done_callback(self, fn: Callable[..., object], *, context: Any = None) -> None:
        asyncio.get_running_loop().call_soon(fn, self, context=context)

    def send(self, value: None) -> None:
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> None:
        raise kind if value is None else value

    def close(self) -> None:
        """Nothing to close."""

    def __repr__(self) -> str:
        return "<published>"


def _finished() -> Coroutine[Any, Any, None]:
    future = _Finished(loop=cast(asyncio.AbstractEventLoop, _NoLoop()))
    future.set_result(None)
    return cast("Coroutine[Any, Any, None]", future)


DONE: Final = _finished()
