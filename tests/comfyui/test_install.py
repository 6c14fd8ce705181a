"""Installs as users install: ComfyUI Manager from a git URL, and the registry's own checks and archive.

Both command lines exit with 0 whatever happens, so the exit codes prove nothing and are not looked at alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.comfyui.conftest import DEAD_MCP, running
from tests.comfyui.harness import ROOT, ComfyUI, copy_plugin

SECONDS = 300
NEEDED = {
    "__init__.py",
    "pyproject.toml",
    "requirements.txt",
    "LICENSE",
    "README.md",
    "README.zh.md",
    "CHANGELOG.md",
    "backend/plugin.py",
    "web/copilot-pulse.js",
    "locales/en/main.json",
    "locales/zh/main.json",
}


def environment_python(name: str) -> Path:
    """The Python of one of the environments of .ci/env.sh, made if need be."""
    made = subprocess.run([str(ROOT / ".ci" / "env.sh"), name], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    return Path(made.stdout.strip())


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a program without a terminal; all that it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.stdout


def versions(python: Path) -> dict[str, str]:
    """Every package of an environment with its version."""
    code = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    return dict(line.split() for line in run(python, "-c", code, cwd=ROOT).splitlines())


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work tree as a git repository with one commit, to be cloned or packed."""
    folder = tmp_path_factory.mktemp("origin") / "copilot-pulse"
    copy_plugin(folder)
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-q", "-m", "As it is")):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def packed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What `comfy node validate` says, and the archive that `comfy node pack` makes."""
    comfy = environment_python("tools").parent / "comfy"
    folder = tmp_path_factory.mktemp("pack") / "copilot-pulse"
    home = str(tmp_path_factory.mktemp("home"))
    shutil.copytree(repository, folder)
    # Asked nothing, told nothing: without this the first run waits for an answer about tracking.
    run(comfy, "--skip-prompt", "tracking", "disable", cwd=folder, HOME=home)
    said = run(comfy, "--skip-prompt", "node", "validate", cwd=folder, HOME=home)
    run(comfy, "--skip-prompt", "node", "pack", cwd=folder, HOME=home)
    return said, folder / "node.zip"


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ComfyUI, str]]:
    """A running ComfyUI into which the Manager has installed us from a git URL, and what the Manager said."""
    python = environment_python("manager")
    bare = tmp_path_factory.mktemp("remote") / "copilot-pulse.git"
    subprocess.run(["git", "clone", "-q", "--bare", repository, bare], check=True, capture_output=True)
    # As on a machine that has never had us: an earlier run of this test may have left our dependency.
    run(python, "-m", "pip", "uninstall", "-q", "-y", "prometheus-client", cwd=ROOT)
    before = versions(python)

    comfy = ComfyUI(tmp_path_factory.mktemp("comfyui") / "run", environment=DEAD_MCP, python=python)
    comfy.install()
    # With a host: `file:///path` is taken for the id of a node.
    said = run(
        python.parent / "cm-cli",
        "install",
        f"file://localhost{bare}",
        "--mode",
        "local",
        cwd=comfy.app,
        COMFYUI_PATH=str(comfy.app),
        HOME=str(comfy.home),
    )
    changed = {name: version for name, version in versions(python).items() if before.get(name) != version}
    running.append(comfy)
    with comfy:
        yield comfy, f"{said}\nchanged: {changed}"


def test_manager_installs_and_it_runs(installed: tuple[ComfyUI, str]) -> None:
    """After `cm-cli install` our folder is there and, in the started ComfyUI, our routes answer."""
    comfy, said = installed

    assert (comfy.app / "custom_nodes" / "copilot-pulse" / "__init__.py").is_file(), said
    assert comfy.get("/copilot-pulse/metrics").status == 200
    assert comfy.get("/api/health").json()["status"] == "warn"
    assert "IMPORT FAILED: " + str(comfy.app / "custom_nodes") not in comfy.log


def test_manager_changes_no_version(installed: tuple[ComfyUI, str]) -> None:
    """The install adds what was missing, and leaves every package that ComfyUI had as it was."""
    _, said = installed
    changed = said.rpartition("changed: ")[2]

    assert re.fullmatch(r"\{'prometheus[-_]client': '[0-9.]+'\}", changed), said


def test_registry_validates_without_a_warning(packed: tuple[str, Path]) -> None:
    """`comfy node validate` is content; its warnings will be errors one day."""
    said, _ = packed

    assert "All validation checks passed successfully" in said
    assert "Security warnings found" not in said
    assert "Warning:" not in said


def test_registry_archive_holds_what_a_user_needs(packed: tuple[str, Path]) -> None:
    """The archive of `comfy node pack` has all of the plugin, and none of its tests, docs and tools."""
    _, archive = packed
    with zipfile.ZipFile(archive) as opened:
        names = set(opened.namelist())

    assert NEEDED - names == set()
    backend = {str(path.relative_to(ROOT)) for path in (ROOT / "backend").rglob("*.py")}
    assert backend - names == set()
    tops = {name.partition("/")[0] for name in names}
    assert tops <= {name.partition("/")[0] for name in NEEDED} | {"requirements-standalone.txt"}


def test_registry_archive_runs(packed: tuple[str, Path], tmp_path: Path) -> None:
    """What was packed is enough: the bus in it can be imported under a folder name that is no Python name."""
    _, archive = packed
    folder = tmp_path / "custom_nodes" / "copilot.pulse 0.1"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("mangled_name", {str(folder / "__init__.py")!r})
sys.modules["mangled_name"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import copilot_pulse
print(type(copilot_pulse.get_event_bus()).__name__)
"""

    assert run(sys.executable, "-c", code, cwd=tmp_path).strip() == "EventBus"
