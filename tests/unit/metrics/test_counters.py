"""Label sets: bounded, clean, and stable once they are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.metrics.counters import OTHER, BoundedCounter, BoundedLabels, clean


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
    counter.add("high", "Timeout", by=2)

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
