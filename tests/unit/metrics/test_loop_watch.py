"""The loop's watch: it names the code that holds the loop, and only that.

These tests block the loop for real, but never for a set time: what blocks waits until the watch has seen it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import ClientSession, web

from backend.metrics import loop_watch
from backend.metrics.loop_watch import ELSEWHERE, PAUSED, LoopWatch
from tests.support.clock import FakeClock
from tests.support.net import until

LIMIT = 0.05
PATIENCE = 60.0
ENOUGH = 10  # samples are a beat, a third of the limit, apart: with ten of them the limit is long past


class Seen:
    """What the watch told."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.stalls: list[dict[str, Any]] = []

    def blaming(self, function: str) -> list[dict[str, Any]]:
        """The stalls put down to a function. On a busy machine the loop may be late by itself, too."""
        return [stall for stall in self.stalls if function in stall["frame"]]

    def watch(self, **changes: Any) -> LoopWatch:
        """A watch that tells this object, with a low limit."""
        changes.setdefault("limit", lambda: LIMIT)
        # As if this process had the processor all the time: a machine full of tests may starve it.
        changes.setdefault("cpu", time.monotonic)
        return LoopWatch(on_lag=self.lags.append, on_stall=self.stalls.append, **changes)


@pytest.fixture
def seen() -> Seen:
    """An empty notebook."""
    return Seen()


def wait_blocking(condition: Callable[[], bool]) -> None:
    """Hold the thread until the condition holds, as a blocking call would; gives up loudly."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("the watch saw nothing")
        time.sleep(0.001)


@contextlib.contextmanager
def mute_server(answer_when: Callable[[], bool]) -> Iterator[str]:
    """An HTTP server in a thread that answers only when the condition holds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                wait_blocking(answer_when)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/models"
        thread.join()


async def test_requests_get_inside_a_handler_is_caught(seen: Seen) -> None:
    """The very fault of Copilot's model list: a blocking call without a time-out in an async handler."""
    watch = seen.watch()

    async def list_models(request: web.Request) -> web.Response:
        with mute_server(lambda: watch.samples >= ENOUGH) as url:
            requests.get(url)
        return web.json_response([])

    app = web.Application()
    app.router.add_get("/api/model_config", list_models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    watch.start()
    try:
        async with ClientSession() as session:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/model_config"
            async with session.get(url) as response:
                assert response.status == 200
        await until(lambda: bool(seen.blaming("list_models")))
    finally:
        watch.stop()
        await runner.cleanup()

    (stall,) = seen.blaming("list_models")
    assert "list_models, in requests/api.py" in stall["frame"]
    assert "test_loop_watch.py" in stall["frame"]
    assert stall["seconds"] >= LIMIT
    assert any("aiohttp/web_protocol.py" in line for line in stall["stack"])
    assert any("requests/sessions.py" in line for line in stall["stack"])
    assert max(seen.lags) >= LIMIT


async def test_code_that_computes_is_named(seen: Seen) -> None:
    """A loop that burns the processor is named as well as one that waits."""
    watch = seen.watch()
    watch.start()
    await until(lambda: bool(seen.lags))

    def crunch() -> None:
        while watch.samples < ENOUGH:
            sum(range(1000))

    crunch()
    await until(lambda: bool(seen.blaming("crunch")))
    watch.stop()


async def test_a_thread_that_starves_the_loop_is_named(seen: Seen) -> None:
    """The loop idles, but another thread holds Python's lock in C code: that thread's code is named."""
    watch = seen.watch()
    watch.start()
    await until(lambda: bool(seen.lags))
    over = threading.Event()

    def told() -> bool:
        return any("another thread" in stall["frame"] for stall in seen.stalls)

    def hog() -> None:
        digits = 2_000
        while not told() and not over.is_set():  # a machine that stands still makes a stall, too, but not this one
            digits = min(2 * digits, 2_000_000)
            pow(3, digits)  # one call that never lets go of the lock

    thread = threading.Thread(target=hog)
    thread.start()
    try:
        await until(told, PATIENCE)
    finally:
        over.set()
        watch.stop()
        thread.join()


async def test_a_healthy_loop_has_lag_but_no_stall(seen: Seen) -> None:
    """An idle loop beats on; nothing is reported."""
    watch = seen.watch(limit=lambda: 600.0)
    watch.start()
    await until(lambda: len(seen.lags) >= 3)
    watch.stop()

    assert seen.stalls == []
    assert watch.samples == 0


async def test_one_stall_is_reported_once(seen: Seen) -> None:
    """However long it lasted, a stall is one event."""
    watch = seen.watch()
    watch.start()
    await until(lambda: bool(seen.lags))
    wait_blocking(lambda: watch.samples >= ENOUGH)
    beats = len(seen.lags)
    await until(lambda: len(seen.lags) >= beats + 2)
    watch.stop()

    assert len(seen.blaming("wait_blocking")) == 1


async def test_the_watches_themselves_are_never_blamed(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A starved process wakes up anywhere, also in our own code that only looks on: that proves nothing."""
    watch = seen.watch()
    reads: list[object] = []
    read = watch._read

    def counted() -> Any:
        reads.append(None)
        return read()

    monkeypatch.setattr(watch, "_read", counted)
    source = "def look_on(reads, enough):\n    while len(reads) < enough:\n        pass\n"
    space: dict[str, Any] = {}
    exec(compile(source, str(Path(loop_watch.__file__).with_name("looks_on.py")), "exec"), space)
    watch.start()
    await until(lambda: bool(seen.lags))
    space["look_on"](reads, ENOUGH)
    await until(lambda: bool(seen.stalls))
    watch.stop()

    assert [] == seen.blaming("look_on")


def watchers() -> list[threading.Thread]:
    """The threads of all watches."""
    return [t for t in threading.enumerate() if t.name == "copilot-pulse loop watch"]


async def test_the_thread_lives_from_start_to_stop_only(seen: Seen) -> None:
    """Making a watch starts nothing, starting twice starts one, stopping leaves nothing."""
    watch = seen.watch()
    assert watchers() == []
    watch.start()
    watch.start()
    assert len(watchers()) == 1
    assert watchers()[0].daemon
    watch.stop()
    watch.stop()

    await until(lambda: not watchers())


async def test_it_starts_again_after_a_stop(seen: Seen) -> None:
    """A plugin that is turned off and on is watched again."""
    watch = seen.watch()
    watch.start()
    watch.stop()
    watch.start()
    await until(lambda: bool(seen.lags))
    watch.stop()


def test_it_needs_a_running_loop(seen: Seen) -> None:
    """Started from outside of the loop it would watch nothing, so it says so."""
    with pytest.raises(RuntimeError):
        seen.watch().start()


def test_a_loop_that_does_not_run_is_no_stall(seen: Seen) -> None:
    """Between two `run_until_complete()` nobody waits for the loop."""
    watch = seen.watch()
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        watch.start()

    loop.run_until_complete(begin())
    wait_blocking(lambda: watch._loop_was_off and time.monotonic() > watch._due + 40 * LIMIT)
    loop.run_until_complete(until(lambda: bool(seen.lags)))
    watch.stop()
    loop.close()

    assert max((stall["seconds"] for stall in seen.stalls), default=0) < 40 * LIMIT


def test_a_closed_loop_ends_the_thread(seen: Seen) -> None:
    """A host that dies without a stop leaves no thread that cries wolf."""
    watch = seen.watch()
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        watch.start()

    loop.run_until_complete(begin())
    (thread,) = watchers()
    watch._timer = None
    loop.close()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    watch.stop()


async def test_a_loop_that_may_never_turn_again_is_logged(
    seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead loop can publish nothing, so the thread writes a line while it lasts, and one only."""
    monkeypatch.setattr("backend.metrics.loop_watch.FROZEN", 0.1)
    watch = seen.watch()
    watch.start()
    await until(lambda: bool(seen.lags))
    with caplog.at_level(logging.ERROR, logger="copilot_pulse.monitoring"):
        wait_blocking(lambda: bool(caplog.records))
        more = watch.samples + 3
        wait_blocking(lambda: watch.samples >= more)
    watch.stop()

    (record,) = caplog.records
    assert "wait_blocking" in record.getMessage()


@pytest.mark.parametrize(
    ("samples", "burnt", "frame", "cause"),
    [
        (0, 0.0, PAUSED, "paused"),
        (1, 0.0, PAUSED, "paused"),
        (0, 0.9, ELSEWHERE, "thread"),
        (1, 0.9, "busy", "code"),
        (15, 0.0, "busy", "code"),
    ],
)
def test_what_a_stall_is_put_down_to(seen: Seen, samples: int, burnt: float, frame: str, cause: str) -> None:
    """A process that was stopped burns no time and is seen by nobody: no code is blamed for it."""
    from backend.metrics.loop_watch import Place, _Stall

    stall = _Stall()
    for _ in range(samples):
        stall.add([Place("p.py", 1, "busy", False)])
    report = seen.watch(clock=FakeClock())._report(1.0, burnt, stall)

    assert frame in report["frame"]
    assert cause == report["cause"]
