"""What is known of MCP servers, and when they are asked again: no sockets, a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.copilot.mcp.directory import (
    INTEREST_SECONDS,
    MAX_SERVERS,
    McpDirectory,
    Server,
    digest,
)
from backend.copilot.mcp.link import Link
from backend.copilot.mcp.reason import judged, reason, refused_key
from backend.error_handling import RecoveryManager, hold_prompt
from backend.settings import LiveSettings, Settings
from tests.support.clock import FakeClock
from tests.support.leaks import other_tasks
from tests.support.net import until

URL = "http://tools.example:8000/mcp/sse?token=abc"


class Refused(Exception):
    """An HTTP error as the HTTP libraries raise it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status)


class World:
    """A directory, its clock, and a server whose probes end as the test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []
        self.probes = 0
        self.outcome: Callable[[], int] = self.fail
        self.takes = 0.0
        self.gate: asyncio.Event | None = None
        settings = LiveSettings(Settings(mcp_retry=20.0, mcp_timeout=5.0))
        recovery = RecoveryManager(
            lambda type_, data: self.records.append(dict(data)), settings=lambda: settings.current
        )
        recovery.redactor.add("s3cret")
        self.pulse: Any = SimpleNamespace(
            settings=settings,
            publish=lambda type_, data: self.events.append(dict(data)),
            recovery=recovery,
        )
        self.directory = McpDirectory(cast(Any, self.pulse), clock=self.clock, sleep=self.clock.sleep)

    @staticmethod
    def fail() -> int:
        """The server cannot be reached."""
        raise ConnectionRefusedError("refused with s3cret")

    def make(self, limit: float) -> Link:
        """A link without a network."""

        async def connect() -> None:
            self.probes += 1
            if self.gate is not None:
                await self.gate.wait()
            self.clock.advance(self.takes)

        async def tools() -> int:
            return self.outcome()

        async def cleanup() -> None:
            return None

        return Link(connect=connect, list_tools=tools, cleanup=cleanup, limit=limit)

    def down(self, error: BaseException | None = None, **how: Any) -> Server:
        """A chat has found the server down."""
        server = self.directory.want(URL, self.make)
        self.directory.failed(server, error or ConnectionRefusedError(), since=self.clock(), **how)
        return server


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A directory that is closed after the test."""
    world = World()
    yield world
    await world.directory.aclose()


async def test_probing_doubles_its_wait_and_ends_with_the_interest(world: World) -> None:
    """20, 40, 80, 160, 300 s and so on; ten minutes after the last chat nobody probes any more."""
    server = world.down()
    await until(lambda: server.keeper is None)

    assert [20.0, 40.0, 80.0, 160.0, 300.0] == world.clock.slept
    assert "down" == server.state
    assert world.clock() - server.wanted_at >= INTEREST_SECONDS
    assert 1 == len(world.events)
    assert set() == other_tasks()


async def test_the_next_chat_starts_the_probing_again(world: World) -> None:
    """Nobody wanted the server for long; a chat does, does not wait for it, and it is asked at once."""
    server = world.down()
    await until(lambda: server.keeper is None)
    world.clock.advance(86_400.0)
    before, slept = world.probes, len(world.clock.slept)
    world.outcome = lambda: 3
    world.directory.want(URL, world.make)

    assert world.directory.shut(server, "k")
    await until(lambda: server.state == "up")
    assert 1 == world.probes - before
    assert slept == len(world.clock.slept)
    assert ["down", "up"] == [event["state"] for event in world.events]
    assert 3 == world.events[-1]["tools"]


async def test_a_success_resets_the_wait(world: World) -> None:
    """After it was back the server is asked again soon in the next outage."""
    server = world.down()
    world.outcome = lambda: 1
    await until(lambda: server.state == "up")
    world.outcome = world.fail
    world.clock.advance(1.0)
    world.directory.failed(server, ConnectionRefusedError(), since=world.clock())

    assert server.retry_at - world.clock() == 20.0


async def test_an_outage_is_published_once_with_all_its_data(world: World) -> None:
    """The event has every key of its table row, the reason is redacted, and no path or query is shown."""
    world.down(ConnectionError("lost s3cret"))
    world.directory.failed(world.directory.want(URL, world.make), ConnectionError("x"), since=world.clock())

    (event,) = world.events
    assert {
        "server": "tools.example:8000",
        "host": "tools.example:8000",
        "state": "down",
        "reason": "lost [redacted]",
        "retry_in": 20.0,
        "tools": 0,
    } == event
    assert 1 == len(world.records)
    assert "token" not in str(world.directory.snapshot())


async def test_the_record_of_an_outage_names_the_host_and_no_url(world: World) -> None:
    """A token in the server's URL reaches neither the error event nor the rows that metrics show."""
    where = "http://user:s3cretpass@tools.example:8000/pathtoken/sse?k=querytoken"
    world.down(ConnectionError(f"Client error '404 Not Found' for url '{where}'"))

    (record,) = world.records
    assert ("tools.example:8000", "connection") == (record["host"], record["kind"])
    assert "tools.example:8000" in record["message"]
    for secret in ("s3cretpass", "pathtoken", "querytoken"):
        assert secret not in str(world.records)


async def test_a_server_that_is_down_is_shown_down_while_it_is_asked(world: World) -> None:
    """A probe that waits for half a minute does not make the panel and health say that all is well."""
    server = world.directory.want(URL, world.make)
    server.connecting += 1
    assert "connecting" == world.directory.snapshot()[0]["state"]
    server.connecting -= 1

    world.gate = asyncio.Event()
    world.down()
    await until(lambda: world.probes == 1)

    (row,) = world.directory.snapshot()
    assert ("down", True) == (row["state"], row["probing"])


async def test_names_stay_unique_when_servers_come_and_go(world: World) -> None:
    """Two servers of one host are two series in Prometheus, also after the first has been forgotten."""
    for index in range(MAX_SERVERS + 2):
        world.directory.want(f"http://tools.example/{index}/sse", world.make)

    names = [row["server"] for row in world.directory.snapshot()]
    assert MAX_SERVERS == len(set(names)) == len(names)


async def test_a_failure_that_began_before_a_success_is_only_a_suspicion(world: World) -> None:
    """Of two chats one was in and one timed out: the server is asked once more, and stays up."""
    server = world.directory.want(URL, world.make)
    world.outcome = lambda: 2
    since = world.clock()
    world.clock.advance(1.0)
    world.directory.connected(server, 2)
    world.directory.failed(server, TimeoutError(), since=since)
    await until(lambda: world.probes == 1 and server.probing is None)

    assert "up" == server.state
    assert [] == world.events


async def test_a_refused_key_keeps_nobody_else_out(world: World) -> None:
    """A 401 for one user's key is no outage for another user's chat."""
    server = world.directory.want(URL, world.make)
    world.directory.connected(server, 2, "good")
    world.clock.advance(1.0)
    world.directory.failed(server, Refused(401), key="bad", since=world.clock())

    assert "up" == server.state
    assert world.directory.shut(server, "bad")
    assert not world.directory.shut(server, "good")
    world.clock.advance(21.0)
    assert not world.directory.shut(server, "bad")


class LocalProtocolError(Exception):
    """As httpx names what it refuses to send."""


@pytest.mark.parametrize(
    "error",
    [
        UnicodeEncodeError("ascii", "Bearer \xe9-key", 7, 8, "ordinal not in range(128)"),
        LocalProtocolError("Illegal header value b'Bearer sk-secret '"),
    ],
    ids=["no ASCII", "blank at the end"],
)
async def test_a_key_that_cannot_be_sent_keeps_nobody_else_out(world: World, error: Exception) -> None:
    """The server was never asked, so nothing is said of it, and no part of the key."""
    server = world.directory.want(URL, world.make)
    world.directory.connected(server, 2, "good")
    world.clock.advance(1.0)
    group = RuntimeError("unhandled errors in a TaskGroup")
    group.__cause__ = error
    world.directory.failed(server, group, key="bad", since=world.clock())

    assert "up" == server.state
    assert world.directory.shut(server, "bad")
    assert not world.directory.shut(server, "good")
    assert "the key cannot be sent: no header can hold it" == reason(group, "h")


async def test_a_server_that_refuses_the_first_key_still_lets_others_try(world: World) -> None:
    """The first chat's key is refused: health says down and why; another key may try, and it is up."""
    server = world.down(Refused(403), key="bad")

    assert ("down", "it answered with HTTP status 403") == (server.state, server.reason)
    assert not world.directory.shut(server, "good")
    world.clock.advance(1.0)
    world.directory.connected(server, 1, "good")
    assert "up" == server.state


async def test_a_server_that_must_wake_up_is_asked_twice(world: World) -> None:
    """A probe may take long, but the server counts as up only once it answers as fast as a chat needs."""
    world.outcome = lambda: 1
    world.takes = 40.0
    server = world.down()
    await until(lambda: world.probes >= 2 and server.probing is None)

    assert "down" == server.state
    assert "it takes 40.0 s to answer" == server.reason
    world.takes = 0.0
    assert await world.directory.probe("tools.example:8000")


async def test_a_client_that_cannot_be_made_is_a_reason(world: World) -> None:
    """If not even a client can be made, the probe says so and the loop of probes goes on."""

    def broken(limit: float) -> Link:
        raise TypeError("no such argument")

    server = world.down()
    server.make = broken
    await until(lambda: len(world.clock.slept) >= 3)

    assert "no such argument" == server.reason


async def test_closing_ends_every_task(world: World) -> None:
    """Shut-down ends the sleeping keeper and the probe in flight."""
    world.gate = asyncio.Event()
    server = world.down()
    await until(lambda: world.probes == 1)

    assert server.keeper is not None
    assert server.probing is not None
    await world.directory.aclose()
    await until(lambda: other_tasks() == set())


async def test_cancelling_who_asks_leaves_the_probe_running(world: World) -> None:
    """Of two who wait for one probe, one leaves; the other gets the answer."""
    world.gate = asyncio.Event()
    world.outcome = lambda: 1
    world.down()
    one = asyncio.create_task(world.directory.probe(URL))
    two = asyncio.create_task(world.directory.probe(URL))
    await until(lambda: world.probes == 1)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    world.gate.set()

    assert await two
    assert 1 == world.probes


async def test_what_is_kept_is_bounded_and_named(world: World) -> None:
    """Two servers of one host get two names; old ones nobody needs make room."""
    first = world.directory.want("http://h.example/a", world.make)
    second = world.directory.want("http://h.example/b", world.make)
    for number in range(MAX_SERVERS):
        world.directory.want(f"http://h{number}.example/", world.make)

    assert ("h.example", "h.example (2)") == (first.name, second.name)
    assert MAX_SERVERS == len(world.directory.snapshot())


async def test_a_bus_that_fails_does_not_stop_the_probing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """An error of the event bus or of the error log is logged and goes no further."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("ours")

    world.pulse.publish = broken
    world.pulse.recovery.record = broken
    with caplog.at_level(logging.WARNING):
        server = world.down()
        world.outcome = lambda: 1
        await until(lambda: server.state == "up")

    assert "mcp.changed event was not published" in caplog.text


@pytest.mark.parametrize(
    ("url", "host"), [("https://user:pw@mcp.example/x?k=1", "mcp.example"), ("not a url", "invalid URL")]
)
def test_only_host_and_port_are_shown(world: World, url: str, host: str) -> None:
    """What a user reads of a server holds no path, query or password; of what is no URL there is a word for it."""
    assert host == world.directory.want(url, world.make).host


def test_digest_tells_keys_apart_and_hides_them() -> None:
    """Two keys have two digests, no header is one of them, and none holds the key."""
    one, two = digest({"Authorization": "Bearer a"}), digest({"authorization": "Bearer b"})

    assert 3 == len({one, two, digest(None)})
    assert "Bearer" not in one


def test_reason_finds_the_innermost_error() -> None:
    """Groups and causes are unwrapped, URLs are reduced to the host, and the line is short."""

    class Group(Exception):
        exceptions = (ConnectionRefusedError("x"),)

    outer = RuntimeError("outer")
    outer.__cause__ = Group()

    assert "no connection to h" == reason(outer, "h")
    assert "Failed for h: no" == reason(Exception("Failed for 'sse: http://h/secret?x=1': no"), "h")
    assert "see h" == reason(Exception("see https://h/secret"), "h")
    assert "it answered with HTTP status 503" == reason(Refused(503), "h")
    assert "it answered with HTTP status 401" == reason(Exception("Failed: HTTP error 401"), "h")
    assert "ValueError" == reason(ValueError(), "h")
    assert 200 == len(reason(Exception("x" * 999), "h"))
    assert "web page" in reason(Exception("expected event-stream, got 'text/html'"), "h")


def test_a_tools_error_is_recorded_without_the_users_words(world: World) -> None:
    """A tool that refuses its arguments quotes them."""

    def recorded() -> str:
        hold_prompt(["Draw Ada Byron at her brass engine"])
        error = RuntimeError("Invalid query for http://h/secret: 'Draw Ada Byron at her brass engine'")
        return judged(world.pulse.recovery, error, "h").message

    assert "Invalid query for h '[prompt]'" == contextvars.copy_context().run(recorded)


def test_reason_survives_a_circle_of_causes() -> None:
    """An error that is its own cause is no endless loop."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one

    assert reason(one, "h") in ("one", "two")
    assert not refused_key(one)
