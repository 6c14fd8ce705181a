"""The scripted model: an OpenAI-compatible server on a loopback port of its own.

Its faults are real ones on a real socket (a TCP reset, a silent connection, a 429), so that what a
newcomer sees repaired is what would be repaired in earnest. `script` decides what to say; this plays it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from . import script
from .script import Plan

MODEL: Final = "scripted-model"
CHAT_HEADER: Final = "X-Scripted-Chat"
_REMEMBERED: Final = 256
_HOLD: Final = 300.0  # longest silence, seconds: a client that never hangs up must not hold us for ever
_HTML: Final = "<!doctype html><title>Sign in</title><h1>Sign in to continue</h1>"


class ScriptedModel:
    """One running server. Make it, `await start()`, use `base_url` and `api_key`, `await close()`.

    `requests` counts the model calls so far; `active` those that are being answered now. For the loop's
    thread. `pace` scales all times between tokens: 0 plays everything at full speed.
    """

    def __init__(self, *, pace: float = 1.0) -> None:
        self.api_key = "sk-scripted-" + secrets.token_hex(16)
        self.base_url = ""
        self.requests = 0
        self.active = 0
        self._pace = pace
        self._faults: OrderedDict[str, int] = OrderedDict()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on a free port. OSError if there is none. Starting twice changes nothing."""
        if self._runner is not None:
            return
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        try:
            await runner.setup()
            site = web.TCPSite(runner, host, port)
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        address = runner.addresses[0]
        self.base_url = f"http://{address[0]}:{address[1]}/v1"

    async def close(self) -> None:
        """Stop listening and cut what is still being answered. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if not secrets.compare_digest(
            request.headers.get("Authorization", "").encode(), f"Bearer {self.api_key}".encode()
        ):
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        try:
            body = await request.json()
            messages = [m for m in body["messages"] if isinstance(m, Mapping)]
        except (ValueError, TypeError, KeyError):
            return _error(400, "The body has to be a JSON object with a list of messages.", "bad_request")
        plan = self._next(request.headers.get(CHAT_HEADER, ""), messages, _tool_names(body))
        self.active += 1
        try:
            return await self._play(request, plan, _usage(plan, messages), stream=bool(body.get("stream")))
        finally:
            self.active -= 1

    def _next(self, chat: str, messages: Sequence[Mapping[str, Any]], tools: Sequence[str]) -> Plan:
        """The plan for this request. A repeated request is known by its chat and its messages."""
        digest = hashlib.blake2b(json.dumps([chat, messages], sort_keys=True).encode(), digest_size=16)
        key = digest.hexdigest()
        faults = self._faults.pop(key, 0)
        plan = script.plan(script.read(messages), faults, script.tool_results(messages), tools)
        if plan.fault:  # an answer that came through whole is forgotten, and misbehaves anew when asked anew
            self._faults[key] = faults + 1
            while len(self._faults) > _REMEMBERED:
                self._faults.popitem(last=False)
        return plan

    async def _play(
        self, request: web.Request, plan: Plan, usage: dict[str, int], *, stream: bool
    ) -> web.StreamResponse:
        if plan.fault == "status":
            headers = {"Retry-After": str(plan.retry_after)} if plan.retry_after is not None else None
            return web.json_response(plan.error, status=plan.status, headers=headers)
        if plan.fault == "html":
            return web.Response(text=_HTML, content_type="text/html")
        if plan.fault == "silent":
            await asyncio.sleep(_HOLD)
        if not stream:
            if plan.fault == "reset":
                _reset(request)
            return web.json_response(_completion(plan, usage))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(_chunk({"role": "assistant", "content": ""}))
        if not await self._speak(request, response, plan):
            return response
        if plan.tools:
            await response.write(_chunk({"tool_calls": _calls(plan)}))
        await response.write(_chunk({}, finish="tool_calls" if plan.tools else "stop"))
        await response.write(_chunk(None, usage=usage) + b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _speak(self, request: web.Request, response: web.StreamResponse, plan: Plan) -> bool:
        """Stream thoughts and words up to the fault. False if nothing must be sent after it."""
        for thought in plan.reasoning:
            await response.write(_chunk({"reasoning_content": thought}))
            await asyncio.sleep(plan.pace * self._pace)
        words = plan.tokens[: plan.fail_at] if plan.fault else plan.tokens
        pace = plan.pace * self._pace
        held = time.monotonic()
        for word in words:
            await response.write(_chunk({"content": word}))
            if pace:
                await asyncio.sleep(pace)
            elif time.monotonic() - held > 0.005:  # the web server shares this loop
                await asyncio.sleep(0)
                held = time.monotonic()
        if plan.fault == "reset":
            _reset(request)
        elif plan.fault == "stall":
            await asyncio.sleep(_HOLD)
        elif plan.fault == "garbage":
            await response.write(b"data: {this is no JSON\n\n")
            await response.write_eof()
        elif plan.fault == "truncate":
            await response.write_eof()
        return not plan.fault


def _reset(request: web.Request) -> None:
    """End the connection with a TCP RST: lingering for zero seconds throws the unsent away and says so."""
    if request.transport is None:
        return
    sock = request.transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


def _error(status: int, message: str, code: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": code, "code": code}}, status=status)


def _tool_names(body: Mapping[str, Any]) -> list[str]:
    tools = body.get("tools")
    if not isinstance(tools, list):
        return []
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    return [str(function.get("name")) for function in functions if isinstance(function, dict)]


def _chunk(delta: Mapping[str, Any] | None, *, finish: str | None = None, **more: Any) -> bytes:
    """One server-sent event. Without a delta it has no choice in it, as the one that brings the usage."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": MODEL}
    return b"data: " + json.dumps({**body, "choices": choices, **more}, ensure_ascii=False).encode() + b"\n\n"


def _calls(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "id": f"call_{secrets.token_hex(6)}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(plan.tools)
    ]


def _usage(plan: Plan, messages: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """This model's tokens are words."""
    asked = sum(len(str(message.get("content") or "").split()) for message in messages)
    spoken = len(plan.tokens) + len(plan.reasoning)
    return {"prompt_tokens": asked, "completion_tokens": spoken, "total_tokens": asked + spoken}


def _completion(plan: Plan, usage: dict[str, int]) -> dict[str, Any]:
    """The answer as one JSON object, for clients that do not stream."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(plan.tokens)}
    if plan.tools:
        message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in _calls(plan)]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if plan.tools else "stop"}
    head = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": MODEL}
    return {**head, "choices": [choice], "usage": usage}
