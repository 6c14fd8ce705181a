"""What heavy scraping does to the chats: 50 chats beside nothing, and beside 1,000 requests a second.

`python -m tests.bench.bench_scrape [--chats 50] [--rate 1000] [--rounds 3] [--json FILE]` starts the host
(the whole pipeline of a chat) as a process, chats with it through a model of 20 tokens a second, and lets a
third process ask for `/api/metrics`. Quiet and scraped rounds take turns; compare their medians. Three
processes want three cores: on fewer, part of the difference is the scraper's own appetite.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, TCPConnector

from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer

ROOT = Path(__file__).resolve().parents[2]
TOKENS = 60
PACE = 0.05
ACCEPTS = ("application/json", "text/plain", "application/openmetrics-text")


@dataclass
class Round:
    """What one round of chats saw."""

    first_token: list[float] = field(default_factory=list)
    tokens_per_second: list[float] = field(default_factory=list)
    scraped: float = 0.0


async def chat(session: ClientSession, base: str, number: int, seen: Round) -> None:
    """One chat; notes its time to the first text and the rate of what came after."""
    body = {"session_id": f"s{number}", "prompt": "hello", "ext": []}
    began = time.perf_counter()
    first, text = 0.0, ""
    async with session.post(f"{base}/api/chat/invoke", json=body) as response:
        async for line in response.content:
            text = json.loads(line)["text"] or text
            if text and not first:
                first = time.perf_counter()
    seen.first_token.append(first - began)
    seen.tokens_per_second.append((TOKENS - 1) / (time.perf_counter() - first))


async def scrape(base: str, rate: float) -> None:
    """Ask for the metrics `rate` times a second, in all formats, until killed; prints what was reached."""
    asked, began = 0, time.perf_counter()

    async def ask() -> None:
        nonlocal asked
        while True:
            asked += 1
            due = began + asked / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            headers = {"Accept": ACCEPTS[asked % len(ACCEPTS)]}
            async with session.get(f"{base}/api/metrics", headers=headers) as response:
                await response.read()

    async def tell() -> None:
        while True:
            await asyncio.sleep(1.0)
            sys.stdout.write(f"{asked / (time.perf_counter() - began)}\n")
            sys.stdout.flush()

    async with ClientSession(connector=TCPConnector(limit=32)) as session:
        await asyncio.gather(tell(), *(ask() for _ in range(32)))


async def one_round(base: str, chats: int, rate: float) -> Round:
    """All chats at once, beside a scraper if `rate` is not 0."""
    seen = Round()
    scraper = None
    if rate:
        scraper = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.bench_scrape", "--scrape", base, "--rate", str(rate),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert scraper.stdout is not None
        await scraper.stdout.readline()  # it has reached its speed
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        await asyncio.gather(*(chat(session, base, n, seen) for n in range(chats)))
    if scraper is not None:
        scraper.kill()
        said = await scraper.communicate()
        seen.scraped = float(said[0].split()[-1]) if said[0].split() else 0.0
    return seen


async def measure(chats: int, rate: float, rounds: int) -> dict[str, float]:
    """The medians of quiet and scraped rounds, and their ratios."""
    model = FaultServer()
    await model.start()
    model.plan(answer(TOKENS, PACE))
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backend", "--port", "0", "--llm", model.base_url, "--model", "bench",
        "--api-key-env", "BENCH_KEY", cwd=ROOT, env={**os.environ, "BENCH_KEY": "of-nobody"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert host.stdout is not None
    line = (await host.stdout.readline()).decode()
    base = next(word for word in line.split() if word.startswith("http")).rstrip("/")
    try:
        await one_round(base, chats, 0)  # warm
        quiet, scraped = [], []
        for _ in range(rounds):
            quiet.append(await one_round(base, chats, 0))
            scraped.append(await one_round(base, chats, rate))
    finally:
        host.terminate()
        await host.wait()
        await model.stop()

    def middle(found: list[Round], name: str) -> float:
        return float(statistics.median(value for each in found for value in getattr(each, name)))

    result = {"scrapes a second": statistics.median(each.scraped for each in scraped)}
    for name in ("first_token", "tokens_per_second"):
        result[f"{name} quiet"] = middle(quiet, name)
        result[f"{name} scraped"] = middle(scraped, name)
        result[f"{name} ratio"] = result[f"{name} scraped"] / result[f"{name} quiet"]
    return result


def main() -> None:
    """Measure and print, or scrape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scrape", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scrape:
        asyncio.run(scrape(options.scrape, options.rate))
        return
    found = asyncio.run(measure(options.chats, options.rate, options.rounds))
    for name, value in found.items():
        sys.stdout.write(f"{name:28} {value:10.3f}\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
