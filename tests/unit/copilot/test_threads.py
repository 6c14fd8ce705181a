"""Blocking calls in daemon threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from backend.copilot.threads import CallTimeout, DaemonThreads, ThreadsBusy
from tests.support.net import until

number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


async def test_a_call_runs_in_a_daemon_thread_with_the_callers_context() -> None:
    """The function sees the caller's context variables, and its thread does not keep ComfyUI from ending."""
    number.set(7)

    def call(add: int) -> tuple[int, bool, bool]:
        thread = threading.current_thread()
        return number.get() + add, thread.daemon, thread is threading.main_thread()

    assert (9, True, False) == await DaemonThreads("test").run(call, 2)


async def test_errors_come_back() -> None:
    """What the function raises is raised to the caller, StopIteration in a shape that a future can hold."""

    def fail(error: BaseException) -> None:
        raise error

    threads = DaemonThreads("test")
    with pytest.raises(KeyError):
        await threads.run(fail, KeyError("x"))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(fail, StopIteration())
    assert 0 == threads.busy


async def test_the_limit_drops_the_call_and_not_the_thread() -> None:
    """After the limit the caller goes on; the thread ends by itself and frees its place."""
    threads, gate = DaemonThreads("test"), threading.Event()
    with pytest.raises(CallTimeout):
        await threads.run(gate.wait, limit=0.01)

    assert 1 == threads.busy
    gate.set()
    await until(lambda: threads.busy == 0)


async def test_a_cancelled_caller_leaves_the_thread_to_itself() -> None:
    """A chat that is stopped does not wait for the thread, and an error of the thread is nobody's news."""
    threads, gate = DaemonThreads("test"), threading.Event()

    def fail() -> None:
        gate.wait()
        raise ValueError("late")

    task = asyncio.create_task(threads.run(fail))
    await until(lambda: threads.busy == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await until(lambda: threads.busy == 0)


async def test_a_full_lane_refuses() -> None:
    """Calls that hang do not collect threads without end."""
    threads, gate = DaemonThreads("test", limit=2), threading.Event()
    futures = [threads.start(gate.wait), threads.start(gate.wait)]
    with pytest.raises(ThreadsBusy):
        await threads.run(gate.wait)
    gate.set()

    assert [True, True] == await asyncio.gather(*futures)
    assert "0 of 2 busy" in repr(threads)


async def test_a_place_is_waited_for() -> None:
    """Who can wait gets the next thread that is free; a limit or a cancel ends the wait."""
    threads, gate = DaemonThreads("test", limit=1), threading.Event()
    busy = threads.start(gate.wait)
    with pytest.raises(CallTimeout):
        await threads.until_free(0.01)
    cancelled = asyncio.create_task(threads.until_free())
    waiting = asyncio.create_task(threads.until_free(5))
    await asyncio.sleep(0)
    cancelled.cancel()
    gate.set()
    await waiting

    assert await busy
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await threads.until_free(0)


def test_a_loop_that_has_closed_is_no_error() -> None:
    """A thread that outlives the loop ends silently."""
    threads, gate = DaemonThreads("test"), threading.Event()

    async def main() -> None:
        threads.start(gate.wait)

    asyncio.run(main())
    thread = next(t for t in threading.enumerate() if t.name == "copilot-pulse test")
    gate.set()
    thread.join(60)
    assert not thread.is_alive()
