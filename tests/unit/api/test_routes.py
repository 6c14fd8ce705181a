"""The routes on a bare aiohttp application, with a real monitor and real settings behind them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientSession, web

from backend.api.routes import add_routes
from backend.monitoring import Monitor
from backend.settings import LiveSettings, Secret, Settings
from tests.support.api_client import READING, SECRET, Client, Happened, Parts


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
    (problem,) = answer["problems"]
    assert "b = cheap" == problem["value"]
    assert '"b = cheap" is no price' in problem["allowed"]
    client.parts.settings.update({"prices": "a = 1 / 2\nb = cheap"})
    problems = json.loads((await client.get("/copilot-pulse/settings"))[2])["problems"]
    assert ["b = cheap" in problem for problem in problems] == [True]
    assert (await client.post("/copilot-pulse/settings", {"prices": "a = 1 / 2; b = 3 / 4"}))[0] == 200


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
