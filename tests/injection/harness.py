"""Tries the functions of a scenario one after the other, and tells what a user loses by each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from tests.injection.raising import functions, name_of, raising, traced
from tests.injection.scenarios import LOST, SCENARIOS, Scenario, world

Entered = tuple[str, list[str]]
"""What is read in a scenario when nothing raises, and the functions that are entered then."""


class Try(NamedTuple):
    """One function that was to raise. `hit`: it was entered. `lost`: what was read instead, if that is a loss; `once`:
    that, if it did not come again."""

    name: str
    hit: bool
    lost: str = ""
    once: str = ""


async def entered(scenario: str) -> Entered:
    """What is read when nothing raises, and the functions of the plugin that are entered then, in order."""
    names: dict[str, None] = {}
    async with world(scenario) as running:
        await running.ask(scenario)  # what happens in the first chat only is for "start"
        expected = await running.ask(scenario)
        with traced(lambda code: names.setdefault(name_of(code))):
            await running.ask(scenario)
    return expected, list(names)


async def entered_well(scenario: str) -> Entered:
    """As `entered()`; a machine that is busy with other things loses some by itself, see `tries()`."""
    for _ in range(3):
        expected, names = await entered(scenario)
        if not expected.startswith(LOST):
            break
    return expected, names


def todo(found: Mapping[str, Entered]) -> dict[str, Entered]:
    """Of what each scenario has entered, the functions that are to be tried in it, see `Scenario`."""
    seen: set[str] = set()
    tried: dict[str, Entered] = {}
    for scenario, plan in SCENARIOS.items():
        expected, names = found[scenario]
        tried[scenario] = expected, [name for name in names if name.startswith(plan.again) or name not in seen]
        seen.update(names)
    return tried


async def missed() -> list[str]:
    """The functions that no scenario enters, in the order of the files."""
    seen = {name for scenario in SCENARIOS for name in (await entered(scenario))[1]}
    return [name for name in functions() if name not in seen]


async def tries(scenario: str, names: list[str], expected: str) -> AsyncIterator[Try]:
    """Each function in turn.

    A host is kept until something is lost: what one broken chat leaves behind must not be blamed on the next function.
    A loss counts if it happens again on a new host: a machine that is busy with other things loses some by itself.
    """
    left = list(names)
    suspects: dict[str, str] = {}
    while left:
        async with world(scenario) as running:
            await running.ask(scenario)
            await running.ask(scenario)
            while left:
                name = left.pop(0)
                with raising(name) as injection:
                    text = await running.ask(scenario)
                if not SCENARIOS[scenario].cost(text, expected):
                    yield Try(name, injection.hit, once=suspects.get(name, ""))
                    continue
                if name in suspects:
                    yield Try(name, injection.hit, text)
                else:
                    suspects[name] = text
                    left.insert(0, name)
                break


__all__ = ["SCENARIOS", "Entered", "Scenario", "Try", "entered", "entered_well", "missed", "todo", "tries"]
