"""The plugin's routes, on any aiohttp router: metrics, health, history, settings, diagnostics, the panel.

`add_routes(router, services)` adds each route as `/x` and as `/api/x`. `/metrics` and `/health` are names
that other plugins may want too: where one of them is taken it is left alone, the report says so, health
warns, and ours stays at `/copilot-pulse/metrics` and `/copilot-pulse/health`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from ..fleet import Fleet
from ..monitoring import Finding, Monitor, SourceNames
from ..origin import Refused, answer_refusals, check_reader, not_allowed, read_json, serve
from ..settings import LiveSettings, Secret, describe
from ..store import EventStore, Filter, NotStored, Stored
from .diagnostics import diagnostics, versions
from .events import EventRoutes
from .fleet import view
from .negotiation import JSON, OFFERS, OPENMETRICS, TEXT, Offer, choose
from .panel import PanelFeed, Send

__all__ = ["RoutesReport", "Services", "add_routes"]

log = logging.getLogger("copilot_pulse.http")

OWN: Final = "/copilot-pulse"
GENERIC: Final = ("/metrics", "/health")
PUBLIC: Final = (OWN + "/metrics", OWN + "/health", OWN + "/history")
"""What is left with the setting `private`; of these, figures."""
CACHE_SHARE: Final = 20
"""A body is served again for this many times what it took to make: scraping costs the loop 5 % at most."""
CACHE_LIMIT: Final = 1.0
CACHE_WEEK: Final = 30.0
WEEK: Final = "7d"
WEEK_SECONDS: Final = 7 * 86_400.0
HEALTH_TYPE: Final = "application/health+json; charset=utf-8"


class Chats(Protocol):
    """The chat registry, as far as the routes need it."""

    async def stop(self, chat_id: str) -> bool: ...


class Recovery(Protocol):
    """The recovery manager, as far as the routes need it: `breakers.snapshot()`, `breakers.get(name)` with
    `probe_now()`, and `redactor.redact_value(data)`, which knows the keys in use."""

    @property
    def breakers(self) -> Any: ...
    @property
    def redactor(self) -> Any: ...


class Hook(Protocol):
    """The webhook, as far as the routes need it."""

    @property
    def on(self) -> bool:
        """Whether one is set."""

    async def test(self) -> dict[str, Any]:
        """Sends a message now: `{"ok", "status"}` or `{"ok", "error"}`. Raises LookupError where none is set."""


class Services(Protocol):
    """What the routes work on; a running plugin has all of it."""

    @property
    def monitor(self) -> Monitor: ...
    @property
    def settings(self) -> LiveSettings: ...
    @property
    def chats(self) -> Chats: ...
    @property
    def recovery(self) -> Recovery: ...
    @property
    def fleet(self) -> Fleet: ...
    @property
    def store(self) -> EventStore | None: ...
    @property
    def probe_mcp(self) -> Callable[[str], Awaitable[bool]] | None:
        """Asks an MCP server now: whether it is up. Raises KeyError for one that is not known."""

    @property
    def dismiss_mcp(self) -> Callable[[str, bool], None] | None:
        """Ends the notices that an MCP server is missing, or lets them come again. Raises KeyError."""

    @property
    def webhook(self) -> Hook: ...


class RoutesReport(NamedTuple):
    """What was added, and which generic paths belong to somebody else.

    `events.aclose()` is due before the server waits for its requests, `feed.aclose()` at the end.
    """

    feed: PanelFeed
    events: EventRoutes
    added: list[str]
    taken: list[str]

    def finding(self) -> Finding:
        """The health check `http:routes`."""
        if not self.taken:
            return Finding("pass", len(self.added), "routes")
        paths = ", ".join(self.taken)
        return Finding(
            "warn", len(self.taken), "routes", 1,
            f"Another plugin owns {paths}.",
            f"Use {OWN}/metrics and {OWN}/health instead.",
            "routes_taken", {"paths": paths},
        )  # fmt: skip

    async def aclose(self) -> None:
        """Stop sending to panels and to who follows the events, and wait for it."""
        await self.events.aclose()
        await self.feed.aclose()


def add_routes(app_or_router: web.Application | web.UrlDispatcher, services: Services, send: Send) -> RoutesReport:
    """Add all routes; call it before the router is frozen. Nothing runs until a request comes.

    `send(name, data, client_id)` brings the panel its data. Registers the
    check `http:routes` and the monitor's source `connections`, if nobody else gave one.
    """
    router = app_or_router.router if isinstance(app_or_router, web.Application) else app_or_router
    live = services.settings
    feed = PanelFeed(services.monitor, send, refresh=lambda: live.current.panel_refresh)
    api = _Api(services, feed)
    events = EventRoutes(lambda: None if live.current.private else services.store, services.monitor)
    report = RoutesReport(feed, events, events.add(router), [])
    for path, handlers in api.table().items():
        if path in GENERIC:
            for full in (path, f"/api{path}"):
                _add_generic(router, full, handlers["GET"], report)
        else:
            if path not in PUBLIC:
                handlers = {method: _unless(live, handler) for method, handler in handlers.items()}
            report.added.extend(serve(router, path, handlers))
    for prefix in (OWN, f"/api{OWN}"):
        router.add_route("*", prefix + "/{rest:.*}", answer_refusals(_unknown))
    services.monitor.add_check("http:routes", report.finding)
    if not services.monitor.has_source(SourceNames.CONNECTIONS):
        services.monitor.add_source(SourceNames.CONNECTIONS, lambda: {"panels": len(feed)})
    return report


def _add_generic(router: web.UrlDispatcher, path: str, handler: Handler, report: RoutesReport) -> None:
    """Add a GET route that somebody else may have; theirs stays."""
    owned = any(
        route.resource is not None and route.resource.canonical == path
        for route in router.routes()
        if route.method in ("GET", "HEAD", "*")
    )
    if not owned:
        try:
            router.add_get(path, answer_refusals(handler))
            router.add_route("*", path, not_allowed("GET, HEAD"))
        except (RuntimeError, ValueError) as error:
            log.warning("%s could not be added: %s", path, error)
            owned = True
    if owned:
        log.info("%s belongs to another plugin; ours is at %s", path, OWN + path.removeprefix("/api"))
        report.taken.append(path)
    else:
        report.added.append(path)


async def _unknown(request: web.Request) -> web.StreamResponse:
    raise Refused(404, "there is no such path")


def _json(data: Any, *, status: int = 200, content_type: str = JSON.content_type) -> web.Response:
    return _body(_dumps(data), content_type, status)


def _dumps(data: Any) -> bytes:
    """JSON that every browser reads: what it has no word for (NaN, infinity) becomes null, half an emoji is escaped."""
    try:
        text = json.dumps(data, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        data = json.loads(json.dumps(data, default=str), parse_constant=lambda name: None)
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(data, default=str, allow_nan=False).encode()


def _body(body: bytes, content_type: str, status: int = 200) -> web.Response:
    headers = {
        "Content-Type": content_type,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=body, status=status, headers=headers)


class _Kept:
    """A body that is made anew when it has been served for `CACHE_SHARE` times what making it took, or for `seconds`.

    Who asks meanwhile waits for the one that is being made; who is cancelled leaves the others unharmed.
    """

    def __init__(self, make: Callable[[], Awaitable[bytes]], seconds: float | None = None) -> None:
        self._make = make
        self._seconds = seconds
        self._body = b""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> bytes:
        if time.perf_counter() < self._until:
            return self._body
        async with self._lock:
            began = time.perf_counter()
            if began >= self._until:
                self._body = await self._make()
                done = time.perf_counter()
                share = min(CACHE_SHARE * (done - began), CACHE_LIMIT)
                self._until = done + (share if self._seconds is None else self._seconds)
            return self._body


class _Minutes:
    """The figures of the charts' minutes, from the events of a store."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, Any]] = []

    def apply(self, event: Stored) -> None:
        end, values = event.data.get("end"), event.data.get("values")
        if isinstance(end, (int, float)) and isinstance(values, dict):
            self.rows.append((end, values))


def _minutes(store: EventStore, since: float) -> list[tuple[float, Any]]:
    minutes = _Minutes()
    store.replay(minutes, Filter(("metrics.minute",), since=since))
    return minutes.rows


# The keys of these dictionaries are words of servers and models.
_BY_FOREIGN_NAMES: Final = frozenset(("tools", "extra"))


def _unless(live: LiveSettings, handler: Handler) -> Handler:
    async def unless_private(request: web.Request) -> web.StreamResponse:
        if live.current.private:
            raise Refused(403, "COPILOT_PULSE_PRIVATE is on: figures only")
        return await handler(request)

    return unless_private


def figures_of(data: Any) -> Any:
    """The numbers of a snapshot by their names, and what names the program's own; no row, no text from elsewhere."""
    kept: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, (bool, int, float)) or name in ("status", "version"):
            kept[name] = value
        elif isinstance(value, dict) and (below := figures_of(value)) and name not in _BY_FOREIGN_NAMES:
            kept[name] = below
    return kept


class _Api:
    """The handlers. Each is a coroutine function of one request."""

    def __init__(self, services: Services, feed: PanelFeed) -> None:
        self._services = services
        self._feed = feed
        self._made = {
            JSON.key: _Kept(self._make_json),
            TEXT.key: _Kept(partial(services.monitor.expose, "text")),
            OPENMETRICS.key: _Kept(partial(services.monitor.expose, "openmetrics")),
        }
        self._week = _Kept(self._make_week, CACHE_WEEK)
        self._versions: dict[str, str] | None = None

    def table(self) -> dict[str, dict[str, Handler]]:
        """path -> {method: handler}, the generic paths in between our own."""
        return {
            OWN + "/metrics": {"GET": self.metrics},
            "/metrics": {"GET": self.metrics},
            OWN + "/health": {"GET": self.health},
            "/health": {"GET": self.health},
            OWN + "/history": {"GET": self.history},
            OWN + "/fleet": {"GET": self.fleet},
            OWN + "/settings": {"GET": self.settings, "POST": self.change_settings},
            OWN + "/diagnostics": {"GET": self.diagnostics},
            OWN + "/panel": {"POST": self.panel},
            OWN + "/chats/{id}/stop": {"POST": self.stop_chat},
            OWN + "/breakers/probe": {"POST": self.probe_breaker},
            OWN + "/breakers/{name}/probe": {"POST": self.probe_breaker},
            OWN + "/mcp/probe": {"POST": self.probe_mcp},
            OWN + "/mcp/dismiss": {"POST": self.dismiss_mcp},
            OWN + "/webhook/test": {"POST": self.test_webhook},
        }

    # Reading

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """JSON, Prometheus text or OpenMetrics by `Accept`, or by `?format=json|prometheus|openmetrics`."""
        wanted = request.query.get("format")
        offer: Offer | None
        if wanted is not None:
            offer = next((o for o in OFFERS if o.key == wanted), None)
            if offer is None:
                raise Refused(400, "format has to be one of " + ", ".join(o.key for o in OFFERS))
        else:
            offer = choose(",".join(request.headers.getall("Accept", [])) or None)
        if offer is None:
            raise Refused(406, "this page is available as " + ", ".join(o.type for o in OFFERS))
        if offer is JSON:
            check_reader(request)
        elif self._services.settings.current.private:
            raise Refused(403, "labels name models and hosts, and COPILOT_PULSE_PRIVATE is on: ask for format=json")
        response = _body(await self._made[offer.key].get(), offer.content_type)
        response.headers["Vary"] = "Accept"
        return response

    async def _make_json(self) -> bytes:
        snapshot = self._services.monitor.snapshot()
        if self._services.settings.current.private:
            snapshot = {**figures_of(snapshot), "private": True}  # a panel can then say why there is no more
        return _dumps(snapshot)

    async def health(self, request: web.Request) -> web.StreamResponse:
        """health+json: 200 for pass and warn, 503 for fail."""
        body = self._services.monitor.health()
        if self._services.settings.current.private:
            body = {"status": body["status"]}
        return _json(body, status=503 if body["status"] == "fail" else 200, content_type=HEALTH_TYPE)

    async def history(self, request: web.Request) -> web.StreamResponse:
        """The charts' data: `?range=1m|1h|24h|7d`; 7 days come from the event store, without it what is known here."""
        check_reader(request)
        monitor = self._services.monitor
        name = request.query.get("range", "1h")
        if name == WEEK:
            return _body(await self._week.get(), JSON.content_type)
        if name not in monitor.history.ranges:
            raise Refused(400, "range has to be one of " + ", ".join((*monitor.history.ranges, WEEK)))
        return _json(monitor.read_history(name))

    async def _make_week(self) -> bytes:
        store, monitor = self._services.store, self._services.monitor
        minutes: list[tuple[float, Any]] | None = None
        if store is not None:
            try:
                minutes = await store.ask(_minutes, store, time.time() - WEEK_SECONDS)
            except (OSError, sqlite3.Error, NotStored) as error:
                log.warning("the history of 7 days cannot be read: %s", type(error).__name__)
        return await asyncio.to_thread(_dumps, monitor.read_week(minutes))

    async def fleet(self, request: web.Request) -> web.StreamResponse:
        """Every instance of the fleet, and the events of the others after number `?since=`."""
        check_reader(request)
        since = request.query.get("since", "0")
        if not since.isdecimal() or len(since) > 15:
            raise Refused(400, "since has to be a number")
        return _json(view(self._services.fleet, int(since)))

    async def settings(self, request: web.Request) -> web.StreamResponse:
        """Every setting with its text, range, variable and present value."""
        check_reader(request)
        live = self._services.settings
        problems = [*map(str, live.problems), *self._services.monitor.prices.problems]
        return _json({"settings": self._settings_rows(), "problems": problems, "webhook": self._services.webhook.on})

    def _settings_rows(self) -> list[dict[str, Any]]:
        current = self._services.settings.current
        rows = [{**row, "value": getattr(current, row["name"])} for row in describe()]
        for row in rows:
            if isinstance(row["value"], Secret):
                row["value"], row["default"] = str(row["value"]), ""
        return rows

    async def diagnostics(self, request: web.Request) -> web.StreamResponse:
        """The redacted report for a bug report."""
        check_reader(request)
        if self._versions is None:
            self._versions = await asyncio.to_thread(versions)
        monitor = self._services.monitor
        report = diagnostics(
            monitor.snapshot(), monitor.health(), self._settings_rows(), list(monitor.errors.recent),
            self._versions, self._services.recovery.redactor.redact_value,
        )  # fmt: skip
        return _json(report)

    # Changing

    async def change_settings(self, request: web.Request) -> web.StreamResponse:
        """`{name: value}`: all are taken over, or none and 400 with what is wrong with which."""
        values = await read_json(request)
        prices = values.get("prices")
        unread = self._services.monitor.unread_prices(prices) if isinstance(prices, str) else ()
        problems = [{"name": "prices", "value": entry, "allowed": problem} for entry, problem in unread] or [
            {"name": p.name[:100], "value": p.value[:100], "allowed": p.allowed}
            for p in self._services.settings.update(values)
        ]
        if problems:
            return _json({"error": "some values are not usable", "problems": problems}, status=400)
        return _json({"settings": self._settings_rows()})

    async def panel(self, request: web.Request) -> web.StreamResponse:
        """`{"client_id", "open"}`: begin, renew or end the lease of a panel."""
        data = await read_json(request)
        client_id, is_open = data.get("client_id"), data.get("open")
        if not isinstance(client_id, str) or not isinstance(is_open, bool):
            raise Refused(400, "client_id has to be text and open true or false")
        if not is_open:
            return _json({"open": False, "was_open": self._feed.close(client_id)})
        try:
            lease = self._feed.open(client_id)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return _json({"open": True, "lease_seconds": lease})

    async def stop_chat(self, request: web.Request) -> web.StreamResponse:
        """Stop one chat; 404 if it does not run. Waits until nothing of it runs."""
        await read_json(request)
        if not await self._services.chats.stop(request.match_info["id"]):
            raise Refused(404, "no such chat is running")
        return _json({"stopped": True})

    async def probe_breaker(self, request: web.Request) -> web.StreamResponse:
        """Let the next call of a paused upstream through at once. The name is in the path or body."""
        data = await read_json(request)
        name = request.match_info.get("name") or data.get("name")
        breakers = self._services.recovery.breakers
        if not isinstance(name, str) or name not in {row["name"] for row in breakers.snapshot()}:
            raise Refused(404, "no such breaker")
        return _json({"probing": bool(breakers.get(name).probe_now())})

    async def probe_mcp(self, request: web.Request) -> web.StreamResponse:
        """`{"server"}`: try a dead MCP server now; waits for its answer, and says whether it is up."""
        data = await read_json(request)
        server, probe = data.get("server"), self._services.probe_mcp
        if not isinstance(server, str):
            raise Refused(400, "server has to be text")
        try:
            up = probe is not None and await probe(server)
        except KeyError:
            probe = None
        if probe is None:
            raise Refused(404, "no such MCP server")
        return _json({"probing": True, "up": up})

    async def test_webhook(self, request: web.Request) -> web.StreamResponse:
        """Send a message to the webhook now; waits for its answer, 10 s at most. 404 if none is set."""
        await read_json(request)
        try:
            return _json(await self._services.webhook.test())
        except LookupError as error:
            raise Refused(404, str(error)) from None

    async def dismiss_mcp(self, request: web.Request) -> web.StreamResponse:
        """`{"server", "dismissed": true}`: no answer tells again that this server is missing; false: it does."""
        data = await read_json(request)
        server, dismissed, dismiss = data.get("server"), data.get("dismissed", True), self._services.dismiss_mcp
        if not isinstance(server, str) or not isinstance(dismissed, bool):
            raise Refused(400, "server has to be text and dismissed true or false")
        try:
            if dismiss is None:
                raise KeyError(server)
            dismiss(server, dismissed)
        except KeyError:
            raise Refused(404, "no such MCP server") from None
        return _json({"server": server, "dismissed": dismissed})
