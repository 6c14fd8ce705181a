"""An OpenAI-compatible chat-completions server that misbehaves on command.

Raw asyncio instead of an HTTP framework, because tests need the bytes: resets at an exact place, chunks that
end inside a character, headers that never come.

    server = FaultServer()
    await server.start()
    server.plan(reset_at(20), answer(40))          # first request, second and all later ones
    server.plan_for("chat-7", stall_at(3))         # requests whose model, or last user message, says chat-7
    ... server.base_url ...
    assert server.requests[0].aborted_at is None
    await server.stop()

`async with FaultServer() as server` does the same; `net.in_thread(FaultServer())` runs it in a thread, for
tests in which the loop itself is blocked. Plans may be changed from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

from . import llm_bodies as bodies
from .llm_steps import Plan, Step, Text, answer, html, json_instead_of_stream, status
from .llm_wire import Gone, RequestRecord, Response
from .net import PATIENCE, closed_port, until


@dataclass
class _Script:
    plans: tuple[Plan, ...]
    used: int = 0

    def next(self) -> Plan:
        index = self.used
        self.used += 1
        return self.plans[min(index, len(self.plans) - 1)]


class _Watched(asyncio.StreamReaderProtocol):
    """Tells at once when the client hangs up, also while nobody reads."""

    gone: asyncio.Event

    def eof_received(self) -> bool:
        self.gone.set()
        super().eof_received()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


@dataclass
class FaultServer:
    """The server; see the module's docstring. Any thread may call all but start, stop and the waits.

    `missing_v1` says what a chat request to a path without /v1 gets: "lmstudio" (200 with a JSON error),
    "404" or "html"; `models` is what GET /v1/models lists, after `models_delay` seconds.
    """

    host: str = "127.0.0.1"
    port: int = 0
    missing_v1: str = "lmstudio"
    models: tuple[str, ...] = ("fake-model",)
    models_delay: float = 0.0
    models_status: int = 200
    requests: list[RequestRecord] = field(default_factory=list)
    connections: int = 0
    peak_active: int = 0

    def __post_init__(self) -> None:
        self.active = 0
        """Chat requests that are being answered now."""
        self.stalled = 0
        """How many of them have come to a step that stalls for ever."""
        self._default = _Script((answer(40),))
        self._plain_script = _Script((Plan(Text('{"summary": "a short summary"}')),))
        self._keyed: dict[str, _Script] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- scripts ---------------------------------------------------------------------------------------------

    def plan(self, *plans: Plan) -> None:
        """One plan a request, in order of arrival; the last one repeats. Starts counting anew."""
        self._default = _Script(plans)

    def script(self, steps: Iterable[Step]) -> None:
        """The same steps for every request."""
        self.plan(Plan(*steps))

    def plan_for(self, key: str, *plans: Plan) -> None:
        """Plans of their own for requests whose model is `key` or whose last user message contains it.

        The longest key found in the message wins, then the model, then the plans of `plan`.
        """
        self._keyed[key] = _Script(plans)

    def plan_plain(self, *plans: Plan) -> None:
        """Plans for requests that ask for no stream (Copilot's history summary)."""
        self._plain_script = _Script(plans)

    def reset_counts(self) -> None:
        """Forget the requests seen so far."""
        self.requests.clear()
        self.peak_active = self.active

    # -- what tests ask --------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The base URL to give to a client, with /v1."""
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """The base URL that lacks /v1."""
        return f"http://{self.host}:{self.port}"

    @property
    def chats(self) -> list[RequestRecord]:
        """The streaming chat requests only."""
        return [r for r in list(self.requests) if r.streaming and r.path.endswith("/chat/completions")]

    def requests_for(self, key: str) -> list[RequestRecord]:
        """The requests that were answered by the plans of `key`."""
        return [r for r in list(self.requests) if r.key == key]

    async def until_requests(self, count: int, timeout: float = PATIENCE) -> None:
        """Wait until `count` chat requests have come."""
        await until(lambda: len(self.chats) >= count, timeout, f"{count} requests, came {len(self.chats)}")

    async def until_idle(self, timeout: float = PATIENCE) -> None:
        """Wait until no request is being answered."""
        await until(lambda: self.active == 0, timeout, "no active request")

    # -- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> FaultServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; a `port` of 0 is replaced by the one taken, at which a restart listens again."""
        loop = asyncio.get_running_loop()

        def protocol() -> _Watched:
            reader = asyncio.StreamReader(limit=2**24)
            made = _Watched(reader, self._accept)
            made.gone = asyncio.Event()
            return made

        self.port = self.port or closed_port()
        self._server = await loop.create_server(protocol, self.host, self.port, reuse_address=True)

    async def stop(self) -> None:
        """Stop listening and drop every connection; idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(_Connection(self, reader, writer).serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def take_plan(self, record: RequestRecord) -> Plan:
        """The plan for this request; counts it as used."""
        script, record.key = self._default, None
        if not record.streaming:
            script = self._plain_script
        else:
            text = record.last_user_text
            found = max((key for key in self._keyed if key in text), key=len, default=None)
            if found is None and record.model in self._keyed:
                found = record.model
            if found is not None:
                script, record.key = self._keyed[found], found
        plan = script.next()
        record.plan = plan
        return plan


class _Connection:
    """One TCP connection: reads requests, answers each by its plan, one after the other."""

    def __init__(self, server: FaultServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.transport = writer.transport
        self.gone = cast("_Watched", self.transport.get_protocol()).gone

    async def serve(self) -> None:
        self.server.connections += 1
        try:
            while (record := await self._read_request()) is not None:
                await self._or_gone(self._answer(record))
                if record.aborted_at is not None or self.gone.is_set():
                    return
        except (Gone, ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.server.connections -= 1
            self.transport.abort() if self.gone.is_set() else self.writer.close()

    @contextlib.contextmanager
    def _stalls(self) -> Iterator[None]:
        self.server.stalled += 1
        try:
            yield
        finally:
            self.server.stalled -= 1

    async def _or_gone(self, work: Awaitable[None]) -> None:
        """Run `work` until it is done or the client hangs up, whichever comes first."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for each in (task, gone):
                each.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def _read_request(self) -> RequestRecord | None:
        greeting = await self.reader.read(1)
        if greeting and not greeting.isalpha():  # a TLS greeting, say
            await self._refuse_garbage()
            return None
        try:
            head = greeting + await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, *_ = first.split(" ")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        try:
            parsed = json.loads(body) if body else {}
        except ValueError:
            parsed = {}
        return RequestRecord(
            -1, method, path.partition("?")[0], headers, parsed if isinstance(parsed, dict) else {}, time.monotonic()
        )

    async def _refuse_garbage(self) -> None:
        self.writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def _answer(self, record: RequestRecord) -> None:
        # In one turn: who sees a request that is not active takes it for one that was answered.
        record.index = len(self.server.requests)
        self.server.requests.append(record)
        self.server.active += 1
        self.server.peak_active = max(self.server.peak_active, self.server.active)
        ended_by_us = False
        try:
            plan = await self._route(record)
            if plan is not None:
                await Response(record, plan, self.writer, self._stalls).run()
            ended_by_us = True
        except Gone:
            ended_by_us = True
            raise
        except ConnectionError:
            return
        finally:
            self.server.active -= 1
            if ended_by_us:
                record.finished_at = time.monotonic()
            elif self.gone.is_set():
                record.aborted_at = time.monotonic()

    async def _route(self, record: RequestRecord) -> Plan | None:
        """The plan for a chat request; other paths are answered by fixed ones."""
        path = record.path.rstrip("/")
        if record.method == "POST" and path == "/v1/chat/completions":
            return self.server.take_plan(record)
        if path.endswith("/models") and record.method == "GET":
            await asyncio.sleep(self.server.models_delay)
            data = [{"id": name, "object": "model", "owned_by": "test"} for name in self.server.models]
            return status(self.server.models_status, {"object": "list", "data": data})
        if path == "/login":
            return html(200)
        if self.server.missing_v1 == "html":
            return html(404)
        if self.server.missing_v1 == "lmstudio":
            return json_instead_of_stream({"error": f"Unexpected endpoint or method. ({record.method} {record.path})"})
        return status(404, bodies.NOT_FOUND)
