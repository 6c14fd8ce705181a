"""docs/monitoring.md says what is served: every key of the JSON, every check, every route, and nothing else.

The table of Prometheus' metrics is made by tests/prometheus/metrics_table.py, and compared with tests/unit/metrics.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from aiohttp import web

from backend.api.routes import add_routes
from backend.chats import Chat, ChatRegistry
from backend.events import EVENTS
from backend.monitoring import Monitor, SourceNames
from backend.pulse import Pulse, read_past
from backend.recovery.breaker import BreakerRegistry
from tests.prometheus.metrics_table import full_monitor
from tests.support.figures import bus_figures
from tests.support.stores import event, running

PAGE = Path(__file__).parents[3] / "docs" / "monitoring.md"
# Their keys are names from elsewhere: of events, errors, tools, plugins.
OPEN = {
    "events.by_type", "errors.by_kind", "errors.by_type", "chat.tools", "past.chats", "system.connections",
    "health.problems[].values", "errors.by_severity", "extra.streams.sockets_closed",
}  # fmt: skip
MCP = ("server", "host", "state", "tools", "retry_in", "reason", "probing", "dismissed")
"""What the directory of MCP servers tells of each; tests/integration/test_figures.py compares it."""


class Happened:
    """An event as far as the monitor looks at it."""

    def __init__(self, type_: str, data: dict[str, Any]) -> None:
        self.type, self.data = type_, data


def filled(type_: str) -> dict[str, Any]:
    """Data of an event with every key that it may have."""
    hints = typing.get_type_hints(EVENTS[type_].data)
    return {name: _value(hint) for name, hint in hints.items()}


def _value(hint: Any) -> Any:
    if "NotRequired" in str(get_origin(hint)):  # Python 3.10 leaves it in place
        return _value(get_args(hint)[0])
    if get_origin(hint) is typing.Union or (get_origin(hint) is not None and get_origin(hint) is not Literal):
        kind = get_origin(hint)
        return [] if kind is list else {} if kind is dict else 1.0
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    return {str: "x", int: 1, float: 1.0, bool: True}.get(hint, "x")


def a_chat() -> Chat:
    """One that has met everything."""
    chat = Chat(session="s")
    silence = chat.silence
    silence.since, silence.until, silence.then = chat.clock() - 12, chat.clock() + 9, "retry"
    chat.note_error("timeout", "APITimeoutError")
    chat.figures.of("m", "h").told(1, 2, 3, 4)
    return chat


async def served(tmp_path: Path) -> dict[str, Any]:
    """A snapshot in which everything has happened."""
    monitor = full_monitor()
    chats, breakers = ChatRegistry(), BreakerRegistry()
    chats.add(a_chat())
    breakers.get("llm:x")
    pulse = Pulse.create({})
    monitor_bus = bus_figures({"name": "panel", "size": 3, "capacity": 10, "conflated": 0})
    pulse.seams.set("chat", True)
    monitor.add_source(SourceNames.BUS, lambda: monitor_bus)
    monitor.add_source(SourceNames.CHATS, chats.snapshot)
    monitor.add_source(SourceNames.BREAKERS, breakers.snapshot)
    monitor.add_source(SourceNames.SEAMS, pulse.seams.snapshot)
    monitor.add_source(SourceNames.MCP, lambda: [dict.fromkeys(MCP, "")])
    for type_ in ("chat.first_token", "chat.model_ended", "error", "chat.finished", "http.request"):
        monitor.on_event(Happened(type_, {**filled(type_), "severity": "high", "outcome": "gave_up"}))
    monitor.system.on_stall(filled("loop.stalled"), monitor.clock(), monitor.wall())
    async with running(tmp_path) as store:
        store.on_event(event("chat.finished", "s", chat_id="1", outcome="completed", model="m", seconds=1.0, tokens=3))
        await store.flush()
        monitor.restore(await store.ask(read_past, store, monitor.started_wall))
    monitor.tick()
    return monitor.snapshot()


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Each key by its path, such as `chat.current[].model`."""
    if path in OPEN:
        return
    if isinstance(value, list):
        for one in value:
            if isinstance(one, dict):
                yield from paths(one, f"{path}[]")
    elif isinstance(value, dict):
        for key, below in value.items():
            inner = f"{path}.{key}" if path else str(key)
            rows = isinstance(below, list) and below and isinstance(below[0], dict)
            if inner not in OPEN and (rows or isinstance(below, dict)):
                yield from paths(below, inner)
            else:
                yield inner


def documented() -> set[str]:
    """The keys in the first column of the page's table; one without a dot stands beside the one before it."""
    table = PAGE.read_text("utf-8").partition("<!-- json -->")[2].partition("<!-- /json -->")[0]
    found: set[str] = set()
    for line in table.splitlines():
        if not line.startswith("| `"):
            continue
        parent = ""
        for name in re.findall(r"`([^`]+)`", line.split("|")[1]):
            full = name if "." in name or not parent else f"{parent}.{name}"
            parent = full.rpartition(".")[0]
            found.add(full)
    return found


async def test_every_key_of_the_json_is_documented(tmp_path: Path) -> None:
    """And no key that is not served."""
    told = set(paths(await served(tmp_path)))

    assert (set(), set()) == (told - documented(), documented() - told)


async def test_every_check_is_documented() -> None:
    """With those that the parts of a running plugin add."""
    monitor, pulse = Monitor(), Pulse.create({})
    add_routes(web.Application(), pulse, lambda *message: None)
    text = PAGE.read_text("utf-8").partition("## Health")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([a-z]+:[A-Za-z]+)`", text, re.MULTILINE))
    known = {*monitor.board._states, *pulse.monitor.board._states, "plugin:copies", "webhook:delivered"}

    assert known == named


def test_every_route_is_documented() -> None:
    """Each path of ours, with its methods."""
    app = web.Application()
    add_routes(app, Pulse.create({}), lambda *message: None)
    text = PAGE.read_text("utf-8")
    documented_paths = {path.partition("?")[0] for path in re.findall(r"`(?:GET|POST) (/[^`\s]*)`?", text)}
    ours = {
        resource.canonical
        for resource in app.router.resources()
        if resource.canonical.startswith("/copilot-pulse/") and "rest" not in resource.canonical
    }
    events = {path for path in ours if path.startswith("/copilot-pulse/events")}  # docs/event-store.md has them

    assert set() == ours - events - documented_paths
    store = (PAGE.parent / "event-store.md").read_text("utf-8")
    assert [] == [path for path in events if f"`GET {path.removeprefix('/copilot-pulse')}" not in store
                  and f"`POST {path.removeprefix('/copilot-pulse')}" not in store]  # fmt: skip
