"""Every function of the plugin raises once, each in a chat of its own, and the answer is whole.

The functions that may cost an answer are in `MAY_COST`, with the reason. A function that is new is tried by itself.
Not among the default tests: `.ci/run injection`, or `python -m pytest tests/injection -n 2`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from zlib import crc32

import pytest

from tests.injection.harness import SCENARIOS, costs, todo

Plan = dict[str, tuple[str, list[str]]]

# Functions above which there is nobody of ours who could go on without them. Fewer than ten.
MAY_COST: dict[str, str] = {
    "aio.py:fail_open.<locals>.decorate.<locals>.spared": "is the guard itself",
    "aio.py:fail_open.<locals>.decorate.<locals>.spared_async": "is the guard itself",
    "aio.py:in_front.<locals>.before": "is the guard itself",
    "aio.py:in_front.<locals>.before_async": "is the guard itself",
    "copilot/http.py:HttpSeam._make.<locals>.copilot_pulse": "is called by aiohttp for each request",
    "copilot/chat.py:ChatSeam.wrap.<locals>.wrapped": "is the generator that Copilot's handler reads",
    "copilot/run.py:RunReader.events": "is the generator through which Copilot reads a run",
    "copilot/model/call.py:ModelCall.stream": "is the generator through which the agent library reads an answer",
}
# Each try of "start" starts a ComfyUI with its fleet, which takes hours: `python -m tests.injection fleet start`.
BY_HAND = ("fleet", "start")
PARTS = 8
# Python 3.10 knows no qualified names of code.
LISTED = {*MAY_COST, *(f"{name.partition(':')[0]}:{name.rpartition('.')[2].rpartition(':')[2]}" for name in MAY_COST)}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_the_list_is_short() -> None:
    """Fewer than ten functions may cost an answer."""
    assert len(MAY_COST) < 10


@pytest.fixture(scope="session")
def planned() -> Plan:
    """What each scenario has to try: once for each process of the tests."""
    logging.disable(logging.CRITICAL)
    return asyncio.run(todo())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in BY_HAND])
def test_a_function_that_raises_costs_no_answer(planned: Plan, scenario: str, part: int) -> None:
    """Each function that a chat enters raises once; what the user reads is what it is without that."""
    expected, names = planned[scenario]
    # By name and not by number: two processes may have seen a function more or less.
    mine = [name for name in names if crc32(name.encode()) % PARTS == part and name not in LISTED]

    async def tried() -> dict[str, str]:
        return {name: text async for name, text in costs(scenario, mine, expected)}

    assert "w0039" in expected
    assert asyncio.run(tried()) == {}
