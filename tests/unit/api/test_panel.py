"""The panel's feed: only while somebody watches, once a refresh, bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend.api.panel import LEASE_SECONDS, MAX_PANELS, MESSAGE, PanelFeed
from tests.support.clock import FakeClock
from tests.support.net import until


class Stage:
    """A feed with a source and a wire of the test's own, and a sleep that the test lets go."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sent: list[tuple[str, Any, str]] = []
        self.snapshots = 0
        self.log: list[int] = []
        self.sleeping: asyncio.Event = asyncio.Event()
        self.wake: asyncio.Event = asyncio.Event()
        self.feed = PanelFeed(self, self.send, refresh=lambda: 1.0, clock=self.clock, sleep=self.sleep)

    def send(self, name: str, data: Any, client_id: str) -> None:
        self.sent.append((name, data, client_id))

    def snapshot(self) -> dict[str, Any]:
        self.snapshots += 1
        return {"n": self.snapshots}

    def events_since(self, seq: int) -> tuple[int, list[dict[str, Any]]]:
        return len(self.log), [{"id": n} for n in self.log[seq:]]

    async def sleep(self, seconds: float) -> None:
        self.wake.clear()
        self.sleeping.set()
        await self.wake.wait()
        self.clock.advance(seconds)

    async def refresh(self) -> None:
        """Wait until the feed sleeps, then let one refresh pass."""
        await self.sleeping.wait()
        self.sleeping.clear()
        self.wake.set()
        await until(lambda: self.sleeping.is_set() or not self.feed.running)


async def test_nothing_runs_and_nothing_is_sent_while_nobody_watches() -> None:
    """No panel, no task, no snapshot."""
    stage = Stage()

    assert (stage.feed.running, stage.snapshots, len(asyncio.all_tasks())) == (False, 0, 1)


async def test_one_message_a_refresh_with_the_events_since() -> None:
    """The first brings what is known, the later ones only what is new."""
    stage = Stage()
    stage.log = [1, 2]
    stage.feed.open("a")
    await stage.sleeping.wait()
    stage.log.append(3)
    await stage.refresh()
    await stage.feed.aclose()

    assert [(name, client) for name, _, client in stage.sent] == [(MESSAGE, "a")] * 2
    assert [data["events"] for _, data, _ in stage.sent] == [[{"id": 1}, {"id": 2}], [{"id": 3}]]
    assert [data["snapshot"] for _, data, _ in stage.sent] == [{"n": 1}, {"n": 2}]


async def test_two_panels_share_a_snapshot_and_have_their_own_events() -> None:
    """A second tab costs a message, not a second measurement, and misses nothing."""
    stage = Stage()
    stage.log = [1]
    stage.feed.open("a")
    await stage.sleeping.wait()
    stage.log.append(2)
    stage.feed.open("b")
    await stage.refresh()
    await stage.feed.aclose()

    assert stage.snapshots == 2
    assert [(client, data["events"]) for _, data, client in stage.sent[1:]] == [
        ("a", [{"id": 2}]),
        ("b", [{"id": 1}, {"id": 2}]),
    ]


async def test_the_task_ends_with_the_last_panel() -> None:
    """Closed means closed: no task, no timer."""
    stage = Stage()
    stage.feed.open("a")
    stage.feed.open("b")
    await stage.sleeping.wait()
    assert stage.feed.close("a")
    assert len(asyncio.all_tasks()) == 2
    assert stage.feed.close("b")
    await until(lambda: len(asyncio.all_tasks()) == 1)

    assert not stage.feed.running
    assert not stage.feed.close("b")


async def test_close_and_open_at_once_goes_on() -> None:
    """A reload closes and opens within one turn of the loop; the new panel gets its data."""
    stage = Stage()
    stage.feed.open("a")
    await stage.sleeping.wait()
    stage.sleeping.clear()
    stage.feed.close("a")
    stage.feed.open("a")
    await stage.sleeping.wait()

    assert len(stage.sent) == 2
    await stage.feed.aclose()
    assert len(asyncio.all_tasks()) == 1


async def test_a_lease_runs_out_by_itself() -> None:
    """A browser that crashed is sent nothing after a minute, and the task goes."""
    stage = Stage()
    stage.feed.open("a")
    await stage.sleeping.wait()
    stage.clock.advance(LEASE_SECONDS)
    await stage.refresh()

    assert (len(stage.feed), stage.feed.running, len(stage.sent)) == (0, False, 1)


async def test_a_lease_that_is_renewed_lasts() -> None:
    """A panel that says every 20 s that it is there stays."""
    stage = Stage()
    stage.feed.open("a")
    for _ in range(5):
        await stage.sleeping.wait()
        stage.clock.advance(20)
        stage.feed.open("a")
        await stage.refresh()

    assert len(stage.sent) == 6
    await stage.feed.aclose()


async def test_a_wire_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """One client's broken socket is logged once; the next client gets its message."""
    stage = Stage()

    def send(name: str, data: Any, client_id: str) -> None:
        if client_id == "broken":
            raise ConnectionResetError
        stage.sent.append((name, data, client_id))

    feed = PanelFeed(stage, send, sleep=stage.sleep, clock=stage.clock)
    feed.open("broken")
    feed.open("a")
    await stage.sleeping.wait()
    feed.push()
    await feed.aclose()

    assert [client for _, _, client in stage.sent] == ["a", "a"]
    assert len(caplog.records) == 1


async def test_panels_are_bounded() -> None:
    """A script that opens panels by the thousand takes the place of 64; the oldest lease goes first."""
    stage = Stage()
    for n in range(MAX_PANELS + 10):
        stage.feed.open(f"c{n}")
        stage.clock.advance(0.1)

    assert len(stage.feed) == MAX_PANELS
    assert not stage.feed.close("c9")
    assert stage.feed.close("c10")
    await stage.feed.aclose()


@pytest.mark.parametrize("client_id", ["", "x" * 129])
async def test_a_client_id_must_make_sense(client_id: str) -> None:
    """An id of a megabyte is not kept."""
    stage = Stage()

    with pytest.raises(ValueError, match="client_id"):
        stage.feed.open(client_id)

    assert not stage.feed.running


async def test_cancelling_aclose_leaves_the_feed_closing() -> None:
    """A shut-down that is cut short still ends the task."""
    stage = Stage()
    stage.feed.open("a")
    await stage.sleeping.wait()
    closing = asyncio.create_task(stage.feed.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    await until(lambda: len(asyncio.all_tasks()) == 1)

    assert not stage.feed.running
