"""Throttling by zones, by rules and by a model, on the same traffic: JSON out, and tables in docs/benchmarks.md.

`python -m tests.bench.bench_throttle` plays 23 shapes that have a name, 12 of an examiner, 300 random ones, and 30 more
before small queues, through the real event bus on a virtual clock: a minute of traffic in a second, the same on every
machine. `--unseen FIRST` plays 300 random shapes that nobody has looked at, once, and keeps the outcome; from then on
they are looked at. (So many, for of 30 a single one may hold most of the losses.)
`--check` writes nothing, and ends with 1 if a target is missed. Else it ends with 1 if the model has not beaten every
rule without one.
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
from tests.bench.throttle_report import comparison, missed, report
from tests.bench.throttle_shapes import SMALL, Shape, exam, named, random_shape

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
LOOKED_AT = range(6000, 6300)
SMALL_ONES = [f"small {seed}" for seed in range(3000, 3030)]

WITHOUT = Tuning(learn=False, guarded=False, hold_at=0.65, drain_to=0.30, gain=2.0)
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
    """By its name, or by its seed; "small 7" is that of the seed 7 with a small queue."""
    if isinstance(key, int):
        return random_shape(key)
    if key.startswith("small "):
        return random_shape(int(key.removeprefix("small ")), SMALL)
    return next(shape for shape in (*named(), *exam()) if shape.name == key)


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
            rows[str(key)][policy] = {
                what: float(f"{value:.5g}") if isinstance(value, float) else value
                for what, value in outcome.as_dict().items()
                if what not in ("statistics", "born")
            }
            print(f"\r{number} of {len(jobs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def unseen(first: int, processes: int, *, keep: bool) -> dict[str, Any]:
    """As many random shapes as were looked at, to be looked at once."""
    seeds = range(first, first + len(LOOKED_AT))
    results = {"date": time.strftime("%Y-%m-%d"), "seeds": [seeds[0], seeds[-1]], "random": measure(seeds, processes)}
    if keep:
        _write(RESULTS / "bench_throttle_unseen.json", results)
    return results


def _write(path: Path, results: dict[str, Any]) -> None:
    """One outcome a line."""
    path.write_text(json.dumps(results, separators=(",", ":")).replace('},"', '},\n"') + "\n", "utf-8")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unseen", type=int, metavar="FIRST", help="300 random shapes from this seed on, once")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--check", action="store_true", help="print the tables, write nothing, say no to a missed target"
    )
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "bench_throttle_unseen.json"
    results = {
        "about": {
            "date": time.strftime("%Y-%m-%d"),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "seeds": [LOOKED_AT[0], LOOKED_AT[-1]],
        },
        "named": measure([shape.name for shape in named()], arguments.processes),
        "exam": measure([shape.name for shape in exam()], arguments.processes),
        "random": measure(LOOKED_AT, arguments.processes),
        "small": measure(SMALL_ONES, arguments.processes),
        "unseen": None,
    }
    if arguments.unseen is not None:
        results["unseen"] = unseen(arguments.unseen, arguments.processes, keep=not arguments.check)
    elif kept.exists():
        results["unseen"] = json.loads(kept.read_text("utf-8"))
    text = report(results)
    print(text)
    won, why = comparison(results)
    misses = missed(results)
    print("\n".join([why, *(f"missed: {miss}" for miss in misses)]))
    if arguments.check:
        return 0 if won and not misses else 1
    unkept = {what: value for what, value in results.items() if what != "unseen"}
    _write(RESULTS / "bench_throttle.json", unkept)
    write_section("throttle", text)
    return 0 if won else 1


if __name__ == "__main__":
    sys.exit(main())
