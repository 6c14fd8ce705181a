"""Clients of the stream protocol (docs/protocol.md) for tests: over HTTP and over WebSocket, through any proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from .net import PATIENCE, until
from .page import CopilotPage
from .stream_reading import Page

PROTOCOL = "copilot-pulse.v1"


def new_id() -> str:
    """A stream id as the page makes it."""
    return secrets.token_urlsafe(16)


def chat_body(session: str, prompt: str = "hello", model: str = "fake-model") -> dict[str, Any]:
    """What Copilot's page sends."""
    return {
        "session_id": session,
        "prompt": prompt,
        "mock": False,
        "intent": None,
        "ext": [{"type": "model_select", "data": [model]}],
        "messages": [{"role": "user", "content": prompt}],
        "images": [],
        "workflow_checkpoint_id": None,
    }


class StreamClient:
    """Asks and reads, and comes back after every break. `url` may be a proxy's."""

    def __init__(self, url: str, llm: str, *, session: str = "session-1") -> None:
        self.url, self.session_id = url, session
        self.id = new_id()
        self.page = Page()
        self.headers = _headers(llm)
        self.breaks = 0
        self.received = 0
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))

    async def __aenter__(self) -> StreamClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    # -- HTTP

    async def ask_http(self, prompt: str = "hello") -> None:
        """POST in frames mode and read to the end or to a break."""
        headers = {**self.headers, "X-Copilot-Pulse-Stream": self.id, "X-Copilot-Pulse-Mode": "frames"}
        await self._read(
            self.http.post(f"{self.url}/api/chat/invoke", json=chat_body(self.session_id, prompt), headers=headers)
        )

    async def resume_http(self) -> int:
        """GET what is missing; the status."""
        url = f"{self.url}/copilot-pulse/streams/{self.id}"
        query = {"after": str(self.page.seq), "session": self.session_id}
        return await self._read(self.http.get(url, params=query))

    async def _read(self, request: Any) -> int:
        status = 0
        try:
            async with request as response:
                status = response.status
                if status == 200:
                    rest = b""
                    plain = request_is_plain(response)
                    async for data in response.content.iter_any():
                        self.received += len(data)
                        *whole, rest = (rest + data).split(b"\n")
                        for line in whole:
                            self.page.take_plain(json.loads(line)) if plain else self.page.take(json.loads(line))
        except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
            self.breaks += 1
        return status

    async def chat_http(self, prompt: str = "hello", tries: int = 200) -> Page:
        """Ask once, and come back until the end has been read."""
        await self.ask_http(prompt)
        for _ in range(tries):
            if self.page.outcome is not None:
                break
            status = await self.resume_http()
            if status == 404 and not self.page.seqs:
                await self.ask_http(prompt)
            elif status != 200:
                await asyncio.sleep(0.01)
        return self.page

    async def cancel_http(self) -> int:
        """POST the cancel; the status."""
        url = f"{self.url}/copilot-pulse/streams/{self.id}/cancel"
        async with self.http.post(url, json={"session": self.session_id}) as response:
            return response.status

    # -- WebSocket

    @contextlib.asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Socket]:
        """An open socket of this session."""
        options = {"protocols": (PROTOCOL,), "max_msg_size": 0, **options}
        url = f"{self.url}/ws/chat/{self.session_id}"
        async with self.http.ws_connect(url, **options) as ws:
            yield Socket(self, ws)

    async def chat_ws(self, prompt: str = "hello", tries: int = 200) -> Page:
        """The same over WebSocket."""
        for _ in range(tries):
            if self.page.outcome is not None:
                break
            try:
                async with self.socket() as socket:
                    if self.page.seqs:
                        await socket.send("read", after=self.page.seq)
                    else:
                        await socket.invoke(prompt)
                    await socket.read_to_end(prompt)
                if any(frame.get("state") == "refused" for frame in socket.others):
                    return await self.chat_http(prompt)
            except (aiohttp.ClientError, ConnectionError):
                self.breaks += 1
                await asyncio.sleep(0.01)
        return self.page


class Socket:
    """One WebSocket of a client."""

    def __init__(self, client: StreamClient, ws: Any) -> None:
        self.client, self.ws = client, ws
        self.others: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame about the client's stream."""
        await self.ws.send_str(json.dumps({"type": kind, "stream": self.client.id, **fields}))

    async def invoke(self, prompt: str = "hello", **fields: Any) -> None:
        """Ask."""
        body = chat_body(self.client.session_id, prompt)
        fields = {"path": "/api/chat/invoke", "headers": self.client.headers, "body": body, **fields}
        await self.send("invoke", **fields)

    async def next(self, timeout: float = PATIENCE) -> dict[str, Any] | None:
        """The next frame, which the page takes if it is of the stream; None if the socket is closed."""
        message = await self.ws.receive(timeout)
        if message.type is not aiohttp.WSMsgType.TEXT:
            return None
        self.client.received += len(message.data) + (2 if len(message.data) < 126 else 4)
        frame = json.loads(message.data)
        if isinstance(frame, list):
            self.client.page.take(frame)
            return {"type": "delta"}
        if frame["type"] in ("hello", "pong", "state"):
            self.others.append(frame)
        else:
            self.client.page.take(frame)
        return dict(frame)

    async def read_to_end(self, prompt: str = "hello") -> None:
        """Read until the stream or the socket has ended."""
        while self.client.page.outcome is None:
            frame = await self.next()
            if frame is None:
                self.client.breaks += 1
                return
            if frame.get("state") == "refused":
                return
            if frame["type"] == "state" and frame["state"] == "unknown" and not self.client.page.seqs:
                await self.invoke(prompt)
            if frame["type"] == "state" and frame["state"] == "in use":
                await self.send("read", after=self.client.page.seq)

    async def until_closed(self, timeout: float = PATIENCE) -> tuple[int | None, str]:
        """Read until the server closes; its code and reason."""
        while True:
            message = await self.ws.receive(timeout)
            if message.type is aiohttp.WSMsgType.CLOSE:
                return message.data, str(message.extra or "")
            if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSING):
                return self.ws.close_code, ""


def _headers(llm: str) -> dict[str, str]:
    page = CopilotPage.__new__(CopilotPage)
    page.url, page.llm, page.model, page.api_key = "", llm, "fake-model", "sk-standin-1234567890abcdefghijklmnop"
    return page.headers()


def request_is_plain(response: aiohttp.ClientResponse) -> bool:
    """Whether Copilot's own lines come: the plugin is not there, or could not stand in between."""
    return response.method == "POST" and "X-Copilot-Pulse-Stream" not in response.headers


async def until_text(page: Page, text: str, timeout: float = PATIENCE) -> None:
    """Wait until the page shows `text`."""
    await until(lambda: text in page.text, timeout, f"{text!r} in the answer")
