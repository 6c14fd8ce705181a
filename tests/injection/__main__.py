"""What a user reads when one function of the plugin raises, for every function in turn.

python -m tests.injection [SCENARIO ...]
"""

from __future__ import annotations

import asyncio
import logging
import sys

from tests.injection.harness import SCENARIOS, costs, entered


async def table(scenario: str) -> None:
    """Print which functions of a scenario cost the answer, as they are found."""
    expected, names = await entered(scenario)
    lost = 0
    async for name, text in costs(scenario, list(names), expected):
        lost += 1
        told = text.removeprefix(expected.strip()) or "the whole text, cut or changed at its end"
        print(f"    {name}: {told.strip()[:90]!r}", flush=True)
    print(f"{scenario}: {lost} of {len(names)} functions cost the answer", flush=True)


def main(scenarios: list[str]) -> None:
    """Print a table: the functions that cost the answer, and below them the scenario with their number."""
    logging.disable(logging.CRITICAL)
    for scenario in scenarios or list(SCENARIOS):
        asyncio.run(table(scenario))


if __name__ == "__main__":
    main(sys.argv[1:])
