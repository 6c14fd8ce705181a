"""How long a search through stored chats takes: `python -m tests.bench.bench_chats [--chats 10000]`.

Every fifth chat was repaired, every eleventh failed. Each search is made anew, as its request would; the best of five
is printed, in ms, with how many it found of at most 100.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from backend.event_bus import Event
from backend.store import EventStore
from tests.support.stores import new_store

SEARCHES: dict[str, dict[str, Any]] = {
    "the newest": {},
    "of one model": {"model": "model-3"},
    "of a model that is not there": {"model": "none"},
    "slower than 19.99 s": {"slower": 19.99},
    "repaired": {"retried": True},
    "words of an error": {"text": "NUMBER 995"},
    "words that nobody said": {"text": "nowhere"},
}


def events_of(n: int) -> list[tuple[str, dict[str, Any]]]:
    """What one chat leaves behind."""
    who = {"chat_id": f"{n}-{n:022}", "model": f"model-{n % 7}", "host": "api.example.com"}
    broke = n % 5 == 0
    error = {
        "error_id": f"e{n}", "severity": "medium", "kind": "connection", "type": "APIConnectionError", "where": "model",
        "message": f"Connection reset by peer, number {n}", "outcome": "retrying", "attempt": 1, "wait": 0.2,
    }  # fmt: skip
    call = {**who, "turn": 1, "outcome": "completed", "seconds": 1.0, "first_token": 0.4, "finish": "stop"}
    told = {"tokens": 200, "tokens_estimated": 0, "input_tokens": 1_000, "output_tokens": 200, "input_estimated": 0}
    figures = {"length": 800, "updates": 30, "bytes_sent": 1_000, "bytes_saved": 20_000, "retries": int(broke)}
    ended = {
        **who, **told, **figures, "kind": "chat", "outcome": "failed" if n % 11 == 0 else "completed",
        "seconds": n * 7 % 2_000 / 100, "first_token": 0.5, "attempts": 1 + broke, "failed_attempts": int(broke),
        "saved": broke, "stream_tokens": 199, "stream_seconds": 2.0,
    }  # fmt: skip
    begin: list[tuple[str, dict[str, Any]]] = [
        ("chat.started", {"chat_id": who["chat_id"], "kind": "chat", "messages": 1})
    ]
    repair: list[tuple[str, dict[str, Any]]] = [
        ("error", {**error, **who}),
        ("chat.model_ended", {**call, "attempt": 1, "outcome": "failed"}),
    ]
    end: list[tuple[str, dict[str, Any]]] = [
        ("chat.model_ended", {**call, "attempt": 1 + broke}),
        ("chat.finished", ended),
    ]
    return [*begin, *(repair if broke else []), *end]


async def fill(store: EventStore, chats: int) -> None:
    """Write the events of so many chats."""
    for n in range(chats):
        for type_, data in events_of(n):
            store.on_event(Event(type_, data, "copilot", "session"))
        if n % 200 == 0:
            await store.flush()
    await store.flush()


async def measure(chats: int) -> None:
    """Print a line for each search."""
    with tempfile.TemporaryDirectory() as folder:
        store = new_store(Path(folder))
        store.start()
        await fill(store, chats)
        for title, search in SEARCHES.items():
            best, rows = 1e9, 0
            for _ in range(5):
                began = time.perf_counter()
                rows = len(await store.ask(store.chats, limit=100, **search))
                best = min(best, time.perf_counter() - began)
            sys.stdout.write(f"{title:30} {1_000 * best:6.0f} ms {rows:5}\n")
        await store.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=10_000)
    asyncio.run(measure(parser.parse_args().chats))
