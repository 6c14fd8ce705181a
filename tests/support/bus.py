"""For tests of the event bus: events with a number, a calm bus, a handler that is held shut."""

from __future__ import annotations

import asyncio
from typing import Any

from backend.backpressure import UNTHROTTLED
from backend.event_bus import Event, EventBus
from tests.support.manual_time import ManualTime


def event(number: int = 0, type_: str = "x") -> Event:
    return Event(type=type_, data={"n": number}, source="test")


def calm(time: ManualTime | None = None, **kwargs: Any) -> EventBus:
    """A bus that does not throttle: only a full mailbox makes its publisher wait."""
    if time is not None:
        kwargs.update(clock=time, sleep=time.sleep)
    return EventBus(throttle=UNTHROTTLED, **kwargs)


class Shut:
    """An async handler that is held shut until `open.set()`; `began` and `got` list its events' numbers."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.began: list[int] = []
        self.got: list[int] = []

    async def __call__(self, e: Event) -> None:
        self.began.append(e.data["n"])
        await self.open.wait()
        self.got.append(e.data["n"])


def row(bus: EventBus, number: int = 0) -> dict[str, Any]:
    """The statistics of a mailbox or stream."""
    found: dict[str, Any] = bus.statistics()["queues"][number]
    return found


async def awaited(waiting: Any) -> None:
    await waiting
