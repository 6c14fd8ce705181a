"""What waits to be written to Redis: bounded, in order, numbered.

`offer()` is a plain handler of the local bus: it must cost next to nothing and never wait. Every event that is meant
for the fleet gets a number; one that has to be dropped keeps it, so that whoever reads the rest sees what is missing.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import takewhile
from typing import Final

from ..event_bus import Event
from ..events import EVENTS
from .layout import OURS, Batch, Encoder, Row, weigh

MOST_EVENTS: Final = 256
MOST_BYTES: Final = 64_000
LARGEST: Final = 1_000_000
"""Bytes of one event as JSON; a larger one is dropped and told as lost."""
HEAVY: Final = 4_000
"""Bytes from which on an event counts for MOST_HEAVY: 10,000 lighter ones are 40 MB at most."""
MOST_HEAVY: Final = 32_000_000
"""Bytes of heavy events that wait, while Redis is away."""
WEIGHED: Final = 64
"""Events that are weighed in one turn of the loop."""
MAX_TYPES: Final = 1_000
_SKIP, _SPARE, _ESSENTIAL = 0, 1, 2
_SMALL: Final = frozenset({int, float, bool, type(None)})


class Patterns:
    """Which types of events go to the fleet: `chat.*,!chat.delta` is a list of patterns, `!` leaves out."""

    def __init__(self, text: str) -> None:
        words = [word.strip() for word in text.split(",") if word.strip()]
        self._wanted = [word for word in words if not word.startswith("!")]
        self._unwanted = [word[1:] for word in words if word.startswith("!")]

    def match(self, type_: str) -> bool:
        """Whether events of this type go to the fleet."""
        return any(matches(one, type_) for one in self._wanted) and not any(
            matches(one, type_) for one in self._unwanted
        )


def matches(pattern: str, type_: str) -> bool:
    """Whether a pattern of the event bus is for this type."""
    return pattern == "*" or pattern == type_ or (pattern.endswith(".*") and type_.startswith(pattern[:-1]))


class Outbox:
    """Events that wait, at most `capacity`. For the loop's thread.

    `wake()` is called when an event comes while `asleep` is set, and clears it. `last` is the newest number given.
    """

    def __init__(
        self, capacity: int, wanted: Callable[[str], bool], encoder: Encoder, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.capacity = capacity
        self.last = 0
        self.peak = 0
        self.dropped = 0
        self.asleep = False
        self.wake: Callable[[], None] = lambda: None
        self.wall_offset = 0.0  # of Redis' clock against ours
        self._wanted = wanted
        self._encoder = encoder
        self._wall = wall
        self._ranks: dict[str, int] = {}
        self._waiting: OrderedDict[int, Event] = OrderedDict()
        self._spare: deque[int] = deque()  # the numbers of those that may be dropped for others
        self._heavy: dict[int, int] = {}  # number -> bytes of the heavy ones that wait
        self._weighed = 0  # the newest number of which that is known
        self._taken = 0  # the newest number that a batch holds
        self._sent = 0  # how many events batches held so far
        self._halves: deque[list[Row]] = deque()  # of batches that were too large, the oldest events first
        self._halved = 0  # how many events are in them

    def __len__(self) -> int:
        return len(self._waiting) + self._halved

    def offer(self, event: Event) -> None:
        """Take an event of the local bus, if its type is wanted. Never waits."""
        rank = self._ranks.get(event.type)
        if rank is None:
            rank = self._rank(event.type)
        if not rank:
            return
        number = self.last = self.last + 1
        self._waiting[number] = event
        if rank == _SPARE:
            self._spare.append(number)
        if len(self._waiting) > self.capacity:
            self._make_room()
        if self.asleep:
            self.asleep = False
            self.wake()

    def _rank(self, type_: str) -> int:
        spec = EVENTS.get(type_)
        rank = _ESSENTIAL if spec is not None and spec.essential else _SPARE
        if type_.startswith(OURS) or not self._wanted(type_):
            rank = _SKIP
        if len(self._ranks) >= MAX_TYPES:
            self._ranks.clear()
        self._ranks[type_] = rank
        return rank

    def _make_room(self) -> None:
        """Drop the oldest that is not essential, else the oldest."""
        self.dropped += 1
        while self._spare:
            number = self._spare.popleft()
            if self._waiting.pop(number, None) is not None:
                return
        self._waiting.popitem(last=False)

    async def keep_small(self) -> None:
        """Drop the oldest heavy events while there are more than MOST_HEAVY bytes of them. To be called now and then.

        To weigh an event costs more than to take it, so it is done for those that have to wait.
        """
        waiting = self._waiting
        news = list(takewhile(lambda number: number > self._weighed, reversed(waiting)))
        self._weighed = self.last
        for turn, number in enumerate(reversed(news), 1):
            event = waiting.get(number)
            weight = weigh(event.data) if event is not None else 0
            if weight > HEAVY:
                self._heavy[number] = weight
            if turn % WEIGHED == 0:
                await asyncio.sleep(0)
        self._heavy = {number: weight for number, weight in self._heavy.items() if number in waiting}
        over = sum(self._heavy.values()) - MOST_HEAVY
        for number in list(self._heavy):
            if over <= 0:
                break
            over -= self._heavy.pop(number)
            del waiting[number]
            self.dropped += 1

    def take(self) -> tuple[list[Row], int]:
        """The oldest events as rows, and about how many bytes they are as JSON; both 0 if nothing waits.

        At most MOST_EVENTS and about MOST_BYTES. Whoever takes them has to make the batch with `batch()`, or to give
        them back with `halve()`.
        """
        if self._halves:
            rows = self._halves.popleft()
            self._halved -= len(rows)
            return rows, sum(64 + weigh(row[5]) for row in rows)
        waiting, weight = self._waiting, 0
        rows = []
        self.peak = max(self.peak, len(waiting))
        offset = self._wall() - time.monotonic() + self.wall_offset
        pop, number = waiting.popitem, self._taken
        data_of, plain, private = self._encoder.data_of, self._encoder.plain, self._encoder.private
        while waiting and len(rows) < MOST_EVENTS and weight < MOST_BYTES:
            number, event = pop(last=False)
            data = event.data
            if not plain(data):
                data = data_of(event)
            size = 64 + 16 * len(data)
            for value in data.values():  # this is `weigh()` in short, because it is done for each event
                if value.__class__ is str:
                    size += len(value)
                elif value.__class__ not in _SMALL:
                    size += weigh(value)
            if size > LARGEST:
                self.dropped += 1
                continue
            weight += size
            made = int((event.time + offset) * 1000)
            rows.append((number, event.type, made, event.source, None if private else event.session, data))
        self._taken = number
        while self._spare and self._spare[0] <= self._taken:
            self._spare.popleft()
        return rows, weight

    def batch(self, rows: list[Row], payload: bytes) -> Batch:
        """The batch of what `take()` gave, in the same order of calls."""
        last = rows[-1][0]
        self._sent += len(rows)
        return Batch(last, len(rows), last - self._sent, payload)

    def halve(self, rows: list[Row]) -> None:
        """What `take()` gave last is too large for one batch: it is given again in two halves.

        A single event is dropped. It keeps its number, so that readers are told.
        """
        half = len(rows) // 2
        if not half:
            self.dropped += 1
            return
        self._halves.extendleft((rows[half:], rows[:half]))
        self._halved += len(rows)

    def refuse(self, rows: list[Row]) -> None:
        """The batch of these, made last, was not taken for its size: as `halve()`."""
        self._sent -= len(rows)
        self.halve(rows)

    @property
    def unsent(self) -> int:
        """Events that have a number and never will be in a batch, as far as `settled()` goes."""
        return (self._taken if self._waiting else self.last) - self._sent - self._halved

    def encode(self, rows: list[Row]) -> bytes:
        """The rows as JSON. May be called in a thread if they are large."""
        return self._encoder.encode(rows)

    @property
    def replaced(self) -> int:
        """Values that JSON has no word for."""
        return self._encoder.replaced
