"""The routes of the event store: ask, export, follow, forget.

`EventRoutes(store).add(router)` adds each route as `/x` and as `/api/x`. Every answer is redacted anew, with the
keys that are known by now. A page of another origin gets nothing.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from ..monitoring import Monitor
from ..origin import Refused, check_reader, read_json, serve
from ..store import FORMATS, Cursor, EventStore, NotStored, Page, TooSlow, parse_filter

EVENTS: Final = "/copilot-pulse/events"
MAX_LIMIT: Final = 2_000
MAX_TEXT: Final = 200
_NOT_TOLD: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
MAX_FOLLOWERS: Final = 32
BEAT_SECONDS: Final = 15.0
"""Seconds of silence after which a follower gets a sign of life; a page that has gone shows then at the latest."""
OFF: Final = "the event store is off: see COPILOT_PULSE_STORE"
_CHUNK: Final = 64 * 1024
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class EventRoutes:
    """The handlers. `store()` gives the store, or None while it is off; its errors become answers in words. The
    monitor knows what tokens cost."""

    def __init__(self, store: Callable[[], EventStore | None], monitor: Monitor) -> None:
        self._store = store
        self._with_cost = monitor.with_cost
        self._sum = monitor.with_sums
        self._followers: set[asyncio.Task[Any]] = set()
        self._closing = False

    def add(self, router: web.UrlDispatcher) -> list[str]:
        """Add the routes, before the router is frozen; returns their paths."""
        added: list[str] = []
        for path, method, handler in (
            ("", "GET", self.query),
            ("/chats", "GET", self.chats),
            ("/story", "GET", self.story),
            ("/totals", "GET", self.totals),
            ("/export", "GET", self.export),
            ("/forget", "POST", self.forget),
        ):
            added += serve(router, EVENTS + path, {method: handler})
        return added + serve(router, f"{EVENTS}/follow", {"GET": self.follow}, head=False)

    async def aclose(self) -> None:
        """End the followers: a server that shuts down would wait for them. A cancel leaves them ending."""
        self._closing = True
        tasks = list(self._followers)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)

    def _open(self) -> EventStore:
        store = self._store()
        if store is None:
            raise Refused(404, OFF)
        return store

    # Asking

    async def query(self, request: web.Request) -> web.StreamResponse:
        """`?type=&since=&until=&session=&chat=&model=&outcome=&after=&limit=&order=oldest|newest`."""
        check_reader(request)
        store, which = self._open(), _filter(request)
        order = request.query.get("order", "oldest")
        if order not in ("oldest", "newest"):
            raise Refused(400, "order has to be oldest or newest")
        after, limit = _cursor(request.query.get("after", "")), _limit(request, 100)

        def ask() -> str:
            page = store.query(which, after=after, limit=limit, newest_first=order == "newest")
            answer = {"events": store.plain(page.events), "cursor": str(page.cursor), "more": page.more}
            return store.to_json({**answer, "damaged": page.damaged})

        return await _answer(store, ask)

    async def chats(self, request: web.Request) -> web.StreamResponse:
        """`?since=&until=&session=&model=&outcome=&retried=0|1&slower=&text=&before=&limit=`: one row a chat, the last
        that ended first; on with `before=` the last row's `at`."""
        check_reader(request)
        store, which, limit = self._open(), _filter(request), _limit(request, 100)
        search = {
            "session": which.session, "model": which.model, "outcome": which.outcome, "retried": _retried(request),
            "slower": _seconds(request, "slower"), "text": request.query.get("text", "").strip()[:MAX_TEXT],
        }  # fmt: skip
        before = _seconds(request, "before")
        until = before if which.until is None or (before is not None and before < which.until) else which.until

        def ask() -> str:
            rows = store.chats(since=which.since, until=until, limit=limit, **search)
            return store.to_json({"chats": [store.clean(self._shown(row)) for row in rows]})

        return await _answer(store, ask)

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        """A chat's row as the panel shows those of this process, too."""
        kind, type_ = row.pop("error_kind", None), row.pop("error_type", None)
        error = None if kind is None else {"kind": kind, "type": type_}
        return {**dict.fromkeys(_NOT_TOLD), **self._with_cost(row), "error": error}

    async def story(self, request: web.Request) -> web.StreamResponse:
        """`?chat=`: everything about one chat, for a waterfall; 404 if nothing is known of it."""
        check_reader(request)
        store, chat = self._open(), request.query.get("chat", "")
        if not chat:
            raise Refused(400, "chat has to be the id of a chat")

        def ask() -> str | None:
            story = store.story(chat)
            return store.to_json(store.clean(self._with_cost(story))) if story is not None else None

        return await _answer(store, ask)

    async def totals(self, request: web.Request) -> web.StreamResponse:
        """`?since=&until=&step=hour|day&offset=`: sums, a row for each step in which something happened."""
        check_reader(request)
        store, which, step = self._open(), _filter(request), request.query.get("step", "hour")
        try:
            offset = float(request.query.get("offset", "0"))
        except ValueError:
            raise Refused(400, "offset has to be seconds east of UTC") from None
        if not -86_400 <= offset <= 86_400:
            raise Refused(400, "offset has to be seconds east of UTC")

        def ask() -> str:
            rows = store.totals(since=which.since, until=which.until, step=step, offset=offset)
            return store.to_json({"totals": [store.clean(self._sum(row)) for row in rows]})

        return await _answer(store, ask)

    async def export(self, request: web.Request) -> web.StreamResponse:
        """`?format=ndjson|csv` and the filters of a query: a file, sent while it is read."""
        check_reader(request)
        store, which, fmt = self._open(), _filter(request), request.query.get("format", "ndjson")
        if fmt not in FORMATS:
            raise Refused(400, f"format has to be one of {', '.join(FORMATS)}")
        name = time.strftime(f"copilot-pulse-events-%Y%m%d-%H%M%S.{fmt}")
        response = web.StreamResponse(headers={**_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'})
        response.content_type, response.charset = FORMATS[fmt], "utf-8"
        lines = store.export(fmt, which)

        def chunk() -> bytes:
            parts: list[bytes] = []
            size = 0
            for line in lines:
                parts.append(line.encode())
                size += len(parts[-1])
                if size >= _CHUNK:
                    break
            return b"".join(parts)

        body = await _in_words(store.ask(chunk))
        with suppress(ConnectionError):  # the page has gone
            await response.prepare(request)
            while body:
                await response.write(body)
                body = await store.ask(chunk)
            await response.write_eof()
        return response

    # Following

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: what is behind `Last-Event-ID` (or `?after=`), then what comes.

        The id of each is the cursor behind it, so that a browser goes on by itself where it was. Without one it
        begins now.
        """
        check_reader(request)
        store, which = self._open(), _filter(request)
        told = request.headers.get("Last-Event-ID", request.query.get("after"))
        after = None if told is None else _cursor(told)
        if len(self._followers) >= MAX_FOLLOWERS or self._closing:
            raise Refused(503, f"{MAX_FOLLOWERS} pages follow already")
        task = asyncio.current_task()
        assert task is not None
        self._followers.add(task)
        response = web.StreamResponse(headers={**_HEADERS, "X-Accel-Buffering": "no"})
        response.content_type, response.charset = "text/event-stream", "utf-8"
        pages = store.follow(which, after=after)
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            await _send(response, pages, store, after or Cursor())
        except asyncio.CancelledError:
            if not self._closing:
                raise
        except ConnectionError:  # the page has gone
            pass
        finally:
            self._followers.discard(task)
            await pages.aclose()
        return response

    # Changing

    async def forget(self, request: web.Request) -> web.StreamResponse:
        """`{"session": "..."}` or `{"all": true}`: remove it from every file. Waits until it is done."""
        data = await read_json(request)
        session, everything = data.get("session"), data.get("all")
        if (everything is True) == isinstance(session, str) or session == "":
            raise Refused(400, 'the body has to be {"session": "..."} or {"all": true}')
        store = self._open()
        gone = await _in_words(store.forget(session))
        return _json(store.to_json({"forgotten": gone}))


async def _send(
    response: web.StreamResponse, pages: AsyncGenerator[Page, None], store: EventStore, cursor: Cursor
) -> None:
    """Write pages as they come, and a sign of life in between."""
    coming: asyncio.Task[Page | None] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(_next(pages))
            await asyncio.wait({coming}, timeout=BEAT_SECONDS)
            if not coming.done():
                await response.write(b": beat\n\n")
                continue
            page, coming = coming.result(), None
            if page is None:
                return
            parts = []
            for event, row in zip(page.events, store.plain(page.events), strict=True):
                cursor = cursor.moved(event.slot, event.id)
                parts.append(f"id: {cursor}\ndata: {store.to_json(row)}\n\n")
            if page.cursor != cursor:  # what did not fit need not be looked at again
                cursor = page.cursor
                parts.append(f"id: {cursor}\n\n")
            await response.write("".join(parts).encode())
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})


async def _next(pages: AsyncGenerator[Page, None]) -> Page | None:
    return await anext(pages, None)


def _filter(request: web.Request) -> Any:
    words: Mapping[str, str] = {
        name: ",".join(request.query.getall(name)) if name == "type" else value for name, value in request.query.items()
    }
    try:
        return parse_filter(words, time.time())
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _cursor(text: str) -> Cursor:
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _seconds(request: web.Request, name: str) -> float | None:
    text = request.query.get(name, "")
    try:
        number = float(text) if text else None
    except ValueError:
        number = math.nan
    if number is not None and not math.isfinite(number):
        raise Refused(400, f"{name} has to be a number of seconds")
    return number


def _retried(request: web.Request) -> bool | None:
    word = request.query.get("retried", "")
    if word not in ("", "0", "1"):
        raise Refused(400, "retried has to be 0 or 1")
    return word == "1" if word else None


def _limit(request: web.Request, default: int) -> int:
    text = request.query.get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise Refused(400, f"limit has to be a number from 1 to {MAX_LIMIT}")
    return int(text)


async def _answer(store: EventStore, ask: Callable[[], str | None]) -> web.Response:
    body = await _in_words(store.ask(ask))
    if body is None:
        raise Refused(404, "nothing is known of it")
    return _json(body)


async def _in_words(asked: Awaitable[Any]) -> Any:
    """What the store answers; its refusals in words."""
    try:
        return await asked
    except ValueError as error:
        raise Refused(400, str(error)) from None
    except (TooSlow, NotStored) as error:
        raise Refused(503, str(error)) from None
    except sqlite3.Error as error:
        raise Refused(503, f"the event store cannot be read now: {error}") from None


def _json(body: str) -> web.Response:
    return web.Response(body=body.encode(), headers={**_HEADERS, "Content-Type": "application/json; charset=utf-8"})
