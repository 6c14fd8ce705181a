"""Every function of the plugin raises once, each in a chat of its own, and the answer is whole.

The functions that may cost an answer are in `MAY_COST`, with the reason. A function that is new is tried by itself.
Not among the default tests: `.ci/run injection`, or `python -m pytest tests/injection -n 2`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

from tests.injection.harness import SCENARIOS, Entered, entered_well, todo, tries
from tests.injection.raising import functions
from tests.injection.scenarios import EVERY, quiet
from tests.support.net import until

Planned = dict[str, Entered]

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
# Whoever starts these programs reads what is wrong; no chat runs in their processes, or none yet.
PROGRAMS = {f"standalone/{name}.py" for name in ("cli", "endpoint_check", "events_cli", "fleet", "options")}
# Whoever runs first finds out what all have to try, which takes a minute or two, and whoever comes second waits for it.
PLANNED = 1200.0
pytestmark = pytest.mark.timeout(2 * PLANNED)
# A part takes less than a minute. The start of a ComfyUI takes longer than a chat.
PARTS = [
    (name, part, of)
    for name, plan in SCENARIOS.items()
    if name != "standalone"  # its own start, page and agent are the program: there is nothing to go on with
    for of in (8 if plan.again == EVERY else 1 if plan.host else 16,)
    for part in range(of)
]
# Python 3.10 knows no qualified names of code.
LISTED = {*MAY_COST, *(f"{name.partition(':')[0]}:{name.rpartition('.')[2].rpartition(':')[2]}" for name in MAY_COST)}


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> Iterator[None]:
    with quiet():
        yield


def test_the_list_is_short() -> None:
    """Fewer than ten functions may cost an answer."""
    assert len(MAY_COST) < 10


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """What each scenario has to try: the processes of the tests find out together."""
    shared = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent if shared else tmp_path_factory.getbasetemp()
    return asyncio.run(_planned(folder))


async def _planned(folder: Path) -> Planned:
    files = {scenario: folder / f"entered-{number}.json" for number, scenario in enumerate(SCENARIOS)}
    for scenario, file in files.items():
        try:
            os.close(os.open(file.with_suffix(".begun"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue  # another process does it
        whole = file.with_suffix(".whole")
        whole.write_text(json.dumps(await entered_well(scenario)), "utf-8")
        os.replace(whole, file)
    await until(lambda: all(file.exists() for file in files.values()), 600.0)
    return todo({scenario: json.loads(file.read_text("utf-8")) for scenario, file in files.items()})


def test_each_room_is_entered(planned: Planned) -> None:
    """Of every file of the plugin something runs in a scenario: a new one may need a scenario of its own."""
    entered = {name.partition(":")[0] for _, names in planned.values() for name in names}
    assert {name.partition(":")[0] for name in functions()} - entered - PROGRAMS == set()


@pytest.mark.parametrize(("scenario", "part", "of"), PARTS)
def test_a_function_that_raises_costs_no_answer(planned: Planned, scenario: str, part: int, of: int) -> None:
    """Each function that is entered raises once; what the user reads is what it is without that."""
    expected, names = planned[scenario]
    mine = [name for name in names if crc32(name.encode()) % of == part and name not in LISTED]

    async def tried() -> dict[str, str]:
        return {one.name: one.lost async for one in tries(scenario, mine, expected) if one.lost}

    assert not expected.startswith("lost")
    assert asyncio.run(tried()) == {}
