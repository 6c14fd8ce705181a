"""What a user reads when one function of the plugin raises, for every function in turn.

python -m tests.injection [--all] [SCENARIO ...]

In the scenarios that are no transport of their own those functions are tried that no scenario before has entered;
`--all` tries every one in each.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from tests.injection.harness import SCENARIOS, costs, entered, todo


async def table(scenario: str, expected: str, names: list[str]) -> None:
    """Print which functions of a scenario cost the answer, as they are found."""
    lost = 0
    async for name, text in costs(scenario, names, expected):
        lost += 1
        told = text.removeprefix(expected.strip()) or "the whole text, cut or changed at its end"
        print(f"    {name}: {told.strip()[:90]!r}", flush=True)
    print(f"{scenario}: {lost} of {len(names)} functions cost the answer", flush=True)


def main(scenarios: list[str]) -> None:
    """Print a table: the functions that cost the answer, and below them the scenario with their number."""
    logging.disable(logging.CRITICAL)
    planned = asyncio.run(todo())
    for scenario in [one for one in scenarios if one != "--all"] or list(SCENARIOS):
        expected, names = planned[scenario]
        if "--all" in scenarios:
            names = list(asyncio.run(entered(scenario))[1])
        asyncio.run(table(scenario, expected, names))


if __name__ == "__main__":
    main(sys.argv[1:])
