"""Draws docs/back-pressure.svg: the same traffic before the fixed zones and before the model, from real runs.

`python -m tests.bench.throttle_picture` writes it: a greedy publisher beside bursts that cannot wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.bench.throttle_play import Outcome, trace
from tests.bench.throttle_shapes import named

PICTURE: Final = Path(__file__).resolve().parents[2] / "docs" / "back-pressure.svg"
SECONDS: Final = 40.0
WIDTH, HEIGHT, LEFT, GAP = 860, 170, 46, 40


def line(values: Sequence[float], top: float, colour: str, width: float, dashes: str = "") -> str:
    """Shares of the capacity over the time."""
    step = (WIDTH - LEFT - 10) / (len(values) - 1)
    points = " ".join(f"{LEFT + number * step:.1f},{top + HEIGHT * (1 - v):.1f}" for number, v in enumerate(values))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" {dashes}/>'


def part(top: float, title: str, outcome: Outcome, levels: Sequence[float], thresholds: Sequence[float]) -> list[str]:
    """One run: its level, the borders of the zones, and the threshold if there is one."""
    words = f"{title}: {outcome.lost:,} lost, {100 * outcome.over70:.0f} % of the time above 70 %"
    rows = [f'<text x="{LEFT}" y="{top - 8}" fill="#222222" font-weight="bold">{words}</text>']
    for share in (0.0, 0.3, 0.7, 0.9, 1.0):
        y = top + HEIGHT * (1 - share)
        rows.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        rows.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">{100 * share:.0f} %</text>')
    rows.append(line(levels, top, "#c2602a", 1.2))
    if any(thresholds):
        rows.append(line(thresholds, top, "#2a6fc2", 1.6, 'stroke-dasharray="5 3"'))
    return rows


def draw() -> str:
    """The picture as SVG."""
    shape = next(shape for shape in named() if shape.name == "greedy beside bursts of 450")
    shape = replace(shape, seconds=SECONDS)
    total = 2 * (HEIGHT + GAP) + 20
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}"',
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for number, (mode, title) in enumerate((("fixed", "fixed zones"), ("learned", "learned; its threshold dashed"))):
        rows += part(GAP - 10 + number * (HEIGHT + GAP), title, *trace(shape, mode))
    words = f"fill of a mailbox over {SECONDS:.0f} seconds"
    rows.append(f'<text x="{WIDTH - 10}" y="{total - 8}" text-anchor="end" fill="#555555">{words}</text>')
    return "\n".join([*rows, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8")
