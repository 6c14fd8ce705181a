"""What a user reads when one function of the plugin raises, for every function in turn.

python -m tests.injection [SCENARIO ...]
"""

from __future__ import annotations

import asyncio
import logging
import sys

from tests.injection.harness import SCENARIOS, costs, entered


def main(scenarios: list[str]) -> None:
    """Print a table: a scenario a line, and below it the functions that cost the answer."""
    logging.disable(logging.CRITICAL)
    for scenario in scenarios or list(SCENARIOS):
        expected, names = asyncio.run(entered(scenario))
        lost = asyncio.run(costs(scenario, list(names), expected))
        print(f"{scenario}: {len(lost)} of {len(names)} functions cost the answer", flush=True)
        for name, text in lost.items():
            told = text.removeprefix(expected.strip()) or "the whole text, cut or changed at its end"
            print(f"    {name}: {told.strip()[:90]!r}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
