"""Hands on the plugin inside of a running host: its parts, its modules, its metrics."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer
from tests.support.net import fresh_metrics

NODES = [PLUGIN, STANDIN]


@contextlib.contextmanager
def user_folder() -> Iterator[Path]:
    """A folder of ComfyUI's users, so that the plugin keeps its events as it does inside ComfyUI."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        module = sys.modules["folder_paths"] = ModuleType("folder_paths")
        module.get_user_directory = lambda: folder  # type: ignore[attr-defined]
        try:
            yield Path(folder)
        finally:
            del sys.modules["folder_paths"]


def plugin_of(host: Host) -> Any:
    """The running plugin."""
    for module in list(sys.modules.values()):
        plugin = getattr(module, "_plugin", None)
        if plugin is not None and plugin.server is host.server:
            return plugin
    raise LookupError("the plugin is not loaded")


def pulse_of(host: Host) -> Any:
    """The running plugin's parts."""
    return plugin_of(host).pulse


def module_of(host: Host, name: str) -> Any:
    """A module of the plugin as this host has loaded it."""
    package = type(plugin_of(host)).__module__.removesuffix(".backend.plugin")
    return sys.modules[f"{package}.{name}"]


async def metrics_of(host: Host) -> Any:
    """What /api/metrics says now."""
    return await fresh_metrics(lambda: host.page.json("/api/metrics"))


async def warm(host: Host, llm: FaultServer, *sessions: str) -> None:
    """Chat once in each session, so that nothing new is opened or told later."""
    llm.plan(answer(1))
    for session in sessions:
        await host.chat(session=session)
    llm.reset_counts()
    llm.plan(answer())
