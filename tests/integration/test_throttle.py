"""The throttle that looks ahead beside the fixed zones: the same traffic through real buses on a virtual clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from backend.event_bus import Event, EventBus
from tests.bench.throttle_play import play
from tests.bench.throttle_report import per_event
from tests.bench.throttle_shapes import SMALL, Shape, exam, named, random_shape
from tests.support.virtual_loop import run_virtually

pytestmark = pytest.mark.slow

SHAPES = [replace(shape, seconds=min(25.0, shape.seconds)) for shape in named()]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_no_shape_of_traffic_is_worse_for_the_model(shape: Shape) -> None:
    """Not more is lost, the queue is not fuller, as much gets through; and without overload nobody waits longer."""
    fixed, learned = play(shape, "fixed"), play(shape, "learned")

    assert learned.lost <= fixed.lost
    assert learned.over70 <= fixed.over70 + 0.06
    assert learned.delivered >= 0.98 * fixed.delivered
    if not shape.overload:
        assert per_event(learned.as_dict()) <= per_event(fixed.as_dict()) + 1.0


@pytest.mark.parametrize("size", [450, 725])
def test_a_greedy_publisher_pushes_nobody_out(size: int) -> None:
    """Copilot's own events are published without waiting; a plugin that publishes as fast as it may shares the box."""
    shape = next(shape for shape in SHAPES if shape.name == f"greedy beside bursts of {size}")
    fixed, learned = play(shape, "fixed"), play(shape, "learned")

    assert fixed.lost > 1000
    assert learned.lost <= 0.1 * fixed.lost
    assert learned.over90 <= 0.2 * fixed.over90


@pytest.mark.parametrize("capacity", [16, 100])
def test_a_small_queue_has_a_model_too(capacity: int) -> None:
    """One publisher before a queue of 16, or bursts of 30 to 60 before one of 100: the zones leave both full."""
    shape = next(shape for shape in exam() if shape.name == f"capacity of {capacity}")
    fixed, learned = (play(replace(shape, seconds=20.0), mode) for mode in ("fixed", "learned"))

    assert fixed.over90 > 0.5
    assert learned.lost <= 0.1 * fixed.lost
    assert learned.over90 <= 0.2 * fixed.over90
    assert learned.delivered >= 0.98 * fixed.delivered


@pytest.mark.parametrize("seed", [3005, 3024, 3037])
def test_small_queues_lose_less_and_are_less_full(seed: int) -> None:
    """Queues of 16 to 64 before random traffic."""
    shape = replace(random_shape(seed, SMALL), seconds=10.0)
    fixed, learned = play(shape, "fixed"), play(shape, "learned")

    assert fixed.over90 > 0.1
    assert learned.lost <= 0.2 * fixed.lost
    assert learned.over90 <= 0.25 * fixed.over90
    assert learned.delivered >= 0.98 * fixed.delivered


def test_the_same_traffic_ends_the_same() -> None:
    """The virtual clock and the model are deterministic."""
    shape = replace(random_shape(3), seconds=10.0)

    assert play(shape, "learned") == play(shape, "learned")


def test_observing_changes_nothing() -> None:
    """The zones act just as without a model."""
    shape = replace(random_shape(7), seconds=10.0)
    fixed, observed = play(shape, "fixed").as_dict(), play(shape, "observe").as_dict()
    assert "observe" == observed.pop("statistics")["throttle"]["mode"]
    fixed.pop("statistics")

    assert fixed == observed


def test_cancelled_publishers_leave_nothing_behind() -> None:
    """Of ten who are held, five are cancelled; all events arrive once, and the others go on."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bus, got = EventBus(throttle="learned", clock=loop.time), []

        async def handle(event: Event) -> None:
            got.append(event.data["number"])
            await asyncio.sleep(0.01)

        async def publisher(number: int) -> None:
            for item in range(200):
                await bus.publish(Event("t", {"number": (number, item)}, "test"))

        bus.subscribe("t", handle)
        publishers = [asyncio.ensure_future(publisher(number)) for number in range(10)]
        await asyncio.sleep(3)
        row = bus.statistics()["queues"][0]
        assert row["throttled_now"] > 0
        for task in publishers[::2]:
            task.cancel()
        await asyncio.gather(*publishers[1::2])
        await bus.join()

        row = bus.statistics()["queues"][0]
        assert (row["throttled_now"], row["waiting_producers"], row["dropped"]) == (0, 0, 0)
        assert len(got) == len(set(got)) == row["put"]
        for number in range(1, 10, 2):
            assert [item for who, item in got if who == number] == list(range(200))
        await bus.aclose()

    run_virtually(main())
