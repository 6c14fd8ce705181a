"""The loop whose clock jumps: what waits by timers runs in its order, and takes no time."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.virtual_loop import run_virtually


def test_a_day_of_sleep_is_over_at_once_and_in_order() -> None:
    """Each sleeper wakes at its hour."""
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(sleeper("day", 86_400), sleeper("hour", 3_600), sleeper("moment", 0.001))

    began = time.monotonic()
    run_virtually(main())

    assert ["moment", "hour", "day"] == [name for name, _ in woken]
    assert [pytest.approx(hour, abs=1e-6) for hour in (0.001, 3600, 86_400)] == [hour for _, hour in woken]
    assert time.monotonic() - began < 3600


def test_a_deadlock_is_an_error_and_no_hang() -> None:
    """Nothing is ready and no timer is set."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="no timer is set"):
        run_virtually(main())


def test_tasks_that_are_left_behind_are_cancelled() -> None:
    """And have their chance to clean up."""
    ended: list[bool] = []

    async def straggler() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append(True)

    async def main() -> list[asyncio.Task[None]]:
        task = asyncio.get_running_loop().create_task(straggler())
        await asyncio.sleep(1)
        return [task]

    assert run_virtually(main())[0].cancelled()
    assert [True] == ended
