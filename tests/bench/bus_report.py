"""The results of bench_bus.py as the bus's section of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first and the last are figures."""
    rule = [":--" if at in (0, len(head) - 1) else "--:" for at in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def peers(rows: Mapping[str, Any], reference: str) -> str:
    """Time per event of each peer, fastest first."""
    ordered = sorted(rows.items(), key=lambda item: item[1]["ratio"])
    return table(
        ("", "ns/event", f"× {reference}", "does"),
        [(_bold(name), f"{row['ns']:,.0f}", f"{row['ratio']:,.2f}", row["note"]) for name, row in ordered],
    )


def _bold(name: str) -> str:
    return f"**{name}**" if name.startswith("this bus") else name


def targets(results: Mapping[str, Any]) -> str:
    """What was asked for, and what was measured."""
    plain, ten, box = results["plain_1"], results["plain_10"], results["mailbox"]
    latency, rest = results["latency"], results["guarantees"]
    others = min(row["ratio"] for name, row in plain.items() if not name.startswith(("this", "bare")))
    over_timer = latency["plain handler"]["p99"] - latency["the timer itself"]["p99"]
    box_over_timer = latency["mailbox"]["p99"] - latency["the timer itself"]["p99"]
    flat = max(row["ratio"] for row in results["subscriptions"].values())
    rows = [
        ("one plain handler, × bare call", "≤ 1.45", f"{plain['this bus']['ratio']:.2f}"),
        ("... and ahead of every peer: the best of them", "more", f"{others:.2f}"),
        ("ten plain handlers, × bare call", "≤ 1.15", f"{ten['this bus']['ratio']:.2f}"),
        ("bounded mailbox, × asyncio.Queue", "≤ 0.65", f"{box['this bus']['ratio']:.2f}"),
        ("publish to a plain handler, p99 beyond the timer's, best round", "< 1,000 ns", f"{over_timer:,.0f} ns"),
        ("publish to a mailbox, p99 beyond the timer's, best round", "< 1,000 ns", f"{box_over_timer:,.0f} ns"),
        ("lost by a publisher that waits for room, p50 / p95", "≤ 300 µs", _waits(results["stall"]["for room"])),
        ("lost by a publisher that is throttled, p50 / p95", "≤ 300 µs", _waits(results["stall"]["throttled"])),
        ("bytes per queued event", "≤ 200", f"{results['memory']['this bus']['bytes']:.0f}"),
        ("10,000 subscriptions to other types, × one", "flat", f"{flat:.2f} at most"),
        ("accepted of 5,000 while the handler is shut", "1,000", f"{rest['accepted_while_shut']:,}"),
        ("throttle: threshold to first throttled publish", "< 100 ms", f"{rest['throttle_reaction_us'] / 1000:.3f} ms"),
        (
            "flood, fast handlers: longest hold of the loop, p99",
            "5 ms",
            f"{rest['longest_hold_ms, handlers fast']:.1f} ms",
        ),
        ("flood, handlers of 1 ms: the same", "5 ms + 1", f"{rest['longest_hold_ms, handlers of 1 ms']:.1f} ms"),
    ]  # fmt: skip
    return table(("target", "asked", "measured"), rows)


def _waits(row: Mapping[str, float]) -> str:
    return f"{row['p50']:,.0f} / {row['p95']:,.0f} µs"


def report(results: Mapping[str, Any]) -> str:
    """The whole section; parts that were not measured are left out."""
    about = results["about"]
    versions = ", ".join(f"{name} {number}" for name, number in about["peers"].items())
    parts = [
        "## Event bus\n",
        f"`python -m tests.bench.bench_bus --rounds {about['rounds']}`, {about['date']}, {about['python']}, "
        f"{about['system']}, {about['rounds']} rounds. Processor time; every ratio was taken between slices "
        "of one round, run in changing order, and is the median of the rounds. Every peer builds the same `Event` "
        f"by keyword (bubus its own). Peers: {versions}.\n",
    ]
    if "guarantees" in results and "plain_1" in results:
        parts += ["### Targets\n", targets(results) + "\n"]
    if "plain_1" in results:
        parts += ["### One plain handler\n", peers(results["plain_1"], "bare call") + "\n"]
    if "plain_10" in results:
        parts += ["### Ten plain handlers\n", peers(results["plain_10"], "bare call") + "\n"]
    if "mailbox" in results:
        parts += [
            "### One async handler, 1,000 events of room\n",
            peers(results["mailbox"], "asyncio.Queue") + "\n",
            "Nothing is lost in any row. Of all event buses here only this one has a bound that makes its publisher "
            "wait; queues have one, but neither types nor fan-out. `publish_nowait` is left out: it drops.\n",
        ]
    if "latency" in results:
        rows = [
            (name, *(f"{row[p]:,.0f}" for p in ("p50", "p90", "p99")), "") for name, row in results["latency"].items()
        ]
        parts += [
            "### How long `await publish(event)` takes, ns\n",
            table(("", "p50", "p90", "p99", ""), rows) + "\n",
            "Wall time, for one call is too short for the processor's clock; so each figure is that of the best round: "
            "whatever else runs on the machine only adds to it.\n",
        ]
    if "stall" in results:
        rows = [
            (name, f"{row['share']:.2%}", f"{row['p50']:,.0f}", f"{row['p95']:,.0f}", "")
            for name, row in results["stall"].items()
        ]
        parts += [
            "### Publishers that have to wait in a flood, fast async handler, µs of processor time\n",
            table(("", "of all publishes", "p50", "p95", ""), rows) + "\n",
        ]
    if "memory" in results:
        rows = [(_bold(name), f"{row['bytes']:.0f}", "") for name, row in results["memory"].items()]
        parts += [
            "### Bytes per queued event, data shared\n",
            table(("", "bytes", ""), rows) + "\n",
            "Without keys. With `conflate` set, a mailbox that is full has an index of the keys in it, until it leaves "
            "the last zone.\n",
        ]
    if "subscriptions" in results:
        rows = [
            (name, f"{row['ns']:,.0f}", f"{row['ratio']:.2f}", "") for name, row in results["subscriptions"].items()
        ]
        parts += ["### Subscriptions to other types\n", table(("", "ns/event", "× one", ""), rows) + "\n"]
    if "publishers" in results:
        rows = [
            (name, f"{row['ns']:,.0f}", f"{row['queue_ns']:,.0f}", f"{row['ratio']:.2f}", "")
            for name, row in results["publishers"].items()
        ]
        parts += [
            "### Tasks that publish to one mailbox at the same time\n",
            table(("tasks", "ns/event", "asyncio.Queue", "×", ""), rows) + "\n",
            "From 100 tasks on the mailbox stands in the zones that throttle, and each event costs its publisher a"
            " wait with an alarm; asyncio.Queue has no throttle and no time limit.\n",
        ]
    if "slow_beside_fast" in results:
        rows = [
            (
                name,
                f"{row['events']:,}",
                f"{row['fast_got']:,}",
                f"{row['lag_p50_us']:,.0f}",
                f"{row['lag_p99_us']:,.0f}",
                f"{row['per_second']:,.0f}",
                f"{row['slow_dropped']:,} dropped for the slow",
            )
            for name, row in results["slow_beside_fast"].items()
        ]
        parts += [
            "### Ten subscribers that take 20 ms, beside a fast one\n",
            table(("", "events", "fast one got", "its lag p50, µs", "p99", "published/s", ""), rows) + "\n",
            "`publish` is slowed down by the ten, whose mailboxes are between 30 and 70 % full here (so none has "
            "anything to lose yet); the fast one gets each event at once all the same. `publish_nowait` doesn't wait: "
            "what the slow ones cannot take is dropped.\n",
        ]
    return "\n".join([*parts, READING])


READING = """### What the table does not say

- A bare call has no routing, no isolation of errors, no counting. psygnal's signals, reactivex's subjects and
  queues have no routing by type: they do less work. bubus does far more: validation, history, results, ordering
  among buses.
- psygnal is compiled (mypyc); all others, this bus too, are plain Python.
- blinker, psygnal (by default), pyee, pymitter and reactivex let a handler's error out to the publisher and stop
  there; aiopubsub and this bus go on with the next handler.
- What `publish` returns when there is nothing to wait for is a finished awaitable, not a coroutine object; that is
  where some 100 ns come from. It works with await, gather, wait_for, shield, create_task and TaskGroup (tested);
  `asyncio.wait` refuses it as it refuses coroutines.
- A plain handler that suddenly becomes slow in the middle of a flood is noticed after 128 events at most, an async
  one after 32; from then on the loop turns every 5 ms. One handler that blocks cannot be interrupted by anybody.
"""
