"""The door to ComfyUI: one call at import, the rest when ComfyUI's server starts.

At import nothing is attached yet, because Copilot may load after us: a hook on the application's start-up does
it, when every custom node has been imported and no request has come in. An exception in such a hook would keep
ComfyUI from starting, so none may leave it.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from .aio import close_all, fail_open
from .api.routes import RoutesReport, add_routes
from .copilot.attach import Attachment
from .copilot.mcp.dismissed import Dismissed
from .monitoring import Finding, SourceNames
from .pulse import Pulse
from .settings import describe
from .streams.routes import Streams

log = logging.getLogger("copilot_pulse")

SETTING_PREFIX: Final = "CopilotPulse."
ROOT: Final = Path(__file__).parents[1]
SWITCHED_OFF: Final = "Copilot Pulse is switched off in the settings; Copilot works as without it"


class Plugin:
    """Copilot Pulse inside a running ComfyUI."""

    def __init__(self, pulse: Pulse, server: Any, copies: Sequence[str] = ()) -> None:
        """`copies` are the folders of other copies of this plugin, which do nothing; it may still grow."""
        self._copies = copies
        self.pulse = pulse
        self.server = server
        self.attachment = Attachment(pulse)
        self._routes: RoutesReport | None = None
        self._streams: Streams | None = None

    def install(self) -> None:
        """Hook into the server's start-up and shut-down. Changes nothing else; call it once, at import."""
        self.server.app.on_startup.append(self._on_startup)
        self.server.app.on_shutdown.append(self._on_shutdown)
        self.server.app.on_cleanup.append(self._on_cleanup)

    def send(self, name: str, data: Any, client_id: str | None) -> None:
        """Send a message over ComfyUI's own WebSocket, to one page."""
        self.server.send_sync(name, data, client_id)

    @fail_open("Copilot Pulse itself")
    async def _on_startup(self, app: web.Application) -> None:
        began = time.perf_counter()
        try:
            self.start(app)
        except Exception:
            self.attachment.detach("Copilot Pulse could not start")
            log.exception("Copilot Pulse could not start; ComfyUI and Copilot work as without it")
            raise
        self._say(time.perf_counter() - began)

    def start(self, app: web.Application) -> None:
        """Attach the seams, add the routes and begin to watch. For the event loop's thread.

        What is around the seams begins by itself: where a part fails, health says what is missing. The routes are
        first, for whoever asks for health.
        """
        self._load_user_settings()
        self._add_routes(app)
        self._attach(app)
        self._open_store()
        self._watch()
        self.attachment.read_ahead()

    def _attach(self, app: web.Application) -> None:
        pulse = self.pulse
        self._remember_dismissed()
        self._switch(["enabled"])
        pulse.settings.on_change(self._switch)
        pulse.bus.subscribe("health.changed", self._tell_status)
        pulse.bus.subscribe("chat.finished", self._tell_failure)
        self.attachment.http.install(app)

    @fail_open("metrics, health and the panel")
    def _add_routes(self, app: web.Application) -> None:
        pulse = self.pulse
        routes = self._routes = add_routes(app.router, pulse, self.send)
        streams = self._streams = Streams(pulse.streams)
        streams.add_routes(app.router)
        pulse.monitor.add_source("streams", streams.snapshot)
        pulse.monitor.add_check("plugin:copies", self._one_copy)
        pulse.monitor.add_source(
            SourceNames.CONNECTIONS,
            lambda: {
                "panels": len(routes.feed),
                "websockets": len(getattr(self.server, "sockets", ())) + len(streams.sockets),
            },
        )
        self._serve_web(app)

    @fail_open("events and figures")
    def _watch(self) -> None:
        pulse = self.pulse
        pulse.start()
        states = pulse.seams.states.values()
        pulse.publish(
            "pulse.started",
            {
                "version": pulse.monitor.version,
                "attached": [s.name for s in states if s.attached],
                "missing": [s.name for s in pulse.seams.missing],
            },
        )

    @fail_open("the notices that were dismissed")
    def _remember_dismissed(self) -> None:
        folder = user_folder()
        if folder is not None:
            self.attachment.mcp.directory.dismissed = Dismissed(folder / "copilot-pulse" / "dismissed.json")

    @fail_open("Copilot Pulse itself")
    async def _on_shutdown(self, app: web.Application) -> None:
        # Before the server waits for its requests: pages that read would hold it.
        streams = [self._streams.aclose] if self._streams is not None else []
        routes = [self._routes.events.aclose] if self._routes is not None else []
        await close_all(*streams, *routes)

    @fail_open("Copilot Pulse itself")
    async def _on_cleanup(self, app: web.Application) -> None:
        routes = [self._routes.aclose] if self._routes is not None else []
        await close_all(*routes, self.attachment.aclose, self.pulse.aclose)

    @fail_open("the event store")
    def _open_store(self) -> None:
        """Keep events in ComfyUI's user folder, or where the setting says."""
        try:
            import folder_paths

            self.pulse.open_store(Path(folder_paths.get_user_directory()) / "copilot-pulse" / "events")
        except (ImportError, AttributeError, OSError, ValueError) as error:
            log.debug("no folder for events: %s", type(error).__name__)

    def _switch(self, names: list[str]) -> None:
        """Attach, or put everything of Copilot back, as the setting says. Routes and panel stay, to switch on again."""
        if "enabled" not in names:
            return
        if self.pulse.settings.current.enabled:
            self.attachment.attach()
        else:
            self.attachment.detach(SWITCHED_OFF)
            self.pulse.seams.detail = f"{SWITCHED_OFF}."

    def _one_copy(self) -> Finding:
        """The health check: whether this plugin is installed once."""
        if not self._copies:
            return Finding("pass", 1, "copies", 1)
        folders = ", ".join(self._copies)
        return Finding(
            "warn", 1 + len(self._copies), "copies", 1,
            "Copilot Pulse is installed twice.",
            f"Only one copy runs. Remove the other one, {folders}, from custom_nodes and restart ComfyUI.",
            "second_copy", {"folder": folders}, "none",
        )  # fmt: skip

    def _tell_status(self, event: Any) -> None:
        """Let the icon of every page show the health, also while no panel is open. Sent on a change only."""
        verdict = self.pulse.monitor.board.verdict()
        told = {"status": verdict["status"], "impact": verdict.get("impact", "")}
        self.send("copilot-pulse.status", told, None)

    def _tell_failure(self, event: Any) -> None:
        """Let every page mark that a chat failed: of which kind, and no word of the chat. `here` is true for the one
        page that says it aloud: the chat's own, or the newest if that one is gone.
        """
        if event.data.get("outcome") != "failed" or self.pulse.settings.current.private:
            return
        chat_id = event.data.get("chat_id")
        rows = [row for row in self.pulse.monitor.errors.recent if row.get("chat_id") == chat_id]
        newest = max(rows, key=lambda row: row["time"], default={})
        told = {"time": event.wall, "model": event.data.get("model", ""), "host": event.data.get("host", "")}
        told |= {name: newest[name] for name in ("kind", "type", "model", "host") if newest.get(name)}
        chat = self.pulse.chats.get(str(chat_id))
        pages = list(getattr(self.server, "sockets", ()))
        own = chat.page if chat is not None and chat.page in pages else next(reversed(pages), None)
        for page in pages:
            self.send("copilot-pulse.failed", {"kind": "unknown", "type": "", **told, "here": page == own}, page)

    def _serve_web(self, app: web.Application) -> None:
        """Serve our web folder where ComfyUI cannot: it finds no file below a folder name that a URL must escape."""
        folder = ROOT.name
        if quote(folder) == folder:
            return
        files = (ROOT / "web").resolve()

        async def serve(request: web.Request) -> web.StreamResponse:
            path = (files / request.match_info["file"]).resolve()
            if not path.is_relative_to(files) or not path.is_file():
                raise web.HTTPNotFound
            return web.FileResponse(path, headers={"Cache-Control": "no-cache"})

        # aiohttp reads braces of a pattern as its own, and versions differ in whether a path's %25 is unescaped.
        pattern = re.sub(r"\\[{}]", ".", re.escape(folder)).replace("%", "%(?:25)?")
        app.router.add_get(f"/extensions/{{folder:{pattern}}}/{{file:.+}}", serve)

    def _say(self, seconds: float) -> None:
        """Two lines at most: what was attached, and what was not and why."""
        registry = self.pulse.seams
        attached = [s.name for s in registry.states.values() if s.attached]
        missing = [f"{s.name} ({s.detail})" for s in registry.missing]
        problems = [str(p) for p in self.pulse.settings.problems]
        if not registry.copilots:
            log.warning("Copilot Pulse: %s%s", registry.detail, "".join(f" {p}." for p in problems))
            return
        log.info("Copilot Pulse attached in %.0f ms: %s", seconds * 1000, ", ".join(attached) or "nothing")
        if missing or problems:
            log.warning("Copilot Pulse: %s", "; ".join([*(f"not attached: {m}" for m in missing), *problems]))

    @fail_open("the settings of the dialog")
    def _load_user_settings(self) -> None:
        """Take over what the user set in ComfyUI's settings dialog, which ComfyUI keeps in a file of its own."""
        folder = user_folder()
        try:
            path = (folder or Path()) / "default" / "comfy.settings.json"
            stored = json.loads(path.read_text(encoding="utf-8")) if folder is not None and path.is_file() else {}
        except (OSError, ValueError, RecursionError) as error:
            log.debug("no settings of the user: %s", type(error).__name__)
            return
        known = user_settings(stored)
        for name, value in known.items():  # they are set one at a time: a bad one must not hold back the others
            self.pulse.settings.problems.extend(self.pulse.settings.update({name: value}))


def user_folder() -> Path | None:
    """Where ComfyUI keeps what belongs to its users; None in a program that only looks like ComfyUI."""
    try:
        import folder_paths

        return Path(folder_paths.get_user_directory())
    except (ImportError, AttributeError, TypeError) as error:
        log.debug("no folder of the user: %s", type(error).__name__)
        return None


def page_name(name: str) -> str:
    """A setting's id in ComfyUI's settings dialog, as the page makes it: `queue_size` is `CopilotPulse.QueueSize`."""
    return SETTING_PREFIX + "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def user_settings(stored: Any) -> dict[str, Any]:
    """Our settings among those that ComfyUI has stored, by our names. Only those that the panel may change count."""
    if not isinstance(stored, dict):
        return {}
    names = {page_name(row["name"]): row["name"] for row in describe() if row["panel"]}
    return {names[key]: value for key, value in stored.items() if key in names}
