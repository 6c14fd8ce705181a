"""The standalone host as a whole: real agent library, real sockets, the plugin's pipeline between."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backend.standalone import script
from backend.standalone.host import Host
from backend.standalone.options import ModelServer, Options
from backend.streams.wire import STREAM
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import status
from tests.support.net import until

# A busy machine is silent by itself at times; only the tests of silence have a short limit.
QUICK = {
    "COPILOT_PULSE_RETRY_BASE": "0.01",
    "COPILOT_PULSE_STALL_TIMEOUT": "30",
    "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "30",
    "COPILOT_PULSE_PANEL_REFRESH": "0.2",
    "COPILOT_PULSE_BREAKER_MIN_CALLS": "1000",
}
Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts hosts on free ports, and ends them after the test."""
    hosts: list[Host] = []

    async def make(endpoint: ModelServer | None = None, **environ: str) -> Host:
        host = Host(Options("127.0.0.1", 0, endpoint), {**QUICK, **environ}, pace=0)
        hosts.append(host)
        await host.start()
        return host

    yield make
    for host in hosts:
        await host.close()


@pytest.fixture
async def host(start: Start) -> Any:
    return await start()


@pytest.fixture
async def client(host: Host) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.url) as session:
        yield session


def ask(client: aiohttp.ClientSession, text: str, *, session: str = "s", **headers: str) -> Any:
    body = {"session_id": session, "messages": [{"role": "user", "content": text}], "ext": []}
    return client.post("/api/chat/invoke", json=body, headers=headers)


async def lines(client: aiohttp.ClientSession, text: str, **more: str) -> list[dict[str, Any]]:
    async with ask(client, text, **more) as response:
        assert response.status == 200
        return [json.loads(line) for line in (await response.text()).splitlines()]


def whole(text: str) -> str:
    """What the scripted model says to `text` when it has misbehaved often enough."""
    asked = script.read([{"role": "user", "content": text}])
    return "".join(script.plan(asked, asked.times).tokens)


def visible(text: str) -> str:
    return text.replace("\u2063", "")


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("hello", 1),
        ("/drop", 2),
        ("/drop 3", 4),
        ("/503", 3),
        ("/truncate", 2),
        ("/garbage", 2),
        ("/slow", 1),
        ("/flood", 1),
        ("/reasoning", 1),
        ("/help", 1),
    ],
)
async def test_every_fault_ends_in_the_exact_answer(
    host: Host, client: aiohttp.ClientSession, text: str, calls: int
) -> None:
    """Whatever the model does, the last line is its whole answer, and it was asked no more than needed."""
    answer = await lines(client, text)

    assert answer[-1]["text"] == whole(text)
    assert answer[-1]["finished"] is True
    assert [line["finished"] for line in answer[:-1]] == [False] * (len(answer) - 1)
    assert host.model is not None
    assert host.model.requests == calls


@pytest.mark.parametrize("text", ["/stall", "/silent"])
async def test_silence_ends_in_the_exact_answer(host: Host, client: aiohttp.ClientSession, text: str) -> None:
    """A model that falls silent is given up after the limit and asked again, as often as it takes."""
    host.pulse.settings.update({"stall_timeout": 1, "first_token_timeout": 1, "max_retries": 10})

    answer = await lines(client, text)

    assert answer[-1]["text"] == whole(text)
    assert host.model is not None
    assert host.model.requests >= 2


def test_a_long_conversation_does_not_wait_longer() -> None:
    """The limits that the answers name hold however much was said before, unless the environment says otherwise."""
    scripted = Options("127.0.0.1", 0, None)

    assert Host(scripted, {}).pulse.settings.current.first_token_per_1000_chars == 0
    own = Host(scripted, {"COPILOT_PULSE_FIRST_TOKEN_PER_1000_CHARS": "2"})
    assert own.pulse.settings.current.first_token_per_1000_chars == 2


async def test_a_page_that_can_come_back_is_told_of_its_chat(host: Host, client: aiohttp.ClientSession) -> None:
    """Its lines name the chat and count its retries, so that no other chat's are taken for them; others get none."""
    named = await lines(client, "/drop 2", **{STREAM: "a" * 22})
    plain = await lines(client, "/drop 2")

    assert host.pulse.chats.get(named[-1]["chat_id"]) is not None
    assert named[-1]["retries"] == 2
    assert {"chat_id", "retries"}.isdisjoint(plain[-1])


async def test_retry_after_is_honoured(host: Host, client: aiohttp.ClientSession) -> None:
    """A 429 that says when to come back is answered by waiting that long, and told as an event."""
    seen: list[Any] = []
    host.pulse.bus.subscribe("chat.retrying", seen.append)

    answer = await lines(client, "/429")

    assert answer[-1]["text"] == whole("/429")
    assert seen[0].data["wait"] >= script.RETRY_AFTER


@pytest.mark.parametrize("drop", ["", " drop"])
async def test_tools_run_once_each(host: Host, client: aiohttp.ClientSession, drop: str) -> None:
    """Both tools are called once, also when the answer after them breaks."""
    called: list[str] = []
    host.pulse.bus.subscribe("chat.tool_called", lambda event: called.append(event.data["tool"]))

    answer = (await lines(client, "/tool" + drop))[-1]["text"]

    assert sorted(called) == ["list_nodes", "now"]
    assert "CheckpointLoaderSimple" in answer
    assert answer.count("What the tools said") == 1


@pytest.mark.parametrize(("text", "says"), [("/401", "key"), ("/html", "web page"), ("/drop 9", "incomplete")])
async def test_what_cannot_be_repaired_is_told(host: Host, client: aiohttp.ClientSession, text: str, says: str) -> None:
    """The answer ends in a sentence with the host in it, and never with the key."""
    last = (await lines(client, text))[-1]

    assert host.endpoint is not None
    assert last["finished"] is True
    assert says in last["text"]
    assert "127.0.0.1" in last["text"]
    assert host.endpoint.api_key not in last["text"]


async def test_the_notice_is_in_the_readers_language(client: aiohttp.ClientSession) -> None:
    """A browser that asks for Chinese gets its answer and its notices in Chinese."""
    header = {"Accept-Language": "zh-CN,zh;q=0.9"}

    assert "你好" in (await lines(client, "hello", **header))[-1]["text"]
    assert re.search(r"[\u4e00-\u9fff]", (await lines(client, "/401", **header))[-1]["text"])


async def test_chats_do_not_mix(client: aiohttp.ClientSession) -> None:
    """Twenty chats at once, each with its own fault, each get their own answer."""
    texts = [f"message {n}" if n % 2 else f"/drop {n % 3}" for n in range(20)]

    answers = await asyncio.gather(*(lines(client, text, session=str(n)) for n, text in enumerate(texts)))

    for n, (text, answer) in enumerate(zip(texts, answers, strict=True)):
        assert answer[-1]["text"] == whole(text)
        assert {line["session_id"] for line in answer} == {str(n)}


async def test_a_hang_up_stops_the_model(host: Host, client: aiohttp.ClientSession) -> None:
    """When the page leaves in a stall, the model's request ends, and the chat counts as cancelled."""
    host.pulse.settings.update({"first_token_timeout": 0})
    model = host.model
    assert model is not None
    asking = asyncio.create_task(lines(client, "/silent"))
    await until(lambda: model.active == 1)

    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: model.active == 0)
    await until(lambda: not len(host.pulse.chats))
    assert host.pulse.chats.snapshot()[0]["state"] == "cancelled"


async def test_the_stop_button_stops(host: Host, client: aiohttp.ClientSession) -> None:
    """Stopping a chat by its id ends the answer and the model's request."""
    host.pulse.settings.update({"first_token_timeout": 0})
    model = host.model
    assert model is not None
    asking = asyncio.create_task(lines(client, "/silent"))
    await until(lambda: model.active == 1)
    async with client.get("/api/metrics") as response:
        chat = (await response.json())["chat"]["current"][0]

    async with client.post(f"/copilot-pulse/chats/{chat['chat_id']}/stop", json={}) as response:
        assert response.status == 200

    await asking
    await until(lambda: model.active == 0)


async def test_closing_in_mid_chat_leaves_nothing(start: Start) -> None:
    """Ctrl-C during a chat and with a page open: everything ends, and no task is left."""
    before = asyncio.all_tasks()
    host = await start(COPILOT_PULSE_FIRST_TOKEN_TIMEOUT="0")
    async with aiohttp.ClientSession(host.url) as client:
        async with client.ws_connect("/ws?clientId=a") as page:
            asking = asyncio.create_task(lines(client, "/silent"))
            await until(lambda: host.model.active == 1)
            closing = asyncio.create_task(host.close())
            while (await page.receive()).type != aiohttp.WSMsgType.CLOSE:
                pass
        await closing
        await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})

    with pytest.raises(OSError, match=re.escape(host.url.rpartition(":")[2])):
        await asyncio.open_connection("127.0.0.1", int(host.url.rpartition(":")[2]))


async def test_a_cancelled_start_leaves_nothing(start: Start) -> None:
    """A start that is cancelled at its first wait closes what it had opened."""
    before = asyncio.all_tasks()
    host = Host(Options("127.0.0.1", 0, None), QUICK)
    starting = asyncio.create_task(host.start())
    await asyncio.sleep(0)
    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: asyncio.all_tasks() <= before)


async def test_routes_answer_in_both_forms(client: aiohttp.ClientSession) -> None:
    """Each route is there as /x and as /api/x, as in ComfyUI, and health finds seams and routes in order."""
    for path in (
        "/metrics",
        "/health",
        "/copilot-pulse/metrics",
        "/copilot-pulse/settings",
        "/standalone",
        "/i18n",
    ):
        for prefix in ("", "/api"):
            async with client.get(prefix + path) as response:
                assert (path, response.status) == (path, 200)
    async with client.get("/api/health") as response:
        health = await response.json(content_type=None)
    assert health["status"] in ("pass", "warn")  # a busy machine's lag is a warning
    assert "ComfyUI" not in json.dumps(health)
    assert [check["status"] for check in health["checks"]["copilot:seams"]] == ["pass"]
    assert [check["status"] for check in health["checks"]["http:routes"]] == ["pass"]
    async with client.get("/i18n") as response:
        texts = await response.json()
    assert texts["en"]["copilotPulse"]["title"] == "Copilot Pulse"
    assert set(texts) == {"en", "zh"}


async def test_the_page_has_all_its_parts(host: Host, client: aiohttp.ClientSession) -> None:
    """Every script, style and picture that the page names, directly or through an import, is served."""
    seen: set[str] = set()
    todo = {f"{host.url}/"}
    while todo:
        url = todo.pop()
        seen.add(url)
        async with client.get(url) as response:
            assert (url, response.status) == (url, 200)
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
            if response.content_type not in (
                "text/html",
                "text/javascript",
                "application/javascript",
                "text/css",
            ):
                continue
            text = await response.text()
        names = re.findall(r'(?:from|import|new URL\()\s*"(\.[^"]+\.(?:js|css))"', text)
        names += re.findall(r'(?:href|src)="([^"]+)"', text) if url.endswith("/") else []
        todo |= {str(response.url.join(type(response.url)(name))) for name in names} - seen

    assert any(url.endswith("/web/panel/panel.js") for url in seen)
    assert any(url.endswith("/web/panel/panel.css") for url in seen)
    assert any(url.endswith("page.css") for url in seen)


async def test_the_panel_gets_live_data(client: aiohttp.ClientSession) -> None:
    """A page that says its panel is open gets snapshots and events over the socket, without any text."""
    async with client.ws_connect("/ws?clientId=page-1") as page:
        async with client.post("/copilot-pulse/panel", json={"client_id": "page-1", "open": True}) as response:
            assert response.status == 200
        await lines(client, "/drop")
        types: set[str] = set()
        while "chat.finished" not in types:
            message = await page.receive_json()
            if message["type"] == "copilot-pulse.update":
                types |= {event["type"] for event in message["data"]["events"]}
                assert "dropped connection" not in json.dumps(message)

    assert {"chat.started", "chat.retrying", "error"} <= types


async def test_another_site_cannot_use_it(host: Host, client: aiohttp.ClientSession) -> None:
    """A web page of another origin can neither chat, nor listen, nor change a setting."""
    evil = {"Origin": "https://evil.example"}
    refused = []
    for path in ("/api/chat/invoke", "/copilot-pulse/settings", "/copilot-pulse/panel"):
        async with client.post(path, json={}, headers=evil) as response:
            refused.append(response.status)
    with pytest.raises(aiohttp.WSServerHandshakeError) as socket:
        await client.ws_connect("/ws?clientId=x", headers=evil)

    assert refused == [403] * 3
    assert socket.value.status == 403
    assert host.model is not None
    assert host.model.requests == 0


@pytest.mark.parametrize(
    "body",
    ["", "[", "3", "[]", "{}", '{"messages": 3, "ext": []}', '{"messages": [{"role": "tool"}], "ext": []}'],
)
async def test_a_bad_chat_is_refused(client: aiohttp.ClientSession, body: str) -> None:
    """A body that is no chat gets a 400 with a reason in JSON, never a 500 or a cut connection."""
    headers = {"Content-Type": "application/json"}
    async with client.post("/api/chat/invoke", data=body, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]


async def test_switched_off_nothing_is_wrapped(start: Start) -> None:
    """With COPILOT_PULSE=off the same fault leaves half an answer: what one sees is really our doing."""
    host = await start(COPILOT_PULSE="off")
    async with aiohttp.ClientSession(host.url) as client:
        last = (await lines(client, "/drop"))[-1]["text"]

    assert whole("/drop") not in last
    assert not any(seam["attached"] for seam in host.pulse.seams.snapshot())


async def test_a_real_endpoint_gets_the_key_and_nobody_else(
    start: Start, llm: FaultServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key goes to the model's server and shows up in no response, no event and no log."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    host = await start(ModelServer(llm.base_url, "m", "sk-very-secret-key"))
    events: list[str] = []
    host.pulse.bus.subscribe("*", lambda event: events.append(repr(event.data)))
    async with aiohttp.ClientSession(host.url) as client:
        text = (await lines(client, "hello"))[-1]["text"]
        bodies = [text]
        for path in (
            "/standalone",
            "/metrics",
            "/health",
            "/copilot-pulse/diagnostics",
            "/copilot-pulse/settings",
        ):
            async with client.get(path) as response:
                bodies.append(await response.text())

    headers = {name.lower(): value for name, value in llm.requests[0].headers.items()}
    assert headers["authorization"] == "Bearer sk-very-secret-key"
    assert "org-of-somebody" not in str(headers)
    assert "x-scripted-chat" not in headers
    assert "very-secret" not in "".join([*bodies, *events, caplog.text])


async def test_a_prompt_that_the_server_quotes_is_recorded_nowhere(
    start: Start, llm: FaultServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Neither in a log, nor in an event, a page or a file: here as inside ComfyUI."""
    prompt = "Draw Ada Byron at her brass engine"
    llm.plan(status(400, {"error": {"message": f"Invalid content: {prompt}"}}))
    host = await start(ModelServer(llm.base_url, "m", "sk-very-secret-key"), COPILOT_PULSE_STORE_DIR=str(tmp_path))
    told: list[str] = []
    host.pulse.bus.subscribe("error", lambda event: told.append(event.data["message"]))
    async with aiohttp.ClientSession(host.url) as client:
        await lines(client, prompt)
        bodies = []
        for path in ("/metrics?format=json", "/health", "/copilot-pulse/diagnostics", "/copilot-pulse/events"):
            async with client.get(path) as response:
                bodies.append(await response.text())
    await host.close()
    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]

    assert told == ["Invalid content: [prompt]"]
    assert "[prompt]" in bodies[0]
    assert "Byron" not in "".join([*bodies, caplog.text])
    assert kept
    assert not [data for data in kept if b"Byron" in data]
