"""A server that speaks the panel's contract and says what a test wants it to say.

Runs in a thread with its own loop, so that plain (synchronous) Playwright tests can drive it. All requests
are noted. By hand: `python -m tests.browser.fake_pulse`, and then the page that it names, with other words
for theme (dark, light, nord), lang (en, zh) and scenario.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from tests.support.net import PATIENCE, closed_port

from . import past, scenarios
from .waiting import wait_for

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
Json = dict[str, Any]
OFF = "the event store is off: see COPILOT_PULSE_STORE"


def messages() -> Json:
    """The locales as ComfyUI's `/i18n` gives them."""
    return {
        lang: json.loads((ROOT / "locales" / lang / "main.json").read_text(encoding="utf-8")) for lang in ("en", "zh")
    }


class FakePulse:
    """One fake server. Set `scenario`, `change`, `failing_paths` at will; read `requests` and `leases`."""

    def __init__(self, scenario: str = "idle", clock: Callable[[], float] = time.time, port: int = 0) -> None:
        self.scenario = scenario
        self.clock = clock
        self.port = port
        # Called with each snapshot before it is sent, so that a test can bend it.
        self.change: Callable[[Json], None] = lambda snapshot: None
        self.failing_paths: dict[str, int] = {}
        self.stored: list[Json] | None = None
        """The event store's chats, the newest first; None: the store is off."""
        self.requests: list[tuple[str, str, Any]] = []
        self.leases: set[str] = set()
        self.ever_leased = threading.Event()
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-pulse", daemon=True)

    # --- from the test's thread ---

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> FakePulse:
        if not self._thread.is_alive():
            self._thread.start()
        self._run(self._listen())
        return self

    def stop_listening(self) -> None:
        """Go away like a server that was stopped; `start()` comes back on the same port."""
        self._run(self._close())

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def push(self, events: list[Json] | None = None, *, readers: int = 1, **changes: Any) -> None:
        """Send one update to every panel with a lease, as the real feed does once a refresh.

        Waits until so many panels listen: one that has just been opened may be on its way still.
        """
        wait_for(lambda: len(self.readers()) >= readers, what=f"{readers} listening panels")
        snapshot = self.snapshot() | changes
        self._run(self._push({"snapshot": snapshot, "events": events or []}))

    def readers(self) -> list[web.WebSocketResponse]:
        """The sockets of the panels that would get an update now: lease and connection have both arrived."""
        sockets = [self.sockets.get(client) for client in list(self.leases)]
        return [socket for socket in sockets if socket is not None and not socket.closed]

    def drop_sockets(self) -> None:
        """Cut all live connections; the server stays."""
        self._run(self._drop())

    def snapshot(self) -> Json:
        snapshot = scenarios.SCENARIOS[self.scenario](self.clock())
        if self.stored is None:
            snapshot["chat"]["since_install"] = None
        self.change(snapshot)
        return snapshot

    def posts(self, path: str) -> list[Any]:
        """The bodies that were posted to a path, oldest first."""
        return [body for method, where, body in list(self.requests) if method == "POST" and where.split("?")[0] == path]

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    # --- on the loop ---

    async def _listen(self) -> None:
        app = web.Application(middlewares=[self._note])
        app.router.add_get("/page", self._page)
        app.router.add_get("/i18n", self._i18n)
        app.router.add_get("/ws", self._ws)
        app.router.add_get("/copilot-pulse/metrics", self._metrics)
        app.router.add_get("/copilot-pulse/history", self._history)
        app.router.add_get("/copilot-pulse/diagnostics", self._diagnostics)
        app.router.add_get("/copilot-pulse/events", self._stored_events)
        app.router.add_get("/copilot-pulse/events/{what}", self._events)
        app.router.add_post("/copilot-pulse/{tail:.*}", self._post)
        app.router.add_static("/web", ROOT / "web")
        app.router.add_static("/backend/standalone/page", ROOT / "backend" / "standalone" / "page")
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        self.port = self.port or closed_port()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()

    async def _close(self) -> None:
        await self._drop()
        self.leases.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _drop(self) -> None:
        for socket in list(self.sockets.values()):
            await socket.close()

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        body: Any = None
        if request.method == "POST":
            body = json.loads(await request.text() or "null")
        if request.path.startswith("/copilot-pulse/") or request.path == "/ws":
            self.requests.append((request.method, request.path_qs, body))
        status = self.failing_paths.get(request.path)
        if status is not None:
            return web.json_response({"error": "made to fail"}, status=status)
        response: web.StreamResponse = await handler(request)
        return response

    async def _page(self, request: web.Request) -> web.Response:
        wanted = request.query.get("scenario")
        if wanted in scenarios.SCENARIOS:
            self.scenario = wanted
        return web.Response(text=(HERE / "page.html").read_text(encoding="utf-8"), content_type="text/html")

    async def _i18n(self, request: web.Request) -> web.Response:
        return web.json_response(messages())

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.json_response(self.snapshot())

    async def _history(self, request: web.Request) -> web.Response:
        return web.json_response(past.history(self.scenario, request.query["range"], self.clock()))

    async def _events(self, request: web.Request) -> web.Response:
        """The event store, as far as the panel asks it."""
        if self.stored is None:
            return web.json_response({"error": OFF}, status=404)
        query, what = request.query, request.match_info["what"]
        if what == "story":
            story = past.story(query["chat"], self.clock())
            return web.json_response(story or {"error": "nothing is known of it"}, status=200 if story else 404)
        if what == "totals":
            return web.json_response({"totals": past.totals(self.clock())})

        def wanted(row: Json) -> bool:
            return (
                query.get("model", row["model"]) == row["model"]
                and query.get("outcome", row["outcome"]) == row["outcome"]
                and (not query.get("retried") or row["retries"] > 0)
                and row["seconds"] > float(query.get("slower", 0))
                and query.get("text", "").lower() in json.dumps(row["error"]).lower()
                and row["at"] < float(query.get("before", "inf"))
            )

        rows = [row for row in self.stored if wanted(row)]
        return web.json_response({"chats": rows[: int(query.get("limit", 100))]})

    async def _stored_events(self, request: web.Request) -> web.Response:
        """The events of a chat of long ago."""
        if self.stored is None:
            return web.json_response({"error": OFF}, status=404)
        started = {"slot": 0, "id": 1, "type": "chat.started", "time": self.clock() - 90_000, "session": "s"}
        data = {"chat_id": request.query["chat"], "kind": "chat", "messages": 77}
        return web.json_response({"events": [{**started, "data": data}], "cursor": "0-1", "more": False})

    async def _diagnostics(self, request: web.Request) -> web.Response:
        return web.json_response({"versions": {"copilot-pulse": "0.1.0"}, "health": {"status": "pass"}})

    async def _post(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        if request.path == "/copilot-pulse/panel":
            if not body["client_id"]:
                return web.json_response({"error": "client_id has to be 1 to 128 characters"}, status=400)
            if body["open"]:
                known = body["client_id"] in self.leases
                self.leases.add(body["client_id"])
                self.ever_leased.set()
                if not known:
                    await self._greet(body["client_id"])
            else:
                self.leases.discard(body["client_id"])
        return web.json_response({"ok": True})

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query["clientId"]
        self.sockets[client] = socket
        if client in self.leases:
            await self._greet(client)
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                break
        if self.sockets.get(client) is socket:
            del self.sockets[client]
        return socket

    async def _greet(self, client: str) -> None:
        """A new panel gets the last events at once, and once, whichever of its lease and its socket came first."""
        update = {"snapshot": self.snapshot(), "events": past.log(self.scenario, self.clock())}
        socket = self.sockets.get(client)
        if socket is not None and not socket.closed:
            await socket.send_str(_message(update))

    async def _push(self, update: Json) -> None:
        for socket in self.readers():
            await socket.send_str(_message(update))


def _message(update: Json) -> str:
    return json.dumps({"type": "copilot-pulse.update", "data": update})


def main() -> None:
    """Serve by hand with an update a second, until interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8377
    fake = FakePulse("busy", port=port).start()
    sys.stdout.write(f"{fake.url}/page?theme=dark&lang=en&scenario=busy\n")
    try:
        while True:
            time.sleep(1)
            fake.push(readers=0)
    except KeyboardInterrupt:
        fake.close()


if __name__ == "__main__":
    main()
