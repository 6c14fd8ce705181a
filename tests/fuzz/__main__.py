"""A hostile model server and a hostile page against the plugin on a running server, from a seed.

python -m tests.fuzz --seconds 20 [--seed N] [--case ROUND] [--write]

Chats over each transport, requests to each route and frames on WebSockets, as wrong as they can be made, and after
each round the looks of tests/fuzz/watch.py: no 500 of ours, nothing hung, nothing blank, health never "fail", memory
flat, no key and no prompt of the run in any output, no task left, nothing told as our fault that somebody sent. Exit
status 1 if anything was found; `--seed` with `--case` plays that round again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import platform
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from random import Random

import aiohttp

from tests.bench.page import write_section
from tests.fuzz import page
from tests.fuzz.model import HostileModel
from tests.fuzz.planted import Planted, leaks
from tests.fuzz.watch import Watch
from tests.support.host import Host
from tests.support.mcp_server import McpServer
from tests.support.plugged import NODES, module_of, pulse_of, user_folder
from tests.support.stream_client import StreamClient

AT_ONCE = 40
"""Chats, requests and sockets of one round, all at the same time."""
BUDGET = 120.0
"""Seconds that a chat may take; it takes 6 if the model stalls at each attempt."""
ENVIRONMENT = {
    "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "0.8",
    "COPILOT_PULSE_FIRST_TOKEN_PER_1000_CHARS": "0",
    "COPILOT_PULSE_STALL_TIMEOUT": "0.8",
    "COPILOT_PULSE_MAX_RETRIES": "2",
    "COPILOT_PULSE_RETRY_BASE": "0.02",
    "COPILOT_PULSE_RETRY_MAX": "0.05",
    "COPILOT_PULSE_RETRY_BUDGET": "0.5",
    "COPILOT_PULSE_BREAKER_MIN_CALLS": "1000",
    "COPILOT_PULSE_RESUME_GRACE": "0.5",
    "COPILOT_PULSE_STREAM_KEEP": "5",
    "COPILOT_PULSE_STREAM_KEEP_BYTES": "4000000",
}


class Fuzz:
    """One run."""

    def __init__(self, seed: int, host: Host, model: HostileModel, watch: Watch) -> None:
        self.seed, self.host, self.model, self.watch = seed, host, model, watch
        self.count: Counter[str] = Counter()
        self.slowest = 0.0, 0
        self.routes = page.routes_of(host.server.app.router)

    async def round(self, number: int, *, closely: bool = False) -> None:
        """Everything at once, then a look."""
        self.watch.case = f"--seed {self.seed} --case {number}"
        settings = pulse_of(self.host).settings
        before = settings.current
        random = Random(f"{self.seed} {number}")
        kinds = random.choices((self.chat, self.ask, self.request, self.socket), (5, 1, 3, 1), k=AT_ONCE)
        numbers = range(number * AT_ONCE, (number + 1) * AT_ONCE)
        await asyncio.gather(*(kind(Random(f"{self.seed} {n}"), n) for kind, n in zip(kinds, numbers, strict=True)))
        await self.watch.look(closely=closely)
        settings.current = before
        self.model.forget()

    def _plant(self, random: Random, number: int, *, asked: bool = True) -> tuple[Planted, str]:
        planted = self.model.chats[number] = Planted(random, asked=asked)
        return planted, self.model.url(number)

    async def chat(self, random: Random, number: int) -> None:
        """A chat of an honest page with a hostile model: it ends in time, and the user reads something."""
        planted, llm = self._plant(random, number)
        how = random.choice(("post", "post", "debug", "http", "websocket"))
        self.count["chats"] += 1
        began = time.monotonic()
        try:
            text = await asyncio.wait_for(self._chat(how, planted, llm, f"fuzz-{number % 16}"), BUDGET)
        except asyncio.TimeoutError:
            self.watch.found(f"a chat over {how} hung (number {number})")
            return
        took = time.monotonic() - began
        if took > self.slowest[0]:
            self.slowest = took, number
        if not text.strip():
            self.watch.found(f"a chat over {how} ended blank (number {number})")
        strip = module_of(self.host, "backend.copilot.notices").strip
        notice = text.removeprefix(strip(text))
        if leaks(notice):
            self.watch.found(f"a key or a prompt in a notice over {how} (number {number}): {notice[:300]!r}")

    async def _chat(self, how: str, planted: Planted, llm: str, session: str) -> str:
        keys = {"Workflow-LLM-Api-Key": planted.key, "Openai-Api-Key": planted.key}
        if how in ("http", "websocket"):
            async with StreamClient(self.host.url, llm, session=session) as client:
                client.headers = {**client.headers, **keys}
                read = await (client.chat_http(planted.prompt) if how == "http" else client.chat_ws(planted.prompt))
                return read.text if read.outcome else f"no end: {read.status}"
        if how == "debug":
            canvas = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": planted.prompt}}}
            chat = await self.host.debug(canvas, session=session, llm=llm, headers=keys, timeout=BUDGET)
        else:
            chat = await self.host.chat(planted.prompt, session=session, llm=llm, headers=keys, timeout=BUDGET)
        if not chat.finished:
            self.watch.found(f"a chat over {how} has no end: {chat.status} {chat.error!r} {bytes(chat.raw[-200:])!r}")
        return chat.text

    async def ask(self, random: Random, number: int) -> None:
        """A request to the chat's route that no honest page sends."""
        planted, llm = self._plant(random, number, asked=False)
        await self._send(page.asking(random, self.host.page, llm, planted), number)

    async def request(self, random: Random, number: int) -> None:
        """A request to a route of ours."""
        await self._send(page.request(random, self.routes), number)

    async def socket(self, random: Random, number: int) -> None:
        """A WebSocket."""
        planted, llm = self._plant(random, number, asked=False)
        store = pulse_of(self.host).streams
        streams = [*store._running, *store._kept][:3]
        await self._send(page.socket(random, streams, self.host.page, llm, planted), number)

    async def _send(self, sent: page.Sent, number: int) -> None:
        self.count["sockets" if sent.route.startswith("/ws") else "requests"] += 1
        answered = await page.send(self.host.port, sent)
        shown = f"{sent.route} (number {number}): {answered.raw[:200]!r}"
        if not answered.ended and sent.ends:
            self.watch.found(f"no end of the answer to {shown}")
        if b'"internal error"' in answered.raw:
            self.watch.found(f"a 500 of ours: {shown}")


@asynccontextmanager
async def running(seed: int) -> AsyncIterator[Fuzz]:
    """A host with the plugin, a hostile model and a tool server that is well."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(user_folder())
        model = await stack.enter_async_context(HostileModel(seed))
        tools = await stack.enter_async_context(McpServer())
        search = await stack.enter_async_context(McpServer(tools={}))
        host = Host(NODES, llm=model.base_url, mcp=(tools.root, search.url), env=ENVIRONMENT)
        await stack.enter_async_context(host)
        async with aiohttp.ClientSession() as client:  # a panel that watches
            body = {"client_id": "fuzz", "open": True}
            async with client.post(host.url + "/copilot-pulse/panel", json=body) as response:
                response.raise_for_status()
        watch = Watch(host, folder / "copilot-pulse")
        watch.begin()
        stack.callback(watch.end)
        yield Fuzz(seed, host, model, watch)


async def run(seconds: float, seed: int, case: int | None) -> tuple[str, int]:
    """Attack for so long; a line of figures, and how much was found."""
    async with running(seed) as fuzz:
        began = time.monotonic()
        number = -1
        if case is not None:
            await fuzz.round(case, closely=True)
        while case is None and time.monotonic() - began < seconds:
            number += 1
            await fuzz.round(number, closely=number % 5 == 4)
            if number % 50 == 49 or time.monotonic() - began > seconds / 3:
                fuzz.watch.look_at_memory() if number >= 10 else None
        await fuzz.watch.look(closely=True)
        before, now = fuzz.watch.look_at_memory()
        took = time.monotonic() - began
    count, found = fuzz.count, len(fuzz.watch.findings)
    told = (
        f"seed {seed}, {took:,.0f} s: {count['chats']:,} chats ({fuzz.model.requests:,} answers of the model), "
        f"{count['requests']:,} requests, {count['sockets']:,} sockets; {found} findings; the slowest chat "
        f"{fuzz.slowest[0]:.1f} s (number {fuzz.slowest[1]}); "
        f"memory {before >> 20} MB after the warm-up, {now >> 20} MB at the end"
    )
    return told, found


def main() -> int:
    """Run, print the figures, and how to play each finding again."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--case", type=int, help="play this round only")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/benchmarks.md")
    options = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    with contextlib.suppress(KeyboardInterrupt):
        told, found = asyncio.run(run(options.seconds, options.seed, options.case))
        print(told)
        if options.write:
            command = f"python -m tests.fuzz --seconds {options.seconds:.0f} --seed {options.seed}"
            where = f"{date.today().isoformat()}, Python {platform.python_version()}"
            write_section("fuzz", f"## A hostile model server and a hostile page\n\n`{command}`, {where}\n\n{told}")
        return 1 if found else 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
