"""The house stands as planned: who may import whom, doors before wings, no circle, no foreign package out of place.

What is imported for a type checker only counts like everything else.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.structure import picture
from tests.support.house import (
    BACKEND,
    DOORS,
    ROOT,
    WINGS,
    Import,
    circles,
    circles_in,
    files_of,
    functions_of,
    imports_of,
    module_of,
    reachable,
    read_imports,
    unit_of,
)

# What a unit may import of the others. A unit is a file directly in backend/ or a whole folder; a door and its
# wing are one. A unit that is not in this table fails.
CONTRACT: dict[str, set[str]] = {
    "aio": set(),
    "settings": set(),
    "events": set(),
    "backpressure": set(),
    "hosts": set(),
    "error_handling": {"hosts"},
    "origin": {"hosts"},
    "chats": {"aio"},
    "event_bus": {"backpressure"},
    "monitoring": {"events", "hosts", "aio"},
    "store": {"events", "event_bus", "aio"},
    "fleet": {"events", "event_bus", "settings", "hosts", "aio"},
    "streams": {"chats", "origin", "aio"},
    "api": {"monitoring", "settings", "origin", "store", "fleet"},
    "pulse": {
        "aio",
        "settings", "events", "event_bus", "error_handling", "monitoring", "chats", "streams", "store", "fleet",
    },
    "copilot": {
        "pulse", "chats", "streams", "event_bus", "backpressure", "error_handling", "monitoring", "events", "aio",
    },
    "standalone": {
        "copilot", "api", "streams", "pulse", "chats", "monitoring", "settings", "origin", "hosts", "store",
        "aio",
    },
    "plugin": {"copilot", "api", "streams", "pulse", "monitoring", "settings", "aio"},
    "__main__": {"standalone"},
}  # fmt: skip

AGENT_LIBRARIES = {"agents", "openai", "mcp", "httpx", "httpcore", "httpx_aiohttp"}
AGENT_UNITS = {"copilot", "standalone"}
HOST_MODULES = {"server", "folder_paths", "nodes", "comfy", "execution", "app"}
HOST_UNITS = {"plugin"}
RUN_TIME = {"aiohttp", "yarl", "psutil", "prometheus_client", "typing_extensions"}  # yarl: aiohttp's own
# An optional extra is known to one room, which imports it when it is switched on.
# redis brings async_timeout where asyncio has no timeout() yet.
EXTRAS = dict.fromkeys(("redis", "async_timeout"), ("fleet_redis", "redis_link"))
AIOHTTP_UNITS = {"origin", "streams", "api", "copilot", "standalone", "plugin"}
WITHOUT_AIOHTTP = {("streams", "relay"), ("streams", "registry"), ("streams", "wire")}
ALONE_WITH_AIOHTTP = {("metrics", "webhook")}  # in a unit that is without
# Tests of a whole wing: of its page in docs/, or of what its rooms do together.
WHOLE_WING = {
    "api": {"docs"},
    "bus": {"docs"},
    "pressure": {"stateful"},
    "recovery": {"attacks", "real_errors", "wire"},
}
MOST_NAMES = 12
MOST_FILES = 14
MOST_LINES = 60


@cache
def imports() -> tuple[Import, ...]:
    """All imports of all files of backend/."""
    return read_imports()


def test_every_import_is_in_the_contract() -> None:
    """A unit imports what the plan lets it know, and no unit stands outside of the plan."""
    wrong = [
        str(found)
        for found in imports()
        if found.source
        and found.target
        and unit_of(found.target) != unit_of(found.source)
        and unit_of(found.target) not in CONTRACT.get(unit_of(found.source), set())
    ]

    assert wrong == []
    assert {unit_of(module_of(file)) for file in files_of()} - {""} <= set(CONTRACT)


def test_the_contract_allows_nothing_that_nobody_needs() -> None:
    """What is in the table is how it is: a permission that is left over would let the next one in unseen."""
    needed = {(unit_of(found.source), unit_of(found.target)) for found in imports() if found.source and found.target}

    assert [] == [
        (unit, other) for unit, allowed in CONTRACT.items() for other in sorted(allowed) if (unit, other) not in needed
    ]


def test_wings_are_entered_by_their_doors() -> None:
    """From outside only the door is imported; a wing imports its siblings, never its own door."""
    wrong = [
        str(found)
        for found in imports()
        if (
            (found.target[:1] and found.target[0] in WINGS and unit_of(found.source) != WINGS[found.target[0]])
            or (found.source[:1] and found.source[0] in WINGS and found.target == (WINGS[found.source[0]],))
        )
    ]

    assert wrong == []


def test_no_circle_of_files_or_of_folders() -> None:
    """Each part can be understood from below: nothing imports what imports it, at any level."""
    assert circles(imports()) == []


def test_the_plan_itself_has_no_circle() -> None:
    """What the contract allows cannot become a circle of units."""
    assert circles_in(CONTRACT) == []


@pytest.mark.parametrize("door", sorted(DOORS))
def test_doors_are_small(door: str) -> None:
    """A door says which names it offers: at most twelve, so that a reader knows the whole of it."""
    file = BACKEND / f"{door}.py"
    names: list[str] = next(
        (
            ast.literal_eval(node.value)
            for node in ast.parse(file.read_text("utf-8")).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ),
        [],
    )

    assert 0 < len(names) <= MOST_NAMES


def test_the_picture_is_of_today() -> None:
    """docs/architecture.md shows the imports as they are: `python -m tests.structure --write` draws them."""
    assert picture() in (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_few_files_lie_directly_in_backend() -> None:
    """`ls backend/` is a table of contents."""
    assert len([file for file in files_of() if file.parent == BACKEND]) <= MOST_FILES + len({"__init__", "__main__"})


def test_tests_mirror_the_rooms() -> None:
    """Who opens a room finds its tests under its name; a room with many has several files that begin with it."""
    tests = ROOT / "tests" / "unit"
    wrong = []
    for file in sorted(tests.glob("*/**/test_*.py")):
        folder = file.parent.relative_to(tests)
        if folder.parts[0] == "support":
            continue
        rooms = {room.stem for room in (BACKEND / folder).iterdir()} | WHOLE_WING.get(str(folder), set())
        if not any(f"{file.stem}_".startswith(f"test_{room}_") for room in rooms):
            wrong.append(str(file.relative_to(ROOT)))

    assert wrong == []


def test_functions_fit_on_a_screen() -> None:
    """A longer one does two things. How tangled one may be, ruff says (C901)."""
    assert [] == [one for one in functions_of(BACKEND) if one.lines > MOST_LINES]


def test_agent_libraries_stay_in_their_folders() -> None:
    """Only backend/copilot and backend/standalone know openai-agents and what comes with it."""
    wrong = [
        str(found)
        for found in imports()
        if found.package in AGENT_LIBRARIES and unit_of(found.source) not in AGENT_UNITS
    ]

    assert wrong == []


def test_comfyui_is_known_at_the_door_only() -> None:
    """ComfyUI's modules are imported where the plugin is put together, so all else runs without ComfyUI."""
    wrong = [
        str(found) for found in imports() if found.package in HOST_MODULES and unit_of(found.source) not in HOST_UNITS
    ]

    assert wrong == []


def test_core_runs_without_an_http_server() -> None:
    """What holds events, errors, figures and answers does not know aiohttp."""
    wrong = [
        str(found)
        for found in imports()
        if found.package == "aiohttp"
        and (unit_of(found.source) not in AIOHTTP_UNITS or found.source in WITHOUT_AIOHTTP)
        and found.source not in ALONE_WITH_AIOHTTP
    ]

    assert wrong == []


def test_no_dependency_beyond_the_declared_ones() -> None:
    """A user who installs requirements.txt has all that is imported at run time."""
    known = sys.stdlib_module_names | RUN_TIME | AGENT_LIBRARIES | HOST_MODULES | {"__future__"}
    wrong = [
        str(found)
        for found in imports()
        if found.package and found.package not in known and EXTRAS.get(found.package) != found.source
    ]

    assert wrong == []


def test_what_a_host_is_is_decided_in_one_place() -> None:
    """Prices, advice, Redis and who may ask have one idea of which hosts are ours; no other file parses addresses."""
    assert {found.source for found in imports() if found.package == "ipaddress"} == {("hosts",)}


def test_imports_of_our_own_are_relative() -> None:
    """ComfyUI loads us under a mangled name beside other plugins that have a `backend` too."""
    wrong = [str(found) for found in imports() if found.package in {"backend", "copilot_pulse"}]

    assert wrong == []


def test_root_module_only_opens_the_door() -> None:
    """ComfyUI's door is thin: beside Python's own library it knows ComfyUI's server and our backend."""
    wrong = []
    for node in ast.walk(ast.parse((ROOT / "__init__.py").read_text("utf-8"))):
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
    "file", sorted({*files_of(), ROOT / "__init__.py"}), ids=lambda file: str(file.relative_to(ROOT))
)
def test_source_is_python_3_10(file: Path) -> None:
    """Every file that a user runs parses under the grammar of the oldest Python we support."""
    ast.parse(file.read_text("utf-8"), str(file), feature_version=(3, 10))


def test_reader_of_imports_sees_each_form() -> None:
    """The checks above would notice: each way to write an import is resolved to the right module."""
    source = "\n".join(
        [
            "import agents.run",
            "from openai import types",
            "from . import seam",
            "from .. import pulse",
            "from ..error_handling import classify",
            "if TYPE_CHECKING:",
            "    from ..plugin import Plugin",
            "def late():",
            "    from .model.call import ModelCall",
        ]
    )
    modules = frozenset(
        {("copilot", "seam"), ("pulse",), ("error_handling",), ("plugin",), ("copilot", "model", "call")}
    )
    found = list(imports_of(BACKEND / "copilot" / "chat.py", source, modules))

    assert [("agents", ()), ("openai", ())] == [(one.package, one.target) for one in found if one.package]
    assert {("copilot", "seam"), ("pulse",), ("error_handling",), ("plugin",), ("copilot", "model", "call")} == {
        one.target for one in found if one.target
    }
    assert {("copilot", "chat")} == {one.source for one in found}


def test_circles_are_found_at_each_level() -> None:
    """Two files of a folder, or two folders by way of other files, are a circle; a parent and its child are not."""

    def arrow(source: str, target: str) -> Import:
        return Import(tuple(source.split("/")), 1, tuple(target.split("/")))

    assert [] == circles([arrow("a/x", "b/y"), arrow("b/z", "c"), arrow("a", "a/x")])
    assert ["backend: a, b"] == circles([arrow("a/x", "b/y"), arrow("b/z", "a/w")])
    assert ["backend/a: x, y"] == circles([arrow("a/x", "a/y"), arrow("a/y", "a/x")])
    assert {"b", "c"} == reachable({"a": {"b"}, "b": {"c"}}, "a")
