"""A handler or a hook that fails: counted, told, logged once in a while, and harmless."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backend.backpressure import UNTHROTTLED
from backend.event_bus import Event, EventBus
from tests.support.manual_time import ManualTime


def event(type_: str = "chat.delta", number: int = 0) -> Event:
    return Event(type=type_, data={"n": number}, source="test")


@pytest.mark.parametrize("error", [ValueError("sk-123"), KeyError("sk-123"), asyncio.CancelledError("sk-123")])
async def test_a_handler_that_raises_harms_nobody(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """The others get the event, it stays subscribed, and the log says where it was, but not the text."""
    told: list[tuple[str, str]] = []
    bus = EventBus(on_error=lambda name, e, error: told.append((name, type(error).__name__)))
    got: list[str] = []

    def bad(e: Event) -> None:
        raise error

    async def bad_too(e: Event) -> None:
        raise error

    bus.subscribe("*", bad, name="bad")
    bus.subscribe("*", lambda e: got.append("plain"))
    bus.subscribe("*", bad_too, name="bad too")
    for _ in range(2):
        await bus.publish(event())
    await bus.join()

    assert ["plain", "plain"] == got
    figures = bus.statistics()
    assert 4 == figures["handler_errors_total"]
    assert [2, 0, 2] == [row["errors"] for row in figures["subscribers"]]
    kind = type(error).__name__
    assert sorted([("bad", kind), ("bad too", kind)] * 2) == sorted(told)
    assert f"bad failed on chat.delta: {kind} at test_errors.py:" in caplog.text
    assert "sk-123" not in caplog.text
    await bus.aclose()


async def test_a_single_bad_handler_is_caught_too(bus: EventBus) -> None:
    """The route to one handler has a code path of its own."""
    bus.subscribe("*", lambda e: e.data["missing"])
    await bus.publish(event())
    bus.publish_nowait(event())

    assert 2 == bus.statistics()["handler_errors_total"]


async def test_errors_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that fails at each event does not fill the log; the next line says how many were left out."""
    clock = ManualTime()
    bus = EventBus(clock=clock)
    bus.subscribe("*", lambda e: e.data["missing"], name="bad")
    for seconds in (0, 1, 58, 2):
        clock.jump(seconds)
        await bus.publish(event())

    assert 2 == len(caplog.records)
    assert "2 more since" in caplog.records[1].getMessage()


async def test_failing_hooks_are_logged_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    """The owner's own functions may raise as well: the event is delivered all the same."""

    def fail(*what: object) -> Any:
        raise RuntimeError("sk-123")

    bus = EventBus(capacity=1, essential=fail, conflate=fail, on_error=fail, on_zone=fail)
    bus.subscribe("*", lambda e: fail())
    stream = bus.stream("*")
    async with stream as events:
        for number in range(3):
            bus.publish_nowait(event(number=number))
        assert 2 == (await anext(events)).data["n"]

    text = caplog.text
    assert all(name in text for name in ("essential", "conflate", "on_error", "on_zone"))
    assert "sk-123" not in text
    assert 4 == len([r for r in caplog.records if r.getMessage().startswith(("ess", "con", "on_"))])


async def test_a_handler_that_unsubscribes_itself_and_raises_is_counted(bus: EventBus) -> None:
    """Although there is no subscription any more that the error belongs to."""

    def bad(e: Event) -> None:
        bus.unsubscribe("*", bad_id)
        raise ValueError

    bad_id = bus.subscribe("*", bad)
    await bus.publish(event())

    assert 1 == bus.statistics()["handler_errors_total"]


@pytest.mark.parametrize("waits", [True, False])
async def test_those_behind_an_error_are_called_as_they_are_then(bus: EventBus, waits: bool) -> None:
    """Several of many fail; one takes itself and a later one out before it does, and another is subscribed."""
    got: list[str] = []
    ids: dict[str, int] = {}

    def handler(name: str) -> Callable[[Event], None]:
        def handle(e: Event) -> None:
            got.append(name)
            if name == "c" and len(got) == 3:
                bus.unsubscribe("*", ids["c"])
                bus.unsubscribe("*", ids["e"])
                bus.subscribe("*", handler("new"))
            if name in "bcf":
                raise ValueError

        return handle

    for name in "abcdefg":
        ids[name] = bus.subscribe("*", handler(name), name=name)
    for _ in range(2):
        if waits:
            await bus.publish(event())
        else:
            bus.publish_nowait(event())

    assert got == [*"abcdfg", *"abdfg", "new"]
    assert {row["name"]: row["errors"] for row in bus.statistics()["subscribers"] if row["errors"]} == {"b": 2, "f": 2}
    assert bus.statistics()["handler_errors_total"] == 5


async def test_each_subscription_of_one_function_has_its_own_errors(bus: EventBus) -> None:
    """Three subscriptions, one function that fails each time: three rows with the errors that they had."""

    def bad(e: Event) -> None:
        raise ValueError

    for name in "abc":
        bus.subscribe("*", bad, name=name)
    other = bus.subscribe("y", bad, name="d")
    await bus.publish(event("x"))
    await bus.publish(event("y"))
    bus.publish_nowait(event("x"))
    bus.unsubscribe("y", other)

    assert {"a": 3, "b": 3, "c": 3} == {row["name"]: row["errors"] for row in bus.statistics()["subscribers"]}
    assert 10 == bus.statistics()["handler_errors_total"]


async def test_a_key_that_cannot_be_looked_up_is_an_error_of_the_hook(caplog: pytest.LogCaptureFixture) -> None:
    """`publish_nowait` never raises; without a key the oldest event goes."""
    bus = EventBus(capacity=1, throttle=UNTHROTTLED, conflate=lambda e: [e.data["n"]])  # type: ignore[arg-type, return-value]
    async with bus.stream("*") as events:
        for number in range(3):
            bus.publish_nowait(event(number=number))
        assert 2 == (await anext(events)).data["n"]

    assert "conflate of the event bus failed: TypeError" in caplog.text


async def test_who_asks_python_to_stop_is_obeyed(bus: EventBus) -> None:
    """KeyboardInterrupt and SystemExit are no handler's error."""

    def stop(e: Event) -> None:
        raise KeyboardInterrupt

    bus.subscribe("*", stop)
    with pytest.raises(KeyboardInterrupt):
        await bus.publish(event())
