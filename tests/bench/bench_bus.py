"""The event bus beside its peers: one command, JSON out, and the tables in docs/benchmarks.md.

`python -m tests.bench.bench_bus` (with tests/bench/requirements.txt installed) writes both. `--rounds 3 --check`
is a quick look that writes nothing.

How it measures: processor time, so that a busy machine does not count. All peers of a workload run in turn, in
short slices, for many rounds in changing order; a ratio is taken within each round, and the median of the rounds
is shown. The garbage collector stays on, and collects before each slice.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import platform
import random
import statistics
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import bus_report
from tests.bench.bus_peers import BOX, CLEANUPS, PLAIN, SHAPES, SIZES, Handlers, Slice
from tests.bench.bus_workloads import WORKLOADS
from tests.bench.page import write_section

HERE = Path(__file__).resolve().parent
SLICE_SECONDS = 0.03
Rows = dict[str, dict[str, Any]]


async def timed(run: Slice, n: int) -> float:
    """Processor time of one event in a slice of `n`, in ns."""
    gc.collect()
    start = time.process_time_ns()
    await run(n)
    return (time.process_time_ns() - start) / n


async def sized(run: Slice) -> int:
    """How many events fill a slice."""
    n = 2
    while True:
        start = time.process_time()
        await run(n)
        seconds = time.process_time() - start
        if seconds > SLICE_SECONDS / 4:
            return max(2, int(n * SLICE_SECONDS / seconds))
        n *= 4


async def side_by_side(peers: dict[str, Slice], reference: str, rounds: int, progress: str) -> Rows:
    """ns per event of each peer, and its ratio to `reference`; medians of the rounds."""
    sizes = {name: SIZES[name] if name in SIZES else await sized(run) for name, run in peers.items()}
    results: dict[str, list[float]] = {name: [] for name in peers}
    order = list(peers)
    for number in range(rounds):
        random.shuffle(order)
        for name in order:
            results[name].append(await timed(peers[name], sizes[name]))
        print(f"\r{progress}: round {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {
        name: {
            "ns": statistics.median(figures),
            "ratio": statistics.median(a / b for a, b in zip(figures, results[reference], strict=True)),
        }
        for name, figures in results.items()
    }


async def plain(number: int, rounds: int) -> Rows:
    """`number` plain handlers, beside a bare call."""
    peers = {}
    for name, (make, _) in PLAIN.items():
        handlers = Handlers()
        run = make(handlers.plain(number, SHAPES.get(name, "event")))
        await run(10)
        if handlers.count != 10 * number:
            raise AssertionError(f"{name} delivered {handlers.count} of {10 * number}")
        peers[name] = run
    rows = await side_by_side(peers, "bare call", rounds, f"{number} plain")
    return {name: {**row, "note": PLAIN[name][1]} for name, row in rows.items()}


async def mailbox(rounds: int) -> Rows:
    """One async handler through a buffer of 1,000, beside asyncio.Queue."""
    peers = {}
    for name, (make, _) in BOX.items():
        handlers = Handlers()
        run = make(handlers)
        n = 20 if name == "bubus" else 2500
        await run(n)
        if handlers.count != n:
            raise AssertionError(f"{name} delivered {handlers.count} of {n}")
        peers[name] = run
    rows = await side_by_side(peers, "asyncio.Queue", rounds, "mailbox")
    return {name: {**row, "note": BOX[name][1]} for name, row in rows.items()}


async def measure(rounds: int, only: list[str]) -> dict[str, Any]:
    """Everything, or the parts that `only` names."""
    parts: dict[str, Callable[[], Awaitable[Any]]] = {
        "plain_1": lambda: plain(1, rounds),
        "plain_10": lambda: plain(10, rounds),
        "mailbox": lambda: mailbox(rounds),
        **{name: (lambda work=work: work(rounds)) for name, work in WORKLOADS.items()},  # type: ignore[misc]
    }
    results: dict[str, Any] = {}
    for name, part in parts.items():
        if not only or name in only:
            results[name] = await part()
            print(f"{name}: done", file=sys.stderr)
    for cleanup in CLEANUPS:
        await cleanup()
    return results


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--only", nargs="*", default=[], help="parts to measure; writes nothing")
    parser.add_argument("--check", action="store_true", help="print the tables, write nothing")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "bench_bus.json")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    results = asyncio.run(measure(arguments.rounds, arguments.only))
    results["about"] = {
        "date": time.strftime("%Y-%m-%d"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "rounds": arguments.rounds,
        "peers": {
            name: version(name)
            for name in ("aiopubsub", "anyio", "blinker", "bubus", "janus", "psygnal", "pyee", "pymitter", "reactivex")
        },
    }
    text = bus_report.report(results)
    print(text)
    if not arguments.check and not arguments.only:
        arguments.json.parent.mkdir(exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        write_section("event bus", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
