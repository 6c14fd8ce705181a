"""What comes from other instances is given on in slices, however much of it comes at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from backend.event_bus import EventBus
from backend.fleet_redis.layout import Keys, new_boot
from backend.fleet_redis.reader import SLICE, Reader
from backend.fleet_redis.redis_link import Link, Target

EVENT_SECONDS = SLICE / 250


class _Link(Link):
    """A connection that has one reply."""

    def __init__(self, reply: Any) -> None:
        super().__init__(Target("redis://nowhere.invalid"), "reader", 1.0)
        self.reply = reply

    async def ask(self, *command: Any, wait: float = 0.0, bulky: bool = False) -> Any:
        return self.reply


async def test_a_reply_of_many_entries_does_not_hold_the_loop() -> None:
    """Eight entries of a hundred events, each entry less than a slice: others get the loop in between."""
    keys, other = Keys("p"), new_boot()
    entries = []
    for batch in range(8):
        first = 100 * batch
        rows = [[first + n + 1, "chaos", 1, "test", None, {"i": n}] for n in range(100)]
        entries.append((f"{first + 100}-100".encode(), [b"v", b"1", b"d", b"0", b"b", json.dumps(rows).encode()]))
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += EVENT_SECONDS
        return now

    async def nothing() -> None:
        return None

    link = _Link([(keys.events(other).encode(), entries)])
    reader = Reader(EventBus(), link, keys, new_boot(), pace=0.0, poke=nothing, clock=clock)
    reader.add(other, "other")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.ensure_future(others())
    await reader._read()
    ticking.cancel()

    assert reader.received == 800
    assert turns >= 3
