"""What is shipped agrees with itself: versions, requirements, the event table, nothing left lying about."""

from __future__ import annotations

import ast
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.events import EVENTS

ROOT = Path(__file__).resolve().parents[2]
BACKEND = ROOT / "backend"

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:
    from typing_extensions import NotRequired

PUBLISHERS = {"publish", "publish_nowait", "publish_threadsafe", "_publish", "emit", "_emit", "Event"}
VERSION_IN_CODE = r'^(?:export const )?(?:__version__|VERSION)(?::[^=]+)? = "([^"]+)"'
EVENT_NAME = re.compile(r"^(error|[a-z_]+\.[a-z_]+)$")

# Spelled in two halves, so that this file does not find itself.
LEFTOVERS = re.compile(
    "|".join(
        [
            r"\bTO" + r"DO\b",
            r"\bFIX" + r"ME\b",
            "XX" + "X",
            "raise NotImpl" + "ementedError",
            r"console\." + "log",
            r"\bbreak" + r"point\(",
            "debug" + "ger;",
        ]
    )
)
MACHINE_PATHS = re.compile("|".join(["/ro" + "ot/", "/wo" + "rk/"]))
SHIPPED_SUFFIXES = {".py", ".js", ".css", ".json", ".md", ".toml", ".txt", ".sh", ".html", ".yml", ""}
NOT_OURS = {
    ".git",
    ".venv",
    "node_modules",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".benchmarks",
    "build",
}


def pyproject() -> str:
    """The text of pyproject.toml; Python 3.10 has no reader for TOML."""
    return (ROOT / "pyproject.toml").read_text("utf-8")


def project_version() -> str:
    """The version in pyproject.toml."""
    found = re.search(r'^version = "([^"]+)"', pyproject(), re.MULTILINE)
    assert found, "pyproject.toml has no version"
    return found[1]


def our_files(*suffixes: str) -> Iterator[Path]:
    """The text files of the work tree that are ours, of the given suffixes or of all."""
    for path in sorted(ROOT.rglob("*")):
        if NOT_OURS & set(path.relative_to(ROOT).parts) or not path.is_file():
            continue
        if path.suffix in (suffixes or SHIPPED_SUFFIXES):
            yield path


def requirements(text: str) -> list[str]:
    """The requirements of a requirements.txt, without comments."""
    lines = (line.strip() for line in text.splitlines())
    return sorted(line for line in lines if line and not line.startswith(("#", "-")))


def test_version_equals_newest_changelog_heading() -> None:
    """A release cannot be made without saying what changed."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)

    assert project_version() == versions[0]


def test_version_in_code_equals_pyproject() -> None:
    """What metrics, health and the panel show is the version that was installed."""
    stated = {
        f"{file.relative_to(ROOT)}": found[1]
        for file in our_files(".py", ".js")
        if {"backend", "web"} & {file.relative_to(ROOT).parts[0]}
        if (found := re.search(VERSION_IN_CODE, file.read_text("utf-8"), re.MULTILINE))
    }

    assert {name: project_version() for name in stated} == stated


def test_requirements_are_the_projects_dependencies() -> None:
    """ComfyUI Manager installs by git from requirements.txt, the registry from pyproject: they agree."""
    declared = re.search(r"^dependencies = \[(.*?)\]", pyproject(), re.MULTILINE | re.DOTALL)
    assert declared

    assert sorted(re.findall(r'"([^"]+)"', declared[1])) == requirements((ROOT / "requirements.txt").read_text("utf-8"))


def test_no_requirement_can_pull_a_pinned_package_down() -> None:
    """A user's install must never change what ComfyUI pinned: lower bounds only."""
    wrong = [
        line
        for line in requirements((ROOT / "requirements.txt").read_text("utf-8"))
        if not re.fullmatch(r"[a-z-]+>=[0-9.]+", line)
    ]

    assert wrong == []


def test_registry_rules_for_the_project_name() -> None:
    """The registry takes the name: no "ComfyUI" in it, letters, digits and single dashes only."""
    found = re.search(r'^name = "([^"]+)"', pyproject(), re.MULTILINE)
    assert found

    assert re.fullmatch(r"[a-z]([a-z0-9]|-(?!-))*[a-z0-9]", found[1])
    assert "comfyui" not in found[1]


def test_registry_versions_have_three_parts() -> None:
    """The registry drops a required ComfyUI version of two parts with nothing but a warning."""
    found = re.search(r'^requires-comfyui = "([^"]+)"', pyproject(), re.MULTILINE)
    assert found

    assert re.fullmatch(r">=\d+\.\d+\.\d+", found[1])


def test_web_folder_is_named_in_one_place() -> None:
    """A `web` in pyproject beside WEB_DIRECTORY makes ComfyUI serve, and run, every script twice."""
    assert not re.search(r"^web\s*=", pyproject(), re.MULTILINE)


def published(file: Path) -> Iterator[tuple[int, str, ast.expr | None]]:
    """Every (line, event type, data) that a file of ours publishes with the type written out."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in PUBLISHERS:
            continue
        by_name = {keyword.arg: keyword.value for keyword in node.keywords}
        type_ = by_name.get("type") or by_name.get("type_") or (node.args[0] if node.args else None)
        data = by_name.get("data") or (node.args[1] if len(node.args) > 1 else None)
        if isinstance(type_, ast.Constant) and isinstance(type_.value, str) and EVENT_NAME.match(type_.value):
            yield node.lineno, type_.value, data


def all_published() -> list[tuple[str, str, ast.expr | None]]:
    """What is published in all of backend/, each with file and line."""
    return [
        (f"{file.relative_to(ROOT)}:{line}", type_, data)
        for file in sorted(BACKEND.rglob("*.py"))
        for line, type_, data in published(file)
    ]


def test_every_published_event_is_in_the_table() -> None:
    """A plugin author who reads the event table knows every event that there is."""
    assert [f"{where}: {type_}" for where, type_, _ in all_published() if type_ not in EVENTS] == []


def test_published_data_has_the_keys_of_the_table() -> None:
    """Data written out where it is published holds the keys that the table promises, and no others."""
    wrong = []
    for where, type_, data in all_published():
        if (
            type_ not in EVENTS
            or not isinstance(data, ast.Dict)
            or not all(isinstance(key, ast.Constant) for key in data.keys)
        ):
            continue
        keys = {str(key.value) for key in data.keys if isinstance(key, ast.Constant)}
        hints = typing.get_type_hints(EVENTS[type_].data, include_extras=True)
        required = {key for key, hint in hints.items() if typing.get_origin(hint) is not NotRequired}
        if keys - hints.keys():
            wrong.append(f"{where}: {type_} has no {sorted(keys - hints.keys())}")
        if required - keys:
            wrong.append(f"{where}: {type_} lacks {sorted(required - keys)}")

    assert wrong == []


@pytest.mark.parametrize("folder", ["backend", "web", "tests", "."])
def test_nothing_is_left_lying_about(folder: str) -> None:
    """No note to oneself, no debugging aid, no stub."""
    files = (ROOT / "__init__.py",) if folder == "." else our_files(".py", ".js", ".css", ".html")
    wrong = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in files
        if folder == "." or file.is_relative_to(ROOT / folder)
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if LEFTOVERS.search(line)
    ]

    assert wrong == []


def test_no_path_of_a_developers_machine() -> None:
    """Nothing in the repository knows on which machine it was written."""
    wrong = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in our_files()
        for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]

    assert wrong == []


def test_the_pages_lines_fit() -> None:
    """120 columns, also where prettier leaves a comment or a string as it is."""
    wrong = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in our_files(".js", ".css", ".ts", ".html")
        if file.is_relative_to(ROOT / "web") or file.is_relative_to(ROOT / "backend")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if len(line) > 120
    ]

    assert wrong == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_the_plan_names_is_there(page: str) -> None:
    """Whoever is sent to a file finds it: by its path, or by its name beside the file that was named before."""
    named = set(re.findall(r"`([\w./-]+\.(?:py|js|md)|[\w./-]+/)`", (ROOT / page).read_text("utf-8")))
    files = set(our_files(".py", ".js", ".md", ".json", ".png"))
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(ROOT)}
    known = {name for path in files | folders for name in _names_of(path)}

    assert len(named) > 20
    assert set() == {name for name in named if name.removeprefix("../") not in known}


def _names_of(path: Path) -> set[str]:
    """By what a file or folder can be called: its path, and each end of it."""
    parts = path.relative_to(ROOT).parts
    return {"/".join(parts[at:]) + ("/" if path.is_dir() else "") for at in range(len(parts))}
