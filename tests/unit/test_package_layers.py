"""The house stands as designed: no import runs upward, no foreign package where it does not belong."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKEND = ROOT / "backend"

# What a unit may import of the others. A unit is a module directly in backend/ or a whole folder; helper
# modules of the two that may be split are one unit with them. Units not named here assemble the others
# and are bound by the rule against circles alone.
ALLOWED: dict[str, set[str]] = {
    "events": set(),
    "settings": set(),
    "backpressure": set(),
    "event_bus": {"backpressure"},
    "recovery": {"settings"},
    "error_handling": {"recovery", "settings"},
    "metrics": {"events", "settings"},
    "monitoring": {"metrics", "events", "settings"},
    "api": {"monitoring", "metrics", "events", "settings", "origin"},
}
# A door and its wing are one unit.
ALIASES = {"bus": "event_bus", "pressure": "backpressure", "chats": "copilot", "aio": "copilot"}

AGENT_LIBRARIES = {"agents", "openai", "mcp", "httpx", "httpcore"}
AGENT_UNITS = {"copilot", "standalone"}
HOST_MODULES = {"server", "folder_paths", "nodes", "comfy", "execution", "app"}
HOST_UNITS = {"plugin"}
RUN_TIME = {"aiohttp", "psutil", "prometheus_client", "typing_extensions"}
# The ground floor knows neither an HTTP server nor a host.
WITHOUT_AIOHTTP = {
    "events",
    "settings",
    "backpressure",
    "event_bus",
    "error_handling",
    "recovery",
    "monitoring",
    "metrics",
}


@dataclass(frozen=True)
class Import:
    """One import that runs: type checkers' own imports are left out."""

    file: Path
    line: int
    unit: str
    target_unit: str  # "" for an import from outside of the plugin
    package: str  # the outside package, "" for our own

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.target_unit or self.package}"


def unit_of(parts: tuple[str, ...]) -> str:
    """The unit of a module given by its path below backend/: ("copilot", "chat") is in "copilot"."""
    name = parts[0] if parts else "backend"
    return ALIASES.get(name, name)


def running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of the tree, except what stands under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield other
                yield from running_nodes(other)
            continue
        yield node
        yield from running_nodes(node)


def imports_of(file: Path, source: str) -> Iterator[Import]:
    """The imports of one file of backend/ that run, those inside of functions too."""
    parts = file.relative_to(BACKEND).with_suffix("").parts
    package = parts[:-1]
    module = package if parts[-1] == "__init__" else parts
    unit = unit_of(module)
    for node in running_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, unit, "", alias.name.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield Import(file, node.lineno, unit, "", str(node.module).split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            names = tuple(str(node.module).split(".")) if node.module else ()
            if names or base:
                yield Import(file, node.lineno, unit, unit_of((*base, *names)), "")
            else:
                for alias in node.names:
                    yield Import(file, node.lineno, unit, unit_of((alias.name,)), "")


@cache
def all_imports() -> tuple[Import, ...]:
    """All imports that run, of all files of backend/."""
    return tuple(found for file in sorted(BACKEND.rglob("*.py")) for found in imports_of(file, file.read_text("utf-8")))


def test_core_imports_only_what_the_design_allows() -> None:
    """The four core modules, and what they stand on, reach for nothing but what the design names."""
    wrong = [
        str(found)
        for found in all_imports()
        if found.unit in ALLOWED and found.target_unit and found.target_unit not in ALLOWED[found.unit] | {found.unit}
    ]

    assert wrong == []


def test_units_form_no_circle() -> None:
    """Units import one another in one direction only, so that any of them can be understood from below."""
    edges: dict[str, set[str]] = {}
    for found in all_imports():
        if found.target_unit and found.target_unit != found.unit:
            edges.setdefault(found.unit, set()).add(found.target_unit)

    assert circle_in(edges) == []


def circle_in(edges: dict[str, set[str]]) -> list[str]:
    """One circle of the graph as the list of its units, or [] if there is none."""
    done: set[str] = set()

    def walk(unit: str, path: list[str]) -> list[str]:
        if unit in path:
            return [*path[path.index(unit) :], unit]
        if unit in done:
            return []
        for target in sorted(edges.get(unit, ())):
            if circle := walk(target, [*path, unit]):
                return circle
        done.add(unit)
        return []

    return next((circle for unit in sorted(edges) if (circle := walk(unit, []))), [])


def test_agent_libraries_stay_in_their_folders() -> None:
    """Only backend/copilot and backend/standalone know openai-agents and what comes with it."""
    wrong = [
        str(found) for found in all_imports() if found.package in AGENT_LIBRARIES and found.unit not in AGENT_UNITS
    ]

    assert wrong == []


def test_comfyui_is_known_at_the_door_only() -> None:
    """ComfyUI's modules are imported where the plugin is put together, so all else runs without ComfyUI."""
    wrong = [str(found) for found in all_imports() if found.package in HOST_MODULES and found.unit not in HOST_UNITS]

    assert wrong == []


def test_core_runs_without_an_http_server() -> None:
    """The ground floor does not import aiohttp."""
    wrong = [str(found) for found in all_imports() if found.package == "aiohttp" and found.unit in WITHOUT_AIOHTTP]

    assert wrong == []


def test_no_dependency_beyond_the_declared_ones() -> None:
    """A user who installs requirements.txt has all that is imported at run time."""
    known = sys.stdlib_module_names | RUN_TIME | AGENT_LIBRARIES | HOST_MODULES | {"__future__"}
    wrong = [str(found) for found in all_imports() if found.package and found.package not in known]

    assert wrong == []


def test_imports_of_our_own_are_relative() -> None:
    """ComfyUI loads us under a mangled name beside other plugins that have a `backend` too."""
    wrong = [str(found) for found in all_imports() if found.package in {"backend", "copilot_pulse"}]

    assert wrong == []


def test_root_module_only_opens_the_door() -> None:
    """ComfyUI's door is thin: beside Python's own library it knows ComfyUI's server and our backend."""
    wrong = []
    for node in running_nodes(ast.parse((ROOT / "__init__.py").read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            imported = {("." if node.level else "") + str(node.module).split(".")[0]}
        elif isinstance(node, ast.Import):
            imported = {alias.name.split(".")[0] for alias in node.names}
        else:
            continue
        if not imported <= sys.stdlib_module_names | {".backend", "server"}:
            wrong.append(ast.unparse(node))

    assert wrong == []


@pytest.mark.parametrize(
    "file", sorted({*BACKEND.rglob("*.py"), ROOT / "__init__.py"}), ids=lambda file: str(file.relative_to(ROOT))
)
def test_source_is_python_3_10(file: Path) -> None:
    """Every file that a user runs parses under the grammar of the oldest Python we support."""
    ast.parse(file.read_text("utf-8"), str(file), feature_version=(3, 10))


def test_reader_of_imports_sees_each_form() -> None:
    """The checks above would notice: each way to write an import is resolved to the right unit."""
    source = "\n".join(
        [
            "import agents.run",
            "from openai import types",
            "from . import seam",
            "from .. import pulse",
            "from ..recovery.retry import RetryPolicy",
            "if TYPE_CHECKING:",
            "    from ..plugin import Plugin",
            "def late():",
            "    from ..bus.mailbox import Mailbox",
        ]
    )
    found = list(imports_of(BACKEND / "copilot" / "chat.py", source))

    assert [(one.target_unit, one.package) for one in found] == [
        ("", "agents"),
        ("", "openai"),
        ("copilot", ""),
        ("pulse", ""),
        ("recovery", ""),
        ("event_bus", ""),
    ]
    assert {"copilot"} == {one.unit for one in found}
    assert circle_in({"a": {"b"}, "b": {"a", "c"}}) == ["a", "b", "a"]
