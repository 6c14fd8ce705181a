"""The routes of the event store, over a real server and a real store."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from backend.api import events as module
from backend.api.events import EventRoutes
from backend.monitoring import Monitor
from backend.store import EventStore
from tests.support.net import PATIENCE, until
from tests.support.stores import event, put, running

Client = TestClient[web.Request, web.Application]
NewClient = Callable[[web.Application], Awaitable[Client]]
PATH = "/copilot-pulse/events"


class World:
    """A store, its routes, a client."""

    def __init__(self, store: EventStore, routes: EventRoutes, client: Client) -> None:
        self.store: EventStore | None = store
        self.routes = routes
        self.client = client

    async def get(self, path: str = "", status: int = 200, **query: str) -> Any:
        """The JSON of an answer."""
        async with self.client.get(PATH + path, params=query) as response:
            assert response.status == status, await response.text()
            return await response.json()


@pytest.fixture
async def world(tmp_path: Path, aiohttp_client: NewClient) -> AsyncIterator[World]:
    """A store with one finished chat and one that failed."""
    async with running(tmp_path) as store:
        app = web.Application()
        made: list[World] = []
        routes = EventRoutes(lambda: made[0].store, Monitor(prices=lambda: "m = $1 / $2"))
        routes.add(app.router)
        made.append(World(store, routes, await aiohttp_client(app)))
        for chat, outcome in (("1", "completed"), ("2", "failed")):
            store.on_event(event("chat.started", "s", chat_id=chat, kind="chat"))
            store.on_event(event("chat.model", "s", chat_id=chat, model="m", host="h", turn=1, attempt=1))
            store.on_event(event("error", None, chat_id=chat, kind="timeout", severity="high", outcome="gave_up"))
            store.on_event(event("chat.finished", "s", chat_id=chat, outcome=outcome, model="m", seconds=1.0, tokens=3))
        await store.flush()
        yield made[0]
        await routes.aclose()


async def test_query_pages_and_filters(world: World) -> None:
    """By type, by what the data says, in both orders, on where the page ended."""
    first = await world.get(type="chat.*", limit="4")
    rest = await world.get(type="chat.*", after=first["cursor"])

    assert [row["type"] for row in first["events"]] == ["chat.started", "chat.model", "chat.finished", "chat.started"]
    assert (first["more"], rest["more"]) == (True, False)
    assert len(rest["events"]) == 2
    assert [row["data"]["chat_id"] for row in (await world.get(outcome="failed"))["events"]] == ["2"]
    newest = await world.get(order="newest", limit="1", since="1h")
    assert newest["events"][0]["data"]["chat_id"] == "2"
    assert [row["id"] for row in newest["events"]] == ["0-9"]
    two = await world.client.get(f"{PATH}?type=error&type=chat.started")
    assert len((await two.json())["events"]) == 4


@pytest.mark.parametrize(
    ("path", "query", "word"),
    [
        ("", {"type": "chat*"}, "type"),
        ("", {"since": "yesterday"}, "time"),
        ("", {"since": "1e999"}, "time"),
        ("", {"after": "x"}, "cursor"),
        ("", {"limit": "0"}, "limit"),
        ("", {"limit": "²"}, "limit"),
        ("", {"limit": "99999"}, "limit"),
        ("", {"order": "up"}, "order"),
        ("/chats", {"slower": "long"}, "slower"),
        ("/chats", {"before": "nan"}, "before"),
        ("/chats", {"retried": "yes"}, "retried"),
        ("/totals", {"step": "week"}, "step"),
        ("/totals", {"offset": "nan"}, "offset"),
        ("/export", {"format": "xml"}, "format"),
        ("/follow", {"after": "0"}, "cursor"),
    ],
)
async def test_bad_question_is_told_what_is_allowed(world: World, path: str, query: dict[str, str], word: str) -> None:
    """400 with a sentence, not 500."""
    assert word in (await world.get(path, 400, **query))["error"]


async def test_story_chats_and_totals(world: World) -> None:
    """What the panel's views of yesterday are drawn from."""
    story = await world.get("/story", chat="2")
    assert (story["outcome"], story["spans"][0]["kind"], len(story["errors"])) == ("failed", "attempt", 1)
    assert "nothing is known" in (await world.get("/story", 404, chat="9"))["error"]
    assert "id of a chat" in (await world.get("/story", 400))["error"]
    chats = (await world.get("/chats", session="s"))["chats"]
    assert [(row["chat_id"], row["outcome"]) for row in chats] == [("2", "failed"), ("1", "completed")]
    totals = (await world.get("/totals", step="day", since="1d"))["totals"]
    assert sum(row["chats"].get("failed", 0) for row in totals) == 1
    assert sum(row["tokens"] for row in totals) == 6
    assert [row["cost"] for row in totals] == [pytest.approx(2 * 6e-6)]


async def test_chats_are_searched_and_turned_page_by_page(world: World) -> None:
    """By model, outcome, retries, seconds and the words of their errors; a row is what the panel shows of any chat."""
    assert world.store is not None
    told = {"model": "m", "host": "api.example.com", "kind": "chat", "attempts": 2}
    tokens = {"tokens": 30, "input_tokens": 100, "output_tokens": 20, "tokens_estimated": 10, "input_estimated": 7}
    repaired = {**told, **tokens, "retries": 1, "saved": True, "error_kind": "connection", "error_type": "Reset"}
    world.store.on_event(event("error", None, chat_id="3", kind="connection", type="Reset", message="Peer said: No!"))
    world.store.on_event(event("chat.finished", "t", chat_id="3", outcome="completed", seconds=9.0, **repaired))
    world.store.on_event(event("chat.started", "t", chat_id="4", kind="chat"))
    await world.store.flush()

    async def found(**query: str) -> list[str]:
        return [row["chat_id"] for row in (await world.get("/chats", 200, **query))["chats"]]

    assert ["4", "3", "2", "1"] == await found()
    assert (["3"], ["4", "2", "1"]) == (await found(retried="1"), await found(retried="0"))
    assert (["3"], ["3", "2", "1"]) == (await found(slower="1"), await found(slower="0.5"))
    assert (["2"], ["3", "1"]) == (await found(outcome="failed"), await found(outcome="completed", model="m"))
    assert (["3"], ["3"], []) == (await found(text="peer SAID"), await found(text="reset"), await found(text="nowhere"))
    assert [] == await found(model="other")
    row = (await world.get("/chats", limit="2"))["chats"][1]
    assert ["2", "1"] == await found(before=str(row["at"]))
    shown = {
        name: row[name] for name in ("cost", "cost_estimated", "tokens_estimated", "cached_tokens", "error", "saved")
    }
    assert shown == {
        "cost": pytest.approx((107 * 1 + 30 * 2) / 1e6), "cost_estimated": True, "tokens_estimated": True,
        "cached_tokens": None, "error": {"kind": "connection", "type": "Reset"}, "saved": True,
    }  # fmt: skip
    assert pytest.approx((107 * 1 + 30 * 2) / 1e6) == (await world.get("/story", chat="3"))["cost"]


async def test_export_is_a_file_in_both_formats(world: World) -> None:
    """NDJSON with a line an event, CSV with a head; the filters of a query count."""
    async with world.client.get(f"{PATH}/export?type=chat.finished") as response:
        assert "attachment" in response.headers["Content-Disposition"]
        lines = [json.loads(line) for line in (await response.text()).splitlines()]
    async with world.client.get(f"{PATH}/export?format=csv&type=chat.finished") as response:
        assert response.content_type == "text/csv"
        rows = list(csv.DictReader(io.StringIO(await response.text())))

    assert [line["data"]["outcome"] for line in lines] == ["completed", "failed"]
    assert [(row["chat_id"], row["outcome"], row["model"]) for row in rows] == [
        ("1", "completed", "m"), ("2", "failed", "m"),
    ]  # fmt: skip


async def read_events(response: ClientResponse, number: int) -> tuple[list[dict[str, Any]], str]:
    """That many events of a stream, and the last id as a browser would remember it."""
    found: list[dict[str, Any]] = []
    last = ""
    while len(found) < number:
        line = (await response.content.readline()).decode().rstrip("\n")
        if line.startswith("id: "):
            last = line[4:]
        elif line.startswith("data: "):
            found.append(json.loads(line[6:]))
    return found, last


async def test_follow_goes_on_where_the_browser_was(world: World) -> None:
    """`Last-Event-ID` is the cursor: what came meanwhile is sent, and nothing twice."""
    store = world.store
    assert store is not None
    async with world.client.get(f"{PATH}/follow", headers={"Last-Event-ID": "0-2"}) as response:
        assert response.content_type == "text/event-stream"
        seen, last = await read_events(response, 5)
    put(store, 3, "while.away")
    async with world.client.get(f"{PATH}/follow", headers={"Last-Event-ID": last}) as response:
        more, _ = await read_events(response, 2 + 3)

    ids = [row["id"] for row in seen + more]
    assert ids == [f"0-{n}" for n in range(3, 13)]


async def test_follow_from_now_on_and_signs_of_life(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an id the stream begins with what comes; a silent one says that it lives."""
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    store = world.store
    assert store is not None
    async with world.client.get(f"{PATH}/follow?type=new.*") as response:
        while b"beat" not in await response.content.readline():
            pass
        reading = asyncio.ensure_future(read_events(response, 1))
        while not reading.done():  # where "now" is, is found out in a thread
            put(store, 1, "other")
            put(store, 1, "new.one")
            await asyncio.sleep(0.02)
        seen, _ = await reading

        assert [row["type"] for row in seen] == ["new.one"]


async def test_follower_that_leaves_or_is_ended_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its task nor its place among the store's followers."""
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    store = world.store
    assert store is not None
    response = await world.client.get(f"{PATH}/follow")
    await until(lambda: store._followers)
    response.close()
    await until(lambda: not store._followers)
    response = await world.client.get(f"{PATH}/follow")
    await until(lambda: store._followers)
    await world.routes.aclose()
    await asyncio.wait_for(response.read(), PATIENCE)

    assert not store._followers
    assert "follow already" in (await world.get("/follow", 503))["error"]


async def test_forget_takes_a_session_or_everything(world: World) -> None:
    """And nothing on a body that says neither, or both."""
    for body in ({}, {"session": ""}, {"session": 7}, {"all": False}, {"all": True, "session": "s"}):
        async with world.client.post(f"{PATH}/forget", json=body) as response:
            assert response.status == 400
    async with world.client.post(f"{PATH}/forget", json={"session": "s"}) as response:
        assert (await response.json())["forgotten"] == {
            "chat.started": 2, "chat.model": 2, "chat.finished": 2, "error": 2,
        }  # fmt: skip
    put(world.store, 2)  # type: ignore[arg-type]
    async with world.client.post(f"{PATH}/forget", json={"all": True}) as response:
        assert response.status == 200
    assert (await world.get(type="chat.*"))["events"] == []


@pytest.mark.parametrize("path", ["", "/chats", "/story?chat=1", "/totals", "/export", "/follow"])
async def test_page_of_another_origin_gets_nothing(world: World, path: str) -> None:
    """History names chats, models and hosts."""
    async with world.client.get(PATH + path, headers={"Origin": "https://evil.example"}) as response:
        assert response.status == 403
    async with world.client.post(
        f"{PATH}/forget", json={"all": True}, headers={"Origin": "https://evil.example"}
    ) as response:
        assert response.status == 403


async def test_store_that_is_off_says_so(world: World) -> None:
    """The panel shows the sentence."""
    world.store = None
    for path in ("", "/chats", "/story", "/totals", "/export", "/follow"):
        assert "COPILOT_PULSE_STORE" in (await world.get(path, 404))["error"]


async def test_answers_are_redacted_with_what_is_known_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that became known after the event was written."""
    store = world.store
    assert store is not None
    store.on_event(event("x", "my-odd-password", chat_id="my-odd-password", host="my-odd-password"))
    await store.flush()
    told = store._redaction
    monkeypatch.setattr(
        store, "_redaction", told._replace(text=lambda text: told.text(text).replace("my-odd-password", "[redacted]"))
    )

    for path in ("?type=x", "/export?type=x", "/story?chat=my-odd-password", "/follow?after=0-9"):
        async with world.client.get(PATH + path) as response:
            body = await (response.content.readuntil(b"data: {") if "follow" in path else response.read())
            body += await response.content.readline() if "follow" in path else b""
            assert b"[redacted]" in body
            assert b"my-odd" not in body
