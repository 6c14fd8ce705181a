"""A program that writes into an event store until it is killed: `python -m tests.support.store_writer FOLDER`.

It says `opened SECONDS` when the store can be written to, and `stored N` when N events are acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

from backend.event_bus import EventBus
from backend.journal import retention
from tests.support.stores import event, new_store


async def main(folder: Path, first: int) -> None:
    """Publish in batches of any size, and flush after each."""
    # Small files, so that a kill hits rotations as well, and room for all of them.
    for name, value in (("LEAST_SEGMENT", 40_000), ("SHARE", 1600)):
        setattr(retention, name, value)
    bus = EventBus()
    store = new_store(folder)
    bus.subscribe("*", store.on_event)
    began = time.perf_counter()
    store.start()
    await store.flush()
    sys.stdout.write(f"opened {time.perf_counter() - began}\n")
    number = first
    while True:
        for _ in range(random.choice((1, 16, 256, 700))):
            bus.publish_nowait(event("chat.model", "s", n=number, chat_id=str(number // 10), pad="x" * 60))
            number += 1
        await store.flush()
        sys.stdout.write(f"stored {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
