"""Subscriptions from beginning to end: waiting for their handlers, and closing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from backend.event_bus import DONE, Event, EventBus
from tests.support.bus import Shut, awaited, calm, event, row
from tests.support.manual_time import turns
from tests.support.net import PATIENCE

pytestmark = pytest.mark.usefixtures("no_task_left")


# -- join -------------------------------------------------------------------------------------------


async def test_join_waits_for_what_handlers_publish_too() -> None:
    """A chain of events through two mailboxes is over when join returns."""
    bus = EventBus()
    got: list[int] = []

    async def step(e: Event) -> None:
        await asyncio.sleep(0)
        if e.data["n"] < 5:
            bus.publish_nowait(event(e.data["n"] + 1, "y" if e.type == "x" else "x"))
        got.append(e.data["n"])

    bus.subscribe("x", step)
    bus.subscribe("y", step)
    bus.publish_nowait(event())
    await bus.join()

    assert list(range(6)) == got
    await bus.aclose()


async def test_a_cancelled_join_changes_nothing() -> None:
    """The mailbox goes on, and another join works."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    bus.publish_nowait(event())
    task = asyncio.create_task(bus.join())
    await turns()
    task.cancel()
    await turns()
    handler.open.set()
    await bus.join()

    assert task.cancelled()
    assert [0] == handler.got
    await bus.aclose()


async def test_a_handler_that_joins_does_not_wait_for_itself() -> None:
    """But for all the others."""
    bus = EventBus()
    other = Shut()
    joined = asyncio.Event()

    async def handler(e: Event) -> None:
        await bus.join()
        joined.set()

    bus.subscribe("*", handler)
    bus.subscribe("*", other)
    bus.publish_nowait(event())
    await turns()
    assert not joined.is_set()
    other.open.set()
    await asyncio.wait_for(joined.wait(), PATIENCE)
    await bus.aclose()


async def test_handlers_that_join_do_not_wait_for_each_other() -> None:
    """Two at the same time, and one that has events behind the one that joins; who joins outside waits for all."""
    bus = EventBus()
    other = Shut()
    joined: list[tuple[str, int]] = []

    def joiner(name: str) -> Any:
        async def handler(e: Event) -> None:
            await bus.join()
            joined.append((name, e.data["n"]))

        return handler

    for name in "ab":
        bus.subscribe("*", joiner(name))
    bus.subscribe("*", other)
    for number in range(2):
        bus.publish_nowait(event(number))
    await turns()
    assert [] == joined
    other.open.set()
    await asyncio.wait_for(bus.join(), PATIENCE)

    assert [("a", 0), ("a", 1), ("b", 0), ("b", 1)] == sorted(joined)
    await bus.aclose()


async def test_an_event_in_hand_is_held_and_not_taken() -> None:
    """`put` is size + taken + conflated + dropped, also while a handler is at work."""
    bus = calm(capacity=2)
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(3):
        bus.publish_nowait(event(number))
        await turns()
        figures = row(bus)
        assert figures["put"] == figures["size"] + figures["taken"] + figures["dropped"] - figures["refused"]
        assert 0 == figures["taken"]
    handler.open.set()
    await bus.join()
    assert (3, 0, 2, 1) == tuple(row(bus)[key] for key in ("put", "size", "taken", "dropped"))
    await bus.aclose()


# -- the end ----------------------------------------------------------------------------------------


async def test_aclose_delivers_what_is_there() -> None:
    """Then no task is left, and closing again is fine."""
    bus = EventBus()
    got: list[int] = []

    async def handler(e: Event) -> None:
        await asyncio.sleep(0)
        got.append(e.data["n"])

    bus.subscribe("*", handler)
    for number in range(5):
        bus.publish_nowait(event(number))
    await bus.aclose()
    await bus.aclose()

    assert list(range(5)) == got
    assert bus.statistics()["closed"]
    assert bus.publish(event()) is DONE
    assert "<EventBus closed, 0 subscriptions>" == repr(bus)


async def test_aclose_can_drop_what_is_there() -> None:
    """Handlers are cancelled, and what waited is counted as dropped."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(5):
        bus.publish_nowait(event(number))
    await turns()
    await bus.aclose(drain=False)

    assert ([0], []) == (handler.began, handler.got)
    assert 4 == bus.statistics()["dropped_total"]


async def test_an_event_that_nobody_wants_any_more_is_no_loss() -> None:
    """Its publisher waits when the mailbox is unsubscribed."""
    bus = calm(capacity=1)
    sub_id = bus.subscribe("*", Shut())
    bus.publish_nowait(event(0))
    task = asyncio.create_task(awaited(bus.publish(event(1))))
    await turns()
    bus.unsubscribe("*", sub_id)
    await asyncio.wait_for(task, PATIENCE)

    assert 0 == bus.statistics()["dropped_total"]
    await bus.aclose(drain=False)


async def test_aclose_does_not_wait_for_ever() -> None:
    """A handler that hangs is cancelled when the time is up, and what waited behind it is counted."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(5):
        bus.publish_nowait(event(number))
    await bus.aclose(timeout=0)

    assert [] == handler.got
    assert 5 >= bus.statistics()["dropped_total"] >= 4


async def test_a_cancelled_aclose_still_ends_everything() -> None:
    """Handlers are cancelled at once; a second aclose finds nothing to do."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    bus.publish_nowait(event())
    await turns()
    task = asyncio.create_task(bus.aclose(timeout=60))
    await turns()
    task.cancel()
    await turns()

    assert task.cancelled()
    assert {asyncio.current_task()} == asyncio.all_tasks()
    await bus.aclose()


async def test_a_handler_that_ignores_its_cancel_is_left_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a line in the log that names it."""
    monkeypatch.setattr("backend.bus.subscribers.CANCEL_PATIENCE", 0.01)
    bus = EventBus()
    enough = asyncio.Event()

    async def stubborn(e: Event) -> None:
        while not enough.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await enough.wait()

    bus.subscribe("*", stubborn, name="stubborn")
    bus.publish_nowait(event())
    await turns()
    await bus.aclose(drain=False)

    assert "mailbox of stubborn does not end" in caplog.text
    enough.set()
    await turns()


async def test_a_handler_may_close_the_bus_it_is_called_from() -> None:
    """Its own mailbox is not waited for; what waits in it is delivered after it."""
    bus = EventBus()
    got: list[int] = []

    async def handler(e: Event) -> None:
        if e.data["n"] == 0:
            await bus.aclose()
        got.append(e.data["n"])

    bus.subscribe("*", handler)
    for number in range(3):
        bus.publish_nowait(event(number))
    await turns()

    assert [0, 1, 2] == got


async def test_unsubscribing_lets_the_event_in_hand_finish() -> None:
    """What waits behind it is dropped, but is no loss: nobody wants it any more."""
    bus = EventBus()
    handler = Shut()
    sub_id = bus.subscribe("*", handler)
    for number in range(3):
        bus.publish_nowait(event(number))
    await turns()
    bus.unsubscribe("*", sub_id)
    handler.open.set()
    await bus.join()

    assert [0] == handler.got
    assert 0 == bus.statistics()["dropped_total"]
    await turns()
    assert not bus._subscriptions.retired
    await bus.aclose()
