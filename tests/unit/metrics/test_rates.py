"""Rates: right over each window, however uneven the looks come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.metrics.counters import SlidingRate


def test_rates_over_three_windows() -> None:
    """A burst shows at once in the short window and thinly in the long one."""
    rate = SlidingRate()
    total = 0
    for second in range(121):
        total += 100 if second == 120 else 0
        rate.look(1000.0 + second, total)

    assert rate.rates(1120.0, total) == {"1s": 100.0, "10s": 10.0, "60s": pytest.approx(1.667)}


@given(st.lists(st.floats(min_value=0.05, max_value=5.0), min_size=3, max_size=200))
def test_a_steady_stream_reads_the_same_at_any_rhythm(gaps: list[float]) -> None:
    """Looks that come late, early or in bunches do not change the rate of a steady stream."""
    rate, now = SlidingRate(), 1000.0
    rate.look(now, 0)
    for gap in gaps:
        now += gap
        rate.look(now, (now - 1000.0) * 7)

    later = now + 0.5
    for window in (1, 10, 60):
        assert rate.rate(window, later, (later - 1000.0) * 7) == pytest.approx(7.0, rel=1e-6)


def test_a_young_process_reads_over_the_time_it_knows() -> None:
    """Three seconds after the start, the rate of a minute is that of the three seconds."""
    rate = SlidingRate()
    for second in range(4):
        rate.look(1000.0 + second, second * 50)

    assert rate.rate(60, 1003.0, 150) == pytest.approx(50.0)


def test_nothing_looked_at_is_no_rate() -> None:
    """Before the first look the rate is 0, not an error."""
    assert SlidingRate().rates(1000.0, 5) == {"1s": 0.0, "10s": 0.0, "60s": 0.0}


def test_many_looks_in_one_second_do_not_shorten_the_long_window() -> None:
    """Somebody who asks a hundred times a second must not push the minute out of the ring."""
    rate, now = SlidingRate(), 1000.0
    for tick in range(6000):
        now = 1000.0 + tick / 100
        rate.look(now, tick)

    # A look is kept every quarter of a second at least, so half a minute is always known.
    assert rate.rate(60, now, 6000 + 600) == pytest.approx(100 + 600 / 31.75, rel=0.05)
