"""Reads the structure of backend/ from its source: modules, imports, circles, sizes.

Imports under `TYPE_CHECKING` and inside of functions count like all others: who reads the file has to know the other.
Read by the test of the contract (tests/unit/test_package_layers.py) and by `python -m tests.structure`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BACKEND = ROOT / "backend"

# A door is a file that others import; its wing is the folder with the parts behind it.
DOORS = {
    "event_bus": "bus",
    "backpressure": "pressure",
    "error_handling": "recovery",
    "monitoring": "metrics",
    "store": "journal",
    "fleet": "fleet_redis",
}
WINGS = {wing: door for door, wing in DOORS.items()}

Module = tuple[str, ...]  # ("copilot", "model", "call"); a package is named by its folder


@dataclass(frozen=True)
class Import:
    """One import statement: of another module of backend/, or of an outside package."""

    source: Module
    line: int
    target: Module  # () for an import from outside
    package: str = ""  # the outside package, "" for our own

    def __str__(self) -> str:
        return f"{'/'.join(self.source)}:{self.line} imports {'/'.join(self.target) or self.package}"


def unit_of(module: Module) -> str:
    """The part of the house that a module belongs to: a door and its wing are one."""
    return WINGS.get(module[0], module[0]) if module else ""


def module_of(file: Path, backend: Path = BACKEND) -> Module:
    """The module's name, as parts below backend/; `__init__.py` stands for its folder."""
    parts = file.relative_to(backend).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def files_of(backend: Path = BACKEND) -> list[Path]:
    """Every Python file below backend/."""
    return sorted(backend.rglob("*.py"))


def imports_of(file: Path, source: str, modules: frozenset[Module], backend: Path = BACKEND) -> Iterator[Import]:
    """All imports of one file. `from . import name` is resolved to the module `name` where there is one."""
    module = module_of(file, backend)
    package = file.relative_to(backend).parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, (), alias.name.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield Import(module, node.lineno, (), str(node.module).split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            target = (*base, *(node.module.split(".") if node.module else ()))
            for found in sorted({(*target, alias.name) for alias in node.names}):
                yield Import(module, node.lineno, found if found in modules else target)


def read_imports(backend: Path = BACKEND) -> tuple[Import, ...]:
    """All imports of all files of backend/."""
    files = files_of(backend)
    modules = frozenset(module_of(file, backend) for file in files)
    return tuple(found for file in files for found in imports_of(file, file.read_text("utf-8"), modules, backend))


def level_edges(imports: Iterable[Import]) -> dict[Module, dict[str, set[str]]]:
    """For each folder, who among its children (files and folders) imports whom.

    A circle of files shows up in the folder that holds them all; so does a circle of folders.
    """
    levels: dict[Module, dict[str, set[str]]] = {}
    for found in imports:
        if not found.target or found.target == found.source:
            continue
        depth = 0
        while depth < min(len(found.source), len(found.target)) and found.source[depth] == found.target[depth]:
            depth += 1
        if depth < min(len(found.source), len(found.target)):
            edges = levels.setdefault(found.source[:depth], {})
            edges.setdefault(found.source[depth], set()).add(found.target[depth])
    return levels


def reachable(edges: Mapping[str, set[str]], start: str) -> set[str]:
    """Every node that an arrow leads to from `start`, by any number of steps."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def circles_in(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that import one another, each sorted; [] if nothing is in a circle."""
    reach = {node: reachable(edges, node) for node in edges}
    groups = {
        tuple(sorted({node} | {other for other in reach[node] if node in reach.get(other, ())}))
        for node in edges
        if node in reach[node]
    }
    return [list(group) for group in sorted(groups)]


def circles(imports: Iterable[Import]) -> list[str]:
    """All circles of files and of folders, in words."""
    return [
        f"{'/'.join(('backend', *level))}: {', '.join(circle)}"
        for level, edges in sorted(level_edges(imports).items())
        for circle in circles_in(edges)
    ]


# What ruff's C901 counts.
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


@dataclass(frozen=True)
class Function:
    """One function: where it stands, its lines, its branches (McCabe's number)."""

    place: str
    lines: int
    complexity: int


def functions_of(backend: Path = BACKEND) -> list[Function]:
    """Every function and method of backend/."""
    found = []
    for file in files_of(backend):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                place = f"{file.relative_to(backend.parent)}:{node.lineno} {node.name}"
                found.append(Function(place, (node.end_lineno or node.lineno) - node.lineno + 1, _complexity(node)))
    return found


def _complexity(function: ast.AST) -> int:
    inner = (ast.FunctionDef, ast.AsyncFunctionDef)
    return 1 + sum(isinstance(node, (*_BRANCHES, *inner)) for node in ast.walk(function) if node is not function)
