"""Waits that lose no cancel, and guards that let an answer go on when something of ours breaks.

`asyncio.wait_for` swallows a cancel that comes in the same turn as what it waits for, before Python 3.12.
`asyncio.wait` does not; all of the waits stand on it.

What watches, counts, paces, redacts, tells or taps may break, and the answer may not. So each of it is called through
`fail_open`, and what stands in front of something foreign through `in_front`. A fault there is counted, logged once by
type and place, and told by health through `faults()`; whoever called goes on.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import sys
import sysconfig
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, cast

log = logging.getLogger("copilot_pulse")

F = TypeVar("F", bound=Callable[..., Any])
_OURS: Final = str(Path(__file__).parent)
_LIBRARY: Final = sysconfig.get_path("stdlib")
_SITE: Final = sysconfig.get_path("purelib")
# What a mistake in a program raises. The errors of servers, sockets and files are none of it.
_MISTAKES: Final = (
    ArithmeticError, AssertionError, AttributeError, BufferError, LookupError, NameError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
_MOST_FAULTS: Final = 100


async def wait_set(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, `seconds` at most (None: for ever); whether it was, even if it is cleared again.

    A cancel passes at once and leaves nothing behind.
    """
    if event.is_set():
        return True
    waiter = asyncio.ensure_future(event.wait())
    try:
        done, _ = await asyncio.wait({waiter}, timeout=seconds)
        return bool(done) or event.is_set()
    finally:
        waiter.cancel()


async def ends(task: asyncio.Future[Any], seconds: float | None) -> bool:
    """Wait until `task` has ended, `seconds` at most; whether it has. It is not cancelled, its error not raised."""
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return bool(done)


async def cancel_all(tasks: Iterable[asyncio.Future[Any] | None], seconds: float | None = None) -> bool:
    """Cancel what still runs of `tasks`, each once, and wait for all, `seconds` at most; whether all have ended.

    Their errors are not raised. If the caller is cancelled meanwhile the tasks stay cancelled, and end by
    themselves. The caller's own task and None may be among them: both are passed over.
    """
    own = asyncio.current_task()
    running = {task for task in tasks if task is not None and task is not own and not task.done()}
    for task in running:
        task.cancel()
    if not running:
        return True
    _, left = await asyncio.wait(running, timeout=seconds)
    return not left


class Fault:
    """What has failed at one place of ours: the type of the exception, what is missing since, how often, and when.

    `last` is in seconds of `time.monotonic()`.
    """

    __slots__ = ("count", "last", "missing", "place", "type")

    def __init__(self, type_: str, place: str, missing: str) -> None:
        self.type = type_
        self.place = place
        self.missing = missing
        self.count = 0
        self.last = 0.0


_faults: dict[tuple[str, str], Fault] = {}


def faults() -> list[dict[str, Any]]:
    """The faults of this process so far, one row by type and place; `ago` is seconds. Any thread."""
    now = time.monotonic()
    return [
        {"type": f.type, "place": f.place, "missing": f.missing, "count": f.count, "ago": round(now - f.last, 1)}
        for f in list(_faults.values())
    ]


def forget_faults() -> None:
    """Forget all faults. For tests, and for a host that starts anew in the same process."""
    _faults.clear()


def missed(error: BaseException, missing: str) -> None:
    """Count a fault of ours that is passed over; `missing` says what there is not because of it. Never raises.

    Logged once by type and place, without the text of the error, which may quote a key. Any thread.
    """
    try:
        place = _place(error.__traceback__)
        key = (type(error).__name__, place)
        fault = _faults.get(key)
        if fault is None:
            if len(_faults) >= _MOST_FAULTS:
                return
            fault = _faults[key] = Fault(*key, missing)
            log.warning("%s in %s: chats go on without %s", *key, missing)
        fault.count += 1
        fault.last = time.monotonic()
    except Exception:
        log.debug("a fault could not be noted")


def our_fault(error: BaseException) -> bool:
    """Whether `error` is a mistake of ours: one of Python's own errors, out of code of this package.

    What a library, a server or somebody else's plugin raises is not, nor is an error that we raise by name.
    """
    # A RecursionError comes of data that somebody has nested without end, and is no mistake of ours.
    if (
        not isinstance(error, _MISTAKES)
        or isinstance(error, RecursionError)
        or type(error).__module__.startswith((__package__ or "backend", "json"))
    ):
        return False
    found = False
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(_OURS):
            found = True
        elif not file.startswith(_LIBRARY) or file.startswith(_SITE):
            found = False
        trace = trace.tb_next
    return found


def _place(trace: TracebackType | None) -> str:
    """The innermost frame of ours, such as `copilot/pump.py:118`."""
    place = "?"
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(_OURS):
            place = f"{file[len(_OURS) + 1 :]}:{trace.tb_lineno}".replace("\\", "/")
        trace = trace.tb_next
    return place


def fail_open(missing: str, default: Any = None) -> Callable[[F], F]:
    """Decorates a function or coroutine function that an answer can do without: where it raises, `default` is returned.

    `missing` names what there is not then, for the log and health. Costs 0.1 microseconds a call. A cancel passes.
    """

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def spared_async(*args: Any, **kwargs: Any) -> Any:
                try:
                    return await function(*args, **kwargs)
                except Exception as error:
                    missed(error, missing)
                    return default

            return cast(F, spared_async)

        @functools.wraps(function)
        def spared(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                missed(error, missing)
                return default

        return cast(F, spared)

    return decorate


async def close_all(*closes: Callable[[], object]) -> None:
    """Call each of these, and await it, in order: what breaks is counted (`missed`), and the others are closed all the
    same. A cancel passes at once, and leaves the rest open.
    """
    for close in closes:
        try:
            closing = close()
            if inspect.isawaitable(closing):
                await closing
        except Exception as error:
            missed(error, "a clean stop")


async def kept_up(run: Callable[[], Awaitable[None]], missing: str, pause: float) -> None:
    """Await `run()`, the life of a task of ours; where it breaks it begins anew after `pause` seconds.

    `missing` names what there is not meanwhile, for the log and health. A cancel passes, into `run()` too.
    """
    while True:
        try:
            return await run()
        except Exception as error:
            missed(error, missing)
            if _in_a_cancel(error):
                raise asyncio.CancelledError from error
        await asyncio.sleep(pause)


def _in_a_cancel(error: BaseException) -> bool:
    """Whether it was raised while a cancel of this task passed, by what cleans up.

    A time limit that has run out is a cancel, too, but one that is over.
    """
    if sys.version_info >= (3, 11):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    context: BaseException | None = error
    while context is not None and not isinstance(context, asyncio.CancelledError):
        if isinstance(context, (TimeoutError, asyncio.TimeoutError)):
            return False
        context = context.__context__
    return context is not None


def in_front(ours: Callable[..., Any], plain: Callable[..., Any], missing: str) -> Callable[..., Any]:
    """A function that calls `ours`, which calls `plain`; where ours makes a mistake, `plain` is called in its place.

    What `plain` itself raises passes as it is: `ours` may catch errors of its own code, and no others. Both are
    functions, or both coroutine functions.
    """
    if inspect.iscoroutinefunction(ours):

        @functools.wraps(ours)
        async def before_async(*args: Any, **kwargs: Any) -> Any:
            try:
                return await ours(*args, **kwargs)
            except Exception as error:
                if not our_fault(error):
                    raise
                missed(error, missing)
            return await plain(*args, **kwargs)

        return before_async

    @functools.wraps(ours)
    def before(*args: Any, **kwargs: Any) -> Any:
        try:
            return ours(*args, **kwargs)
        except Exception as error:
            if not our_fault(error):
                raise
            missed(error, missing)
        return plain(*args, **kwargs)

    return before
