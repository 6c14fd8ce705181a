"""Events by themselves."""

from __future__ import annotations

import time

from backend.event_bus import Event


def event(type_: str = "chat.delta", number: int = 0) -> Event:
    return Event(type=type_, data={"n": number}, source="test")


def test_an_event_knows_its_time_and_has_an_id_of_its_own() -> None:
    """Monotonic time at once, wall time and id when asked for, then the same for ever."""
    before = time.monotonic(), time.time()
    first, second = event(), event()
    after = time.monotonic(), time.time()

    assert before[0] <= first.time <= second.time <= after[0]
    assert before[1] - 0.01 <= first.wall <= after[1] + 0.01
    assert first.wall == first.wall
    assert first.id == first.id != second.id
    assert (None, "test", {"n": 0}) == (first.session, first.source, first.data)


def test_an_event_keeps_its_data_out_of_its_repr() -> None:
    """The values may be a prompt or a key, and a repr ends up in logs."""
    text = repr(Event(type="chat.delta", data={"text": "my secret"}, source="copilot"))

    assert "<Event chat.delta from copilot: text>" == text
    assert "<Event x from y: no data>" == repr(Event("x", {}, "y"))
