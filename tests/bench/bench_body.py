"""How long eight megabytes of nested JSON hold the loop: without us, over POST and over a WebSocket.

`python -m tests.bench.bench_body [--rounds N] [--write]`. Processor time of the loop's thread, less a chat's with a
small body, and the longest time for which nothing else had a turn, in rounds that alternate; the ratios are of one
round each. Whoever sends it is in the same thread, and hands over ready bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import platform
import time
from collections.abc import Awaitable, Callable
from datetime import date
from statistics import median

import aiohttp

from tests.bench.page import write_section
from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import STANDIN, Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer
from tests.support.plugged import NODES
from tests.support.stream_client import PROTOCOL, StreamClient, chat_body

NESTED = "[" * 40 + "1" + "]" * 40
SIZE = 8 * 2**20 - 10_000
Costs = tuple[float, float]
"""Processor time and the longest hold, in seconds."""
WITHOUT, POST, SOCKET = "POST, without us", "POST", "WebSocket"


def body_of(size: int) -> str:
    """A chat's body with so many characters of nested lists in it."""
    extra = "[" + ",".join([NESTED] * (size // (len(NESTED) + 1))) + "]" if size else "0"
    return json.dumps({**chat_body("bench"), "extra": 0})[:-2] + extra + "}"


async def post(host: Host, llm: FaultServer, body: str) -> None:
    """One chat by POST."""
    async with host.page.session.post(
        host.url + "/api/chat/invoke", data=body.encode(), headers=host.page.headers()
    ) as response:
        await response.read()


async def socket(host: Host, llm: FaultServer, body: str) -> None:
    """One chat over a WebSocket."""
    async with StreamClient(host.url, llm.base_url, session="bench") as client:
        head = {"type": "invoke", "stream": client.id, "path": "/api/chat/invoke", "headers": client.headers}
        frame = json.dumps({**head, "body": 0})[:-2] + body + "}"
        url = f"{host.url}/ws/chat/bench"
        async with client.http.ws_connect(url, protocols=(PROTOCOL,), max_msg_size=0) as ws:
            await ws.send_str(frame)
            async for message in ws:
                if message.type is not aiohttp.WSMsgType.TEXT or '"end"' in message.data:
                    break


class Hold:
    """The longest time in the block for which a timer of one millisecond had to wait for its turn, in seconds."""

    async def __aenter__(self) -> Hold:
        self.longest = 0.0
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._look()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self._timer = self._loop.call_later(0.001, self._look)


async def cost(ask: Callable[[Host, FaultServer, str], Awaitable[None]], host: Host, llm: FaultServer) -> Costs:
    """What the large body costs; a small one before it is not counted."""
    took: dict[int, float] = {}
    for size in (0, 0, SIZE):
        body = body_of(size)
        gc.collect()
        began = time.thread_time()
        async with Hold() as hold:
            await ask(host, llm, body)
        took[size] = time.thread_time() - began
    return took[SIZE] - took[0], hold.longest


async def one_round() -> dict[str, Costs]:
    """What each way costs."""
    found: dict[str, Costs] = {}
    async with FaultServer() as llm:
        llm.plan(answer(1))
        async with Host([STANDIN], llm=llm, env=ENVIRONMENT) as host:
            found[WITHOUT] = await cost(post, host, llm)
        async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
            found[POST] = await cost(post, host, llm)
            found[SOCKET] = await cost(socket, host, llm)
    return found


async def measure(rounds: int) -> list[dict[str, Costs]]:
    """So many rounds, after one that is not counted."""
    return [await one_round() for _ in range(rounds + 1)][1:]


def told(found: list[dict[str, Costs]]) -> str:
    """The table: the medians of each way, and of its ratios to both others in the same round."""

    def cells(way: str, kind: int) -> str:
        ratios = (median(of[way][kind] / of[other][kind] for of in found) for other in (WITHOUT, POST))
        shown = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        return f"{1_000 * median(of[way][kind] for of in found):,.0f} | {shown}"

    rows = [f"| {way} | {cells(way, 0)} | {cells(way, 1)} |" for way in (WITHOUT, POST, SOCKET)]
    head = "| | processor, ms | to without us | to a POST | longest hold, ms | to without us | to a POST |"
    return "\n".join((head, "|---|--:|--:|--:|--:|--:|--:|", *rows))


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found = asyncio.run(measure(options.rounds))
    text = (
        "## Eight megabytes of nested JSON\n\n"
        f"`python -m tests.bench.bench_body`, {date.today().isoformat()}, CPython {platform.python_version()}: "
        f"the loop's thread for the body of one chat, processor time and the longest time without a turn for anybody "
        f"else; medians of {len(found)} alternating rounds and of the ratios in each.\n\n{told(found)}"
    )
    print(text)
    if options.write:
        write_section("body", text)


if __name__ == "__main__":
    main()
