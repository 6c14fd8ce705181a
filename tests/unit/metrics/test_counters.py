"""Label sets: bounded, clean, and stable once they are known. Rates: right over each window, whoever looks when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.metrics.counters import OTHER, BoundedCounter, BoundedLabels, SlidingRate, clean


def test_labels_beyond_the_cap_are_counted_as_other() -> None:
    """A thousand model names take the place of the cap, and no count is lost."""
    counter = BoundedCounter(cap=3)
    for n in range(1000):
        counter.add(f"model-{n}")
    counter.add("model-1")

    assert {"model-0": 1, "model-1": 2, "model-2": 1, OTHER: 997} == counter.by(0)
    assert counter.total() == 1001


@given(st.text(max_size=1000))
def test_a_label_is_one_short_printable_line(text: str) -> None:
    """Whatever somebody called their model, the label cannot break a line-based format."""
    label = clean(text)

    assert 1 <= len(label) <= 100
    assert label.isprintable()
    assert clean(label) == label


def test_counts_sum_by_any_label() -> None:
    """The same counters answer by class and by type."""
    counter = BoundedCounter(width=2)
    counter.add("medium", "Timeout")
    counter.add("medium", "Reset")
    counter.add("high", "Timeout")
    counter.add("high", "Timeout")

    assert counter.by(0) == {"medium": 2, "high": 2}
    assert counter.by(1) == {"Timeout": 3, "Reset": 1}


def test_the_number_of_labels_is_checked() -> None:
    """A label forgotten is a mistake that shows at once, not a series of its own."""
    with pytest.raises(ValueError, match="expected 2 labels"):
        BoundedLabels(list, width=2).get("one")


def test_labels_that_clean_to_the_same_share_one_item() -> None:
    """Two names that look the same in Prometheus are one series there, so they are one here."""
    labels: BoundedLabels[list[int]] = BoundedLabels(list)
    labels.get("gpt\n4").append(1)
    labels.get("gpt4").append(2)

    assert [(("gpt4",), [1, 2])] == list(labels.items())


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
