"""How long is waited before a broken call is made again."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from backend.recovery.retry import RetryPolicy
from backend.settings import Settings

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st


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


def test_jitter_leaves_half_of_each_wait() -> None:
    """Chats which failed together do not come back together, and no wait is trivial."""
    assert [0.25, 0.5, 1.0] == [RetryPolicy(rng=least).next_delay(attempt) for attempt in (1, 2, 3)]


@pytest.mark.parametrize("rng", [least, most])
def test_patient_waits_use_the_whole_budget(rng: Callable[[], float]) -> None:
    """A model that is being loaded for 12 s, or for 25, is there before the last attempt."""
    policy = RetryPolicy(rng=rng)
    waited = 0.0
    for attempt in (1, 2, 3):
        waited += policy.next_delay(attempt, waited, patient=True) or 0.0

    assert 26.9 < waited <= 30.0
    assert policy.next_delay(4, waited, patient=True) is None


def test_a_short_time_named_twice_is_not_believed() -> None:
    """A server that says "1 s" again and again is asked at growing intervals."""
    policy = RetryPolicy(base=2, rng=most)

    assert [2.0, 4.0, 8.0] == [pytest.approx(policy.next_delay(i, 0.0, t)) for i, t in ((1, 1.0), (2, 1.0), (3, 1.0))]


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
