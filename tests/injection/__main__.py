"""What a user reads when one function of the plugin raises, for every function in turn.

In the scenarios that are no transport of their own those functions are tried that no scenario before has entered.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter

from tests.injection.harness import SCENARIOS, Entered, entered, entered_well, missed, todo, tries
from tests.injection.scenarios import quiet
from tests.support.spared import spare


async def table(scenario: str, expected: str, names: list[str]) -> None:
    """Print which functions of a scenario cost the answer, as they are found, and below them their number."""
    lost = hit = 0
    began = time.monotonic()
    async for one in tries(scenario, names, expected):
        hit += one.hit
        if one.once:
            print(f"    {one.name} only the first time: {one.once[:150]!r}", flush=True)
        if one.lost:
            lost += 1
            told = one.lost.removeprefix(expected.strip()) or "the whole text, cut or changed at its end"
            print(f"    {one.name}: {told.strip()[:150]!r}", flush=True)
    print(f"{scenario}: {lost} of {hit} functions cost the answer ({time.monotonic() - began:.0f} s)", flush=True)


async def plan() -> dict[str, Entered]:
    """The functions to be tried in each scenario."""
    return todo({scenario: await entered_well(scenario) for scenario in SCENARIOS})


def print_missed(names: list[str]) -> None:
    """Print the functions that no scenario enters, by file."""
    files = Counter(name.partition(":")[0] for name in names)
    for file, number in files.items():
        inside = " ".join(name.partition(":")[2] for name in names if name.startswith(f"{file}:"))
        print(f"{file} ({number}): {inside}")
    print(f"{len(names)} functions are entered by no scenario")


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.injection", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[[], *SCENARIOS], help="all of them by default")
    parser.add_argument("--all", action="store_true", help="try each function that a scenario enters")
    parser.add_argument("--only", metavar="WORD", default="", help="only functions that have this in their name")
    parser.add_argument("--missed", action="store_true", help="list the functions that no scenario enters")
    asked = parser.parse_args()
    spare()
    with quiet():
        if asked.missed:
            print_missed(asyncio.run(missed()))
            return
        planned = {} if asked.all else asyncio.run(plan())
        for scenario in asked.scenario or SCENARIOS:
            expected, names = planned.get(scenario) or asyncio.run(entered(scenario))
            asyncio.run(table(scenario, expected, [name for name in names if asked.only in name]))


if __name__ == "__main__":
    main()
