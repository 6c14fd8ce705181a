"""The outbox: in order, bounded, and honest about what it dropped."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.event_bus import Event
from backend.fleet_redis.layout import Encoder
from backend.fleet_redis.outbox import LARGEST, MOST_BYTES, MOST_EVENTS, Outbox, Patterns


def outbox(capacity: int = 100, patterns: str = "*,!chat.delta,!http.request", **more: Any) -> Outbox:
    return Outbox(capacity, Patterns(patterns).match, Encoder(False), **more)


def numbers(box: Outbox) -> list[int]:
    """The numbers of all that waits, in the order in which they would be written."""
    found: list[int] = []
    while rows := box.take()[0]:
        found += [row[0] for row in rows]
    return found


def spare(i: int = 0, **data: Any) -> Event:
    return Event("other.plugin", {"i": i, **data}, "test")


def essential(i: int = 0) -> Event:
    return Event("error", {"i": i}, "test")


def test_the_oldest_that_is_not_essential_goes_first() -> None:
    """Then the oldest; a number that was given stays used."""
    box = outbox(4)
    for event in (essential(1), spare(2), essential(3), spare(4), essential(5), essential(6), essential(7)):
        box.offer(event)

    assert (numbers(box), box.dropped, box.last) == ([3, 5, 6, 7], 3, 7)


def test_only_what_is_wanted_is_taken() -> None:
    """Deltas are not, nor what the fleet itself tells, nor what the patterns leave out."""
    box = outbox(patterns="chat.*,error,!chat.delta,!chat.model")
    for type_ in ("chat.delta", "chat.started", "chat.model", "error", "errors", "mcp.changed", "fleet.gap"):
        box.offer(Event(type_, {}, "test"))

    assert [row[1] for row in box.take()[0]] == ["chat.started", "error"]


def test_a_batch_is_bounded_by_number_and_by_weight() -> None:
    """So that encoding one holds the loop for a millisecond at most."""
    box = outbox(10_000)
    for i in range(1_000):
        box.offer(spare(i))
    assert len(box.take()[0]) == MOST_EVENTS

    box = outbox(10_000)
    for i in range(1_000):
        box.offer(spare(i, blob="x" * 1_000))
    rows, weight = box.take()
    assert MOST_BYTES / 1_500 < len(rows) <= MOST_BYTES / 1_000 + 1
    assert weight < 2 * MOST_BYTES


def test_an_event_too_large_to_send_is_told_as_unsent() -> None:
    """Its number is missing from the batch, which says so."""
    box = outbox()
    for event in (spare(1), spare(2, blob=["x" * LARGEST]), spare(3)):
        box.offer(event)
    rows, _ = box.take()
    batch = box.batch(rows, b"")

    assert ([row[0] for row in rows], batch.id, batch.unsent, box.dropped) == ([1, 3], "3-2", 1, 1)


def test_it_wakes_its_writer_once() -> None:
    """Not for each event: the writer takes what has come meanwhile."""
    box, woken = outbox(), []
    box.wake = lambda: woken.append(1)
    box.offer(spare())
    box.asleep = True
    for _ in range(5):
        box.offer(spare())

    assert woken == [1]


@given(st.lists(st.sampled_from(["spare", "essential", "take", "refuse", "halve"]), max_size=80), st.integers(1, 8))
def test_whatever_happens_the_batches_tell_what_is_missing(steps: list[str], capacity: int) -> None:
    """Sent and unsent are all there was up to the last number; order is kept; nothing twice; memory is bounded."""
    box = outbox(capacity)
    offered = 0
    sent: list[int] = []
    for step in [*steps, *["take"] * 20]:
        if step in ("take", "refuse", "halve"):
            rows, _ = box.take()
            if rows and step == "halve":
                box.halve(rows)
            elif rows and step == "refuse":
                box.batch(rows, b"")
                box.refuse(rows)
            elif rows:
                batch = box.batch(rows, box.encode(rows))
                sent += [row[0] for row in rows]
                assert batch.last == sent[-1]
                assert len(sent) + batch.unsent == batch.last
        else:
            offered += 1
            box.offer(spare(offered) if step == "spare" else essential(offered))
        assert len(box) - box._halved <= capacity
        assert len(box._spare) <= capacity + 1

    assert sent == sorted(set(sent))
    assert len(sent) + box.unsent == offered == box.last
    assert box.unsent == box.dropped


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"x": {1, 2}}, {"x": "{1, 2}"}),
        ({"x": b"b"}, {"x": "b'b'"}),
        ({("a", 1): 2}, {"('a', 1)": "2"}),
        ({"x": "\ud800"}, {"x": "\ud800"}),
        ({"x": "中文 🎨"}, {"x": "中文 🎨"}),
    ],
)
def test_what_json_has_no_word_for_becomes_text(data: Any, expected: Any) -> None:
    """One odd value of another plugin costs no other event."""
    box = outbox()
    for event in (spare(1), Event("other.plugin", data, "test"), spare(3)):
        box.offer(event)
    rows, _ = box.take()
    read = json.loads(box.encode(rows))

    assert [row[5] for row in read] == [{"i": 1}, expected, {"i": 3}]


def test_data_that_holds_itself_is_sent_as_text() -> None:
    """A circle neither hangs nor crashes the writer."""
    circle: dict[str, Any] = {}
    circle["me"] = circle
    box = outbox()
    box.offer(Event("other.plugin", circle, "test"))
    rows, _ = box.take()

    assert Counter({"me": 1}) == Counter(json.loads(box.encode(rows))[0][5].keys())
    assert box.replaced > 0
