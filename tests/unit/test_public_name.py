"""`copilot_pulse`, the name under which other custom nodes reach us, however ComfyUI's loader has called us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# As ComfyUI does it: the folder's path, without dots, is the module's name.
LOAD = f"""
import importlib.util, sys

def load(name):
    spec = importlib.util.spec_from_file_location(name, {str(ROOT / "__init__.py")!r})
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

root = load("/comfy/custom_nodes/copilot-pulse_x_1")
"""


def run(code: str, folder: Path) -> str:
    """What a fresh Python that has loaded us as ComfyUI does prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD + code], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_there_is_one_bus_whichever_way_it_is_imported(tmp_path: Path) -> None:
    """From the root, from the module, as a module, and from one that nobody has imported yet."""
    code = """
from copilot_pulse import get_event_bus as one, EventBus, BoundedQueue as queue
from copilot_pulse.backend.event_bus import get_event_bus as two
import copilot_pulse.backend.event_bus as module
from copilot_pulse.backend import event_bus, backpressure
from copilot_pulse.backend.backpressure import BoundedQueue
print(one() is two() is module.get_event_bus() is event_bus.get_event_bus() is root.get_event_bus())
print(queue is BoundedQueue is backpressure.BoundedQueue)
import copilot_pulse.backend.monitoring as late
print(late is sys.modules[root.__name__ + ".backend.monitoring"], late.__spec__.name == late.__name__)
print(sum(getattr(value, "__file__", None) == module.__file__ for value in set(sys.modules.values())))
"""

    assert ["True", "True", "True True", "1"] == run(code, tmp_path).splitlines()


def test_a_module_that_we_do_not_have_is_told_by_the_name_that_was_asked_for(tmp_path: Path) -> None:
    """So that a typing error reads as one, and `try: ... except ModuleNotFoundError` works."""
    code = """
try:
    import copilot_pulse.backend.event_buss
except ModuleNotFoundError as error:
    print(error, error.name)
"""

    expected = "No module named 'copilot_pulse.backend.event_buss' copilot_pulse.backend.event_buss"
    assert expected == run(code, tmp_path)


@pytest.mark.parametrize("broken", [False, True])
def test_of_two_copies_the_first_that_is_whole_has_the_name(tmp_path: Path, broken: bool) -> None:
    """A second folder of ours takes nothing from the first; unless that could not be loaded to its end."""
    code = f"""
from copilot_pulse.backend.event_bus import EventBus as first
broken = {broken}
if broken:
    del sys.modules[root.__name__]
second = load("another_copy")
from copilot_pulse.backend.event_bus import EventBus
import copilot_pulse
print(EventBus is (second if broken else root).EventBus, copilot_pulse is (second if broken else root))
print(second.EventBus is first)
"""

    assert ["True True", "False"] == run(code, tmp_path).splitlines()


def test_a_copy_that_is_unloaded_leaves_nothing(tmp_path: Path) -> None:
    """A tool that reloads custom nodes loads us again and again: all that a copy was goes with it."""
    code = """
import gc, weakref
ended = weakref.ref(root)
for name in [name for name, module in sys.modules.items() if module.__name__.startswith(root.__name__)]:
    del sys.modules[name]
root = load("another_copy")
gc.collect()
print(ended() is None, sum(type(finder).__name__ == "_PublicName" for finder in sys.meta_path))
"""

    assert "True 1" == run(code, tmp_path)


@pytest.mark.parametrize("how", ["anew", "in place"])
def test_a_reload_leaves_what_runs_as_it_is(tmp_path: Path, how: str) -> None:
    """Some nodes reload others when a file changes. The plugin that runs goes on, and others find its bus."""
    code = f"""
import importlib.machinery, types
from aiohttp import web

def forget():
    for name in [name for name in sys.modules if name.startswith(root.__name__)]:
        del sys.modules[name]

server = types.ModuleType("server")
server.PromptServer = type("PromptServer", (), {{}})
server.PromptServer.instance = types.SimpleNamespace(app=web.Application(), send_sync=print)
sys.modules["server"] = server
forget()
root = load("/comfy/custom_nodes/copilot-pulse_x_1")
from copilot_pulse.backend import event_bus as before
server.PromptServer.instance.app.freeze()
plugin = root._plugin
if {how == "in place"}:
    root.__spec__.loader.exec_module(root)
    again = root
else:
    forget()
    again = load(root.__name__)
import copilot_pulse
from copilot_pulse.backend import event_bus
import copilot_pulse.backend.monitoring
print(plugin is not None, again._plugin is plugin, again.WEB_DIRECTORY)
print(copilot_pulse is root, event_bus is before, event_bus.get_event_bus() is plugin.pulse.bus)
print(sys.modules["copilot_pulse.backend.monitoring"].Monitor is type(plugin.pulse.monitor))
"""

    assert ["True True ./web", "True True True", "True"] == run(code, tmp_path).splitlines()
