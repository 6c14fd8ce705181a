"""The registry of streams: names, limits, grace, and what is kept for how long and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from backend.streams import registry as stream_registry
from backend.streams.registry import MAX_PER_SESSION, MAX_READERS, Stream, StreamRefused, StreamRegistry
from tests.support.clock import FakeClock

ID = "A" * 22


@dataclass
class Limits:
    """The settings that streams depend on."""

    resume_grace: float = 30.0
    stream_keep: float = 600.0
    stream_keep_bytes: int = 32_000_000


class Clock(FakeClock):
    """Timers that run when the test moves the time."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[Timer] = []

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.time + delay, call))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        for timer in [t for t in self.timers if t.due <= self.time]:
            self.timers.remove(timer)
            if not timer.cancelled:
                timer.call()


@dataclass
class Timer:
    """One call that is to come."""

    due: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """A registry with a clock and a list of what it told."""

    def __init__(self) -> None:
        self.limits, self.clock = Limits(), Clock()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.streams = StreamRegistry(
            settings=lambda: self.limits,
            publish=lambda type_, data: self.told.append((type_, dict(data))),
            clock=self.clock,
            call_later=self.clock.call_later,
        )

    def stream(self, number: int = 0, session: str = "s", text: str = "") -> Stream:
        """A stream that is written to."""
        stream = self.streams.claim(f"{number:022}", session, "chat")
        stream.stop = lambda: self.streams.finish(stream, "cancelled")
        if text:
            stream.relay.line({"text": text})
        return stream


@pytest.fixture
def world() -> World:
    """An empty registry."""
    return World()


def refused(call: Callable[[], Any]) -> int:
    """The status with which `call` is refused."""
    with pytest.raises(StreamRefused) as caught:
        call()
    assert caught.value.reason
    return caught.value.status


@pytest.mark.parametrize("bad", ["", "short", "A" * 21, "A" * 65, "A" * 21 + "/", "A" * 21 + "é", "../" * 8])
def test_names_that_can_be_guessed(world: World, bad: str) -> None:
    """A name is at least 128 bits of base64url."""
    assert 400 == refused(lambda: world.streams.reserve(bad, "s"))


@pytest.mark.parametrize("session", ["", "x" * 201])
def test_sessions_that_are_none(world: World, session: str) -> None:
    """A stream is bound to a session."""
    assert 400 == refused(lambda: world.streams.reserve(ID, session))


def test_a_name_is_used_once(world: World) -> None:
    """Running, finished or forgotten: the same name is not taken for another answer."""
    stream = world.stream()
    assert 409 == refused(lambda: world.stream())
    world.streams.finish(stream, "completed")
    assert 409 == refused(lambda: world.stream())
    world.clock.advance(601)
    assert 409 == refused(lambda: world.stream())


def test_a_reserved_name_is_claimed_once_and_by_its_session(world: World) -> None:
    """Who has reserved a name is who gets it, whichever request comes first."""
    reserved = world.streams.reserve(ID, "s")

    assert 409 == refused(lambda: world.streams.claim(ID, "thief", "chat"))
    assert world.streams.claim(ID, "s", "debug") is reserved
    assert 409 == refused(lambda: world.streams.claim(ID, "s", "chat"))


def test_limits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many of a session, so many in all, so many readers."""
    streams = [world.stream(number) for number in range(MAX_PER_SESSION)]
    assert 429 == refused(lambda: world.stream(99))
    world.stream(99, "another")
    monkeypatch.setattr(stream_registry, "MAX_RUNNING", MAX_PER_SESSION + 1)
    assert 429 == refused(lambda: world.stream(100, "third"))
    for _ in range(MAX_READERS):
        world.streams.read(streams[0], 0, "websocket")
    assert 429 == refused(lambda: world.streams.read(streams[0], 0, "http"))


def test_a_reader_too_many_takes_the_place_of_the_oldest_over_http(world: World) -> None:
    """Connections that died without a word do not keep the page from its own answer."""
    stream = world.stream()
    socket = world.streams.read(stream, 0, "websocket")
    dead = [world.streams.read(stream, 0, "http") for _ in range(MAX_READERS - 1)]
    comes = world.streams.read(stream, 0, "http")

    assert [socket, *dead[1:], comes] == stream.relay.readers
    assert {"http": MAX_READERS - 1, "websocket": 1} == world.streams.snapshot()["readers"]


def test_readers_of_what_has_ended_count(world: World) -> None:
    """Whoever still reads an answer that has ended, or is not kept any more, is in the figures."""
    stream = world.stream(text="x")
    reader = world.streams.read(stream, 0, "http")
    world.streams.finish(stream, "completed")
    world.clock.advance(601)

    assert (0, {"http": 1, "websocket": 0}) == (
        world.streams.snapshot()["kept"], world.streams.snapshot()["readers"]
    )  # fmt: skip
    world.streams.leave(stream, reader)
    assert {"http": 0, "websocket": 0} == world.streams.snapshot()["readers"]


def test_what_nobody_ever_reads_is_stopped(world: World) -> None:
    """A stream that is asked for and never read has its grace period, like one that is left."""
    stream = world.stream()
    world.clock.advance(31)

    assert "cancelled" == stream.relay.outcome


def test_unknown_gone_and_another_session(world: World) -> None:
    """Three answers; another session never learns that there is something."""
    stream = world.stream(text="x")
    assert 404 == refused(lambda: world.streams.find(ID, "s"))
    assert 404 == refused(lambda: world.streams.find(stream.id, "thief"))
    assert world.streams.find(stream.id, "s") is stream
    world.streams.finish(stream, "completed")
    assert "finished" == world.streams.find(stream.id, "s").state
    world.clock.advance(601)
    assert 410 == refused(lambda: world.streams.find(stream.id, "s"))
    assert 404 == refused(lambda: world.streams.find(stream.id, "thief"))


def test_grace(world: World) -> None:
    """The last reader's leave starts the grace, a new one's arrival ends it, and a second leave starts it anew."""
    stream = world.stream()
    first = world.streams.read(stream, 0, "http")
    second = world.streams.read(stream, 0, "websocket")
    world.streams.leave(stream, first)
    world.clock.advance(100)
    assert "running" == stream.state
    world.streams.leave(stream, second)
    world.streams.leave(stream, second)
    world.clock.advance(29)
    third = world.streams.read(stream, 0, "http")
    world.clock.advance(100)
    assert "running" == stream.state
    world.streams.leave(stream, third)
    world.clock.advance(31)

    assert "cancelled" == stream.relay.outcome
    assert ["stream.opened"] * 2 == [type_ for type_, _ in world.told[:2]]
    assert [1, 2, 1, 0, 1, 0] == [data["readers"] for _, data in world.told]


def test_cancel_before_somebody_writes(world: World) -> None:
    """A cancel that overtakes the question is kept for who comes to answer it."""
    stream = world.streams.reserve(ID, "s")
    stream.cancel()

    assert world.streams.claim(ID, "s", "chat").cancelled


def test_the_oldest_go_when_memory_is_short(world: World) -> None:
    """Finished answers stay within their bytes; running ones are not touched."""
    world.limits.stream_keep_bytes = 100_000
    running = world.stream(1000, "r", text="y" * 90_000)
    for number in range(10):
        world.streams.finish(world.stream(number, f"s{number}", text="x" * 30_000), "completed")

    snapshot = world.streams.snapshot()
    assert snapshot["kept"] == 3
    assert snapshot["kept_bytes"] <= 100_000
    assert 410 == refused(lambda: world.streams.find(f"{0:022}", "s0"))
    assert world.streams.find(f"{9:022}", "s9").relay.text
    assert world.streams.find(running.id, "r") is running


def test_discarded_streams_were_never_there(world: World) -> None:
    """Where nothing was asked the name may be used again."""
    world.streams.discard(world.stream())

    world.stream()


def test_hold_is_told_when_all_readers_pause(world: World) -> None:
    """One reader that reads on is enough for the model to go on; no reader holds nothing back."""
    stream = world.stream()
    held: list[bool] = []
    stream.hold = held.append
    first, second = world.streams.read(stream, 0, "http"), world.streams.read(stream, 0, "http")
    first.pause(True)
    second.pause(True)
    world.streams.leave(stream, first)
    world.streams.leave(stream, second)

    assert [False, False, False, True, True, False] == held


def test_close_stops_all(world: World) -> None:
    """At the end nothing runs and nothing is kept."""
    stream = world.stream()
    world.streams.close()

    assert "cancelled" == stream.relay.outcome


def test_nothing_is_kept_of_a_lease_on_a_discarded_stream(world: World) -> None:
    """Neither of one that has ended."""
    streams = [world.stream(number) for number in range(2)]
    for stream in streams:
        stream.lease(60.0)

    world.streams.discard(streams[0])
    world.streams.finish(streams[1], "completed")

    assert {} == world.streams._leases


class Other:
    """Another process with one answer, whose first reader meets a mistake of ours."""

    def __init__(self) -> None:
        self.follows = 0

    async def find(self, stream_id: str, session: str) -> Any:
        return self

    def follow(self, relay: Any, lost: Any) -> None:
        self.follows += 1
        if self.follows == 1:
            raise KeyError("ours")
        lost()

    def leave(self) -> None:
        pass

    cancel = leave


async def test_whoever_comes_again_is_fed_though_following_broke_the_first_time(world: World) -> None:
    """Otherwise the page would wait for a stream that nobody writes to."""
    world.streams.elsewhere = (Other(),)  # type: ignore[assignment]
    with pytest.raises(KeyError):
        await world.streams.find_anywhere(ID, "s")
    assert (await world.streams.find_anywhere(ID, "s")).relay.finished
