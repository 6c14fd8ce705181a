"""How long eight megabytes of nested JSON hold the loop: without us, over POST and over a WebSocket.

`python -m tests.bench.bench_body [--write]`. Processor time of the loop's thread, once, less a chat's with
a small body; whoever sends it is in the same thread, and hands over ready bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import time
from collections.abc import Awaitable, Callable
from datetime import date

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
ROUNDS = 1


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


async def cost(ask: Callable[[Host, FaultServer, str], Awaitable[None]], host: Host, llm: FaultServer) -> float:
    """Seconds of processor time that the large body takes more than the small one."""
    took: dict[int, list[float]] = {0: [], SIZE: []}
    for _ in range(ROUNDS + 1):
        for size, times in took.items():
            body = body_of(size)
            began = time.thread_time()
            await ask(host, llm, body)
            times.append(time.thread_time() - began)
    return min(took[SIZE][1:]) - min(took[0][1:])


async def measure() -> dict[str, float]:
    """Way -> seconds."""
    found: dict[str, float] = {}
    async with FaultServer() as llm:
        llm.plan(answer(1))
        async with Host([STANDIN], llm=llm, env=ENVIRONMENT) as host:
            found["POST, without us"] = await cost(post, host, llm)
        async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
            found["POST"] = await cost(post, host, llm)
            found["WebSocket"] = await cost(socket, host, llm)
    return found


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found = asyncio.run(measure())
    rows = "\n".join(f"| {name} | {1_000 * seconds:,.0f} |" for name, seconds in found.items())
    text = (
        "## Eight megabytes of nested JSON\n\n"
        f"`python -m tests.bench.bench_body`, {date.today().isoformat()}, CPython {platform.python_version()}: "
        f"processor time of the loop's thread for the body of one chat, after one that is not counted.\n\n"
        f"| | ms |\n|---|--:|\n{rows}"
    )
    print(text)
    if options.write:
        write_section("body", text)


if __name__ == "__main__":
    main()
