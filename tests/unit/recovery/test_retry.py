"""How long is waited before a broken call is made again, and the helper that does it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest

from backend.error_handling import Classifier, RetryInfo, RetryPolicy, retry
from backend.settings import Settings
from tests.support.clock import FakeClock

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

classify = Classifier().classify


def most() -> float:
    """The largest jitter there is."""
    return math.nextafter(1.0, 0.0)


def least() -> float:
    """No jitter."""
    return 0.0


def test_waits_double_up_to_the_cap() -> None:
    """The upper bounds of the random waits: 0.5, 1, 2, 4 ... 10, 10."""
    policy = RetryPolicy(max_retries=8, base=0.5, cap=10, budget=1000, rng=most)

    assert [0.5, 1, 2, 4, 8, 10, 10, 10] == [pytest.approx(policy.next_delay(i)) for i in range(1, 9)]


def test_jitter_is_full() -> None:
    """A wait may be nothing at all, so that chats which failed together do not come back together."""
    assert 0.0 == RetryPolicy(rng=least).next_delay(3)


def test_gives_up_after_the_last_retry_and_before_the_first() -> None:
    """Retries are numbered from 1 to `max_retries`."""
    policy = RetryPolicy(max_retries=3, rng=most)

    assert [None, None] == [policy.next_delay(4), policy.next_delay(0)]
    assert policy.next_delay(3) is not None
    assert RetryPolicy(max_retries=0).next_delay(1) is None


def test_random_wait_is_cut_to_what_is_left_of_the_budget() -> None:
    """All waits together never exceed the budget; nothing left means: give up."""
    policy = RetryPolicy(base=8, budget=10, rng=most)

    assert 2.0 == policy.next_delay(2, waited=8.0)
    assert policy.next_delay(2, waited=10.0) is None


def test_retry_after_is_waited_out_in_full() -> None:
    """A server's wish is beyond `cap`, and jitter only adds to it."""
    assert 12.0 == RetryPolicy(rng=least).next_delay(1, 0.0, 12.0)
    assert pytest.approx(12.12) == RetryPolicy(rng=most).next_delay(1, 0.0, 12.0)
    assert 30.0 == RetryPolicy(rng=most).next_delay(1, 0.0, 30.0)


def test_retry_after_of_zero_still_backs_off() -> None:
    """ "Retry at once" from a failing server is not taken literally."""
    assert pytest.approx(0.5) == RetryPolicy(rng=most).next_delay(1, 0.0, 0.0)


@pytest.mark.parametrize("asked", [30.1, 3600.0, 1e300, math.inf, math.nan])
def test_retry_after_beyond_the_budget_gives_up_at_once(asked: float) -> None:
    """Waiting the budget out and failing then would only cost the user's time."""
    assert RetryPolicy(budget=30).next_delay(1, 0.0, asked) is None


def test_budget_of_zero_allows_retries_without_waits() -> None:
    """The setting's lowest value: no waiting, still one try that needs none."""
    assert 0.0 == RetryPolicy(budget=0, rng=most).next_delay(1)
    assert RetryPolicy(budget=0).next_delay(1, 0.0, 1.0) is None


@given(
    st.integers(0, 10), st.floats(0, 30), st.floats(0, 120), st.floats(0, 600), st.floats(0, 0.999),
    st.lists(st.none() | st.floats(0, 100), max_size=15),
)  # fmt: skip
def test_sum_of_waits_and_number_of_retries_are_bounded(
    retries: int, base: float, cap: float, budget: float, jitter: float, asked: list[float | None]
) -> None:
    """Whatever the settings and the server say."""
    policy = RetryPolicy(retries, base, cap, budget, lambda: jitter)
    waited, made = 0.0, 0
    for attempt, wish in enumerate([*asked, *[None] * 20], start=1):
        delay = policy.next_delay(attempt, waited, wish)
        if delay is None:
            break
        assert delay >= (wish or 0.0)
        made += 1
        waited += delay

    assert made <= retries
    assert waited <= budget + 1e-6


def test_policy_of_settings() -> None:
    """The panel's values are the policy's."""
    policy = RetryPolicy.of(Settings(max_retries=5, retry_base=1, retry_max=7, retry_budget=9))

    assert RetryPolicy(5, 1, 7, 9) == policy


def failing(*errors: BaseException, result: str = "done") -> tuple[Callable[[], Awaitable[str]], list[int]]:
    """A call that fails with each error in turn and then returns; and the list of its calls."""
    left = list(errors)
    calls: list[int] = []

    async def call() -> str:
        calls.append(len(calls) + 1)
        if left:
            raise left.pop(0)
        return result

    return call, calls


async def test_retry_until_it_works(clock: FakeClock) -> None:
    """Two failures, two waits, one result."""
    call, calls = failing(ConnectionResetError(), TimeoutError())
    policy = RetryPolicy(rng=most)

    assert "done" == await retry(call, policy=policy, classify=classify, sleep=clock.sleep, clock=clock)
    assert [1, 2, 3] == calls
    assert [pytest.approx(0.5), pytest.approx(1.0)] == clock.slept


async def test_retry_lets_the_last_error_through(clock: FakeClock) -> None:
    """After four calls the error itself is raised, not a wrapper."""
    errors = [TimeoutError(str(i)) for i in range(4)]
    call, calls = failing(*errors)

    with pytest.raises(TimeoutError, match="3") as caught:
        await retry(call, policy=RetryPolicy(), classify=classify, sleep=clock.sleep)

    assert caught.value is errors[3]
    assert [1, 2, 3, 4] == calls


async def test_retry_does_not_repeat_what_cannot_heal(clock: FakeClock) -> None:
    """A HIGH error is raised at once."""
    call, calls = failing(ValueError("x"))

    with pytest.raises(ValueError, match="x"):
        await retry(call, policy=RetryPolicy(), classify=classify, sleep=clock.sleep)

    assert ([1], []) == (calls, clock.slept)


async def test_retry_tells_of_each_wait_before_it(clock: FakeClock) -> None:
    """The hook gets number, wait, waited so far, time since the start and the cause."""
    call, _ = failing(ConnectionResetError("a"), TimeoutError("b"))
    told: list[RetryInfo] = []
    await retry(
        call, policy=RetryPolicy(rng=most), classify=classify, sleep=clock.sleep, clock=clock, on_retry=told.append
    )  # fmt: skip

    first, second = told
    assert (1, 0.0, 0.0, "connection") == (
        first.attempt,
        first.waited,
        first.elapsed,
        first.classification.kind,
    )
    assert (2, first.wait, "timeout") == (second.attempt, second.waited, second.classification.kind)
    assert pytest.approx(first.wait) == second.elapsed


async def test_hook_that_raises_ends_the_retries(clock: FakeClock) -> None:
    """Nothing is hidden: the hook's own error comes out, with the failure as its context."""
    call, calls = failing(TimeoutError())

    def hook(_info: RetryInfo) -> None:
        raise RuntimeError("hook")

    with pytest.raises(RuntimeError, match="hook"):
        await retry(call, policy=RetryPolicy(), classify=classify, sleep=clock.sleep, on_retry=hook)

    assert [1] == calls


async def test_cancel_during_the_call() -> None:
    """A cancelled call is not made again."""
    began = asyncio.Event()
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        began.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(retry(call, policy=RetryPolicy(), classify=classify))
    await began.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert 1 == calls


async def test_cancel_during_the_wait() -> None:
    """A cancel ends the back-off at once; the call is not made again."""
    waiting = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    call, calls = failing(TimeoutError())
    task = asyncio.ensure_future(retry(call, policy=RetryPolicy(), classify=classify, sleep=sleep))
    await waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert [1] == calls
