"""The routes on a bare aiohttp application, with a real monitor and real settings behind them."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from backend.api.routes import RoutesReport, _Kept, add_routes
from backend.event_bus import EventBus
from backend.fleet import Fleet
from backend.monitoring import Monitor
from backend.origin import MAX_BODY, same_origin
from backend.settings import LiveSettings, Secret, Settings
from backend.webhook import Webhook, WebhookSettings
from tests.support.figures import bus_figures
from tests.support.net import until

SECRET = "sk-proj-Zx81qPwLm0aVt5yHn3Ke9RbUc7Dg"  # no key of anybody


class Breaker:
    """A breaker that notes that it was asked to probe."""

    def __init__(self) -> None:
        self.probed = 0

    def probe_now(self) -> bool:
        self.probed += 1
        return True


class Parts:
    """What a running plugin gives the routes."""

    def __init__(self) -> None:
        self.monitor = Monitor()
        self.settings = LiveSettings()
        self.chats = self
        self.recovery = self
        self.fleet = Fleet(EventBus())
        self.store = None
        self.webhook = Webhook(lambda: WebhookSettings(self.hook), post=self.hooked)
        self.hook = ""
        self.breakers = self
        self.redactor = self
        self.breaker = Breaker()
        self.stopped: list[str] = []
        self.probed: list[str] = []
        self.sent: list[tuple[str, Any, str]] = []

    def send(self, name: str, data: Any, client_id: str) -> None:
        self.sent.append((name, data, client_id))

    async def hooked(self, url: str, body: Any) -> int:
        self.told = (url, body)
        return 204

    async def stop(self, chat_id: str) -> bool:
        self.stopped.append(chat_id)
        return chat_id == "7-abc"

    def dismiss_mcp(self, server: str, dismissed: bool) -> None:
        self.dismissed = {"http://a/sse": dismissed, "http://down/sse": dismissed}[server]

    async def probe_mcp(self, server: str) -> bool:
        self.probed.append(server)
        return {"http://a/sse": True, "http://down/sse": False}[server]

    def snapshot(self) -> list[dict[str, Any]]:
        return [{"name": "127.0.0.1:1234", "state": "open"}]

    def get(self, name: str) -> Breaker:
        return self.breaker

    def redact_value(self, value: Any) -> Any:
        return json.loads(json.dumps(value, default=str).replace(SECRET, "[redacted]"))


class Client:
    """A session against the running application."""

    def __init__(self, base: str, session: ClientSession, parts: Parts, report: RoutesReport) -> None:
        self.base = base
        self.session = session
        self.parts = parts
        self.report = report

    async def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        """(status, content type, body)."""
        async with self.session.get(self.base + path, headers=headers) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.text()

    async def post(self, path: str, data: Any = None, **headers: str) -> tuple[int, Any]:
        """(status, JSON of the answer) of a JSON POST."""
        async with self.session.post(self.base + path, json=data or {}, headers=headers) as response:
            return response.status, await response.json()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """The routes, added in `on_startup` as in ComfyUI, on a real socket."""
    parts = Parts()
    app = web.Application()
    reports: list[RoutesReport] = []

    async def start(app: web.Application) -> None:
        reports.append(add_routes(app, parts, parts.send))

    app.on_startup.append(start)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession() as session:
        yield Client(f"http://127.0.0.1:{runner.addresses[0][1]}", session, parts, reports[0])
    await reports[0].aclose()
    await runner.cleanup()


READING = ["metrics", "health", "history", "settings", "diagnostics"]


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("name", READING)
async def test_each_page_is_there_with_and_without_api(client: Client, prefix: str, name: str) -> None:
    """ComfyUI's front end asks under /api, people and scrapers do not."""
    status, kind, body = await client.get(f"{prefix}/copilot-pulse/{name}")

    assert status == 200
    assert "json" in kind
    json.loads(body)


@pytest.mark.parametrize("path", ["/metrics", "/api/metrics", "/health", "/api/health"])
async def test_generic_pages_are_there(client: Client, path: str) -> None:
    """The paths that everybody tries first."""
    assert (await client.get(path))[0] == 200


async def test_metrics_by_accept(client: Client) -> None:
    """The same page is JSON, text or OpenMetrics; caches are told that it varies and not to keep it."""
    for accept, kind in (
        ("*/*", "application/json; charset=utf-8"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ):
        async with client.session.get(client.base + "/metrics", headers={"Accept": accept}) as response:
            assert response.headers["Content-Type"] == kind
            assert (response.headers["Vary"], response.headers["Cache-Control"]) == ("Accept", "no-store")


async def test_metrics_by_query(client: Client) -> None:
    """A person with a browser can look at each format."""
    assert (await client.get("/metrics?format=prometheus"))[2].startswith("# HELP copilot_pulse_")
    assert (await client.get("/metrics?format=openmetrics"))[2].endswith("# EOF\n")
    assert (await client.get("/metrics?format=json"))[2].startswith("{")
    assert (await client.get("/metrics?format=xml"))[0] == 400


async def test_what_nobody_has_is_406(client: Client) -> None:
    """A client that wants a picture is told what there is."""
    status, _, body = await client.get("/metrics", Accept="image/png")

    assert status == 406
    assert "text/plain" in body


class Happened:
    """An event as far as the monitor looks at it."""

    def __init__(self, event_type: str, /, **data: Any) -> None:
        self.type, self.data = event_type, data


def busy(parts: Parts) -> None:
    """A plugin to which something of everything has happened, with names that try to break the format."""

    evil = 'gpt"4\n\\o'
    monitor = parts.monitor
    who = {"chat_id": "1", "model": evil, "host": "127.0.0.1:1"}
    for event in (
        Happened("chat.started", **who, kind="chat"),
        Happened("chat.first_token", **who, seconds=0.4),
        Happened("chat.tool_called", **who, tool=evil),
        Happened("chat.finished", **who, kind="chat", outcome="completed", seconds=2.0, first_token=0.4,
                 tokens=50, length=200, bytes_sent=9, bytes_saved=8),
        Happened("error", severity="medium", kind="timeout", type="T", outcome="retrying", message="m"),
        Happened("http.request", method="GET", route="/api/model_config", status=200, seconds=0.2),
    ):  # fmt: skip
        monitor.on_event(event)
    monitor.on_latency([0.001])
    monitor.system.on_lag(0.002, monitor.clock())
    monitor.add_source("bus", lambda: bus_figures({"name": evil, "size": 1, "capacity": 9}))
    monitor.add_source("mcp", lambda: [{"server": evil, "state": "up", "tools": 3}])
    monitor.add_source("seams", lambda: [{"name": "chat", "attached": True}])
    monitor.add_source("breakers", parts.snapshot)
    monitor.tick()


async def test_both_expositions_parse_and_agree(client: Client) -> None:
    """The strict OpenMetrics parser and the text parser read the same series, evil names and all."""
    busy(client.parts)
    _, _, text = await client.get("/metrics?format=prometheus")
    _, _, openmetrics = await client.get("/metrics?format=openmetrics")

    in_text = {(s.name, tuple(sorted(s.labels.items()))) for f in parse_text(text) for s in f.samples}
    families = parse_openmetrics(openmetrics)  # type: ignore[no-untyped-call]
    in_openmetrics = {(s.name, tuple(sorted(s.labels.items()))) for f in families for s in f.samples}

    assert in_text == in_openmetrics
    assert {name for name, _ in in_text if not name.startswith("copilot_pulse_")} == set()
    assert len(in_text) > 100
    labels = (("host", "127.0.0.1:1"), ("model", 'gpt"4\\o'), ("outcome", "completed"))
    assert ("copilot_pulse_chats_total", labels) in in_text


async def test_a_series_appears_once(client: Client) -> None:
    """A series that stands twice makes Prometheus refuse the whole page."""
    busy(client.parts)
    _, _, text = await client.get("/metrics?format=prometheus")
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]

    assert len(series) == len(set(series))


async def test_scraping_is_cached_for_a_moment(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked, making the page costs the loop a twentieth of its time at most."""
    now = [100.0]
    made: list[float] = []

    def snapshot() -> dict[str, Any]:
        made.append(now[0])
        now[0] += 0.01
        return {}

    monkeypatch.setattr("backend.api.routes.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(client.parts.monitor, "snapshot", snapshot)
    for _ in range(5):
        await client.get("/metrics")
    assert len(made) == 1
    now[0] += 0.25
    await client.get("/metrics")

    assert len(made) == 2


async def test_a_scraper_that_leaves_harms_no_other() -> None:
    """Two wait for the same page; the first goes away in the middle, the second gets it, made once more."""
    gates = [asyncio.Event(), asyncio.Event()]
    started: list[int] = []

    async def make() -> bytes:
        started.append(1)
        await gates[len(started) - 1].wait()
        return b"page"

    kept = _Kept(make)
    first, second = asyncio.create_task(kept.get()), asyncio.create_task(kept.get())
    await until(lambda: started)
    first.cancel()
    await asyncio.wait({first})
    await until(lambda: len(started) == 2)
    gates[1].set()

    assert await second == b"page"
    assert first.cancelled()


async def test_a_client_that_leaves_before_its_body_changes_nothing(client: Client) -> None:
    """Half a request and a closed socket: the handler ends, and nothing was taken over."""
    host, port = client.base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /copilot-pulse/settings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 30\r\n\r\n{"
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await client.get("/copilot-pulse/settings"))[0] == 200
    assert client.parts.settings.current == Settings()


@pytest.mark.parametrize("path", ["/health", "/metrics", "/copilot-pulse/health"])
async def test_head_is_answered(client: Client, path: str) -> None:
    """Uptime monitors ask with HEAD."""
    async with client.session.head(client.base + path) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_health_is_503_only_when_it_fails(client: Client) -> None:
    """A load balancer reads the status; a warning must not take the server out."""
    from backend.metrics.health import Finding

    found = Finding()
    client.parts.monitor.add_check("test:x", lambda: found)
    assert (await client.get("/health"))[0] == 200
    found = Finding("warn", output="Hm.", advice="Reading.")
    assert (await client.get("/health"))[0] == 200
    found = Finding("fail", output="Ow.", advice="Act.")
    status, kind, body = await client.get("/health")

    assert (status, kind.partition(";")[0]) == (503, "application/health+json")
    assert json.loads(body)["output"] == "Ow. Act."


async def test_history_ranges(client: Client) -> None:
    """The ranges of the charts; another is refused with the names that exist."""
    client.parts.monitor.tick()
    for name, step in (("1m", 1), ("1h", 5), ("24h", 60), ("7d", 900)):
        status, _, body = await client.get(f"/copilot-pulse/history?range={name}")
        assert (status, json.loads(body)["step"], json.loads(body)["down"]) == (200, step, [])

    status, _, body = await client.get("/copilot-pulse/history?range=1y")
    assert (status, "1m, 1h, 24h, 7d" in body) == (400, True)


async def test_settings_are_described_with_their_values(client: Client) -> None:
    """The panel builds its form from this."""
    client.parts.settings.update({"queue_size": 50})
    _, _, body = await client.get("/copilot-pulse/settings")
    rows = {row["name"]: row for row in json.loads(body)["settings"]}

    assert rows["queue_size"]["value"] == 50
    assert rows["queue_size"]["default"] == Settings().queue_size
    assert rows["queue_size"]["env"] == "COPILOT_PULSE_QUEUE_SIZE"
    assert rows["panel_refresh"]["unit"] == "s"


async def test_settings_are_taken_over_at_once(client: Client) -> None:
    """Valid values count from now on, and whoever listens is told."""
    told: list[list[str]] = []
    client.parts.settings.on_change(told.append)
    status, answer = await client.post("/copilot-pulse/settings", {"queue_size": 77, "max_retries": 1})

    assert status == 200
    assert {row["name"]: row["value"] for row in answer["settings"]}["queue_size"] == 77
    assert (client.parts.settings.current.queue_size, client.parts.settings.current.max_retries) == (77, 1)
    assert told == [["queue_size", "max_retries"]]


async def test_bad_settings_change_nothing_and_say_why(client: Client) -> None:
    """One bad value refuses all, with a sentence for each field."""
    wanted = {"queue_size": 5, "nope": 1, "max_retries": 2}
    status, answer = await client.post("/copilot-pulse/settings", wanted)

    assert status == 400
    assert [p["name"] for p in answer["problems"]] == ["queue_size", "nope"]
    assert "from 10 to" in answer["problems"][0]["allowed"]
    assert client.parts.settings.current == Settings()


async def test_a_setting_that_guards_the_user_cannot_be_posted(client: Client) -> None:
    """A page must not be able to let the text of chats leave the process."""
    status, answer = await client.post("/copilot-pulse/settings", {"expose_text": True})

    assert (status, answer["problems"][0]["name"]) == (400, "expose_text")
    assert client.parts.settings.current.expose_text is False


async def test_a_secret_is_in_no_answer(client: Client) -> None:
    """The settings page and the bug report say that there is a Redis URL, and not which."""
    client.parts.settings.current = replace(client.parts.settings.current, redis_url=Secret("redis://:hush@host"))
    for path in ("/copilot-pulse/settings", "/copilot-pulse/diagnostics"):
        _, _, answer = await client.get(path)
        assert "hush" not in answer
        assert "…" in answer


async def test_a_panel_gets_live_data_until_it_closes(client: Client) -> None:
    """Open sends at once; close ends the task; both are plain POSTs."""
    status, answer = await client.post("/copilot-pulse/panel", {"client_id": "c", "open": True})
    assert (status, answer["open"]) == (200, True)
    assert client.parts.sent[0][0] == "copilot-pulse.update"
    assert set(client.parts.sent[0][1]) == {"snapshot", "events"}
    assert client.parts.monitor.snapshot()["system"]["connections"]["panels"] == 1

    status, answer = await client.post("/copilot-pulse/panel", {"client_id": "c", "open": False})
    assert (status, answer) == (200, {"open": False, "was_open": True})
    assert not client.report.feed.running


@pytest.mark.parametrize(
    "data", [{}, {"client_id": 5, "open": True}, {"client_id": "c"}, {"client_id": "", "open": True}]
)
async def test_a_malformed_panel_message_is_refused(client: Client, data: Any) -> None:
    """Nothing is leased to nobody."""
    assert (await client.post("/copilot-pulse/panel", data))[0] == 400
    assert len(client.report.feed) == 0


async def test_a_chat_is_stopped(client: Client) -> None:
    """The stop button; a chat that is gone is a 404."""
    assert await client.post("/copilot-pulse/chats/7-abc/stop") == (200, {"stopped": True})
    assert (await client.post("/copilot-pulse/chats/8-xyz/stop"))[0] == 404
    assert client.parts.stopped == ["7-abc", "8-xyz"]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/copilot-pulse/breakers/127.0.0.1:1234/probe", None),
        ("/copilot-pulse/breakers/probe?name=127.0.0.1:1234", None),
        ("/copilot-pulse/breakers/probe", {"name": "127.0.0.1:1234"}),
    ],
)
async def test_a_breaker_is_probed(client: Client, path: str, data: Any) -> None:
    """The retry-now button, however the name is sent."""
    assert await client.post(path, data) == (200, {"probing": True})
    assert client.parts.breaker.probed == 1


async def test_an_unknown_breaker_is_not_made(client: Client) -> None:
    """Asking for a name must not create it."""
    assert (await client.post("/copilot-pulse/breakers/nope/probe"))[0] == 404
    assert client.parts.breaker.probed == 0


async def test_an_mcp_server_is_probed(client: Client) -> None:
    """The other retry-now button: a server that is still down is no unknown one."""
    path = "/copilot-pulse/mcp/probe"

    assert await client.post(path, {"server": "http://a/sse"}) == (200, {"probing": True, "up": True})
    assert await client.post(path, {"server": "http://down/sse"}) == (200, {"probing": True, "up": False})
    assert (await client.post(path, {"server": "http://b/sse"}))[0] == 404
    assert (await client.post(path, {}))[0] == 400


async def test_a_notice_about_an_mcp_server_is_dismissed(client: Client) -> None:
    """And taken back; an unknown server and anything that is not true or false are refused."""
    path = "/copilot-pulse/mcp/dismiss"
    server = "http://down/sse"

    assert await client.post(path, {"server": server}) == (200, {"server": server, "dismissed": True})
    assert [True] == [client.parts.dismissed]
    assert (await client.post(path, {"server": server, "dismissed": False}))[0] == 200
    assert [False] == [client.parts.dismissed]
    assert (await client.post(path, {"server": "http://b/sse"}))[0] == 404
    assert (await client.post(path, {"server": server, "dismissed": "yes"}))[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/copilot-pulse/health", "GET, HEAD"), ("DELETE", "/api/copilot-pulse/settings", "GET, HEAD, POST"),
     ("GET", "/copilot-pulse/panel", "POST"), ("PUT", "/copilot-pulse/chats/7-abc/stop", "POST"),
     ("POST", "/metrics", "GET, HEAD"), ("DELETE", "/api/health", "GET, HEAD")],
)  # fmt: skip
async def test_another_method_is_told_which_there_are(client: Client, method: str, path: str, allowed: str) -> None:
    """405 with `Allow`, and in JSON as every refusal of ours."""
    async with client.session.request(method, client.base + path, json={}) as response:
        assert (response.status, response.headers["Allow"]) == (405, allowed)
        assert allowed in (await response.json())["error"]


async def test_a_path_that_is_none_is_told_in_json(client: Client) -> None:
    """Below our name only; what else there is not belongs to somebody else."""
    for path in ("/copilot-pulse/metric", "/api/copilot-pulse/events/none/at/all", "/copilot-pulse/"):
        for method in ("GET", "POST"):
            async with client.session.request(method, client.base + path) as response:
                assert (response.status, await response.json()) == (404, {"error": "there is no such path"})
    assert (await client.get("/none"))[0::2] == (404, "404: Not Found")


async def test_the_webhook_is_tried_and_shown_to_nobody(client: Client) -> None:
    """Its button sends a message; the settings say only whether there is one."""
    path = "/copilot-pulse/webhook/test"
    status, answer = await client.post(path)
    assert (status, "COPILOT_PULSE_WEBHOOK" in answer["error"]) == (404, True)
    client.parts.hook = "https://hooks.example.com/" + SECRET
    client.parts.settings = LiveSettings(Settings(webhook=Secret(client.parts.hook)))

    assert (200, {"ok": True, "status": 204}) == await client.post(path)
    assert client.parts.hook == client.parts.told[0]
    _, _, body = await client.get("/copilot-pulse/settings")
    assert json.loads(body)["webhook"] is True
    assert SECRET not in body


async def test_prices_that_cannot_be_read_are_told(client: Client) -> None:
    """Which entry: a change is refused whole; of what stands in the environment or in ComfyUI's file the rest holds."""
    client.parts.monitor = Monitor(prices=lambda: client.parts.settings.current.prices)
    status, answer = await client.post("/copilot-pulse/settings", {"prices": "a = 1 / 2\nb = cheap"})

    assert (status, client.parts.settings.current.prices) == (400, "")
    assert "entry 2" in answer["problems"][0]["allowed"]
    client.parts.settings.update({"prices": "a = 1 / 2\nb = cheap"})
    problems = json.loads((await client.get("/copilot-pulse/settings"))[2])["problems"]
    assert ["entry 2" in problem for problem in problems] == [True]
    assert (await client.post("/copilot-pulse/settings", {"prices": "a = 1 / 2; b = 3 / 4"}))[0] == 200


async def test_what_breaks_is_told_in_json(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that asks for JSON gets JSON, and none of the exception's words."""
    monkeypatch.setattr(client.parts.monitor, "health", lambda: 1 / 0)

    status, kind, body = await client.get("/copilot-pulse/health")

    assert (status, kind) == (500, "application/json; charset=utf-8")
    assert json.loads(body) == {"error": "internal error"}


async def test_half_an_emoji_costs_no_page(client: Client) -> None:
    """A provider that cuts its error text inside an emoji must not switch off metrics and diagnostics."""
    failure = Happened("error", severity="high", kind="auth", type="E", outcome="gave_up", message="caf\u00e9 \ud83d")
    client.parts.monitor.on_event(failure)
    label = Happened("chat.model", chat_id="1", model="m\ud83d", host="h\udc00", attempt=1, turn=1)
    client.parts.monitor.on_event(label)

    for name in ("metrics", "diagnostics", "health", "metrics?format=prometheus", "metrics?format=openmetrics"):
        status, _, _ = await client.get(f"/copilot-pulse/{name}")
        assert status == 200
    assert json.loads((await client.get("/copilot-pulse/metrics"))[2])["errors"]["recent"][0]["message"][-1] == "\ud83d"


async def test_a_body_that_another_plugin_has_read_counts() -> None:
    """A login or a log of another plugin reads the body first, in a middleware."""
    parts = Parts()

    @web.middleware
    async def reads(request: web.Request, handler: Any) -> web.StreamResponse:
        await request.read()
        response: web.StreamResponse = await handler(request)
        return response

    app = web.Application(middlewares=[reads])
    report = add_routes(app, parts, parts.send)
    async with TestClient(TestServer(app)) as http:
        answer = await http.post("/copilot-pulse/settings", json={"queue_size": 50})
        large = await http.post("/copilot-pulse/settings", json={"queue_size": " " * MAX_BODY})

    assert (answer.status, parts.settings.current.queue_size, large.status) == (200, 50, 413)
    await report.aclose()


CHANGING = [
    "/copilot-pulse/settings", "/copilot-pulse/panel", "/copilot-pulse/chats/7-abc/stop",
    "/copilot-pulse/breakers/probe", "/copilot-pulse/mcp/probe", "/copilot-pulse/mcp/dismiss",
    "/copilot-pulse/webhook/test",
]  # fmt: skip


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://[::1"}],
)  # fmt: skip
async def test_another_site_changes_nothing(client: Client, path: str, headers: dict[str, str]) -> None:
    """A page that the user happens to visit can neither stop a chat nor change a setting."""
    status, _ = await client.post(path, {"client_id": "c", "open": True, "queue_size": 50}, **headers)

    assert status == 403
    assert client.parts.settings.current == Settings()
    assert client.parts.stopped == []
    assert len(client.report.feed) == 0


@pytest.mark.parametrize("path", ["/metrics", "/api/metrics", *(f"/copilot-pulse/{n}" for n in READING[2:])])
async def test_another_site_reads_no_ids(client: Client, path: str) -> None:
    """Even where ComfyUI lets other origins in, their scripts learn no chat's id; links and scrapers pass."""
    assert (await client.get(path, Origin="http://evil.example"))[0] == 403
    assert (await client.get(path, Origin=client.base))[0] == 200
    assert (await client.get(path, **{"Sec-Fetch-Site": "cross-site"}))[0] == 200


@pytest.mark.parametrize("path", CHANGING)
async def test_only_json_changes_anything(client: Client, path: str) -> None:
    """A form, which a browser sends across sites without asking, is refused."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        async with client.session.post(
            client.base + path, data=b'{"queue_size": 50}', headers={"Content-Type": kind}
        ) as response:
            assert response.status == 415

    assert client.parts.settings.current == Settings()


async def test_our_own_page_may_change_things(client: Client) -> None:
    """The same origin passes, as does a program that is no browser."""
    status, _ = await client.post(
        "/copilot-pulse/settings", {"queue_size": 50}, Origin=client.base, **{"Sec-Fetch-Site": "same-origin"}
    )

    assert status == 200


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8188", "localhost:8188", True),
        ("https://comfy.example", "comfy.example", True),
        ("https://comfy.example", "comfy.example:443", True),
        ("http://comfy.example:80", "comfy.example", True),
        ("http://[::1]:8188", "[::1]:8188", True),
        ("HTTP://LOCALHOST:8188", "localhost:8188", True),
        ("http://localhost:8188", "localhost:8189", False),
        ("http://localhost.evil:8188", "localhost:8188", False),
        ("file://", "localhost", False),
        ("null", "localhost", False),
        ("http://localhost:99999", "localhost", False),
        ("", "", False),
    ],
)
def test_same_origin(origin: str, host: str, same: bool) -> None:
    """Scheme's default port, case and IPv6 included."""
    assert same is same_origin(origin, host)


@pytest.mark.parametrize("body", [b"{", b"[1]", b"7", b'{"a": ' + b"[" * 30_000])
async def test_a_body_that_is_no_object_is_400(client: Client, body: bytes) -> None:
    """Broken, another type, or nested to break the parser."""
    async with client.session.post(
        client.base + "/copilot-pulse/settings", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 400
        assert "error" in await response.json()


@pytest.mark.parametrize("value", [None, 1, 1.5, [], [1], {}, {"a": 1}, True, "", "\ud83d"])
async def test_fields_of_wrong_kinds_are_no_fault_of_ours(client: Client, value: Any) -> None:
    """Whatever stands in a field of a request that changes something: it is done or refused, in words."""
    fields = ("client_id", "open", "server", "dismissed", "session", "name", "queue_size")
    for path in ("settings", "panel", "breakers/probe", "mcp/probe", "mcp/dismiss", "chats/x/stop", "events/forget"):
        status, body = await client.post(f"/copilot-pulse/{path}", dict.fromkeys(fields, value))
        assert (path, status) in [(path, fine) for fine in (200, 400, 404)], body


async def test_a_body_that_is_not_what_its_headers_say_is_400(client: Client) -> None:
    """A body that is said to be compressed and is not, or not whole."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Connection": "close"}
    for body in (b"{}", gzip.compress(b"{}" * 99)[:-9]):
        url = client.base + "/copilot-pulse/settings"
        async with client.session.post(url, data=body, headers=headers) as response:
            assert response.status == 400
            assert "the body" in (await response.json())["error"]


async def test_a_huge_body_is_413(client: Client) -> None:
    """With a length or streamed, the server reads no more than it needs to refuse."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 4096

    for body in (b" " * (MAX_BODY + 1), endless()):
        async with client.session.post(
            client.base + "/copilot-pulse/settings", data=body, headers={"Content-Type": "application/json"}
        ) as response:
            assert response.status == 413


async def test_diagnostics_hold_no_secret_and_no_ids(client: Client) -> None:
    """What is pasted into a public bug report names no conversation and holds no key."""

    failure = Happened(
        "error", severity="high", kind="auth", type="E", outcome="gave_up", chat_id="7-abc", error_id="e-1",
        message=f"refused key {SECRET}", attempt=1, where="model",
    )  # fmt: skip
    client.parts.monitor.on_event(failure)
    chat = {"chat_id": "7-abc", "session_id": "s-9", "state": "done"}
    client.parts.monitor.add_source("chats", lambda: [chat])
    client.parts.monitor.add_source("seams", lambda: [{"name": "chat", "attached": True, "detail": ""}])
    client.parts.settings.update({"queue_size": 77})
    _, _, body = await client.get("/copilot-pulse/diagnostics")
    report = json.loads(body)

    for secret in (SECRET, "7-abc", "s-9", "e-1"):
        assert secret not in body
    assert report["settings"] == {"queue_size": 77}
    assert {"python", "system", "aiohttp", "prometheus-client"} <= set(report["versions"])
    assert report["seams"][0]["name"] == "chat"
    assert report["errors"]["recent"][0]["kind"] == "auth"
    assert report["health"]["checks"]


async def theirs(request: web.Request) -> web.Response:
    """Another plugin's page."""
    return web.Response(text="theirs")


@pytest.mark.parametrize("first", [True, False])
async def test_a_page_of_another_plugin_stays(first: bool) -> None:
    """Whoever registers /metrics first keeps it; ours is under our own name and health says so."""
    parts, app = Parts(), web.Application()
    if first:
        app.router.add_get("/metrics", theirs)
        app.router.add_get("/unrelated", theirs)
    report = add_routes(app, parts, parts.send)
    if not first:
        # A later plugin adds its own; aiohttp lets the first one answer, and nothing raises.
        app.router.add_get("/metrics", theirs)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with ClientSession() as session:
        async with session.get(base + "/metrics") as response:
            assert (await response.text() == "theirs") is first
        async with session.get(base + "/copilot-pulse/metrics") as response:
            assert response.status == 200
    health = parts.monitor.health()["checks"]["http:routes"][0]
    await runner.cleanup()

    assert report.taken == (["/metrics"] if first else [])
    assert health["status"] == ("warn" if first else "pass")


async def test_no_two_routes_in_a_row_share_a_path() -> None:
    """aiohttp raises for a method registered twice in a row; a rival plugin before us must not hit that."""
    app = web.Application()
    app.router.add_get("/copilot-pulse-lookalike", theirs)
    app.router.add_get("/metrics", theirs)
    app.router.add_get("/health", theirs)
    app.router.add_get("/api/metrics", theirs)
    app.router.add_get("/api/health", theirs)
    report = add_routes(app.router, Parts(), lambda *message: None)

    assert sorted(report.taken) == ["/api/health", "/api/metrics", "/health", "/metrics"]


async def test_adding_routes_starts_nothing() -> None:
    """Registering costs no task, no thread, and does not load prometheus-client."""
    before = len(asyncio.all_tasks())
    add_routes(web.Application(), Parts(), lambda *message: None)

    assert len(asyncio.all_tasks()) == before


async def test_private_leaves_figures_only(client: Client) -> None:
    """With COPILOT_PULSE_PRIVATE nobody reads names or words, nor stops a chat; the figures stay."""
    monitor = client.parts.monitor
    monitor.add_source("chats", lambda: [{"chat_id": "7-abc", "session_id": "s-1", "state": "done", "model": "gpt-x"}])
    monitor.tick()
    client.parts.settings.current = replace(client.parts.settings.current, private=True)
    status, _, body = await client.get("/copilot-pulse/metrics")
    assert 200 == status
    assert json.loads(body)["chat"]["active"] == 0
    assert json.loads(body)["private"] is True
    assert not {word for word in ("7-abc", "s-1", "gpt-x") if word in body}
    assert {"status"} == set(json.loads((await client.get("/copilot-pulse/health"))[2]))
    for path in ("metrics?format=prometheus", "diagnostics", "settings", "fleet"):
        assert 403 == (await client.get(f"/copilot-pulse/{path}"))[0]
    for path in ("chats/7-abc/stop", "panel", "settings", "mcp/probe"):
        assert 403 == (await client.post(f"/copilot-pulse/{path}"))[0]
    assert [] == client.parts.stopped
