"""What streams cost: bytes on the wire, and memory, CPU and loop lag with hundreds at once.

`python -m tests.bench.bench_streams [--bytes] [--load] [--streams 100,250,500] [--ahead] [--json FILE] [--svg FILE]`

Bytes: one answer of 2,000 tokens at 50 a second, read over HTTP in Copilot's own format, over HTTP in frames and over
the WebSocket, at the same time; what the sockets carried, heads and framing included. Load: the standalone host is a
process of its own, and so is the model server, which gives each answer 4 tokens a second. 30 streams begin a second;
when all run, the host's process is watched for `--seconds`. "plain" are chats without streams, for
comparison: what they cost is the agent library's, its HTTP client's and the pipeline's. Loop lag is from the host's own
histogram, of the time watched; what happens while streams begin is in `start`, its longest lag. "waited for a core" is
the time that the host could not run because others did: where that is much, the lag is the machine's. On a machine
that is shared, `--ahead` lets the host run before all others while it is watched (Linux, as root).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import sys
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from aiohttp import ClientSession, TCPConnector

from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer, words
from tests.support.proxy import FaultProxy
from tests.support.stream_client import PROTOCOL, chat_body, new_id

ROOT = Path(__file__).resolve().parents[2]
UNPATCHED = 12_300_000
STARTS_A_SECOND = 30
# It is the load that is measured, and not what is done about a model that is slow to answer.
PATIENT = {
    "BENCH_KEY": "of-nobody",
    "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "0",
    "COPILOT_PULSE_STALL_TIMEOUT": "0",
    "COPILOT_PULSE_BREAKER_MIN_CALLS": "1000",
}
MODES = ("plain", "frames", "websocket")
COLOURS = {"plain": "#888888", "frames": "#2a78c2", "websocket": "#c2602a"}


def _serve(pipe: Connection, tokens: int, pace: float) -> None:
    async def run() -> None:
        async with FaultServer() as server:
            server.plan(answer(tokens, pace))
            pipe.send(server.base_url)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def running_host(tokens: int, pace: float) -> AsyncIterator[tuple[str, psutil.Process]]:
    """The host and its model, each a process; the host's URL and process."""
    here, there = multiprocessing.Pipe()
    model = multiprocessing.Process(target=_serve, args=(there, tokens, pace), daemon=True)
    model.start()
    base_url = await asyncio.to_thread(here.recv)
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backend", "--port", "0", "--llm", base_url, "--model", "bench",
        "--api-key-env", "BENCH_KEY", cwd=ROOT, env={**os.environ, **PATIENT},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert host.stdout is not None
    line = (await host.stdout.readline()).decode()
    url = next(word for word in line.split() if word.startswith("http")).rstrip("/")
    try:
        yield url, psutil.Process(host.pid)
    finally:
        host.terminate()
        await host.wait()
        here.send(None)
        model.join(5)
        if model.is_alive():
            model.kill()


async def chat(http: ClientSession, url: str, mode: str, session: str) -> int:
    """One chat to its end; the characters of the answer."""
    stream = new_id()
    body = chat_body(session, model="bench")
    if mode == "websocket":
        async with http.ws_connect(f"{url}/ws/chat/{session}", protocols=(PROTOCOL,)) as ws:
            await ws.send_json({"type": "invoke", "stream": stream, "headers": {}, "body": body})
            length = 0
            async for message in ws:
                frame = json.loads(message.data)
                length = _length(frame, length)
                if not isinstance(frame, list) and frame["type"] == "end":
                    return length
        return length
    headers = {"X-Copilot-Pulse-Stream": stream, "X-Copilot-Pulse-Mode": mode} if mode != "plain" else {}
    length = 0
    async with http.post(f"{url}/api/chat/invoke", json=body, headers=headers) as response:
        rest = b""
        async for data in response.content.iter_any():
            *whole, rest = (rest + data).split(b"\n")
            if whole and mode == "plain":
                length = len(json.loads(whole[-1])["text"])
            for line in whole if mode == "frames" else ():
                length = _length(json.loads(line), length)
    return length


def _length(frame: Any, length: int) -> int:
    """The characters of the text after a frame."""
    if isinstance(frame, list):
        return length + len(frame[-1])
    return frame["at"] + len(frame["text"]) if "at" in frame else length


async def measure_bytes(tokens: int, pace: float) -> dict[str, float]:
    """The bytes of one answer over each way, both directions, as a proxy between counts them."""
    text = len(words(tokens))
    found: dict[str, float] = {"text": text, "unpatched Copilot (measured before)": UNPATCHED}
    async with running_host(tokens, pace) as (url, _), ClientSession(connector=TCPConnector(limit=0)) as http:

        async def one(mode: str) -> None:
            async with FaultProxy(int(url.rpartition(":")[2])) as proxy:
                assert await chat(http, proxy.url, mode, f"bytes-{mode}") == text
                found[mode] = sum(link.down_bytes + link.up_bytes for link in proxy.links)

        await asyncio.gather(*(one(mode) for mode in MODES))
    return found


def _run_first(pid: int) -> None:
    """Let the process `pid` run before all others of this machine, on Linux and as root."""
    for thread in psutil.Process(pid).threads():
        os.sched_setscheduler(thread.id, os.SCHED_RR, os.sched_param(1))


def _waited(pid: int) -> float:
    """Seconds that the main thread of `pid` has been ready to run while others had the cores; 0 if not on Linux."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[1]) / 1e9
    except OSError:
        return 0.0


async def measure_load(mode: str, count: int, seconds: float, *, ahead: bool = False) -> dict[str, float]:
    """One host with `count` streams at once; `ahead` of all other processes while it is watched."""
    async with running_host(100_000, 0.25) as (url, process), ClientSession(connector=TCPConnector(limit=0)) as http:
        tasks: list[asyncio.Task[int]] = []
        warm = asyncio.create_task(chat(http, url, mode, "warm"))
        await asyncio.sleep(2)
        before = process.memory_info().rss
        for number in range(count):
            tasks.append(asyncio.create_task(chat(http, url, mode, f"{mode}-{number}")))
            await asyncio.sleep(1 / STARTS_A_SECOND)
        async with http.get(f"{url}/api/metrics", headers={"Accept": "application/json"}) as response:
            await response.read()
        active = 0
        while active < count:  # all of them have begun
            await asyncio.sleep(0.5)
            active = (await _metrics(http, url))["chat"]["active"]
        if ahead:
            _run_first(process.pid)
            await asyncio.sleep(2)  # what has piled up before is worked off
        waited = _waited(process.pid)
        lags = await _lags(http, url)
        cpu = process.cpu_times()
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds)
        took = asyncio.get_running_loop().time() - began
        used = process.cpu_times()
        waited = _waited(process.pid) - waited
        lags = {bound: value - lags[bound] for bound, value in (await _lags(http, url)).items()}
        start = (await _metrics(http, url))["system"]["loop_lag_seconds"]["max"]
        after = process.memory_info().rss
        failed = sum(task.done() for task in tasks)
        for task in (*tasks, warm):
            task.cancel()
        await asyncio.gather(*tasks, warm, return_exceptions=True)
    return {
        "streams": count,
        "kilobytes a stream": (after - before) / count / 1000,
        "cpu percent of a core": (used.user + used.system - cpu.user - cpu.system) / took * 100,
        "waited for a core percent": waited / took * 100,
        "loop lag p50 ms": _quantile(lags, 0.5) * 1000,
        "loop lag p99 ms": _quantile(lags, 0.99) * 1000,
        "start ms": (start or 0) * 1000,
        "broken": failed,
    }


async def _metrics(http: ClientSession, url: str) -> Any:
    async with http.get(f"{url}/api/metrics", headers={"Accept": "application/json"}) as response:
        return await response.json()


async def _lags(http: ClientSession, url: str) -> dict[float, float]:
    """The cumulative buckets of the host's histogram of loop lag."""
    found = {}
    async with http.get(f"{url}/metrics", headers={"Accept": "text/plain"}) as response:
        for line in (await response.text()).splitlines():
            if match := re.match(r'\w+loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', line):
                found[float(match[1])] = float(match[2])
    return found


def _quantile(buckets: dict[float, float], share: float) -> float:
    """A quantile out of cumulative buckets, straight between the bounds of its bucket."""
    wanted = share * max(buckets.values())
    low, before = 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            return low if bound == float("inf") else low + (bound - low) * (wanted - before) / (count - before or 1)
        low, before = bound, count
    return low


# -- the graph ---------------------------------------------------------------------------------------


def svg(found: dict[str, list[dict[str, float]]]) -> str:
    """Three small graphs beside each other: memory, CPU and loop lag over the number of streams."""
    names = ("kilobytes a stream", "cpu percent of a core", "loop lag p99 ms")
    width, height, left, top = 250, 150, 46, 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(names) * (width + 60) + 10} {height + 100}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    most = max(row["streams"] for rows in found.values() for row in rows)
    for index, name in enumerate(names):
        x0 = left + index * (width + 60)
        high = max(row[name] for rows in found.values() for row in rows) * 1.15 or 1.0
        parts.append(f'<text x="{x0}" y="{top - 14}" fill="#222222" font-weight="bold">{name}</text>')
        for step in range(5):
            y = top + height - height * step / 4
            parts.append(f'<line x1="{x0}" x2="{x0 + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
            parts.append(
                f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">{high * step / 4:.0f}</text>'
            )
        for mode, rows in found.items():
            points = [(x0 + width * row["streams"] / most, top + height - height * row[name] / high) for row in rows]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[mode]}" stroke-width="2"/>')
            parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[mode]}"/>' for x, y in points)
        for row in next(iter(found.values())):
            x = x0 + width * row["streams"] / most
            parts.append(
                f'<text x="{x:.1f}" y="{top + height + 16}" text-anchor="middle" fill="#555555">'
                f"{row['streams']:.0f}</text>"
            )
    y = top + height + 42
    for index, mode in enumerate(found):
        x = left + index * 120
        parts.append(f'<rect x="{x}" y="{y - 9}" width="12" height="12" fill="{COLOURS[mode]}"/>')
        parts.append(f'<text x="{x + 18}" y="{y + 1}" fill="#222222">{mode}</text>')
    parts.append(
        f'<text x="{left + 380}" y="{y + 1}" fill="#555555">streams at once, 4 tokens a second each, '
        "standalone host</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for."""
    found: dict[str, Any] = {}
    if options.bytes:
        found["bytes"] = await measure_bytes(options.tokens, 1 / 50)
        for name, value in found["bytes"].items():
            sys.stdout.write(f"{name:36} {value:12,.0f} bytes  {value / found['bytes']['text']:8.1f} x the text\n")
    if options.load:
        counts = [int(count) for count in options.streams.split(",")]
        load: dict[str, list[dict[str, float]]] = {}
        for mode in options.modes.split(","):
            for count in counts:
                row = await measure_load(mode, count, options.seconds, ahead=options.ahead)
                load.setdefault(mode, []).append(row)
                sys.stdout.write(f"{mode:10} " + ", ".join(f"{k} {v:.1f}" for k, v in row.items()) + "\n")
                sys.stdout.flush()
        found["load"] = load
    return found


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", action="store_true")
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--streams", default="100,250,500")
    parser.add_argument("--modes", default="plain,websocket")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ahead", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    if not (options.bytes or options.load):
        options.bytes = options.load = True
    found = asyncio.run(run(options))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.svg and "load" in found:
        options.svg.write_text(svg(found["load"]))


if __name__ == "__main__":
    main()
