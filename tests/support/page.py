"""Copilot's page as a client: posts a message as the page does, and shows what the page would show."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .net import PATIENCE, until

API_KEY = "sk-standin-1234567890abcdefghijklmnop"
"""The key that the page sends unless told otherwise; tests look for it in logs and answers."""

COPILOT_KEY = "copilot-service-key-0987654321"


@dataclass
class Chat:
    """One chat as the page sees it; it fills while the answer comes. Times are seconds since the request."""

    session_id: str
    started: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytearray = field(default_factory=bytearray)
    lines: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    error: Exception | None = None
    """What broke the connection, if anything did."""
    seconds: float = 0.0
    _rest: bytes = b""
    _task: asyncio.Task[None] | None = None
    _response: aiohttp.ClientResponse | None = None

    @property
    def shown(self) -> list[str]:
        """What stood in the chat bubble, line after line: the page always shows the newest line's text."""
        return [str(line.get("text")) for line in self.lines]

    @property
    def text(self) -> str:
        """What the page shows now, in the end the answer."""
        return self.shown[-1] if self.lines else ""

    @property
    def finished(self) -> bool:
        """Whether the page has left its loading state."""
        return any(line.get("finished") for line in self.lines)

    @property
    def ext(self) -> Any:
        """The newest line's ext."""
        return self.lines[-1].get("ext") if self.lines else None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.raw)

    @property
    def first_seconds(self) -> float | None:
        """When the first text came."""
        return next((t for t, text in zip(self.times, self.shown, strict=True) if text), None)

    async def done(self, timeout: float = PATIENCE) -> Chat:
        """Wait for the end of the answer (or of the connection)."""
        task = self._task
        assert task is not None
        await until(task.done, timeout, "the end of the answer")
        await task
        return self

    async def until_text(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until the page shows `text` somewhere in the bubble."""
        await until(lambda: text in self.text, timeout, f"{text!r} in the chat")

    async def hang_up(self) -> None:
        """Close the connection, as a closed tab does; returns when this side is closed."""
        if self._response is not None:
            self._response.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _take(self, data: bytes) -> None:
        self.raw += data
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            if line.strip():
                self.lines.append(json.loads(line))
                self.times.append(time.monotonic() - self.started)


class CopilotPage:
    """Chats with a ComfyUI at `url` (real or tests/support/host.py); `llm` is the model's base URL."""

    def __init__(self, url: str, llm: str = "", *, model: str = "fake-model", api_key: str = API_KEY) -> None:
        self.url, self.llm, self.model, self.api_key = url.rstrip("/"), llm, model, api_key
        # A connection a request: a test that counts sockets must not find idle ones.
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))

    async def close(self) -> None:
        """Close the client."""
        await self.session.close()

    async def __aenter__(self) -> CopilotPage:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def headers(self, language: str = "en", llm: str | None = None) -> dict[str, str]:
        """The headers that the page sends with a chat, in its order (see copilot_page.json)."""
        base_url = self.llm if llm is None else llm
        return {
            "Content-Type": "application/json",
            "accept": "application/json",
            "Access-Control-Allow-Origin": "*",
            "Authorization": f"Bearer {COPILOT_KEY}",
            "trace-id": str(uuid.uuid4()),
            "Accept-Language": language,
            "Openai-Base-Url": base_url,
            "Workflow-LLM-Base-Url": base_url,
            "Workflow-LLM-Api-Key": self.api_key,
            "Workflow-LLM-Model": self.model,
            "Openai-Api-Key": self.api_key,
        }

    async def begin(
        self,
        prompt: str = "hello",
        *,
        session: str = "session-1",
        model: str | None = None,
        history: list[dict[str, Any]] | None = None,
        language: str = "en",
        llm: str | None = None,
        headers: dict[str, str] | None = None,
        read_pace: float = 0.0,
        workflow: Any = None,
        path: str = "/api/chat/invoke",
        body: dict[str, Any] | None = None,
    ) -> Chat:
        """Send a message and return at once; the answer is read by a task.

        `history` is what was said before; `read_pace` seconds pass between two reads (a slow reader); `body`
        replaces the whole request body.
        """
        request = body or {
            "session_id": session,
            "prompt": prompt,
            "mock": False,
            "intent": None,
            "ext": [{"type": "model_select", "data": [model or self.model]}],
            "messages": [*(history or []), {"role": "user", "content": prompt}],
            "images": [],
            "workflow_checkpoint_id": None,
        }
        if workflow is not None and body is None:
            request = {"session_id": session, "workflow_data": workflow}
        all_headers = {**self.headers(language, llm), **(headers or {})}
        if model and workflow is not None:
            all_headers["Workflow-LLM-Model"] = model
        chat = Chat(session, time.monotonic())
        chat._task = asyncio.create_task(self._read(chat, path, request, all_headers, read_pace))
        return chat

    async def chat(self, prompt: str = "hello", *, timeout: float = PATIENCE, **options: Any) -> Chat:
        """Send a message and wait for the whole answer; options as in `begin`."""
        return await (await self.begin(prompt, **options)).done(timeout)

    async def debug(self, workflow: Any = None, *, timeout: float = PATIENCE, **options: Any) -> Chat:
        """Press the debug button with this workflow on the canvas, and wait for the end."""
        canvas = {"1": {"class_type": "VAELoader", "inputs": {}}} if workflow is None else workflow
        begun = await self.begin(workflow=canvas, path="/api/debug-agent", **options)
        return await begun.done(timeout)

    async def _read(self, chat: Chat, path: str, body: dict[str, Any], headers: dict[str, str], pace: float) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        buffer = 2**12 if pace else 2**16
        try:
            async with self.session.post(
                self.url + path, json=body, headers=headers, timeout=timeout, read_bufsize=buffer
            ) as response:
                chat.status, chat._response = response.status, response
                chat.headers = {k.lower(): v for k, v in response.headers.items()}
                async for data in response.content.iter_any():
                    with contextlib.suppress(ValueError):  # an error page is no JSON: see `raw`
                        chat._take(data)
                    if pace:
                        await asyncio.sleep(pace)
        except (aiohttp.ClientError, ConnectionError) as error:
            chat.error = error
        finally:
            chat.seconds = time.monotonic() - chat.started

    async def json(self, path: str, **options: Any) -> Any:
        """GET a path and parse its JSON, whatever the status."""
        async with self.session.get(self.url + path, **options) as response:
            return await response.json(content_type=None)
