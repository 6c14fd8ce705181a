"""Routes and counts by event type."""

from __future__ import annotations

import pytest

from backend.backpressure import UNTHROTTLED
from backend.event_bus import EventBus
from tests.support.bus import Shut, event, row


async def test_made_up_types_do_not_fill_the_memory_when_they_are_dropped() -> None:
    """Drops are counted for so many types, by each mailbox and for threads; the rest is added up."""
    bus = EventBus(capacity=10, throttle=UNTHROTTLED)
    bus.subscribe("*", Shut())
    for number in range(600):
        bus.publish_nowait(event(number, f"job.{number}"))
    for number in range(11_000):
        bus.publish_threadsafe(event(number, f"job.{number}"))

    for dropped, total in ((row(bus)["dropped_by_type"], 590), (bus.statistics()["threads"]["dropped_by_type"], 1000)):
        assert total == sum(dropped.values())
        assert dropped["(other types)"] > 0
        assert len(dropped) <= 257
    await bus.aclose(drain=False)


async def test_made_up_types_do_not_fill_the_memory(bus: EventBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes and counts are bounded; the counts of further types are added up."""
    monkeypatch.setattr("backend.bus.table.MAX_TYPES", 10)
    bus.subscribe("*", lambda e: None)
    for number in range(35):
        await bus.publish(event(type_=f"job.{number}"))
        bus.has_subscribers(f"question.{number}")

    published = bus.statistics()["published"]
    assert 35 == sum(published.values())
    assert published["(other types)"] > 0
    assert len(published) <= 21
    assert len(bus._table._wanted) <= 10
