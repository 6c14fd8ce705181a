"""The page's live connection: who gets what, and what a slow or a dead page costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backend.standalone import sockets
from backend.standalone.sockets import SocketHub

Client = TestClient[Any, Any]


@pytest.fixture
def hub() -> SocketHub:
    return SocketHub()


@pytest.fixture
async def client(hub: SocketHub) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_get("/ws", hub.handle)
    async with TestClient(TestServer(app)) as test_client:
        yield test_client


async def connect(client: Client, client_id: str) -> aiohttp.ClientWebSocketResponse:
    ws = await client.ws_connect(f"/ws?clientId={client_id}")
    hello = await ws.receive_json()
    assert hello["type"] == "status"
    assert hello["data"]["sid"] == client_id
    return ws


async def test_messages_reach_the_page_they_are_for(hub: SocketHub, client: Client) -> None:
    """A message for one page reaches that page, in ComfyUI's shape; one for all reaches all."""
    first, second = await connect(client, "a"), await connect(client, "b")

    hub.send("copilot-pulse.update", {"n": 1}, "b")
    hub.send("copilot-pulse.update", {"n": 2})

    assert await first.receive_json() == {"type": "copilot-pulse.update", "data": {"n": 2}}
    assert [(await second.receive_json())["data"]["n"] for _ in range(2)] == [1, 2]


async def test_a_duplicated_tab_gets_its_own(hub: SocketHub, client: Client) -> None:
    """Two tabs with one id both get the updates, and one that closes does not take the other's."""
    first, second = await connect(client, "a"), await connect(client, "a")
    await first.receive_json()  # the second tab's greeting goes to the same id
    await second.close()
    while len(hub) > 1:
        await asyncio.sleep(0)

    hub.send("x", 1, "a")

    assert (await first.receive_json())["type"] == "x"


async def test_an_unknown_page_is_no_error(hub: SocketHub) -> None:
    """Sending to a page that has left costs nothing and raises nothing."""
    hub.send("x", object(), "nobody")


async def test_what_waits_for_a_slow_page_is_bounded(hub: SocketHub, client: Client) -> None:
    """A page that does not keep up gets the newest messages; the oldest are let go."""
    ws = await connect(client, "a")

    for n in range(100):  # the sender's task does not run in between
        hub.send("x", n, "a")

    assert [(await ws.receive_json())["data"] for _ in range(8)] == list(range(92, 100))


async def test_too_many_pages_are_refused(hub: SocketHub, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of connections is bounded, and a place that becomes free can be had."""
    monkeypatch.setattr(sockets, "MAX_SOCKETS", 1)
    ws = await connect(client, "a")

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/ws?clientId=b")
    await ws.close()
    while len(hub):
        await asyncio.sleep(0)

    assert refused.value.status == 503
    assert not (await connect(client, "b")).closed


async def test_a_page_may_not_send_much(hub: SocketHub, client: Client) -> None:
    """A page that sends a large message is cut off."""
    ws = await connect(client, "a")

    await ws.send_str("x" * 10_000)

    assert (await ws.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_half_an_emoji_does_not_end_the_feed(hub: SocketHub, client: Client) -> None:
    """What a server cut in the middle of a character is sent escaped, and the page goes on getting messages."""
    ws = await connect(client, "a")

    hub.send("update", {"message": "caf\u00e9 \ud83d"}, "a")
    hub.send("update", {"message": "next"}, "a")

    texts = [(await ws.receive()).json()["data"] for _ in range(2)]
    assert [data["message"] for data in texts if "message" in data][-2:] == ["caf\u00e9 \ud83d", "next"]


async def test_closing_tells_the_pages(hub: SocketHub, client: Client) -> None:
    """When the host ends, pages hear that it is going away, and no task of the hub is left."""
    ws = await connect(client, "a")

    closing = asyncio.create_task(hub.aclose())
    message = await ws.receive()
    await closing

    assert message.data == aiohttp.WSCloseCode.GOING_AWAY
    while len(hub):
        await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "page socket"]


async def test_a_cancelled_handler_leaves_nothing(hub: SocketHub) -> None:
    """A cancel while a page is connected takes it off the list and ends its sender."""
    handlers: list[asyncio.Task[Any]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        handlers.append(task)
        return await hub.handle(request)

    app = web.Application()
    app.router.add_get("/ws", handle)
    async with TestClient(TestServer(app)) as client:
        await connect(client, "a")
        handlers[0].cancel()
        await asyncio.wait(handlers)

        assert len(hub) == 0
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "page socket"]
