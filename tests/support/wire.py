"""Plays a row of tests/integration/wire_rows.py: the standalone host, the real agent library, the row's raw server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from time import process_time
from typing import Any, NamedTuple

import aiohttp

from backend.event_bus import Event
from backend.standalone.host import Host
from backend.standalone.options import ModelServer, Options
from tests.support.raw_server import RawServer
from tests.support.wire_shapes import FULL, Row

_LOOK = 0.005
_IDLE_CPU = 0.001
_IDLE_LOOKS = 3
_SKIP = 2.0
_MARK = "\u2063"


class Played(NamedTuple):
    """What came of a row. `notice` is what the user was told beside `text`, `shown` every text of the page without
    invisible characters, `raw` as it came."""

    text: str
    notice: str
    requests: int
    tools: tuple[str, ...]
    outputs: str
    finished: bool
    shown: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    raw: tuple[str, ...] = ()


@contextlib.asynccontextmanager
async def idle_skipped(*servers: RawServer) -> AsyncIterator[None]:
    """While all that is left to do is to wait, the loop's clock runs ahead."""
    loop = asyncio.get_running_loop()
    real, skipped = loop.time, 0.0
    loop.time = lambda: real() + skipped  # type: ignore[method-assign]

    async def look() -> None:
        nonlocal skipped
        idle = 0
        while True:
            used = process_time()
            await asyncio.sleep(_LOOK)
            waits = all(server.stalled == server.active for server in servers)
            idle = idle + 1 if waits and process_time() - used < _IDLE_CPU else 0
            if idle >= _IDLE_LOOKS:
                skipped += _SKIP

    task = loop.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def play(row: Row, skip: Callable[..., Any] = idle_skipped) -> Played:
    """One chat on the row's server with default settings."""
    async with contextlib.AsyncExitStack() as stack:
        swap = (b"", b"")
        servers: list[RawServer] = []
        if row.other is not None:
            other = await stack.enter_async_context(RawServer([row.other]))
            servers.append(other)
            swap = (b"{other}", other.base_url.encode())
        server = await stack.enter_async_context(RawServer(row.replies, swap))
        servers.append(server)
        host = Host(Options("127.0.0.1", 0, ModelServer(server.base_url, "m", "sk-wire-test-key")), dict(row.settings))
        await host.start()
        events: list[Event] = []
        subscription = host.pulse.bus.subscribe("chat.*", events.append)
        try:
            await stack.enter_async_context(skip(*servers))
            lines = await _chat(host.url)
        finally:
            host.pulse.bus.unsubscribe("chat.*", subscription)
            await host.close()
    shown = str(lines[-1].get("text") or "")
    text, _, notice = shown.partition("> " + _MARK)
    return Played(
        text.strip(), notice.replace(_MARK, ""), len(server.bodies), tuple(server.tools_run),
        "\n".join(server.tool_outputs), bool(lines[-1].get("finished")),
        tuple(str(one.get("text") or "").replace(_MARK, "") for one in lines), tuple(events),
        tuple(str(one.get("text") or "") for one in lines),
    )  # fmt: skip


async def _chat(url: str) -> list[dict[str, Any]]:
    body = {"session_id": "wire", "messages": [{"role": "user", "content": "hello"}], "ext": []}
    limit = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(url, timeout=limit) as client,
        client.post("/api/chat/invoke", json=body) as answer,
    ):
        return [json.loads(line) for line in (await answer.text()).splitlines() if line.strip()]


def wrong(row: Row, played: Played) -> str:
    """What is not right of what came of a row; "" if all is."""
    told = played.notice.lower()
    if row.or_whole and played.finished and played.text == FULL.strip() and not told:
        return ""
    checks = {
        "the chat did not finish": not played.finished,
        f"the text is {played.text[:90]!r}": played.text != row.text.strip(),
        f"told although nothing was wrong: {told[:160]!r}": bool(told) and not row.says,
        f"not told: {told[:200]!r}": any(words.lower() not in told for words in row.says),
        f"told wrongly: {told[:200]!r}": any(words.lower() in told for words in row.never),
        f"{played.requests} requests": row.requests > 0 and played.requests != row.requests,
        f"tools: {played.tools}": played.tools != row.tools,
        f"outputs: {played.outputs[:90]!r}": any(words not in played.outputs for words in row.outputs),
    }
    return "; ".join(words for words, bad in checks.items() if bad)
