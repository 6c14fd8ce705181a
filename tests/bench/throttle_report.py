"""The results of bench_throttle.py as the throttle's section of docs/benchmarks.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

RIVALS: Final = ("late", "drain", "stand")
WORDS: Final = {
    "fixed": "fixed zones",
    "late": "one for one from 65 %",
    "drain": "from 65 %, drained to 30 % at one for 1.25, then free",
    "stand": "the model's holding with nothing learned",
    "learned": "**learned**",
}
Row = Mapping[str, Any]
Rows = Mapping[str, Mapping[str, Row]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures."""
    rule = [":--", *("--:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def per_event(row: Row) -> float:
    """What a publisher that waits waits for an event, in ms."""
    return float(1000 * row["delay"] / max(1, row["published"]))


def avoidable(row: Row, alone: Row) -> int:
    """Lost beyond what those who cannot wait lose among themselves."""
    return max(0, int(row["lost"]) - int(alone["lost"]))


class Summary:
    """One policy beside the fixed zones, over many shapes."""

    def __init__(self, rows: Rows, policy: str) -> None:
        self.rows = {name: (row[policy], row["fixed"], row["alone"]) for name, row in rows.items()}
        self.calm = [n for n, (_, fixed, _) in self.rows.items() if not fixed["over70"] and not fixed["lost"]]
        self.hot = [name for name in self.rows if name not in self.calm]
        self.lost = sum(row["lost"] for row, _, _ in self.rows.values())
        self.avoidable = sum(avoidable(row, alone) for row, _, alone in self.rows.values())
        fixed_avoidable = sum(avoidable(fixed, alone) for _, fixed, alone in self.rows.values())
        self.avoidable_ratio = self.avoidable / max(1, fixed_avoidable)
        self.over70, self.over90 = self._ratio("over70"), self._ratio("over90")
        self.worst70 = self._worst(list(self.rows), lambda row: 100 * float(row["over70"]))
        self.hot_delay = self._delay(self.hot)
        self.hot_seconds = self._seconds(self.hot)
        self.calm_seconds = self._seconds(self.calm)
        self.calm_worst = self._most_added(self.calm)
        self.hot_worst = self._most_added(self.hot)
        self.throughput = min(
            (r["delivered"] / f["delivered"], n) for n, (r, f, _) in self.rows.items() if f["delivered"]
        )
        self.lasting = [name for name in self.hot if self.rows[name][1]["over70"] >= 0.5]
        self.median = self._geometric("sojourn50", self.hot)
        self.lasting_median = self._geometric("sojourn50", self.lasting)
        self.p99 = self._geometric("sojourn99", list(self.rows))
        self.p99_worst = max((_quotient(r, f, "sojourn99"), n) for n, (r, f, _) in self.rows.items())

    def _ratio(self, what: str) -> float:
        total = sum(fixed[what] for _, fixed, _ in self.rows.values())
        return float(sum(row[what] for row, _, _ in self.rows.values()) / total) if total else 0.0

    def _delay(self, names: Sequence[str]) -> float:
        total = sum(per_event(self.rows[name][1]) for name in names)
        return sum(per_event(self.rows[name][0]) for name in names) / total if total else 0.0

    def _seconds(self, names: Sequence[str]) -> float:
        total = sum(self.rows[name][1]["delay"] for name in names)
        return float(sum(self.rows[name][0]["delay"] for name in names) / total) if total else 0.0

    def _worst(self, names: Sequence[str], of: Callable[[Row], float]) -> tuple[float, str]:
        return max(((of(self.rows[name][0]) - of(self.rows[name][1]), name) for name in names), default=(0.0, "-"))

    def _most_added(self, names: Sequence[str]) -> tuple[float, str]:
        """Where publishers wait longest beyond the fixed zones, in ms for each event that they publish."""
        added = [
            (1000 * (row["delay"] - fixed["delay"]) / max(1, row["published"]), name)
            for name, (row, fixed, _) in self.rows.items()
            if name in names
        ]
        return max(added, default=(0.0, "-"))

    def _geometric(self, what: str, names: Sequence[str]) -> float:
        return statistics.geometric_mean([_quotient(*self.rows[name][:2], what) for name in names] or [1.0])


def _quotient(row: Row, fixed: Row, what: str) -> float:
    return float(max(row[what], 1e-4) / max(fixed[what], 1e-4))


def goals(rows: Rows, named: Rows) -> list[tuple[str, float, float, str]]:
    """What was asked for: in words, the limit (below 0: at least that, else at most), what was measured, its format."""
    learned, drain = Summary(rows, "learned"), Summary(rows, "drain")
    greedy = [row for name, row in named.items() if name.startswith("greedy beside")]
    greedy_ratio = sum(row["learned"]["lost"] for row in greedy) / max(1, sum(row["fixed"]["lost"] for row in greedy))
    return [
        ("avoidable losses, × fixed", 0.15, learned.avoidable_ratio, ".3f"),
        ("avoidable losses, × drained without a model", 0.35, learned.avoidable / max(1, drain.avoidable), ".3f"),
        ("time above 70 %, × fixed", 0.25, learned.over70, ".3f"),
        ("time above 90 %, × fixed", 0.20, learned.over90, ".3f"),
        ("... and the worst shape, points above 70 %", 6, learned.worst70[0], "+.1f"),
        ("calm shapes: seconds that publishers wait, × fixed", 0.95, learned.calm_seconds, ".3f"),
        ("... and the worst shape, more ms an event", 1, learned.calm_worst[0], "+.2f"),
        ("hot shapes: the same", 1.20, learned.hot_seconds, ".3f"),
        ("... and the worst shape, more ms an event", 100, learned.hot_worst[0], "+.0f"),
        ("throughput of the worst shape, × fixed", -0.98, learned.throughput[0], ".3f"),
        ("lasting overload: median sojourn, × fixed", 0.80, learned.lasting_median, ".3f"),
        ("p99 sojourn, geometric mean", 1.05, learned.p99, ".3f"),
        ("greedy publisher beside bursts, lost, × fixed", 0.10, greedy_ratio, ".3f"),
    ]


def _met(limit: float, measured: float) -> bool:
    return measured >= -limit if limit < 0 else measured <= limit


def _sets(results: Mapping[str, Any]) -> dict[str, Rows]:
    """The random shapes by what they are to the model."""
    unseen = {"unseen": results["unseen"]["random"]} if results["unseen"] else {}
    return {"looked at": results["random"], "small queues": results["small"], **unseen}


def missed(results: Mapping[str, Any]) -> list[str]:
    """The targets that are not met, of the random shapes that were looked at and of those that were not."""
    return [
        f"{which}, {words}: {measured:{form}}"
        for which, rows in _sets(results).items()
        for words, limit, measured, form in goals(rows, results["named"])
        if not _met(limit, measured)
    ]


def targets(results: Mapping[str, Any]) -> str:
    """What was asked for, and what was measured: on random shapes that were looked at, and on those that were not."""
    sets = _sets(results)
    columns = [goals(rows, results["named"]) for rows in sets.values()]
    rows = []
    for same in zip(*columns, strict=True):
        words, limit, _, form = same[0]
        asked = f"≥ {-limit:g}" if limit < 0 else f"≤ {limit:g}"
        cells = [measured for _, _, measured, _ in same]
        marks = ("" if _met(limit, value) else " **✗**" for value in cells)
        rows.append((words, asked, *(f"{value:{form}}{mark}" for value, mark in zip(cells, marks, strict=True))))
    return table(("random shapes", "asked", *sets), rows)


def overview(rows: Rows) -> str:
    """All policies over the random shapes."""
    lines = []
    for policy, words in WORDS.items():
        s = Summary(rows, policy)
        lines.append((
            words, f"{s.avoidable:,}", f"{s.avoidable_ratio:.3f}", f"{s.over70:.2f}", f"{s.over90:.2f}",
            f"{s.calm_seconds:.2f}", f"{s.hot_seconds:.2f}", f"{s.hot_delay:.2f}", f"{s.median:.2f}",
            f"{s.lasting_median:.2f}", f"{s.p99:.2f}", f"{s.throughput[0]:.3f}",
        ))  # fmt: skip
    head = (
        "", "lost, avoidable", "×", "> 70 %, ×", "> 90 %, ×", "waits, calm, ×", "waits, hot, ×", "an event, hot, ×",
        "median sojourn, hot, ×", "lasting overload, ×", "p99 sojourn, ×", "least throughput, ×",
    )  # fmt: skip
    return table(head, lines)


def worst(rows: Rows) -> str:
    """Where each policy is worst beside the fixed zones."""
    lines = []
    for policy in (*RIVALS, "learned"):
        s = Summary(rows, policy)
        lines.append((
            WORDS[policy], f"{s.worst70[0]:+.1f} ({s.worst70[1]})", f"{s.calm_worst[0]:+.2f} ({s.calm_worst[1]})",
            f"{s.hot_worst[0]:+.0f} ({s.hot_worst[1]})", f"{s.p99_worst[0]:.2f} ({s.p99_worst[1]})",
        ))  # fmt: skip
    head = ("", "points above 70 %", "waits, calm, more ms an event", "waits, hot, more ms an event", "p99 sojourn, ×")
    return table(head, lines)


def shapes(rows: Rows) -> str:
    """Each shape with a name: fixed → learned, and the best rule without a model."""

    def three(row: Mapping[str, Row], of: Callable[[Row], str]) -> str:
        return f"{of(row['fixed'])} → {of(row['learned'])} ({of(row['drain'])})"

    lines = [
        (
            name,
            three(row, lambda r: f"{r['lost']:,}"),
            three(row, lambda r: f"{100 * r['over70']:.0f}"),
            three(row, lambda r: f"{100 * r['over90']:.0f}"),
            three(row, lambda r: f"{per_event(r):.1f}"),
            three(row, lambda r: f"{1000 * r['sojourn50']:,.0f}"),
            three(row, lambda r: f"{1000 * r['sojourn99']:,.0f}"),
        )
        for name, row in rows.items()
    ]
    head = ("shape", "lost", "% of time > 70 %", "> 90 %", "waits, ms an event", "sojourn p50, ms", "p99, ms")
    return table(head, lines)


def comparison(results: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the model has beaten every rule without one: less lost, no more time above 70 %."""
    rows = {**results["named"], **results["exam"], **results["random"], **results["small"]}
    learned = Summary(rows, "learned")
    reasons = []
    for policy in RIVALS:
        rival = Summary(rows, policy)
        if learned.avoidable >= rival.avoidable or learned.over70 > rival.over70 + 0.01:
            reasons.append(
                f"{WORDS[policy]}: lost {rival.avoidable:,} beside {learned.avoidable:,}, "
                f"above 70 % {rival.over70:.3f} beside {learned.over70:.3f}"
            )
    return not reasons, "no: not better than " + "; ".join(reasons) if reasons else "the model has beaten every rival"


def report(results: Mapping[str, Any]) -> str:
    """The whole section."""
    about, random, unseen = results["about"], results["random"], results["unseen"]
    learned, exam = Summary(random, "learned"), Summary(results["exam"], "learned")
    once = []
    if unseen:
        once = [
            f"### Unseen: seeds {unseen['seeds'][0]} to {unseen['seeds'][1]}, played once, {unseen['date']}\n",
            "`--unseen` plays random shapes that nobody has looked at, and keeps the outcome; the model was finished "
            "before.\n",
            overview(unseen["random"]) + "\n",
            worst(unseen["random"]) + "\n",
        ]
    return "\n".join([
        "## Throttle that looks ahead\n",
        f"`python -m tests.bench.bench_throttle`, {about['date']}, {about['python']}: {len(results['named'])} shapes "
        f"of traffic that have a name, {len(results['exam'])} of an examiner, and {len(random)} random ones (seeds "
        f"{about['seeds'][0]} to {about['seeds'][1]}, looked at while the model was made), and {len(results['small'])} "
        "more with queues of 8 to 200, "
        "each through a real `EventBus` and one mailbox on a virtual clock. Ratios are to the fixed zones. *Avoidable* "
        "are the losses beyond those of the same shape with nobody but publishers that cannot wait. A shape is *calm* "
        "if the fixed zones never let it above 70 % and lose nothing, else *hot*; *lasting overload* is a hot one that "
        "they leave above 70 % for half of the time or longer. A publisher *waits* in `await publish`: what counts are "
        "all seconds of all publishers together. *An event* is the mean of one instead, summed over the shapes: there "
        "a throttle that loses events seems to wait less, for its publishers publish more of them in the same time "
        "(60 that wait from beginning to end wait 1,800 s in half a minute, whatever becomes of their events).\n",
        "### Targets\n",
        targets(results) + "\n",
        *once,
        f"### Random shapes that were looked at, {len(learned.calm)} calm and {len(learned.hot)} hot\n",
        overview(random) + "\n",
        "Where each is worst beside the fixed zones:\n",
        worst(random) + "\n",
        "### Small queues\n",
        overview(results["small"]) + "\n",
        worst(results["small"]) + "\n",
        "### Shapes of an examiner: fixed → learned (drained to 30 % without a model)\n",
        shapes(results["exam"]) + "\n",
        f"Worst: waits {exam.hot_worst[0]:+.1f} ms an event ({exam.hot_worst[1]}), calm {exam.calm_worst[0]:+.2f} "
        f"({exam.calm_worst[1]}); throughput {exam.throughput[0]:.3f} × ({exam.throughput[1]}); "
        f"{exam.worst70[0]:+.1f} points above 70 % ({exam.worst70[1]}); p99 sojourn {exam.p99_worst[0]:.2f} × "
        f"({exam.p99_worst[1]}).\n",
        "### Shapes with a name: the same\n",
        shapes(results["named"]) + "\n",
        f"The comparison: {comparison(results)[1]}. Targets missed: {'; '.join(missed(results)) or 'none'}.\n",
    ])  # fmt: skip
