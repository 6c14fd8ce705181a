"""What is of ours may break: the guards of backend/aio.py count it, log it once, and let the caller go on."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.aio import fail_open, faults, forget_faults, in_front, missed, our_fault
from backend.monitoring import Monitor

BACKEND = Path(__file__).parents[2] / "backend"
# They read JSON that this program has written itself.
OWN = {"routes.py"}
SECRET = "sk-test-0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    forget_faults()
    yield
    forget_faults()


def _broken(*_: Any, **__: Any) -> None:
    raise KeyError(SECRET)


async def test_a_fault_is_counted_and_logged_once_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever calls gets the default; the text of the error, which may hold a key, is told to nobody."""
    guarded = fail_open("figures", default=7)(_broken)

    @fail_open("figures")
    async def later() -> None:
        raise ValueError(SECRET)

    assert [7, 7, 7] == [guarded(), guarded(1), guarded(a=2)]
    await later()
    assert [("KeyError", "figures", 3), ("ValueError", "figures", 1)] == [
        (row["type"], row["missing"], row["count"]) for row in faults()
    ]
    assert 2 == sum(record.levelno == logging.WARNING for record in caplog.records)
    assert SECRET not in caplog.text + json.dumps(faults())


async def test_a_cancel_passes_a_guard() -> None:
    """A guard is no place where a cancel ends."""

    @fail_open("figures")
    async def waits() -> None:
        await asyncio.Event().wait()

    task = asyncio.ensure_future(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [] == faults()


async def test_the_plain_way_is_for_mistakes_of_ours_alone() -> None:
    """Errors of somebody else's code pass as they are: a call that failed there must not be made twice."""
    calls: list[str] = []

    def foreign() -> None:
        calls.append("plain")
        raise ConnectionError("the server's")

    with pytest.raises(ConnectionError):
        in_front(foreign, foreign, "recovery")()
    assert ["plain"] == calls

    # `Monitor(publish=None)` breaks inside of the package, which is what counts as ours.
    def ours() -> str:
        Monitor(clock="no clock").snapshot()  # type: ignore[arg-type]
        return "ours"

    assert "plain" == in_front(ours, lambda: "plain", "recovery")()
    assert ["recovery"] == [row["missing"] for row in faults()]


def test_what_a_server_sent_is_no_mistake_of_ours() -> None:
    """JSON that cannot be read, a socket that breaks and an error from outside of the package are not our fault."""
    for error in (json.JSONDecodeError("x", "", 0), OSError("x"), KeyError("raised in a test")):
        with pytest.raises(type(error)) as caught:
            raise error
        assert not our_fault(caught.value)


def test_faults_are_bounded() -> None:
    """A hundred places are kept."""
    for number in range(300):
        missed(type(f"Error{number}", (Exception,), {})(), "figures")
    assert 100 == len(faults())


def test_health_says_what_is_missing() -> None:
    """A fault is a warning for five minutes, and no failure: answers are not affected."""
    monitor = Monitor()
    monitor.add_source("faults", faults)
    monitor.tick()
    fail_open("the pace of an answer")(_broken)()
    monitor.tick()
    health = monitor.snapshot()["health"]
    assert "warn" == health["status"]
    assert "the pace of an answer" in json.dumps(health)


def _catches(node: ast.Try) -> set[str]:
    return {name.id for one in node.handlers if one.type for name in ast.walk(one.type) if isinstance(name, ast.Name)}


def test_json_from_outside_is_read_where_nesting_without_end_is_expected() -> None:
    """Brackets without end are a RecursionError, which is no ValueError: who reads JSON has to be ready for both."""
    unready: list[str] = []
    for path in sorted(BACKEND.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        inside = {
            id(call)
            for one in ast.walk(tree)
            if isinstance(one, ast.Try) and "RecursionError" in _catches(one)
            for part in one.body
            for call in ast.walk(part)
        }
        unready += (
            f"{path.relative_to(BACKEND)}:{call.lineno}"
            for call in ast.walk(tree)
            if isinstance(call, ast.Call)
            and ast.unparse(call.func).endswith(("json.loads", "raw_decode", "_decode"))
            and id(call) not in inside
            and path.name not in OWN
        )
    assert [] == unready
