"""The bounded queue against a plain model, step by step, with cancels at every await (hypothesis)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backend.backpressure import (
    UNTHROTTLED,
    BoundedQueue,
    QueueClosed,
    QueueFull,
    ThrottlePlan,
)
from backend.pressure.buffer import Marked, RoomMaker
from tests.support.manual_time import ManualTime, turns
from tests.support.queues import take

Item = tuple[str, int]


class WatchedRoom(RoomMaker[Item]):
    """Layer 3, that makes sure of each of its steps: only where there is no room, and never a newer item."""

    def __init__(self, queue: BoundedQueue[Item], *, always: bool, **kwargs: Any) -> None:
        super().__init__(queue.buffer, **kwargs)
        self._queue = queue
        self._always = always

    @property
    def _has_room(self) -> bool:
        queue = self._queue
        return len(queue.items) + queue.producers.reserved < queue.capacity

    def drop_oldest(self) -> bool:
        """Nothing is dropped from a queue that has room."""
        assert not self._has_room
        return super().drop_oldest()

    def conflate(self, entry: Any) -> bool:
        """An item is replaced by a newer one, and, unless that is what the queue is for, only if it is full."""
        before = list(self._buffer.items)
        done = super().conflate(entry)
        if done:
            assert self._always or not self._has_room
            (replaced,) = [old for old, new in zip(before, self._buffer.items, strict=True) if old is not new]
            assert replaced[0] == entry[0]
            assert replaced[1] < entry[1]
        return done


class QueueMachine(RuleBasedStateMachine):
    """Producers and consumers come, wait, are cancelled in any turn of the loop; time passes; it closes.

    The model is a ledger: every item must be exactly where the queue said it went. Lower-case keys may be
    conflated and dropped, upper-case items are essential.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.time = ManualTime()
        self.number = 0
        self.accepted: set[Item] = set()  # the queue said it has them
        self.unsure: set[Item] = set()  # their producers wait
        self.at_once: set[Item] = set()
        self.refused: set[Item] = set()  # the queue said no, or their producer was cancelled
        self.got: list[Item] = []
        self.puts: dict[asyncio.Task[None], Item | None] = {}  # None: has not begun
        self.gets: list[asyncio.Task[Item]] = []
        self.joins: list[asyncio.Task[None]] = []

    @initialize(
        capacity=st.integers(1, 6), throttled=st.booleans(), always=st.booleans(), patience=st.sampled_from([0, 5])
    )
    def start(self, capacity: int, throttled: bool, always: bool, patience: float) -> None:
        hooks: dict[str, Any] = {
            "key": lambda item: item[0] if item[0].islower() else None,
            "essential": lambda item: item[0].isupper(),
        }
        self.queue: BoundedQueue[Item] = BoundedQueue(
            capacity,
            put_timeout=patience,
            throttle=ThrottlePlan() if throttled else UNTHROTTLED,
            conflate="always" if always else "full",
            clock=self.time,
            sleep=self.time.sleep,
            **hooks,
        )
        self.queue.room = WatchedRoom(self.queue, always=always, **hooks)
        if always:
            self.queue.room.build_index()

    def new_item(self, letter: str) -> Item:
        self.number += 1
        return (letter, self.number)

    def run(self, steps: int) -> None:
        self.loop.run_until_complete(turns(steps))
        self.collect()

    def collect(self) -> None:
        """Note what became of tasks that have ended."""
        for task, item in list(self.puts.items()):
            if task.done():
                del self.puts[task]
                if item is None:
                    continue
                self.unsure.discard(item)
                if task.cancelled() or isinstance(task.exception(), QueueClosed):
                    self.refused.add(item)
                else:
                    task.result()
                    self.accepted.add(item)
        for get in [task for task in self.gets if task.done()]:
            self.gets.remove(get)
            if not get.cancelled() and not isinstance(get.exception(), QueueClosed):
                self.got.append(get.result())
        self.joins = [task for task in self.joins if not task.done()]

    # -- steps -------------------------------------------------------------------------------------

    letters = st.sampled_from("abAB")

    @rule(letter=letters)
    def put(self, letter: str) -> None:
        self.puts[self.loop.create_task(self.produce(letter))] = None

    async def produce(self, letter: str) -> None:
        """Numbers are given in the order in which the items come to the queue."""
        item = self.new_item(letter)
        self.unsure.add(item)
        task = asyncio.current_task()
        assert task is not None
        self.puts[task] = item
        await self.queue.put(item)

    @rule(letter=letters)
    def put_nowait(self, letter: str) -> None:
        item = self.new_item(letter)
        try:
            self.queue.put_nowait(item)
            self.accepted.add(item)
            self.at_once.add(item)
        except (QueueFull, QueueClosed):
            self.refused.add(item)

    @rule(letter=letters)
    def offer(self, letter: str) -> None:
        item = self.new_item(letter)
        taken = self.queue.offer(item)
        (self.accepted if taken else self.refused).add(item)
        self.at_once.add(item)

    @rule()
    def get(self) -> None:
        self.gets.append(self.loop.create_task(self.queue.get()))

    @rule()
    def get_nowait(self) -> None:
        self.collect()
        with contextlib.suppress(LookupError, QueueClosed):
            self.got.append(take(self.queue))

    @rule(which=st.integers(0, 10))
    def cancel_put(self, which: int) -> None:
        if self.puts:
            list(self.puts)[which % len(self.puts)].cancel()

    @rule(which=st.integers(0, 10))
    def cancel_get(self, which: int) -> None:
        if self.gets:
            self.gets[which % len(self.gets)].cancel()

    @rule()
    def grant_a_place_and_cancel(self) -> None:
        """The first producer in line is cancelled in the very turn in which room was made for it."""
        self.at_rest()
        self.get_nowait()
        self.cancel_put(0)
        self.at_rest()

    @rule(letter=letters)
    def promise_an_item_and_cancel(self, letter: str) -> None:
        """The first consumer in line is cancelled in the very turn in which an item came for it."""
        self.at_rest()
        self.put_nowait(letter)
        self.cancel_get(0)
        self.at_rest()

    @rule(cancel=st.booleans())
    def join(self, cancel: bool) -> None:
        if cancel and self.joins:
            self.joins[0].cancel()
        else:
            self.joins.append(self.loop.create_task(self.queue.join()))

    @rule(steps=st.integers(1, 3))
    def a_few_turns(self, steps: int) -> None:
        self.run(steps)

    @rule(seconds=st.sampled_from([0.004, 0.2, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(self.time.advance(seconds))
        self.collect()

    @precondition(lambda self: self.number > 10)
    @rule(discard=st.booleans())
    def close(self, discard: bool) -> None:
        self.queue.close(discard=discard)

    @rule()
    def at_rest(self) -> None:
        """When everybody has run, nobody waits without reason: no wake-up was lost."""
        self.run(20)
        figures = self.queue.statistics()
        assert 0 == self.queue.producers.reserved == self.queue._consumers.reserved
        if figures.closed:
            assert not self.puts
            assert not self.gets or figures.size
        if self.gets:
            assert 0 == figures.size
        if figures.waiting_producers:
            assert figures.size >= figures.capacity
        if self.joins:
            assert figures.size > 0

    # -- what must always hold ---------------------------------------------------------------------

    @invariant()
    def the_figures_add_up(self) -> None:
        if not hasattr(self, "queue"):
            return
        figures = self.queue.statistics()
        buffered = figures.dropped - figures.refused
        assert figures.put == figures.size + figures.taken + figures.conflated + buffered
        assert figures.size <= figures.capacity + (figures.capacity if figures.overflow else 0)
        assert figures.peak >= figures.size
        if self.queue.limit > len(self.queue.items):
            assert figures.size < figures.capacity
            assert not figures.waiting_producers
            assert not figures.waiting_consumers

    @invariant()
    def no_item_is_lost_or_doubled(self) -> None:
        if not hasattr(self, "queue"):
            return
        self.collect()
        inside = [e.item if isinstance(e, Marked) else e for e in self.queue.items]
        ended = [task.result() for task in self.gets if task.done() and not task.cancelled()]
        here = inside + self.got + ended
        assert len(here) == len(set(here))
        assert not self.refused & set(here)
        assert set(here) <= self.accepted | self.unsure
        gone = self.accepted - set(here)
        latest = {max(item for item in self.accepted if item[0] == key) for key, _ in self.accepted if key.islower()}
        figures = self.queue.statistics()
        in_hand = figures.taken - len(self.got) - len(ended)  # taken by a task that has not ended yet
        assert len(gone) <= figures.dropped + figures.conflated + in_hand
        assert len(gone & latest) <= figures.dropped + in_hand, "the newest of a key is not conflated"
        if not figures.closed:
            assert not [item for item in gone if item[0].isupper()] or in_hand

    @invariant()
    def items_keep_their_order(self) -> None:
        """Of essential items (others may replace older ones) that went in at once (others may have waited)."""
        if hasattr(self, "queue"):
            inside = [e.item if isinstance(e, Marked) else e for e in self.queue.items]
            order = [item[1] for item in inside if item in self.at_once and item[0].isupper()]
            assert sorted(order) == order

    @invariant()
    def of_one_key_a_newer_item_is_never_before_an_older_one(self) -> None:
        """Neither in the queue, nor among what was taken from it before."""
        if not hasattr(self, "queue"):
            return
        self.collect()
        inside = [e.item if isinstance(e, Marked) else e for e in self.queue.items]
        for key in "ab":
            numbers = [number for letter, number in inside if letter == key]
            taken = [number for letter, number in self.got if letter == key]
            assert sorted(numbers) == numbers
            assert not numbers or max(taken, default=0) < numbers[0]

    def teardown(self) -> None:
        tasks: list[asyncio.Task[Any]] = [*self.puts, *self.gets, *self.joins]
        for task in tasks:
            task.cancel()
        self.run(20)
        assert [] == [task for task in tasks if not task.done()]
        if hasattr(self, "queue"):
            assert 0 == self.time.sleepers
            figures = self.queue.statistics()
            assert (0, 0, 0) == (figures.waiting_producers, figures.waiting_consumers, figures.throttled_now)
        self.loop.close()


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase


def test_an_item_taken_outside_of_the_loop_lets_all_go() -> None:
    """More producers pause than are let go at once, and no turn of the loop comes to let go the rest."""
    state = QueueMachine()
    state.start(capacity=1, throttled=True, always=False, patience=0)
    state.offer(letter="a")
    for _ in range(3):
        state.put(letter="a")
    state.grant_a_place_and_cancel()
    state.teardown()
