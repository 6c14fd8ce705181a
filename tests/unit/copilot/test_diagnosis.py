"""What the user is told when Copilot cannot be used: what is there, what is missing, and the command that cures it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backend.copilot import diagnosis
from backend.copilot.diagnosis import NOT_FOUND, TOO_OLD, library_mismatch, why_no_copilot

ROOT = "custom_nodes_x_diagnosis"
Leave = Callable[..., None]


@pytest.fixture
def leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leave:
    """Leaves modules behind, as an import that broke does; `project` is the name in their pyproject.toml."""

    def put(*names: str, project: str = "", **attributes: Any) -> None:
        if project:
            (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{project}"\n', "utf-8")
        root = ModuleType(ROOT)
        root.__file__ = str(tmp_path / "__init__.py")
        monkeypatch.setitem(sys.modules, ROOT, root)
        for name in names:
            module = ModuleType(f"{ROOT}.{name}")
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


@pytest.fixture
def lacks(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a library look as if it were not installed."""
    real = importlib.util.find_spec
    gone: set[str] = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in gone else real(name, *more))
    return gone.add


def test_no_copilot_at_all() -> None:
    """Nothing of it was imported: it is to be installed."""
    assert NOT_FOUND == why_no_copilot()


def test_another_plugin_with_a_backend_is_no_broken_copilot(leave: Leave) -> None:
    """Its user must not be told to uninstall a package."""
    leave("backend", "backend.agent_factory", "backend.service", "backend.controller", project="some-other-agent")

    assert NOT_FOUND == why_no_copilot()


@pytest.mark.parametrize(
    "left", [["backend", "backend.utils", "backend.utils.globals"], ["backend", "backend.controller"]], ids=str
)
def test_a_missing_agent_library(leave: Leave, lacks: Callable[[str], None], left: list[str]) -> None:
    """Whatever the broken import has left, the user reads which package to install."""
    leave(*left, project="ComfyUI-Copilot")
    lacks("agents")

    told = why_no_copilot()

    assert "did not load: the package openai-agents is missing" in told
    assert "pip install -U openai-agents" in told
    assert "not found" not in told


def test_a_fork_is_known_by_what_it_defines(leave: Leave, lacks: Callable[[str], None]) -> None:
    """A fork has another name, and the same functions."""
    leave("backend.utils.globals", get_comfyui_copilot_api_key=str)
    lacks("agents")

    assert "openai-agents is missing" in why_no_copilot()


def test_a_wrong_agents_package(leave: Leave, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old package of the same import name hides openai-agents."""
    leave("backend.controller", project="ComfyUI-Copilot")
    monkeypatch.setattr(diagnosis, "_version", lambda package: "")

    assert "wrong package named agents" in why_no_copilot()
    assert "pip uninstall -y agents" in why_no_copilot()


def test_another_library_that_is_missing(leave: Leave, lacks: Callable[[str], None]) -> None:
    """It is named, by the name that pip knows."""
    leave("backend.controller", project="ComfyUI-Copilot")
    monkey = ["openai", "httpx", "dotenv", "sqlalchemy", "requests", "modelscope"]
    lacks(next(name for name in monkey if name == "dotenv"))
    told = why_no_copilot()

    assert "did not load" in told
    assert "pip install" in told


def test_nothing_is_missing_and_yet_it_did_not_load(leave: Leave, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then ComfyUI's log knows more."""
    leave("backend.controller", project="ComfyUI-Copilot")
    monkeypatch.setattr(diagnosis, "_LIBRARIES", {})

    assert "IMPORT FAILED" in why_no_copilot()


def test_version_one(leave: Leave) -> None:
    """It has another shape, and is to be updated."""
    leave("service", "service.conversation_service", project="comfyui-copilot")

    assert TOO_OLD == why_no_copilot()


def test_libraries_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The object that every run makes is tried: what it raises would be the answer to every chat."""
    import agents.usage

    assert ("", "") == library_mismatch()

    class Usage:
        def __init__(self) -> None:
            raise ValueError("InputTokensDetails cache_write_tokens Field required")

    monkeypatch.setattr(agents.usage, "Usage", Usage)
    agents_version, openai_version = library_mismatch()

    assert agents_version
    assert openai_version
