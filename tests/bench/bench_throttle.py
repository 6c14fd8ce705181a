"""Throttling by zones, by rules and by a model, on the same traffic: JSON out, and tables in docs/benchmarks.md.

`python -m tests.bench.bench_throttle` plays 23 shapes that have a name, and 60 random ones, through the real event bus
on a virtual clock: a minute of traffic in a second, the same on every machine. `--seen` plays the random shapes that
the model was tuned on, `--first` others than usual, and `--check` writes nothing.
It ends with 1 if the model has not beaten every rule without one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.backpressure import ThrottlePlan
from backend.pressure.forecast import Tuning
from tests.bench.page import write_section
from tests.bench.throttle_play import Outcome, play
from tests.bench.throttle_report import report, verdict
from tests.bench.throttle_shapes import Shape, named, random_shape

HERE = Path(__file__).resolve().parent
SEEN = range(50)
UNSEEN = 1000

WITHOUT = Tuning(learn=False, guarded=False, drain_to=0.30, gain=2.0)
POLICIES = {
    "fixed": ThrottlePlan(),
    "late": ThrottlePlan(mode="learned", tuning=WITHOUT._replace(drain_to=0.65, gain=1.0, stand=False)),
    "drain": ThrottlePlan(mode="learned", tuning=WITHOUT._replace(gain=1.25, probation=0.0, stand=False)),
    "stand": ThrottlePlan(mode="learned", tuning=WITHOUT),
    "learned": ThrottlePlan(mode="learned"),
}
"""`alone` is one more: what would be lost if nobody but those who cannot wait published."""

Job = tuple["str | int", str]


def shape_of(key: str | int) -> Shape:
    """By its name, or by its seed."""
    return random_shape(key) if isinstance(key, int) else next(shape for shape in named() if shape.name == key)


def played(job: Job) -> tuple[Job, Outcome]:
    """One shape under one policy."""
    key, policy = job
    shape = shape_of(key)
    if policy == "alone":
        shape = replace(shape, sources=[source for source in shape.sources if source.kind == "nowait"])
    return job, play(shape, POLICIES.get(policy))


def measure(keys: Sequence[str | int], processes: int) -> dict[str, dict[str, Any]]:
    """The outcomes by shape and policy."""
    jobs: list[Job] = [(key, policy) for key in keys for policy in ("alone", *POLICIES)]
    rows: dict[str, dict[str, Any]] = {str(key): {} for key in keys}
    with multiprocessing.Pool(processes) as pool:
        for number, ((key, policy), outcome) in enumerate(pool.imap_unordered(played, jobs), 1):
            rows[str(key)][policy] = {what: value for what, value in outcome.as_dict().items() if what != "statistics"}
            print(f"\r{number} of {len(jobs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seen", action="store_true", help="the random shapes that the model was tuned on")
    parser.add_argument("--first", type=int, default=UNSEEN, help="the seed of the first random shape")
    parser.add_argument("--shapes", type=int, default=60, help="how many random ones")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="print the tables, write nothing")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "bench_throttle.json")
    arguments = parser.parse_args()
    unseen = range(arguments.first, arguments.first + arguments.shapes)
    seeds = list(SEEN[: arguments.shapes] if arguments.seen else unseen)
    results = {
        "about": {
            "date": time.strftime("%Y-%m-%d"),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "seeds": [seeds[0], seeds[-1]],
        },
        "named": measure([shape.name for shape in named()], arguments.processes),
        "random": measure(seeds, arguments.processes),
    }
    text = report(results)
    print(text)
    if not arguments.check and not arguments.seen:
        arguments.json.parent.mkdir(exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        write_section("throttle", text)
    won, why = verdict(results)
    print(why)
    return 0 if won else 1


if __name__ == "__main__":
    sys.exit(main())
