"""The structure of backend/: its figures, and with --write the picture of the wings in docs/architecture.md."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tests.support.house import (
    BACKEND,
    ROOT,
    Import,
    circles,
    files_of,
    functions_of,
    module_of,
    reachable,
    read_imports,
    unit_of,
)

PAGE = ROOT / "docs" / "architecture.md"
MARKS = re.compile(r"(<!-- wings: .*? -->\n).*?(<!-- /wings -->)", re.DOTALL)


def figures(backend: Path = BACKEND) -> list[tuple[str, str]]:
    """The figures by which a plan of the house can be judged, in words."""
    files = files_of(backend)
    imports = read_imports(backend)
    functions = functions_of(backend)
    longest = max(functions, key=lambda one: one.lines)
    knot = max(functions, key=lambda one: one.complexity)
    arrows = {(found.source, found.target) for found in imports if found.target and found.source != found.target}
    direct = sum(file.parent == backend and not file.stem.startswith("_") for file in files)
    lines = sum(len(file.read_text("utf-8").splitlines()) for file in files)
    return [
        ("modules", str(len(files))),
        ("lines", str(lines)),
        ("files directly in backend/", f"{direct} beside __init__ and __main__"),
        ("functions", str(len(functions))),
        ("longest function", f"{longest.lines} lines, {longest.place}"),
        ("functions over 50 lines", str(sum(one.lines > 50 for one in functions))),
        ("most complex function", f"{knot.complexity}, {knot.place}"),
        ("functions over complexity 12", str(sum(one.complexity > 12 for one in functions))),
        ("imports between modules", str(len(arrows))),
        ("imports between units", str(len(unit_edges(imports)))),
        ("circles", "; ".join(circles(imports)) or "none"),
    ]


def unit_edges(imports: tuple[Import, ...]) -> list[tuple[str, str]]:
    """Which unit imports which: a door and its wing are one unit."""
    edges = {(unit_of(found.source), unit_of(found.target)) for found in imports if found.source and found.target}
    return sorted((a, b) for a, b in edges if a != b)


def picture() -> str:
    """The units and their imports as a mermaid drawing. What follows from another arrow is not drawn."""
    edges = unit_edges(read_imports())
    below: dict[str, set[str]] = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)

    drawn = [(a, b) for a, b in edges if not any(b in reachable(below, other) for other in below[a] - {b})]
    names = sorted({name for edge in edges for name in edge} | {unit_of(module_of(f)) for f in files_of()} - {""})
    rooms = [f'  {name}["{name}"]' for name in names if name != "__main__"]
    arrows = [f"  {a} --> {b}" for a, b in drawn if a != "__main__"]
    return "\n".join(["```mermaid", "flowchart TD", *rooms, *arrows, "```", ""])


def write() -> None:
    """Put the picture between its marks in docs/architecture.md."""
    text = PAGE.read_text("utf-8")
    made, count = MARKS.subn(lambda match: match[1] + picture() + match[2], text)
    if count != 1:
        raise SystemExit("docs/architecture.md has no place for the picture")
    PAGE.write_text(made, "utf-8")


def main() -> None:
    """Print the figures, or write the picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.structure", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="another checkout (default: this one)")
    parser.add_argument("--write", action="store_true", help="write the picture, and print no figures")
    options = parser.parse_args()
    if options.write:
        write()
        return
    if not (options.folder / "backend").is_dir():
        parser.error(f"{options.folder} is no checkout: there is no backend/ in it")
    for name, value in figures(options.folder.resolve() / "backend"):
        print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
