"""History: three resolutions, fixed memory, gaps that stay gaps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.metrics.history import RANGES, SERIES, History, Range


def series(history: History, name: str, key: str, now: float) -> list[Any]:
    """One series of one range."""
    found: list[Any] = history.read(name, now=now, wall=5000.0)["series"][key]
    return found


def test_each_range_has_its_length_and_step() -> None:
    """The charts get 60 points of 1 s, 720 of 5 s, 1440 of a minute, from the first moment on."""
    history = History()
    history.add(1000.0, {"events_rate": 1.0})

    for spec in RANGES:
        read = history.read(spec.name, now=1000.0, wall=5000.0)
        assert (spec.name, spec.step) == (read["range"], read["step"])
        assert {len(row) for row in read["series"].values()} == {spec.size}
        assert set(SERIES) == set(read["series"])
    assert [spec.step * spec.size for spec in RANGES] == [60, 3600, 86_400]


def test_levels_are_averaged_peaks_kept_and_counts_summed() -> None:
    """A short spike of the lag is not averaged away, and errors of five seconds add up."""
    history = History()
    for second in range(1000, 1010):
        spike = 3.0 if second == 1007 else 0.001
        history.add(second, {"cpu_percent": second - 1000, "loop_lag_p99": spike, "errors": 2})

    assert [2.0, 7.0] == series(history, "1h", "cpu_percent", 1009.0)[-2:]
    assert [0.001, 3.0] == series(history, "1h", "loop_lag_p99", 1009.0)[-2:]
    assert [10.0, 10.0] == series(history, "1h", "errors", 1009.0)[-2:]


def test_the_step_that_is_open_is_shown_as_far_as_it_has_come() -> None:
    """Right after the start, the day's chart shows a point and not an empty minute."""
    history = History()
    history.add(1000.0, {"cpu_percent": 40.0})

    assert series(history, "24h", "cpu_percent", 1000.0)[-1] == 40.0


def test_end_is_the_wall_time_of_the_last_steps_end() -> None:
    """The chart's time axis is right although the monitor counts monotonic seconds."""
    history = History()
    history.add(1000.25, {})

    assert history.read("1m", now=1000.25, wall=5000.0)["end"] == pytest.approx(5000.75)


def test_unknown_is_null_and_zero_is_zero() -> None:
    """No chat in a second is not a chat with a first token after 0 s."""
    history = History()
    history.add(1000.0, {"first_token_p50": None, "errors": 0})

    assert series(history, "1m", "first_token_p50", 1000.0)[-1] is None
    assert series(history, "1m", "errors", 1000.0)[-1] == 0


def test_a_late_tick_leaves_no_hole_in_levels() -> None:
    """A tick that slips over a second's edge must not make a dotted line, nor invent errors."""
    history = History()
    history.add(1000.9, {"cpu_percent": 10.0, "errors": 1})
    history.add(1002.1, {"cpu_percent": 20.0, "errors": 1})

    assert [10.0, 20.0, 20.0] == series(history, "1m", "cpu_percent", 1002.1)[-3:]
    assert [1.0, None, 1.0] == series(history, "1m", "errors", 1002.1)[-3:]


def test_a_pause_of_the_process_stays_a_gap() -> None:
    """A laptop that slept shows a hole, not a line drawn through it."""
    history = History()
    history.add(1000.0, {"cpu_percent": 10.0})
    history.add(1020.0, {"cpu_percent": 20.0})

    row = series(history, "1m", "cpu_percent", 1020.0)
    assert [10.0, *[None] * 19, 20.0] == row[-21:]


def test_an_unknown_range_is_a_key_error() -> None:
    """The HTTP layer turns this into a 400."""
    with pytest.raises(KeyError):
        History().read("1y", now=1.0, wall=1.0)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 200), st.floats(0, 1e9)), min_size=1, max_size=120))
def test_rings_agree_with_a_plain_list(steps: list[tuple[int, float]]) -> None:
    """For any ticks and pauses, the ring shows what a list of all seconds shows at its end."""
    history = History({"x": "max"}, (Range("r", 5, 8),))
    second, told = 1000, {200: 1.0}
    history.add(second, {"x": 1.0})
    for gap, value in steps:
        first = second + 1 if gap <= 3 else second + gap  # a late tick stands for the seconds it skipped
        second += gap
        for stood_for in range(first, second + 1):
            told[stood_for // 5] = max(told.get(stood_for // 5, 0.0), value)
        history.add(second, {"x": value})

    last = second // 5
    expected = [told.get(step) for step in range(last - 7, last + 1)]
    found = history.read("r", now=second, wall=0.0)["series"]["x"]

    assert [None if e is None else pytest.approx(e, rel=1e-5) for e in expected] == found


def test_a_day_is_small_on_the_wire() -> None:
    """A full day of all series is a JSON that a phone takes without a pause."""
    history = History()
    for minute in range(1440):
        history.add(60.0 * minute, dict.fromkeys(SERIES, minute * 1.23456789))

    assert len(json.dumps(history.read("24h", now=86_400.0, wall=0.0))) < 200_000


def test_a_week_is_folded_from_minutes() -> None:
    """Quarters of an hour: the mean of levels, the highest of peaks, the sum of counts; what nobody told is unknown."""
    wall = 1_795_600_000.0 // 900 * 900 + 100
    minutes: list[tuple[float, dict[str, float | None]]] = [
        (wall, {"cpu_percent": 10.0, "queue_fill": 0.2, "errors": 2.0}),
        (wall - 30, {"cpu_percent": 20.0, "queue_fill": 0.9, "errors": None}),
        (wall - 900, {"cpu_percent": 5.0, "errors": 1.0}),
        (wall - 8 * 86_400, {"cpu_percent": 99.0}),
        (wall + 86_400, {"cpu_percent": 99.0}),
    ]
    week = History().week(minutes, wall=wall)

    assert ("7d", 900, wall + 800) == (week["range"], week["step"], week["end"])
    assert 672 == len(week["series"]["errors"])
    assert [5.0, 15.0] == week["series"]["cpu_percent"][-2:]
    assert [None, 0.9] == week["series"]["queue_fill"][-2:]
    assert [1.0, 2.0] == week["series"]["errors"][-2:]
    assert 2 == sum(value is not None for value in week["series"]["cpu_percent"])


def test_minutes_that_memory_has() -> None:
    """Closed ones that told something, with the wall time of their ends."""
    history = History({"x": "max"})
    for second in (60.0, 130.0, 310.0):
        history.add(second, {"x": second})

    assert [(1_020.0, {"x": 60.0}), (1_080.0, {"x": 130.0})] == history.minutes(now=310.0, wall=1_210.0)
    assert [310.0] == [values["x"] for _, values in history.unfinished(wall=1_210.0)]
    assert history.week(history.unfinished(wall=1_210.0), wall=1_210.0)["series"]["x"][-1] == 310.0
    assert [] == History().unfinished(wall=1_210.0)


@pytest.mark.parametrize(
    ("ago", "filled"), [(3.0, True), (3.0, False), (200.0, False)], ids=["in the open minute", "before it", "long ago"]
)
def test_a_minute_that_no_row_tells_of_is_counted_once(ago: float, filled: bool) -> None:
    """What lies in the minute that is being filled now is told by that one's row, and the caller tells of the rest."""
    now = 60_000.0 + (50 if filled else 5)
    history = History()
    history.add(now, {"errors": 0})
    told = history.restore(5000.0 - ago, {"errors": 2, "first_token_p50": 0.5}, now=now, wall=5000.0, untold=True)

    assert told == filled
    for name in ("1h", "24h"):
        assert sum(filter(None, series(history, name, "errors", now))) == 2
        assert any(series(history, name, "first_token_p50", now))
    history.add(now + 60, {"errors": 0})
    assert history.folded_minute(1000)["errors"] == (2 if filled else 0)


def test_a_minute_that_a_row_tells_of_is_not_told_by_the_next_one_too() -> None:
    """The chart of a week is made of rows."""
    history = History()
    history.add(60_050.0, {"errors": 0})
    history.restore(4997.0, {"errors": 2}, now=60_050.0, wall=5000.0)
    history.add(60_060.0, {"errors": 0})

    assert history.folded_minute(1000)["errors"] == 0


@pytest.mark.parametrize("ago", [0.0, 1.0, 5.0])
def test_a_minute_that_ended_just_now_is_in_the_hour(ago: float) -> None:
    """A program that starts again at once has the failures of its last minute in the step that is being filled."""
    history = History()
    history.add(60_054.0, {"errors": 0})
    history.restore(5000.0 - ago, {"errors": 2}, now=60_054.0, wall=5000.0)

    assert sum(filter(None, series(history, "1h", "errors", 60_054.0))) == 2
