"""The recovery manager: what is recorded and published, who decides about a retry, when health recovers."""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import ast
import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from backend import error_handling
from backend.error_handling import (
    CircuitOpen,
    Classification,
    ErrorContext,
    RecoveryManager,
    Severity,
    StreamStalled,
)
from backend.events import BreakerChanged, ErrorEvent, ErrorOutcome
from backend.recovery.manager import OUTCOMES
from backend.settings import LiveSettings
from tests.support.clock import FakeClock

KEY = "sk-proj-THEUSERSOWNSECRET0123456789"
RECOVERY = Path(error_handling.__file__).parent / "recovery"


class World:
    """A manager with a hand-moved clock, no jitter, and all that it published."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.live = LiveSettings()
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.free: float | None = 0.5
        self.manager = RecoveryManager(
            lambda type_, data: self.published.append((type_, data)),
            settings=lambda: self.live.current,
            clock=clock,
            wall=lambda: 1_700_000_000.0,
            sleep=clock.sleep,
            rng=lambda: 0.5,
            memory_free=lambda: self.free,
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
        StreamStalled(30), where="model", outcome="retrying", attempt=2, chat_id="c1", model="m", host="h:1", wait=1.23456
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


def test_totals_count_errors_and_outcomes(world: World) -> None:
    """A recovery is no further error; the rate is of what ended."""
    record = world.manager.record
    assert world.manager.totals()["recovery_rate"] is None
    for outcome in ("retrying", "retrying", "recovered"):
        record(TimeoutError(), where="a", outcome=outcome)
    record(ValueError(), where="a", outcome="gave_up")
    record(asyncio.CancelledError(), where="a", outcome="cancelled")

    assert {
        "total": 4, "by_severity": {"low": 1, "medium": 2, "high": 1, "critical": 0},
        "by_type": {"TimeoutError": 2, "ValueError": 1, "asyncio.CancelledError": 1},
        "by_kind": {"timeout": 2, "internal": 1, "cancelled": 1},
        "retries": 2, "recovered": 1, "gave_up": 1, "cancelled": 1, "recovery_rate": 0.5,
    } == world.manager.totals()  # fmt: skip


def test_memory_of_errors_is_bounded(world: World) -> None:
    """The last 200, the newest first; a flood of type names ends up as "other"."""
    for i in range(300):
        world.manager.record(type(f"Error{i}", (Exception,), {})(str(i)), where="a", outcome="gave_up")
    recent = world.manager.recent()

    assert (200, "299", "100") == (len(recent), recent[0]["message"], recent[-1]["message"])
    assert {"time", "error_id"} <= set(recent[0])
    assert (101, 200) == (len(world.manager.totals()["by_type"]), world.manager.totals()["by_type"]["other"])


def test_recent_rows_are_copies(world: World) -> None:
    """A reader cannot change what is remembered."""
    world.manager.record(TimeoutError(), where="a", outcome="gave_up")
    world.manager.recent()[0]["message"] = "changed"

    assert "" == world.manager.recent()[0]["message"]


def test_secrets_are_gone_before_anything_is_kept_or_sent(world: World) -> None:
    """By looks, and by value for keys without any."""
    world.manager.redactor.add("plainlookingword")
    verdict = Classification(Severity.HIGH, "auth", False, "x", f"{KEY} plainlookingword")
    world.manager.record(verdict, where=f"token={KEY}", outcome="gave_up", model=KEY, host=f"https://u:{KEY}@h")
    told = f"{world.errors} {world.manager.recent()} {world.manager.explain(verdict, model='plainlookingword')}"

    assert "SECRET" not in told
    assert "plainlooking" not in told


def test_publisher_that_fails_harms_nobody(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of the bus never reaches the chat."""

    def publish(_type: str, _data: dict[str, Any]) -> None:
        raise RuntimeError("bus closed")

    manager = RecoveryManager(publish, settings=lambda: LiveSettings().current, clock=clock)
    manager.record(TimeoutError(), where="a", outcome="gave_up")

    assert 1 == len(manager.recent())
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
        (CircuitOpen("x", 3), 1, False, "gave_up"),
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
    """The caller learns the wait, the verdict and the id; it is told the same in the event."""
    about = ErrorContext("op", attempt=2, chat_id="c", model="m", host="h")
    await world.manager.handle_error(TimeoutError(), about)
    assert about.classification is not None

    assert ("timeout", 0.5) == (about.classification.kind, about.delay)
    assert (about.error_id, 0.5, "c", "m", "h") == tuple(
        world.errors[0][key] for key in ("error_id", "wait", "chat_id", "model", "host")
    )
    assert [] == world.clock.slept


async def test_handle_error_takes_a_plain_name(world: World) -> None:
    """The shortest form: `if await manager.handle_error(error, "some_operation")`."""
    assert await world.manager.handle_error(TimeoutError(), "some_operation")
    assert "some_operation" == world.errors[0]["where"]


class AppError(Exception):
    """An error of a plugin."""


class SpecialAppError(AppError):
    """A special one."""


async def test_handlers_decide_nearest_type_first(world: World) -> None:
    """None means no opinion, and the next handler is asked; a plain function and a coroutine will both do."""
    asked: list[str] = []

    def special(_error: BaseException, context: ErrorContext) -> None:
        asked.append(f"special {context.where}")

    async def general(_error: BaseException, _context: ErrorContext) -> bool:
        asked.append("general")
        return True

    world.manager.register_handler(AppError, general)
    world.manager.register_handler(SpecialAppError, special)

    assert await world.manager.handle_error(SpecialAppError(), "op")
    assert ["special op", "general"] == asked
    assert "retrying" == world.errors[0]["outcome"]


async def test_handler_can_forbid_a_retry_and_be_taken_off(world: World) -> None:
    """A plugin knows better than the table, until it leaves."""
    remove = world.manager.register_handler(TimeoutError, lambda _error, _context: False)
    assert not await world.manager.handle_error(TimeoutError(), "op")
    remove()
    remove()

    assert await world.manager.handle_error(TimeoutError(), "op")


async def test_handler_that_raises_has_no_say(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the table decides."""

    def broken(_error: BaseException, _context: ErrorContext) -> bool:
        raise RuntimeError("bug")

    world.manager.register_handler(TimeoutError, broken)

    assert await world.manager.handle_error(TimeoutError(), "op")
    assert "a handler for TimeoutError failed" in caplog.text


@pytest.mark.parametrize("error", [asyncio.CancelledError(), MemoryError()])
async def test_handler_cannot_retry_what_must_stop(world: World, error: BaseException) -> None:
    """A cancelled or a critical error is never made again."""
    world.manager.register_handler(BaseException, lambda _error, _context: True)

    assert not await world.manager.handle_error(error, "op")


async def test_cancel_inside_an_async_handler_goes_through(world: World) -> None:
    """Nothing was recorded, nothing is left."""
    began = asyncio.Event()

    async def slow(_error: BaseException, _context: ErrorContext) -> bool:
        began.set()
        await asyncio.Event().wait()
        return True

    world.manager.register_handler(TimeoutError, slow)
    task = asyncio.ensure_future(world.manager.handle_error(TimeoutError(), "op"))
    await began.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert [] == world.published


async def test_registered_rule_reaches_handle_error(world: World) -> None:
    """A plugin's own error type, made retryable in one line."""
    remove = world.manager.register_rule(AppError, severity=Severity.MEDIUM, kind="overloaded")
    assert await world.manager.handle_error(SpecialAppError(), "op")
    remove()

    assert not await world.manager.handle_error(SpecialAppError(), "op")


# --- retry ---


def calls_that(*errors: BaseException) -> Callable[[], Awaitable[str]]:
    """A call that raises each error in turn and then returns."""
    left = list(errors)

    async def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


async def test_retry_records_the_whole_story_under_one_id(world: World) -> None:
    """Two retries and a recovery, with the waits of the policy."""
    result = await world.manager.retry(calls_that(TimeoutError(), ConnectionResetError()), where="mcp", host="h")

    assert "done" == result
    assert [("retrying", 1, 0.25), ("retrying", 2, 0.5), ("recovered", 3, None)] == [
        (e["outcome"], e["attempt"], e.get("wait")) for e in world.errors
    ]
    assert 1 == len({e["error_id"] for e in world.errors})
    assert [0.25, 0.5] == world.clock.slept


async def test_retry_without_a_failure_records_nothing(world: World) -> None:
    """A call that works is no event."""
    await world.manager.retry(calls_that(), where="x")

    assert [] == world.published


async def test_retry_gives_up_and_lets_the_error_through(world: World) -> None:
    """The setting of the moment bounds the retries."""
    world.live.update({"max_retries": 1})

    with pytest.raises(TimeoutError):
        await world.manager.retry(calls_that(*[TimeoutError() for _ in range(5)]), where="x")

    assert [("retrying", 1), ("gave_up", 2)] == [(e["outcome"], e["attempt"]) for e in world.errors]


async def test_cancel_during_retry_is_recorded_as_such(world: World) -> None:
    """A cancel in the call goes through and is no error."""
    began = asyncio.Event()

    async def call() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(world.manager.retry(call, where="x"))
    await began.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert [("cancelled", "low")] == [(e["outcome"], e["severity"]) for e in world.errors]


# --- critical errors ---


def test_critical_error_stays_until_its_time_is_over(world: World) -> None:
    """60 s without another one; each new one starts the time anew."""
    manager, clock = world.manager, world.clock
    assert manager.critical_active() is None
    manager.record(RecursionError("deep"), where="a", outcome="gave_up")
    clock.advance(59)
    manager.record(RecursionError("deep"), where="a", outcome="gave_up")
    clock.advance(59)

    assert {
        "kind": "recursion",
        "type": "RecursionError",
        "message": "deep",
        "time": 1_700_000_000.0,
        "count": 2,
    } == (manager.critical_active())
    clock.advance(1)
    assert manager.critical_active() is None


def test_out_of_memory_stays_until_memory_is_back(world: World) -> None:
    """Time alone heals nothing."""
    world.manager.record(MemoryError(), where="a", outcome="gave_up")
    world.free = 0.01
    world.clock.advance(1000)
    assert world.manager.critical_active() is not None
    world.free = 0.2

    assert world.manager.critical_active() is None


def test_unknown_memory_does_not_keep_health_failing(world: World) -> None:
    """Where the free memory cannot be told, time decides."""
    world.manager.record(MemoryError(), where="a", outcome="gave_up")
    world.free = None
    world.clock.advance(60)

    assert world.manager.critical_active() is None


def test_critical_error_can_be_cleared_by_hand(world: World) -> None:
    """For the panel and for tests."""
    world.manager.record(SystemError(), where="a", outcome="gave_up")
    world.manager.clear_critical()

    assert world.manager.critical_active() is None


def test_free_memory_is_read_from_the_system() -> None:
    """The default really works here."""
    from backend.recovery.critical import memory_free_share

    share = memory_free_share()

    assert share is not None
    assert 0 < share < 1


# --- the module as a whole ---


def test_outcomes_are_those_of_the_event_table() -> None:
    """The manager's list and the event's type agree."""
    assert set(get_args(ErrorOutcome)) == set(OUTCOMES)


def test_all_is_sorted_and_complete() -> None:
    """What the front imports is what it offers."""
    tree = ast.parse(Path(error_handling.__file__).read_text("utf-8"))
    imported = [a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) and n.level for a in n.names]

    assert set(imported) == set(error_handling.__all__)
    assert all(hasattr(error_handling, name) for name in error_handling.__all__)


def test_ground_floor_imports_nothing_from_above() -> None:
    """Neither the modules above nor any library whose errors it knows."""
    libraries = {"aiohttp", "openai", "agents", "mcp", "httpx", "anyio"}
    foreign: set[str] = set()
    for path in RECOVERY.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level > 1:
                foreign.add(f"{path.name}: up {node.module}")
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            foreign |= {n for n in names if n.partition(".")[0] in libraries}

    assert set() == foreign


def test_repr_tells_counts(world: World) -> None:
    """Good enough to debug with."""
    world.manager.record(TimeoutError(), where="a", outcome="gave_up")

    assert "<RecoveryManager 1 errors, <BreakerRegistry 0 breakers, 0 open>>" == repr(world.manager)


def test_nothing_is_logged_at_import_or_in_ordinary_use(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Errors are events; only our own faults are log lines."""
    with caplog.at_level(logging.DEBUG):
        world.manager.record(TimeoutError(), where="a", outcome="gave_up")

    assert [] == caplog.records
