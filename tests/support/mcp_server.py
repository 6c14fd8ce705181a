"""An MCP server over SSE that misbehaves on command: enough of the protocol for openai-agents' MCPServerSse.

    async with McpServer() as mcp:
        mcp.tools["count"] = Tool(answer="1")     # offered by tools/list; calls are counted in mcp.calls
        mcp.fault = "silent"                      # from now on; "" is healthy again
        ... mcp.url ...

JSON-RPC by hand instead of the `mcp` package's server, so that one file serves old and new versions of it
and each byte can go wrong. The path does not matter: every GET opens a stream; every POST with a session's id
answers on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from .llm_steps import PAGE
from .net import PATIENCE, Gate, closed_port, set_linger_zero, until

FAULTS = ("", "500", "404", "html", "silent", "drop", "slow", "no_initialize", "bad_list", "die_in_call")
"""What `McpServer.fault` knows.

500, 404, html: the answer to the GET. silent: accepts the connection and says nothing, not even headers.
drop: resets the connection after the endpoint event. slow: answers after `delay` seconds. no_initialize: the
stream opens, `initialize` is never answered. bad_list: tools/list is an error. die_in_call: every stream is
reset when a tool is called. A refused connection is a server that is not started (or stopped).
"""


@dataclass
class Tool:
    """One tool: what it answers, after how long, or how it fails.

    `answer` is text or a function of the arguments; `gate` holds every call until the test opens it; `error`
    makes the result an error that the model is told.
    """

    answer: str | Callable[[Mapping[str, Any]], str] = "done"
    delay: float = 0.0
    error: bool = False
    gate: Gate | None = None
    description: str = "A tool of the test server."
    schema: dict[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {"query": {"type": "string"}}}
    )


def workflow_result(*names: str) -> str:
    """What `recall_workflow` and `gen_workflow` of the hosted service answer: JSON inside JSON."""
    data = [{"id": index, "name": name} for index, name in enumerate(names)]
    return json.dumps({"answer": "found", "data": data, "ext": None})


@dataclass
class _Stream:
    response: web.StreamResponse
    request: web.Request
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, event: str, data: str) -> None:
        async with self.lock:
            await self.response.write(f"event: {event}\ndata: {data}\n\n".encode())

    def reset(self) -> None:
        transport = self.request.transport
        if transport is not None:
            set_linger_zero(transport.get_extra_info("socket"))
            transport.abort()


class McpServer:
    """The server; see the module's docstring. Not thread-safe: change it on the loop that it runs on."""

    def __init__(self, *, fault: str = "", delay: float = 0.0, port: int = 0, tools: Mapping[str, Tool] | None = None):
        assert fault in FAULTS
        self.fault = fault
        self.delay = delay
        self.port = port
        self.tools: dict[str, Tool] = dict(tools) if tools is not None else {"search_node": Tool("found it")}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.methods: Counter[str] = Counter()
        self.connects = 0
        """How many streams were asked for, refused or not."""
        self.headers: list[dict[str, str]] = []
        self._streams: dict[str, _Stream] = {}
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def root(self) -> str:
        """The base URL; the stand-in adds /mcp-server/mcp to it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the stream."""
        return f"{self.root}/sse"

    def calls_of(self, tool: str) -> int:
        """How often a tool was called."""
        return sum(name == tool for name, _ in self.calls)

    async def until_idle(self, timeout: float = PATIENCE) -> None:
        """Wait until no client is connected."""
        await until(lambda: not self._streams, timeout, "no open MCP stream")

    # -- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> McpServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after `stop` it comes back on the same port."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._open)
        app.router.add_post("/{path:.*}", self._message)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self.port = self.port or closed_port()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()

    async def stop(self) -> None:
        """Reset every stream and refuse new ones; idempotent."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self.drop_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await runner.cleanup()

    def drop_all(self) -> None:
        """Reset every open stream; the server goes on."""
        for stream in list(self._streams.values()):
            stream.reset()

    # -- protocol --------------------------------------------------------------------------------------------

    async def _open(self, request: web.Request) -> web.StreamResponse:
        self.connects += 1
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        fault = self.fault
        if fault in ("500", "404"):
            return web.json_response({"error": f"status {fault}"}, status=int(fault))
        if fault == "html":
            return web.Response(body=PAGE, content_type="text/html")
        if fault == "silent":
            await self._until_gone(request)
            return web.Response()
        if fault == "slow":
            await asyncio.sleep(self.delay)

        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        stream, key = _Stream(response, request), uuid.uuid4().hex
        self._streams[key] = stream
        try:
            await stream.send("endpoint", f"/messages?session_id={key}")
            if fault == "drop":
                stream.reset()
            await self._until_gone(request)
        except ConnectionError:
            return response
        finally:
            del self._streams[key]
        return response

    @staticmethod
    async def _until_gone(request: web.Request) -> None:
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.005)

    async def _message(self, request: web.Request) -> web.Response:
        stream = self._streams.get(request.query.get("session_id", ""))
        if stream is None:
            return web.Response(status=404, text="no such session")
        message = await request.json()
        self.methods[message.get("method", "")] += 1
        task = asyncio.create_task(self._answer(stream, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.Response(status=202, text="Accepted")

    async def _answer(self, stream: _Stream, message: Mapping[str, Any]) -> None:
        handlers: dict[str, Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]] = {
            "initialize": self._initialize,
            "ping": self._nothing,
            "tools/list": self._list,
            "tools/call": self.call,
        }
        if "id" not in message:  # a notification
            return
        method = message.get("method", "")
        if method == "initialize" and self.fault == "no_initialize":
            return
        if method == "tools/call" and self.fault == "die_in_call":
            self.calls.append((message["params"]["name"], dict(message["params"].get("arguments") or {})))
            self.drop_all()
            return
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if method not in handlers or (method == "tools/list" and self.fault == "bad_list"):
            reply["error"] = {"code": -32601, "message": f"{method} does not work here"}
        else:
            reply["result"] = await handlers[method](message.get("params") or {})
        with contextlib.suppress(ConnectionError):  # the client may have left meanwhile
            await stream.send("message", json.dumps(reply))

    async def _nothing(self, _params: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    async def _initialize(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "protocolVersion": params.get("protocolVersion", "2024-11-05"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "test-mcp", "version": "1"},
        }

    async def _list(self, _params: Mapping[str, Any]) -> dict[str, Any]:
        listed = [
            {"name": name, "description": tool.description, "inputSchema": tool.schema}
            for name, tool in self.tools.items()
        ]
        return {"tools": listed}

    async def call(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a call; a test may put its own in this place."""
        name, arguments = params["name"], dict(params.get("arguments") or {})
        self.calls.append((name, arguments))
        tool = self.tools.get(name)
        if tool is None:
            return {"content": [{"type": "text", "text": f"no tool {name}"}], "isError": True}
        if tool.gate is not None:
            await tool.gate.wait()
        await asyncio.sleep(tool.delay)
        text = tool.answer if isinstance(tool.answer, str) else tool.answer(arguments)
        return {"content": [{"type": "text", "text": text}], "isError": tool.error}
