"""The plugin in a real ComfyUI: what its loading does, and must not do, to its host."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.conftest import plugin, standin
from tests.comfyui.harness import NODES, ComfyUI, Node

FOLDER = "copilot-pulse"


@dataclass
class Watched:
    """A ComfyUI whose loading of our plugin was watched by the two probes."""

    comfy: ComfyUI
    log_file: Path
    files_before: dict[str, str]

    def seen(self, kind: str, probe: str = "") -> list[dict[str, Any]]:
        """The observations of one kind, of one probe or of both, in order."""
        seen = map(json.loads, self.log_file.read_text("utf-8").splitlines())
        return [one for one in seen if one["kind"] == kind and probe in {"", one["probe"]}]

    def before_us(self) -> dict[str, Any]:
        """How things stood right before our import."""
        return self.seen("loaded", "probe-before")[0]

    def after_us(self) -> dict[str, Any]:
        """How things stood right after our import."""
        return self.seen("loaded", "probe-after")[0]


def tree(folder: Path) -> dict[str, str]:
    """Every file below `folder` with its content's hash; the byte code that Python keeps is not ours."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """One boot: probe, plugin, probe, stand-in Copilot."""
    folder = tmp_path_factory.mktemp("watched").resolve()
    before, after = (Node(NODES / "probe", f"probe-{when}") for when in ("before", "after"))
    comfy = ComfyUI(folder / "run", [before, plugin(FOLDER), after, standin()])
    comfy.install()
    log_file = folder / "probe.jsonl"
    comfy.environment = {
        "COPILOT_PULSE_PROBE_LOG": str(log_file),
        "COPILOT_PULSE_PROBE_FOLDER": str(comfy.node_folders[1]),
    }
    files = tree(comfy.node_folders[1])
    # The time of a start is that of every start but the first, which compiles.
    subprocess.run([str(comfy.python), "-m", "compileall", "-q", str(comfy.node_folders[1])], check=True)
    with comfy:
        # An answer proves that start-up, with all its hooks, is over.
        assert comfy.get("/copilot-pulse/metrics").status == 200, comfy.tail()
    return Watched(comfy, log_file, files)


def test_loads_without_a_failed_import(watched: Watched) -> None:
    """ComfyUI reports no failed import for us, and nothing of ours stands in a traceback."""
    lines = watched.comfy.log.splitlines()

    assert [line for line in lines if "IMPORT FAILED" in line and "custom_nodes" in line] == []
    assert [line for line in lines if line.lstrip().startswith("File ") and f"/{FOLDER}/" in line] == []


def test_logs_two_lines_at_most(watched: Watched) -> None:
    """Whoever reads ComfyUI's start-up log finds what was attached in two lines of ours at most."""
    lines = [one["text"] for one in watched.seen("log")]

    assert 1 <= len(lines) <= 2, lines
    assert not any("\n" in line for line in lines)


def test_starts_no_thread_at_import(watched: Watched) -> None:
    """Importing us leaves ComfyUI with the threads that it had."""
    imported = watched.log_file.read_text("utf-8").split('"probe": "probe-after"')[0]

    assert '"_thread.start_new_thread"' not in imported, imported
    assert not Counter(watched.after_us()["threads"]) - Counter(watched.before_us()["threads"])


def test_writes_no_file_but_its_history(watched: Watched) -> None:
    """Neither the import nor the attaching opens a file to write, or makes a folder, outside of our own one."""
    written = [one for kind in ("open", "os.mkdir", "os.rename") for one in watched.seen(kind)]

    assert [one for one in written if "/ComfyUI/user/copilot-pulse" not in one["what"]] == []
    assert any(one["what"].endswith("/events/slot-0.lock") for one in written), "the store is on by default"
    assert tree(watched.comfy.node_folders[1]) == watched.files_before


def test_runs_no_program(watched: Watched) -> None:
    """No pip, no git, no other program is started."""
    assert watched.seen("subprocess.Popen") == []


def test_import_leaves_the_agent_libraries_alone(watched: Watched) -> None:
    """Loading before Copilot, we don't pay for openai-agents' import, which takes over a second."""
    libraries = {"agents", "openai", "mcp"}
    new = set(watched.after_us()["modules"]) - set(watched.before_us()["modules"])

    assert new & libraries == set()


def test_how_long_it_takes(watched: Watched, report: Callable[[str], None]) -> None:
    """Reports what our import and our part of the start-up hooks add to ComfyUI's start (target: 50 ms)."""
    imported = watched.after_us()["time"] - watched.before_us()["time"]
    first, second = watched.seen("startup")
    attached = second["time"] - first["time"]
    report(f"import {imported * 1000:.1f} ms, attach {attached * 1000:.1f} ms (both slowed by being watched)")
    report(f"ComfyUI answered {watched.comfy.seconds_to_boot:.1f} s after its start")

    assert imported > 0
    assert attached > 0


def test_a_start_and_stop_leave_nothing_in_the_home_folder(watched: Watched) -> None:
    """No settings, cache or log of ours appears in the user's home or in the temporary folder."""
    places = (watched.comfy.home, watched.comfy.temporary)

    assert [path for place in places for path in place.rglob("*pulse*")] == []
