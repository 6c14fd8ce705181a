"""How a plan becomes bytes: the record of a request, and the player that writes the answer to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .llm_steps import (
    Cut,
    Delta,
    Eof,
    ErrorObject,
    Finish,
    Pause,
    Plan,
    Raw,
    Reasoning,
    Reset,
    SplitText,
    Stall,
    Step,
    Text,
    ToolCall,
    Wait,
    Words,
    word,
)
from .net import flushed, set_linger_zero

_REASONS = {200: "OK", 302: "Found", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized",
            404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error",
            503: "Service Unavailable"}  # fmt: skip


@dataclass
class RequestRecord:
    """One request as the server saw it; times are `time.monotonic()` seconds."""

    index: int
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    started: float
    key: str | None = None
    plan: Plan | None = None
    finished_at: float | None = None
    aborted_at: float | None = None
    words_sent: int = 0

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body.get("model", ""))

    @property
    def streaming(self) -> bool:
        """Whether a stream was asked for."""
        return bool(self.body.get("stream"))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages sent."""
        return list(self.body.get("messages") or [])

    @property
    def last_user_text(self) -> str:
        """The text of the newest user message."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return _plain(message.get("content"))
        return ""

    @property
    def tools(self) -> list[str]:
        """The names of the tools offered to the model."""
        return [tool["function"]["name"] for tool in self.body.get("tools") or []]


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content or [] if isinstance(part, dict))


class Gone(Exception):
    """The connection is over, by a step's wish."""


class Response:
    """Plays one plan on a connection."""

    def __init__(
        self,
        record: RequestRecord,
        plan: Plan,
        writer: asyncio.StreamWriter,
        stalls: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.record, self.plan, self.writer = record, plan, writer
        self.stalls = stalls  # entered while a step stalls for ever
        self.id = f"chatcmpl-{record.index}"
        self.tool_calls = 0
        self.finished = False

    async def run(self) -> None:
        for step in self.plan.before:
            await self._play(step)
        plan = self.plan
        if plan.body is not None:
            self._head(plan.status, [*plan.headers, ("Content-Length", str(len(plan.body)))])
            self.writer.write(plan.body)
            await self.writer.drain()
        elif self.record.streaming:
            headers = [("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache")]
            self._head(plan.status, [*headers, *plan.headers, ("Transfer-Encoding", "chunked")])
            await self._stream()
        else:
            await self._whole()

    def _head(self, code: int, headers: Iterable[tuple[str, str]]) -> None:
        lines = [f"HTTP/1.1 {code} {_REASONS.get(code, 'Status')}", *(f"{k}: {v}" for k, v in headers)]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def _whole(self) -> None:
        """The same script for a client that asked for no stream."""
        for step in self.plan.steps:
            if isinstance(step, (Pause, Stall, Wait, Reset, Cut)):
                await self._play(step)
        message = {"role": "assistant", "content": self.plan.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": self.id, "object": "chat.completion", "created": 1, "model": self.record.model,
                "choices": [choice], "usage": self._usage()}  # fmt: skip
        raw = json.dumps(body).encode()
        self._head(200, [("Content-Type", "application/json"), ("Content-Length", str(len(raw)))])
        self.writer.write(raw)
        await self.writer.drain()

    async def _stream(self) -> None:
        self._delta({"role": "assistant", "content": ""})
        await self.writer.drain()
        for step in self.plan.steps:
            await self._play(step)
            if isinstance(step, (Eof, ErrorObject)):
                break
        else:
            if not self.finished:
                self._finish("tool_calls" if self.tool_calls else "stop")
            if (self.record.body.get("stream_options") or {}).get("include_usage"):
                self._data(self._chunk([]) | {"usage": self._usage()})
            self._chunked(b"data: [DONE]\n\n")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def _play(self, step: Step) -> None:
        if isinstance(step, Words):
            await self._words(step)
        elif isinstance(step, (Text, SplitText)):
            await self._text(step)
        elif isinstance(step, Reasoning):
            for piece in step.content.split(" "):
                self._delta({step.key: piece + " "})
                await self._paced(step.pace)
        elif isinstance(step, ToolCall):
            await self._tool_call(step)
        elif isinstance(step, (Pause, Stall, Wait)):
            await self._silence(step)
        elif isinstance(step, (Reset, Cut)):
            await self._break_off(step)
        else:
            self._write(step)
        await self.writer.drain()

    def _write(self, step: Step) -> None:
        if isinstance(step, Raw):
            self._chunked(step.data)
        elif isinstance(step, Delta):
            self.tool_calls += "tool_calls" in step.delta
            self._delta(dict(step.delta))
        elif isinstance(step, ErrorObject):
            body = {"message": step.message, "code": step.code, "type": step.type}
            self._chunked(b"data: " + json.dumps({"error": body}).encode() + b"\n\n")
        elif isinstance(step, Finish):
            self._finish(step.reason)
        elif isinstance(step, Eof) and step.done:
            self._chunked(b"data: [DONE]\n\n")

    async def _silence(self, step: Pause | Stall | Wait) -> None:
        if isinstance(step, Pause):
            await self._quiet(step.seconds, step.heartbeat)
        elif isinstance(step, Stall):
            with self.stalls() if step.heartbeat is None else nullcontext():
                await self._quiet(None, step.heartbeat)
        else:
            await self.writer.drain()
            await step.gate.wait()

    async def _break_off(self, step: Reset | Cut) -> None:
        await flushed(self.writer.transport)
        if isinstance(step, Reset):
            set_linger_zero(self.writer.transport.get_extra_info("socket"))
            self.writer.transport.abort()
        raise Gone

    async def _words(self, step: Words) -> None:
        for i in range(step.start, step.start + step.count):
            self._delta({"content": word(i)})
            self.record.words_sent += 1
            if step.pace or i % 16 == 15:  # a flood still lets the client on the same loop run
                await self._paced(step.pace)

    async def _text(self, step: Text | SplitText) -> None:
        if isinstance(step, Text):
            self._delta({"content": step.text})
            return
        chunk = self._chunk([{"index": 0, "delta": {"content": step.text}, "finish_reason": None}])
        line = b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
        for at in range(0, len(line), step.size):
            self._chunked(line[at : at + step.size])
            await self._paced(step.pace)

    async def _tool_call(self, step: ToolCall) -> None:
        index, self.tool_calls = self.tool_calls, self.tool_calls + 1
        raw = step.json
        cuts = [len(raw) * i // step.parts for i in range(step.parts + 1)]
        call_id = step.id or f"call_{self.record.index}_{index}"
        first = {"index": index, "id": call_id, "type": "function"}
        self._delta({"tool_calls": [first | {"function": {"name": step.name, "arguments": ""}}]})
        for begin, end in pairwise(cuts):
            self._delta({"tool_calls": [{"index": index, "function": {"arguments": raw[begin:end]}}]})
            await self._paced(0)

    async def _quiet(self, seconds: float | None, heartbeat: float | None) -> None:
        await self.writer.drain()
        until_then = time.monotonic() + seconds if seconds is not None else float("inf")
        while (left := until_then - time.monotonic()) > 0:
            await asyncio.sleep(min(left, heartbeat or 3600.0))
            if heartbeat:
                self._chunked(b": ping\n\n")
                await self.writer.drain()

    async def _paced(self, pace: float) -> None:
        await self.writer.drain()
        await asyncio.sleep(pace)

    # -- bytes -----------------------------------------------------------------------------------------------

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": "chat.completion.chunk", "created": 1,
                "model": self.record.model, "choices": choices}  # fmt: skip

    def _delta(self, delta: dict[str, Any]) -> None:
        self._data(self._chunk([{"index": 0, "delta": delta, "finish_reason": None}]))

    def _finish(self, reason: str) -> None:
        self.finished = True
        self._data(self._chunk([{"index": 0, "delta": {}, "finish_reason": reason}]))

    def _usage(self) -> dict[str, int]:
        sent = self.record.words_sent
        return {"prompt_tokens": 10, "completion_tokens": sent, "total_tokens": 10 + sent}

    def _data(self, body: dict[str, Any]) -> None:
        self._chunked(b"data: " + json.dumps(body).encode() + b"\n\n")

    def _chunked(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
