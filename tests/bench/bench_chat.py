"""What a chat costs through Copilot Pulse, beside openai-agents' own stream alone.

    python -m tests.bench.bench_chat [--rounds 7] [--tokens 2000] [--unpatched] [--store] [--json FILE]

In one process, rounds interleaved: (a) the agent library's stream read in a loop, nothing else; (b) the same model
answer through the stand-in Copilot with the plugin attached, over HTTP, as a page reads it; (c) a generator of
Copilot's shape read in a loop, without us; (d) the same generator through all our seams and the event bus. The model
server is a process of its own. `ratio` is the time from the first token to the last, (b) over (a);
`pulse_cpu_us_per_token` is the CPU of this process, (d) less (c): what a chat with us costs the event loop.
`--store` compares (b) with the event store on and off, in hosts that come and go in turn; `store.ratio` is the time
with it over that without. `--unpatched` adds one chat through the stand-in alone, its MCP servers up (22 s for 2,000
tokens).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from backend.copilot.chat import ChatSeam
from backend.copilot.shared_http import SharedHttp
from backend.pulse import Pulse
from backend.standalone.agent import HostAgent
from backend.standalone.options import ModelServer
from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer
from tests.support.mcp_server import McpServer
from tests.support.net import refused_url


def _serve(pipe: Connection, tokens: int) -> None:
    async def run() -> None:
        async with FaultServer() as server:
            server.plan(answer(tokens))
            pipe.send(server.base_url)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


async def _library_alone(base_url: str) -> tuple[float, float]:
    """Seconds from the first delta to the last, and CPU seconds of the whole, for the library's stream."""
    from agents import Agent, OpenAIChatCompletionsModel, Runner
    from agents.run import RunConfig
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="none", base_url=base_url)
    agent = Agent(name="bench", model=OpenAIChatCompletionsModel("bench", openai_client=client))
    first = last = 0.0
    cpu = time.process_time()
    run = Runner.run_streamed(agent, "hello", run_config=RunConfig(tracing_disabled=True))
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            last = time.perf_counter()
            first = first or last
    cpu = time.process_time() - cpu
    await client.close()
    return last - first, cpu


async def _through_pulse(host: Host, session: str) -> tuple[float, float, int]:
    """The same through the plugin and the stand-in, over HTTP; also the bytes that the page got."""
    cpu = time.process_time()
    chat = await host.chat(session=session, timeout=120)
    cpu = time.process_time() - cpu
    texts = [t for t, text in zip(chat.times, chat.shown, strict=True) if text]
    return texts[-1] - texts[0], cpu, chat.size


async def _generator(items: Any) -> float:
    """CPU seconds of reading a generator of Copilot's shape to its end."""
    cpu = time.process_time()
    async for _ in items:
        pass
    return time.process_time() - cpu


class _Shaped:
    """A generator of Copilot's shape, as it is and through every seam."""

    def __init__(self, base_url: str) -> None:
        endpoint = ModelServer(base_url, "bench", "none")
        plain, pulse = Pulse.create({"COPILOT_PULSE": "off"}), Pulse.create({})
        self.pulse = pulse
        self.http = SharedHttp()
        self.plain = HostAgent(plain, endpoint, self.http).invoke
        agent = HostAgent(pulse, endpoint, self.http)
        self.wrapped = ChatSeam(pulse).wrap(agent.invoke, "chat", lambda: "bench", lambda: "en")

    async def cost(self) -> float:
        """CPU seconds that our seams add to one answer."""
        question = [{"role": "user", "content": "hello"}]
        without = await _generator(self.plain(question))
        return await _generator(self.wrapped(question)) - without


async def measure(base_url: str, rounds: int, tokens: int) -> dict[str, Any]:
    """Interleaved rounds; the first of each is thrown away."""
    alone: list[tuple[float, float]] = []
    pulse: list[tuple[float, float, int]] = []
    environment = {"COPILOT_PULSE_MCP_TIMEOUT": "0.2", "BACKEND_BASE_URL": refused_url()}
    seams: list[float] = []
    shaped = _Shaped(base_url)
    shaped.pulse.start()
    async with Host([PLUGIN, STANDIN], llm=base_url, env=environment) as host:
        for number in range(rounds + 1):
            alone.append(await _library_alone(base_url))
            pulse.append(await _through_pulse(host, "bench" if number else "warm-up"))
            seams.append(await shaped.cost())
    await shaped.pulse.aclose()
    await shaped.http.aclose()
    alone, pulse, seams = alone[1:], pulse[1:], seams[1:]
    ratio = statistics.median(p[0] / a[0] for a, p in zip(alone, pulse, strict=True))
    extra = statistics.median(p[1] - a[1] for a, p in zip(alone, pulse, strict=True))
    own = statistics.median(a[1] for a in alone)
    return {
        "tokens": tokens,
        "rounds": rounds,
        "library_seconds": round(statistics.median(a[0] for a in alone), 4),
        "pulse_seconds": round(statistics.median(p[0] for p in pulse), 4),
        "ratio": round(ratio, 3),
        "library_cpu_us_per_token": round(own / tokens * 1e6, 1),
        "pulse_cpu_us_per_token": round(statistics.median(seams) / tokens * 1e6, 1),
        "standin_http_and_pulse_cpu_us_per_token": round(extra / tokens * 1e6, 1),
        "bytes": int(statistics.median(p[2] for p in pulse)),
        "python": sys.version.split()[0],
    }


class _UserFolder(ModuleType):
    """ComfyUI's module that says where the user's files are."""

    def __init__(self, folder: str) -> None:
        super().__init__("folder_paths")
        self.get_user_directory = lambda: folder


async def measure_store(base_url: str, rounds: int, tokens: int) -> dict[str, Any]:
    """The same answers with the event store on and off, in hosts that come and go in turn. The best chat of each
    counts, for what else runs on the machine only adds to it."""
    found: dict[str, list[tuple[float, float, int]]] = {"on": [], "off": []}
    for number in range(rounds):
        for store in ("on", "off") if number % 2 else ("off", "on"):
            environment = {"COPILOT_PULSE_MCP_TIMEOUT": "0.2", "BACKEND_BASE_URL": refused_url()}
            environment["COPILOT_PULSE_STORE"] = store
            with tempfile.TemporaryDirectory() as folder, patch.dict(sys.modules, folder_paths=_UserFolder(folder)):
                async with Host([PLUGIN, STANDIN], llm=base_url, env=environment) as host:
                    await _through_pulse(host, "warm-up")
                    found[store] += [await _through_pulse(host, f"store-{n}") for n in range(5)]
                assert any(Path(folder).iterdir()) == (store == "on")
    (seconds, cpu), (seconds_off, cpu_off) = ([min(chat[at] for chat in found[on]) for at in (0, 1)] for on in found)
    return {
        "chats": len(found["on"]),
        "ratio": round(seconds / seconds_off, 3),
        "cpu_ratio": round(cpu / cpu_off, 3),
        "cpu_us_per_token": round((cpu - cpu_off) / tokens * 1e6, 1),
    }


async def measure_unpatched(base_url: str) -> dict[str, Any]:
    """The stand-in alone, once."""
    async with (
        McpServer() as tools,
        McpServer(tools={}) as search,
        Host([STANDIN], llm=base_url, mcp=(tools.root, search.url)) as host,
    ):
        seconds, _, size = await _through_pulse(host, "unpatched")
    return {"seconds": round(seconds, 2), "bytes": size}


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--unpatched", action="store_true")
    parser.add_argument("--store", action="store_true", help="also with the event store on and off")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the stand-in logs every message, as Copilot does
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, options.tokens), daemon=True)
    server.start()
    base_url = ours.recv()
    result = asyncio.run(measure(base_url, options.rounds, options.tokens))
    if options.store:
        result["store"] = asyncio.run(measure_store(base_url, options.rounds, options.tokens))
    if options.unpatched:
        alone = asyncio.run(measure_unpatched(base_url))
        result["unpatched"] = {**alone, "ratio": round(alone["seconds"] / result["library_seconds"], 1)}
    ours.send(None)
    server.join(5)
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if options.json:
        options.json.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
