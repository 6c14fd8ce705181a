"""Redis under random faults, seeded: what was offered has to arrive or to be told as lost, and nothing twice.

    python -m tests.bench.fleet_chaos --seconds 600 --seed 7

Two instances offer events; each reads the other. Faults come one after the other: kill -9 (with and without
persistence), SIGSTOP, CLIENT PAUSE, CLIENT KILL, a black hole in the network, replies that are cut off after the
command was done, out of memory, FLUSHALL, a wiped server whose clock is behind, a failover to a replica that lags and
back again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import random
import sys
import time
from typing import Any

from tests.support.fleet_nodes import nodes, wait_for
from tests.support.proxy import Fault, FaultProxy
from tests.support.redis_server import RedisServer

FAULTS = ("kill", "stop", "pause", "clients", "hole", "replies", "full", "wipe", "clock", "failover")


async def strike(kind: str, redis: RedisServer, proxy: FaultProxy, draw: random.Random) -> None:
    """One fault, over when this returns."""
    for_seconds = draw.uniform(0.05, 2.0)
    if kind == "kill":
        redis.kill()
        await asyncio.sleep(for_seconds)
        await redis.start()
    elif kind == "stop":
        redis.pause()
        await asyncio.sleep(for_seconds)
        redis.resume()
    elif kind == "pause":
        await redis.command("CLIENT", "PAUSE", int(for_seconds * 1000))
        await asyncio.sleep(for_seconds)
    elif kind in ("clients", "hole", "replies"):
        await cut_off(kind, redis, proxy, draw, for_seconds)
    elif kind == "full":
        await redis.command("CONFIG", "SET", "maxmemory", "1")
        await asyncio.sleep(for_seconds)
        await redis.command("CONFIG", "SET", "maxmemory", "0")
    elif kind == "wipe":
        await redis.command("FLUSHALL")
    elif kind == "clock":
        await set_clock_back(redis)
    elif kind == "failover":
        async with RedisServer() as replica:
            await fail_over(redis, replica, proxy, for_seconds / 2)
            await redis.start()
            await fail_over(replica, redis, proxy, for_seconds / 2)


async def cut_off(kind: str, redis: RedisServer, proxy: FaultProxy, draw: random.Random, for_seconds: float) -> None:
    """One fault of connections."""
    if kind == "clients":
        for _ in range(draw.randint(1, 5)):
            await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(draw.uniform(0, 0.1))
    elif kind == "hole":
        proxy.pause()
        await asyncio.sleep(for_seconds)
        proxy.resume()
    elif kind == "replies":
        proxy.default = Fault(cut_after=draw.randint(1, 400))
        for link in proxy.open_links:
            link.reset()
        await asyncio.sleep(for_seconds)
        proxy.default = Fault()


async def set_clock_back(redis: RedisServer) -> None:
    """Ids that Redis has given out lie in the future of a server that comes back empty."""
    ahead = f"{int(time.time() * 1000) + 3_600_000}"
    for inbox in await redis.command("KEYS", "*:c:*"):
        with contextlib.suppress(Exception):  # the second time it is there already
            await redis.command("XADD", inbox, f"{ahead}-0", "k", "poke")
    await asyncio.sleep(0.2)
    await redis.command("FLUSHALL")
    redis.kill()
    await redis.start()


async def fail_over(old: RedisServer, new: RedisServer, proxy: FaultProxy, lag: float) -> None:
    """`new` follows `old`, falls behind by `lag` seconds, and takes its place when that is killed."""
    await old.command("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    await new.command("REPLICAOF", "127.0.0.1", old.port)
    for _ in range(3_000):
        if (await new.command("INFO", "replication")).get("master_link_status") == "up":
            break
        await asyncio.sleep(0.01)
    new.pause()
    await asyncio.sleep(lag)
    old.kill()
    new.resume()
    await new.command("REPLICAOF", "NO", "ONE")
    await new.command("CLIENT", "KILL", "TYPE", "master")
    proxy.target_port = new.port


async def run(seconds: float, seed: int, rate: float = 500.0, report: Any = None) -> dict[str, Any]:
    """The whole run; returns the account of both directions."""
    draw = random.Random(seed)
    lag = 0.0
    done: list[str] = []
    async with (
        RedisServer(appendonly=draw.random() < 0.5) as redis,
        FaultProxy(redis.port) as proxy,
        nodes(f"redis://127.0.0.1:{proxy.port}/0", redis_outbox=100_000) as (one, other),
    ):
        stopping = asyncio.Event()

        async def offer() -> None:
            nonlocal lag
            turn = time.perf_counter()
            while not stopping.is_set():
                for node in (one, other):
                    node.offer(max(1, int(rate / 100)))
                await asyncio.sleep(0.01)
                lag, turn = max(lag, time.perf_counter() - turn - 0.01), time.perf_counter()

        offering = asyncio.ensure_future(offer())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done.append(draw.choice(FAULTS))
            await strike(done[-1], redis, proxy, draw)
            if report is not None:
                report(done[-1], one.account(other))
            await asyncio.sleep(draw.uniform(0.2, 1.5))
        stopping.set()
        await offering
        await wait_for(lambda: one.settled(other) and other.settled(one))
        healed = [node.fleet.figures()["healed_events"] for node in (one, other)]  # type: ignore[index]
        return {
            "seed": seed, "faults": len(done), "kinds": sorted(set(done)), "healed": healed,
            "loop_lag_ms": round(lag * 1000, 1), "a": one.account(other), "b": other.account(one),
        }  # fmt: skip


def is_well(result: dict[str, Any]) -> bool:
    """Whether nothing is missing without having been told, and nothing came twice."""
    return all(
        row["arrived"] + row["told"] == row["offered"] and not row["twice"] and row["in_order"]
        for row in (result["a"], result["b"])
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO if options.verbose else logging.ERROR)
    show = (lambda kind, row: print(kind, row)) if options.verbose else None
    result = asyncio.run(run(options.seconds, options.seed, report=show))
    print(json.dumps(result, indent=1))
    return 0 if is_well(result) else 1


if __name__ == "__main__":
    sys.exit(main())
