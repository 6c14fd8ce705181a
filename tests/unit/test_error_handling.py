"""The recovery manager: what is recorded and published, who decides about a retry, when health recovers."""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import asyncio
import logging
from typing import Any, get_type_hints

import pytest

from backend import error_handling
from backend.error_handling import (
    Classification,
    ErrorContext,
    RecoveryManager,
    Severity,
    errors,
)
from backend.events import BreakerChanged, ErrorEvent
from backend.settings import LiveSettings
from tests.support.clock import FakeClock

KEY = "sk-proj-THEUSERSOWNSECRET0123456789"


class World:
    """A manager with a hand-moved clock, no jitter, and all that it published."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.live = LiveSettings()
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.manager = RecoveryManager(
            lambda type_, data: self.published.append((type_, data)),
            settings=lambda: self.live.current,
            clock=clock,
            wall=lambda: 1_700_000_000.0,
            rng=lambda: 0.5,
        )

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The data of the error events."""
        return [data for type_, data in self.published if type_ == "error"]


@pytest.fixture
def world(clock: FakeClock) -> World:
    """A fresh world."""
    return World(clock)


# --- what is recorded ---


def test_record_publishes_the_event_of_the_table(world: World) -> None:
    """Every key of the event table with its type, no other, and the id that ties events together."""
    ident = world.manager.record(
        errors.StreamStalled(30), where="model", outcome="retrying", attempt=2, chat_id="c1", model="m", host="h:1", wait=1.23456
    )  # fmt: skip

    assert [
        {
            "error_id": ident, "severity": "medium", "kind": "stalled", "type": "StreamStalled", "where": "model",
            "message": "no data for 30 s", "outcome": "retrying", "attempt": 2, "wait": 1.235, "chat_id": "c1", "model": "m",
            "host": "h:1",
        }
    ] == world.errors  # fmt: skip
    assert set(world.errors[0]) <= set(get_type_hints(ErrorEvent))


def test_optional_keys_are_absent_not_none(world: World) -> None:
    """Readers test for a key, not for None."""
    world.manager.record(ValueError("x"), where="tool", outcome="gave_up")

    assert {"error_id", "severity", "kind", "type", "where", "message", "outcome", "attempt"} == set(world.errors[0])


def test_ids_are_unique_and_can_be_kept(world: World) -> None:
    """One failure's events share an id."""
    record = world.manager.record
    first = record(TimeoutError(), where="a", outcome="retrying")
    again = record(TimeoutError(), where="a", outcome="recovered", error_id=first)
    other = record(TimeoutError(), where="a", outcome="gave_up")

    assert first == again
    assert first != other


def test_secrets_are_gone_before_anything_is_sent(world: World) -> None:
    """By looks, and by value for keys without any."""
    world.manager.redactor.add("plainlookingword")
    cause = Classification(Severity.HIGH, "auth", False, "x", f"{KEY} plainlookingword")
    world.manager.record(cause, where=f"token={KEY}", outcome="gave_up", model=KEY, host=f"https://u:{KEY}@h")
    told = f"{world.errors} {world.manager.explain(cause, model='plainlookingword')}"

    assert "SECRET" not in told
    assert "plainlooking" not in told


def test_publisher_that_fails_harms_nobody(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of the bus never reaches the chat."""

    def publish(_type: str, _data: dict[str, Any]) -> None:
        raise RuntimeError("bus closed")

    manager = RecoveryManager(publish, settings=lambda: LiveSettings().current, clock=clock)
    manager.record(TimeoutError(), where="a", outcome="gave_up")

    assert "publishing error failed" in caplog.text


def test_breaker_changes_are_events(world: World) -> None:
    """With the keys of the event table; limits are the settings of the moment."""
    world.live.update({"breaker_min_calls": 2})
    breaker = world.manager.breakers.get("llm:h")
    for _ in range(2):
        breaker.acquire().failure()

    assert [
        ("breaker.changed",
         {"name": "llm:h", "state": "open", "was": "closed", "retry_in": 20.0, "failures": 2, "calls": 2})
    ] == world.published  # fmt: skip
    assert set(get_type_hints(BreakerChanged)) == set(world.published[0][1])


# --- handle_error: who decides ---


@pytest.mark.parametrize(
    ("error", "attempt", "again", "outcome"),
    [
        (TimeoutError(), 1, True, "retrying"),
        (TimeoutError(), 3, True, "retrying"),
        (TimeoutError(), 4, False, "gave_up"),
        (ValueError(), 1, False, "gave_up"),
        (errors.CircuitOpen("x", 3), 1, False, "gave_up"),
        (MemoryError(), 1, False, "gave_up"),
        (asyncio.CancelledError(), 1, False, "cancelled"),
    ],
)
async def test_handle_error_by_class(
    world: World, error: BaseException, attempt: int, again: bool, outcome: str
) -> None:
    """MEDIUM is retried while the policy allows; the decision is recorded."""
    assert again is await world.manager.handle_error(error, ErrorContext("op", attempt=attempt))
    assert (outcome, attempt) == (world.errors[0]["outcome"], world.errors[0]["attempt"])


async def test_handle_error_fills_in_the_context(world: World) -> None:
    """The caller learns the wait, what it is and the id; it is told the same in the event."""
    about = ErrorContext("op", attempt=2, chat_id="c", model="m", host="h")
    await world.manager.handle_error(TimeoutError(), about)
    assert about.classification is not None

    assert ("timeout", 0.75) == (about.classification.kind, about.delay)
    assert (about.error_id, 0.75, "c", "m", "h") == tuple(
        world.errors[0][key] for key in ("error_id", "wait", "chat_id", "model", "host")
    )
    assert [] == world.clock.slept


async def test_handle_error_takes_a_plain_name(world: World) -> None:
    """The shortest form, as the module's own text has it."""
    recovery_manager = world.manager
    should_retry = []
    for error in (TimeoutError(), ValueError()):
        should_retry.append(await recovery_manager.handle_error(error, "some_operation"))

    assert [True, False] == should_retry
    assert ["some_operation"] * 2 == [data["where"] for data in world.errors]
    assert 'should_retry = await recovery_manager.handle_error(error, "some_operation")' in str(error_handling.__doc__)


class AppError(Exception):
    """An error of a plugin."""


class SpecialAppError(AppError):
    """A special one."""


async def test_registered_rule_reaches_handle_error(world: World) -> None:
    """A plugin's own error type, made retryable in one line."""
    remove = world.manager.register_rule(AppError, severity=Severity.MEDIUM, kind="overloaded")
    assert await world.manager.handle_error(SpecialAppError(), "op")
    remove()

    assert not await world.manager.handle_error(SpecialAppError(), "op")


# --- the module as a whole ---


def test_the_door_offers_few_names() -> None:
    """Twelve at most, in order, and each of them exists."""
    assert sorted(error_handling.__all__) == error_handling.__all__
    assert len(error_handling.__all__) <= 12
    assert all(hasattr(error_handling, name) for name in error_handling.__all__)


def test_nothing_is_logged_at_import_or_in_ordinary_use(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Errors are events; only our own faults are log lines."""
    with caplog.at_level(logging.DEBUG):
        world.manager.record(TimeoutError(), where="a", outcome="gave_up")

    assert [] == caplog.records
