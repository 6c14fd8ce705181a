"""Publishers, subscribers, cancels and slow handlers at random, for as long as you like; then the books are checked.

`python -m tests.bench.stress --seconds 20 [--seed N] [--json FILE] [--write]`. Exit status 1, and
the seed to run it again with, if an invariant broke:

- every mailbox and stream that was there all the time got each publisher's events in order, none twice, and
  none is missing but those that the bus counted as dropped or conflated, and those in the hands of a publisher
  that was cancelled at that moment;
- no essential event of a publisher that waits was dropped, and only events with a key were conflated;
- no publisher is stuck, no task is left, and memory does not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Coroutine
from datetime import date
from pathlib import Path
from typing import Any

from backend.event_bus import Event, EventBus, LoopGoneError
from tests.bench.page import write_section

TYPES = ("chat.delta", "chat.finished", "error", "queue.zone")
# The essential type of those that don't wait: theirs may be lost, if a mailbox holds nothing else.
NOWAIT_TYPES = ("chat.delta", "nowait.finished", "error", "queue.zone")
CAPACITY = 64
# When so many publishers have ended since, an event has been handled, or never will be.
LONG_AGO = 50


class Witness:
    """Notes what one subscriber gets. Only the newest number of each publisher is kept: memory must not grow."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.newest: dict[tuple[str, str], int] = {}
        self.received = self.not_seen = 0
        self.problems: list[str] = []

    def see(self, event: Event) -> None:
        """Events of one publisher and type must come in order, and each once."""
        self.received += 1
        key, number = (event.source, event.type), event.data["n"]
        if number <= self.newest.get(key, -1):
            self.problems.append(f"{self.name}: {key} {number} came after {self.newest[key]}")
        self.newest[key] = number

    def look_for(self, event: Event) -> None:
        """Was an event seen whose publisher was cancelled with it in its hands? It is the last one of that."""
        if self.newest.get((event.source, event.type), -1) < event.data["n"]:
            self.not_seen += 1

    def forget(self, source: str) -> None:
        """That publisher has ended."""
        for type_ in {*TYPES, *NOWAIT_TYPES}:
            self.newest.pop((source, type_), None)


class Stress:
    """One run: a bus, its constant witnesses, and all that comes and goes."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.end = time.monotonic() + seconds
        self.problems: list[str] = []
        self.bus = EventBus(
            capacity=CAPACITY,
            put_timeout=0.05,
            essential=lambda event: event.type.endswith(".finished"),
            conflate=lambda event: event.type if event.type == "queue.zone" else None,
        )
        self.plain = Witness("plain")
        self.boxes = [Witness(f"mailbox {number}") for number in range(3)]
        self.stream = Witness("stream")
        self.published = self.cancelled = self.failures = self.threaded = self.sources = self.in_hand = 0
        self.unsure: dict[str, Event] = {}  # what a cancelled publisher had in its hands
        self.ended: deque[str] = deque()
        self.blocks: list[int] = []

    @property
    def running(self) -> bool:
        """Whether time is left."""
        return time.monotonic() < self.end

    # -- who is there all the time -----------------------------------------------------------------

    def subscribe(self) -> None:
        """One plain handler; mailboxes whose handlers are fast, now and then slow, and failing."""
        self.bus.subscribe("*", self.plain.see)
        for number, witness in enumerate(self.boxes):
            self.bus.subscribe("*", self.handler(witness, number), name=witness.name)

    def handler(self, witness: Witness, kind: int) -> Any:
        """An async handler: 0 is fast, 1 sleeps at times, 2 fails at times and looks at cancelled futures."""

        async def handle(event: Event) -> None:
            witness.see(event)
            if kind == 1 and self.random.random() < 0.01:
                await asyncio.sleep(self.random.random() * 0.005)
            if kind == 2 and self.random.random() < 0.05:
                self.failures += 1
                if self.random.random() < 0.5:
                    raise ValueError("on purpose")
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future

        return handle

    async def read_stream(self) -> None:
        """Reads one stream to its end, with cancelled attempts in between."""
        async with self.bus.stream("*", name="stream") as events:
            while True:
                reading = asyncio.ensure_future(anext(events, None))
                if self.random.random() < 0.05:
                    reading.cancel()
                try:
                    event = await reading
                except asyncio.CancelledError:
                    continue
                if event is None:
                    return
                self.stream.see(event)

    # -- who comes and goes ------------------------------------------------------------------------

    async def publish(self, source: str, number: int) -> None:
        """A few hundred events, in one of the three ways."""
        how = self.random.randrange(3)
        for n in range(number):
            type_ = self.random.choice(NOWAIT_TYPES if how == 1 else TYPES)
            event = Event(type=type_, data={"n": n}, source=source)
            self.published += 1
            if how == 1:
                self.bus.publish_nowait(event)
                if n % 50 == 0:
                    await asyncio.sleep(0)
                continue
            try:
                if how == 0:
                    await self.bus.publish(event)
                else:
                    await self.bus.publish_many([event])
            except asyncio.CancelledError:
                self.in_hand += 1
                self.unsure[source] = event
                raise

    async def publishers(self) -> None:
        """Starts publishers, and cancels every third of them at a random moment."""
        running: set[asyncio.Task[None]] = set()
        while self.running:
            self.sources += 1
            source = f"p{self.sources}"
            task = asyncio.create_task(self.publish(source, self.random.randrange(1, 300)))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _, source=source: self.ended.append(source))  # type: ignore[misc]
            await asyncio.sleep(self.random.random() * 0.002)
            if self.random.random() < 0.33 and running:
                self.random.choice(list(running)).cancel()
                self.cancelled += 1
            if len(running) > 20:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        _, stuck = await asyncio.wait(running, timeout=30) if running else (set(), set())
        if stuck:
            self.problems.append(f"{len(stuck)} publishers are stuck")

    async def comers_and_goers(self) -> None:
        """Subscribes and unsubscribes: plain, async, weak, streams that are forgotten, joins that are cancelled."""
        while self.running:
            choice = self.random.randrange(5)
            pattern = self.random.choice(("*", "chat.*", "error"))
            if choice <= 1:
                witness = Witness("guest")
                handler: Any = witness.see if choice == 0 else self.handler(witness, self.random.randrange(2))
                sub_id = self.bus.subscribe(pattern, handler, weak=choice == 0)
                await asyncio.sleep(self.random.random() * 0.01)
                if not self.bus.unsubscribe(pattern, sub_id):
                    self.problems.append("a guest's subscription was gone")
                self.problems += witness.problems
            elif choice == 2:
                task = asyncio.create_task(_first(self.bus.stream(pattern)))
                await asyncio.wait([task], timeout=self.random.random() * 0.01)
                task.cancel()
                await asyncio.wait([task])
            elif choice == 3:
                task = asyncio.create_task(self.bus.join())
                await asyncio.wait([task], timeout=self.random.random() * 0.01)
                task.cancel()
                await asyncio.wait([task])
            else:
                self.bus.statistics()
                self.bus.take_latency_samples()
                await asyncio.sleep(0.001)

    def from_a_thread(self) -> None:
        """Publishes in bursts from another thread."""
        number = 0
        while self.running:
            for _ in range(20):
                try:
                    self.bus.publish_threadsafe(Event(type="error", data={"n": number}, source="thread"))
                except LoopGoneError:
                    return
                number += 1
            self.threaded = number
            time.sleep(0.005)

    async def watch_memory(self) -> None:
        """Notes how many blocks Python holds, ten times in the run. A loop that does not turn is a problem."""
        pause = max(0.1, (self.end - time.monotonic()) / 12)
        while self.running:
            await asyncio.sleep(pause)
            self.forget(LONG_AGO)
            gc.collect()
            self.blocks.append(sys.getallocatedblocks())

    def forget(self, but: int) -> None:
        """Close the books of all publishers that have ended, but for the last ones."""
        while len(self.ended) > but:
            source = self.ended.popleft()
            event = self.unsure.pop(source, None)
            for witness in (self.plain, *self.boxes, self.stream):
                if event is not None:
                    witness.look_for(event)
                witness.forget(source)

    # -- the books ---------------------------------------------------------------------------------

    async def run(self) -> dict[str, Any]:
        """Everything at once, until time is up; then the reckoning."""
        self.subscribe()
        reader = asyncio.create_task(self.read_stream())
        await asyncio.sleep(0)
        thread = threading.Thread(target=self.from_a_thread)
        thread.start()
        parts: list[Coroutine[Any, Any, None]] = [
            self.publishers(), self.comers_and_goers(), self.comers_and_goers(), self.watch_memory(),
        ]  # fmt: skip
        await asyncio.gather(*parts)
        await asyncio.to_thread(thread.join)
        await asyncio.wait_for(self.bus.join(), 30)
        figures = self.bus.statistics()
        rows = {row["name"]: row for row in figures["queues"]}
        await self.bus.aclose()
        await asyncio.wait_for(reader, 30)
        self.forget(0)
        self.reckon(figures, rows)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            self.problems.append(f"{len(left)} tasks are left: {left}")
        return {
            "published": figures["published_total"],
            "from_threads": self.threaded,
            "publishers": self.sources,
            "publishers_cancelled": self.cancelled,
            "handler_errors": figures["handler_errors_total"],
            "cancelled_with_an_event": self.in_hand,
            "dropped": figures["dropped_total"],
            "conflated": figures["conflated_total"],
            "blocks": self.blocks,
            "problems": self.problems,
        }

    def reckon(self, figures: dict[str, Any], rows: dict[str, Any]) -> None:
        """Compare what was published with what every constant witness got."""
        published = self.published + self.threaded
        if figures["published_total"] != published:
            self.problems.append(f"{published} were published, {figures['published_total']} counted")
        if figures["handler_errors_total"] != self.failures:
            self.problems.append(f"{self.failures} failed, {figures['handler_errors_total']} counted")
        if self.plain.received != published:
            self.problems.append(f"plain got {self.plain.received} of {published}")
        self.problems += self.plain.problems
        for witness in (*self.boxes, self.stream):
            row = rows[witness.name]
            self.problems += witness.problems
            if witness.received != row["put"] - row["conflated"] - row["dropped"] + row["refused"]:
                self.problems.append(f"{witness.name} got {witness.received} of {row['put']}: {row}")
            # The event in the hands of a cancelled publisher had no room, or it was seen, or dropped later.
            missing = published - row["put"] - row["refused"]
            if not 0 <= missing <= witness.not_seen:
                self.problems.append(
                    f"{witness.name}: {missing} are missing, of cancelled publishers only {witness.not_seen}"
                )
            if "chat.finished" in row["dropped_by_type"]:
                self.problems.append(f"{witness.name} dropped essential events: {row['dropped_by_type']}")
        if len(self.blocks) >= 6:
            early, late = min(self.blocks[1:4]), min(self.blocks[-3:])
            if late > early * 1.03 + 2000:
                self.problems.append(f"memory grew from {early} to {late} blocks: {self.blocks}")


async def _first(events: Any) -> None:
    async for _ in events:
        return


def report(result: dict[str, Any]) -> str:
    """The run as a section of docs/benchmarks.md."""
    blocks = result["blocks"]
    cancelled = f"{result['publishers_cancelled']:,} of them cancelled in the middle"
    rows = [
        ("events", f"{result['published']:,}, {result['from_threads']:,} of them from another thread"),
        ("publishers", f"{result['publishers']:,}, {cancelled}"),
        ("handlers that failed on purpose", f"{result['handler_errors']:,}"),
        ("dropped by layer 3, none of them essential and waited for", f"{result['dropped']:,}"),
        ("replaced by a newer one with the same key", f"{result['conflated']:,}"),
        ("memory blocks of the process, in time", " ".join(f"{number:,}" for number in blocks)),
        ("invariants broken, tasks left, publishers stuck", "; ".join(result["problems"]) or "none"),
    ]
    return "\n".join(
        [
            "## Stress",
            "",
            f"`python -m tests.bench.stress --seconds {result['seconds']:g}`, {date.today()}, "
            f"CPython {platform.python_version()}: publishers, subscribers, streams, joins and cancels come and go at"
            " random for as long as you like, then the books are checked: order, nothing twice, nothing missing but"
            " what was counted as dropped or conflated.",
            "",
            "| | |",
            "| :-- | :-- |",
            *(f"| {name} | {value} |" for name, value in rows),
        ]
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    arguments = parser.parse_args()
    seed = time.time_ns() % 1_000_000 if arguments.seed is None else arguments.seed
    result = asyncio.run(Stress(arguments.seconds, seed).run())
    result = {"seconds": arguments.seconds, "seed": seed, **result}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if arguments.write:
        write_section("stress", report(result))
    print(json.dumps(result, indent=1))
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    import logging

    logging.getLogger("copilot_pulse").setLevel(logging.CRITICAL)  # failing on purpose fills the screen
    sys.exit(main())
