"""The settings of a bus that several programs share: none takes anything from another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend.backpressure import UNTHROTTLED
from backend.event_bus import Event, EventBus
from tests.support.manual_time import ManualTime


def event(number: int = 0, type_: str = "x") -> Event:
    return Event(type=type_, data={"n": number}, source="test")


def capacity_of(bus: EventBus) -> int:
    """Of a mailbox made now."""

    async def handler(e: Event) -> None:
        """Not called."""

    sub_id = bus.subscribe("a.type.of.its.own", handler)
    capacity: int = bus.statistics()["queues"][-1]["capacity"]
    bus.unsubscribe("a.type.of.its.own", sub_id)
    return capacity


def test_the_value_that_was_set_last_counts() -> None:
    """Whoever set it; when its owner withdraws, the one before counts again, in the end the constructor's."""
    bus = EventBus(capacity=7)
    seen = [capacity_of(bus)]
    for owner, capacity in (("a", 1), ("b", 2), (None, 3), ("a", 4)):
        bus.configure(owner=owner, capacity=capacity)
        seen.append(capacity_of(bus))
    for owner in ("a", "b", "b", None):
        bus.withdraw(owner)
        seen.append(capacity_of(bus))

    assert [7, 1, 2, 3, 4, 3, 3, 3, 7] == seen


def test_none_takes_back_what_this_owner_has_set() -> None:
    """And nothing of the others."""
    bus = EventBus(capacity=7)
    bus.configure(owner="a", capacity=1)
    bus.configure(owner="b", capacity=2)
    bus.configure(owner="a", capacity=None, on_error=None)

    assert 2 == capacity_of(bus)


async def test_the_hooks_of_all_owners_are_asked_and_told() -> None:
    """One is enough to make an event essential; each hears of an error; one that withdrew hears nothing more."""
    told: list[str] = []
    bus = EventBus(capacity=2, throttle=UNTHROTTLED, essential=lambda e: e.data["n"] == 0)
    bus.configure(owner="a", essential=lambda e: e.data["n"] == 1, on_error=lambda *_: told.append("a"))
    bus.configure(owner="b", on_error=lambda *_: told.append("b"), on_zone=lambda *_: told.append("zone"))

    def failing(e: Event) -> None:
        raise ValueError

    bus.subscribe("y", failing)
    async with bus.stream("x") as events:
        for number in (0, 1, 2, 3):
            bus.publish_nowait(event(number))
        assert [0, 1] == [(await anext(events)).data["n"] for _ in range(2)]
    bus.publish_nowait(event(type_="y"))
    assert ["zone", "a", "b"] == [told[0], *told[-2:]]

    bus.withdraw("a")
    told.clear()
    bus.publish_nowait(event(type_="y"))
    assert ["b"] == told


async def test_keys_of_two_owners_are_not_mixed_up() -> None:
    """The same key may mean different things to them: no event replaces one of another owner."""
    bus = EventBus(capacity=2, throttle=UNTHROTTLED)
    for owner in ("a", "b"):

        def key(e: Event, owner: str = owner) -> Any:
            return "answer" if e.data["of"] == owner else None

        bus.configure(owner=owner, conflate=key)
    async with bus.stream("*") as events:
        for number, of in enumerate("abb"):
            bus.publish_nowait(Event(type="x", data={"of": of, "n": number}, source="test"))
        assert [0, 2] == [(await anext(events)).data["n"] for _ in range(2)]


async def test_a_patience_that_changes_holds_for_the_next_publisher() -> None:
    """`put_timeout` in seconds, of whoever set it last."""
    time = ManualTime()
    bus = EventBus(capacity=1, throttle=UNTHROTTLED, clock=time, sleep=time.sleep)
    bus.configure(owner="a", put_timeout=2)
    async with bus.stream("*") as events:
        await bus.publish(event(0))
        task = asyncio.ensure_future(bus.publish(event(1)))
        await time.advance(1.9)
        assert not task.done()
        await time.advance(0.1)
        await task
        assert 1 == (await anext(events)).data["n"]


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"size": 1}])
def test_a_wrong_change_changes_nothing(wrong: dict[str, Any]) -> None:
    """An unknown name, and a capacity in which nothing fits, which would hit every other program's mailboxes."""
    bus = EventBus(capacity=7)
    with pytest.raises((TypeError, ValueError), match=r"size|at least 1"):
        bus.configure(owner="a", **{"put_timeout": 1.0, **wrong})

    assert (7, 5.0) == (capacity_of(bus), bus._settings.put_timeout)
