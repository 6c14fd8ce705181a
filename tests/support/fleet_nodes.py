"""Instances of a fleet in one process, each on a local bus of its own, that keep account of what they get."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backend.event_bus import Event, EventBus
from backend.fleet import Fleet
from backend.settings import Secret, Settings
from tests.support.net import PATIENCE
from tests.support.proxy import FaultProxy

BASE = Settings(redis_timeout=0.5)


class Node:
    """One instance: offers numbered events, and checks those that it gets of each other one."""

    def __init__(self, name: str, url: str, **settings: Any) -> None:
        self.local = EventBus()
        self.fleet = Fleet(self.local)
        self.settings = dataclasses.replace(BASE, redis_url=Secret(url), instance=name, **settings)
        self.offered = 0
        self.longest_call = 0.0
        self.got: dict[str, list[int]] = {}
        self.told: dict[str, int] = {}
        self.fleet._fleet_bus().subscribe("chaos", self._on_event)
        self.fleet._fleet_bus().subscribe("fleet.gap", self._on_gap)

    def start(self) -> None:
        """Join the fleet."""
        self.fleet.start(self.settings)

    def offer(self, number: int = 1) -> None:
        """Publish events on the local bus."""
        for _ in range(number):
            self.offered += 1
            began = time.perf_counter()
            self.local.publish_nowait(Event("chaos", {"i": self.offered, "pad": "x" * 60}, "test"))
            self.longest_call = max(self.longest_call, time.perf_counter() - began)

    def _on_event(self, event: Any) -> None:
        self.got.setdefault(event.instance, []).append(event.data["i"])

    def _on_gap(self, event: Any) -> None:
        told = event.data
        self.told[told["instance"]] = self.told.get(told["instance"], 0) + told["lost"]

    def knows(self, *names: str) -> bool:
        """Whether it reads all of these."""
        return set(names) <= {source.instance for source in self._reader.sources.values()} and self._reader.link.up

    @property
    def _reader(self) -> Any:
        parts = self.fleet._parts
        assert parts is not None
        return parts.reader

    def account(self, other: Node) -> dict[str, Any]:
        """What it knows of the other's events."""
        numbers = self.got.get(other.settings.instance, [])
        return {
            "offered": other.offered,
            "arrived": len(numbers),
            "told": self.told.get(other.settings.instance, 0),
            "twice": len(numbers) - len(set(numbers)),
            "in_order": numbers == sorted(numbers),
            "longest_call_ms": round(other.longest_call * 1000, 1),
        }

    def settled(self, other: Node) -> bool:
        """Whether everything that the other offered has arrived or been told."""
        row = self.account(other)
        return bool(row["arrived"] + row["told"] == row["offered"])


@asynccontextmanager
async def nodes(url: str, names: Iterable[str] = "ab", **settings: Any) -> AsyncIterator[list[Node]]:
    """Instances that know one another."""
    made = [Node(name, url, **settings) for name in names]
    try:
        for node in made:
            node.start()
        assert await wait_for(lambda: all(node.knows(*(set(names) - {node.settings.instance})) for node in made))
        yield made
    finally:
        for node in made:
            await node.fleet.aclose()


async def wait_for(condition: Any, seconds: float = PATIENCE) -> bool:
    """Wait until `condition()`, or what it lets be awaited, is true; returns whether it came true."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return True
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.01)


def url_of(proxy: FaultProxy) -> str:
    """Redis, by way of this network."""
    return f"redis://127.0.0.1:{proxy.port}/0"


async def settle(reader: Node, writer: Node) -> dict[str, Any]:
    """Wait until the reader knows what became of everything, and hold that against what was offered."""
    assert await wait_for(lambda: reader.settled(writer)), reader.account(writer)
    row = reader.account(writer)
    assert (row["arrived"] + row["told"], row["twice"], row["in_order"]) == (row["offered"], 0, True), row
    return row


def later(seconds: float) -> Callable[[], float]:
    """A clock that is ahead."""
    return lambda: time.monotonic() + seconds


async def look(registry: Any) -> None:
    """Let it beat and look for the others now, and wait until it has."""
    done = asyncio.Event()
    original = registry._look

    async def noted() -> None:
        await original()
        done.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_look", noted)
        while not done.is_set():  # Redis may be back a moment later
            registry.look_soon()
            await asyncio.sleep(0.01)
