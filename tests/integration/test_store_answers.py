"""Answers that outlive the process that wrote them: `kill -9` in mid-answer, a restart, and the page comes back."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backend.journal.answers import NOT_KEPT, RESTARTED
from backend.store import Filter
from tests.support.net import until
from tests.support.stores import new_store, raw_bytes
from tests.support.stream_client import StreamClient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def program(folder: Path, text: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m backend` as a user starts it, and where it listens."""
    environ = {**os.environ, "COPILOT_PULSE_STORE_DIR": str(folder), "COPILOT_PULSE_STORE_TEXT": text}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backend", "--port", "0", cwd=ROOT, stdout=asyncio.subprocess.PIPE, env=environ
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        yield process, next(word for word in line.split() if word.startswith("http://")).rstrip("/")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def stored_frames(folder: Path) -> int:
    """How many rows of answers there are."""
    return len(new_store(folder).query(Filter(("store.answer",))).events)


async def killed_in_mid_answer(folder: Path, text: str, client: StreamClient) -> None:
    """Ask, wait until some of the answer is on disk, and kill the program."""
    async with program(folder, text) as (process, url):
        client.url = url
        asking = asyncio.create_task(client.ask_http("/slow"))
        rows = 6 if text == "on" else 1
        await until(lambda: len(client.page.text) > 20 and stored_frames(folder) >= rows, 60)
        process.kill()
        await process.wait()
        await asking
    assert client.page.outcome is None


@pytest.mark.parametrize(("over", "language"), [("http", "en"), ("websocket", "zh")])
async def test_text_up_to_the_crash_is_there_after_it(tmp_path: Path, over: str, language: str) -> None:
    """With the setting on; with a sentence that says what happened, and for one who comes from elsewhere as well."""
    async with StreamClient("", "http://127.0.0.1:9") as client, StreamClient("", "http://127.0.0.1:9") as other:
        client.headers["Accept-Language"] = language
        await killed_in_mid_answer(tmp_path, "on", client)
        seen = client.page.text
        async with program(tmp_path, "on") as (_, url):
            client.url = other.url = url
            other.id, other.session_id = client.id, client.session_id
            for page in (client, other):
                if over == "http":
                    assert await page.resume_http() == 200
                else:
                    async with page.socket() as socket:
                        await socket.send("read", after=page.page.seq)
                        await socket.read_to_end()

    assert client.page.outcome == other.page.outcome == "failed"
    assert client.page.text == other.page.text
    assert client.page.text.endswith(RESTARTED[language])
    kept = client.page.text[: -len(RESTARTED[language])]
    assert len(kept) > 5
    assert seen.startswith(kept) or kept.startswith(seen)
    assert client.page.in_order


async def test_text_never_touches_the_disk_unless_it_is_wanted(tmp_path: Path) -> None:
    """Not while it is written, not after a crash, not after the restart; the page is told of the restart."""
    async with StreamClient("", "http://127.0.0.1:9") as client:
        await killed_in_mid_answer(tmp_path, "off", client)
        words = [word for word in client.page.text.split() if len(word) > 3][:6]
        assert words
        async with program(tmp_path, "off") as (_, url):
            client.url = url
            query = {"session": client.session_id, "after": str(client.page.seq)}
            async with client.http.get(f"{url}/copilot-pulse/streams/{client.id}", params=query) as response:
                assert response.status == 410
                assert (await response.json())["error"] == NOT_KEPT["en"]
            async with client.socket() as socket:
                await socket.send("read", after=client.page.seq)
                while not any(frame["type"] == "state" for frame in socket.others):
                    assert await socket.next() is not None
                assert socket.others[-1]["state"] == "gone"
                assert socket.others[-1]["reason"] == NOT_KEPT["en"]
            query["session"] = "of somebody else"
            async with client.http.get(f"{url}/copilot-pulse/streams/{client.id}", params=query) as response:
                assert response.status == 404
    raw = raw_bytes(tmp_path)
    assert " ".join(client.page.text.split()[:3]).encode() not in raw
    assert client.id.encode() not in raw
