"""`python -m backend --fleet N`: several hosts behind one address, with a private Redis if there is one to be had.

So a newcomer sees answers move: chats and streams are spread over the hosts, and when one is killed the page reads on
at another. All else of a page goes to one host, as behind a proxy with sticky sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from ..aio import cancel_all, ends

START: Final = 300.0
"""Seconds that a host may take: several that start together are slow on a small machine. One that ends is noticed at
once."""
STOP: Final = 5.0
RESTART_SECONDS: Final = 5.0
"""Seconds after which a host that has ended is started again."""
TRY: Final = """\
Try it: ask /slow (or a model of your own for something long). A line here names the host through which the answer
comes, and how to end it: the page reads on at another. If it is the host that writes the answer, the page keeps what
there is and says so; reload the page while it answers, and it mostly reads through another one."""
ALONE: Final = "They do not know one another, and an answer ends with its host: {missing}."
LARGEST: Final = 16 * 2**20
_SPREAD: Final = ("/api/chat/", "/ws/chat/", "/api/ws/chat/", "/copilot-pulse/streams/", "/api/copilot-pulse/streams/")
_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "content-length"})


def arguments_of_host(arguments: Sequence[str]) -> list[str]:
    """A command line without what is for the whole fleet: its number, host and port."""
    kept: list[str] = []
    skip = False
    for word in arguments:
        name, given, _ = word.partition("=")
        if skip or name in ("--fleet", "--host", "--port"):
            skip = not skip and not given
        elif name != "--open":
            kept.append(word)
    return kept


class CannotStart(Exception):
    """A part of the fleet did not start; the text says which and why."""


@dataclass
class Member:
    """One host: a process of its own."""

    name: str
    port: int
    process: asyncio.subprocess.Process

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.returncode is None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def line(self) -> str:
        """What a user needs to try it alone, or to end it."""
        return f"  {self.name}  {self.url}  kill -9 {self.process.pid}"


def free_port() -> int:
    """A port of loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LocalFleet:
    """The hosts, their Redis and the address before them. Make it on the loop, `start()`, `close()`; each once.

    `arguments` are those of each host (`--llm` and so on). `told` is what a user should know about the Redis; `say()`
    is given a sentence when a host ends and is started again.
    """

    def __init__(
        self,
        number: int,
        host: str,
        port: int,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        say: Callable[[str], object],
    ) -> None:
        self.members: list[Member] = []
        self.url = ""
        self.told = ""
        self._number = number
        self._host = host
        self._port = port
        self._arguments = list(arguments)
        self._environ = dict(environ)
        self._redis: subprocess.Popen[bytes] | None = None
        self._folder = ""
        self._next = itertools.count()
        self._client: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._say = say
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all of it. Raises CannotStart or OSError; nothing is left running then, nor after a cancel."""
        try:
            self._start_redis()
            for index in range(self._number):
                await self._start_member(f"host-{index + 1}")
            await asyncio.gather(*(self._until_up(member) for member in self.members))
            await self._listen()
            self._tasks += [asyncio.ensure_future(self._look_after(member)) for member in self.members]
        except BaseException:
            await self.close()
            raise

    def _start_redis(self) -> None:
        if self._environ.get("COPILOT_PULSE_REDIS_URL"):
            self.told = f"They share the Redis of COPILOT_PULSE_REDIS_URL.\n{TRY}"
            return
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            missing = "redis-server is not installed (apt-get install redis-server, or brew install redis)"
            self.told = ALONE.format(missing=missing)
            return
        if find_spec("redis") is None:
            self.told = ALONE.format(missing='the Python package redis is not installed (pip install "redis>=5.0.1")')
            return
        port, password = free_port(), secrets.token_hex(16)
        self._folder = tempfile.mkdtemp(prefix="copilot-pulse-fleet-")
        config = Path(self._folder) / "redis.conf"  # a password on the command line could be read by everybody
        config.touch(mode=0o600)
        config.write_text(
            f'port {port}\nbind 127.0.0.1\nsave ""\nappendonly no\ndir {self._folder}\nrequirepass {password}\n',
            "utf-8",
        )
        self._redis = subprocess.Popen(  # noqa: S603 - a program that `which` has found
            [program, str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._environ["COPILOT_PULSE_REDIS_URL"] = f"redis://:{password}@127.0.0.1:{port}/0"
        self.told = f"They share a private {Path(program).name}, which ends with them.\n{TRY}"

    async def _start_member(self, name: str) -> None:
        port = free_port()
        self.members.append(Member(name, port, await self._start_process(name, port)))

    async def _start_process(self, name: str, port: int) -> asyncio.subprocess.Process:
        environ = {"COPILOT_PULSE_REDIS_ANSWERS": "on", **self._environ, "COPILOT_PULSE_INSTANCE": name}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backend", "--host", "127.0.0.1", "--port", str(port), *self._arguments,
            cwd=Path(__file__).parents[2], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            limit=LARGEST, start_new_session=True,
        )  # fmt: skip
        assert process.stderr is not None
        self._tasks.append(asyncio.ensure_future(_show_errors(name, process.stderr)))
        return process

    async def _look_after(self, member: Member) -> None:
        """Start a host again whenever it has ended, until it does not come up."""
        try:
            while True:
                await member.process.wait()
                self._say(
                    f"{member.name} has ended; pages read on at the others. It starts again in {RESTART_SECONDS:.0f} s."
                )
                await asyncio.sleep(RESTART_SECONDS)
                member.process = await self._start_process(member.name, member.port)
                await self._until_up(member)
                self._say(member.line)
        except CannotStart as error:
            self._say(str(error))

    async def _until_up(self, member: Member) -> None:
        end = asyncio.get_running_loop().time() + START
        while member.alive and asyncio.get_running_loop().time() < end:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", member.port)
                writer.close()
                return
            await asyncio.sleep(0.05)
        raise CannotStart(f"{member.name} did not start; what it said is above")

    async def _listen(self) -> None:
        self._client = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),  # on loopback a connection is there at once, or refused
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        app = web.Application(client_max_size=LARGEST)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self.url = f"http://{self._host}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """End all of it and wait. Idempotent."""
        tasks, self._tasks = self._tasks, []
        await cancel_all(tasks)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        for member in self.members:
            if member.alive:
                member.process.terminate()
        for member in self.members:
            ending = asyncio.ensure_future(member.process.wait())
            if not await ends(ending, STOP):
                member.process.kill()
                await ending
        redis, self._redis = self._redis, None
        if redis is not None:
            redis.terminate()
            await asyncio.to_thread(redis.wait)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    # -- the address before them -----------------------------------------------------------------------

    def _targets(self, path: str) -> list[Member]:
        """The hosts that live, in the order in which they are to be tried for this path."""
        alive = [member for member in self.members if member.alive]
        if alive and path.startswith(_SPREAD):
            first = next(self._next) % len(alive)
            return alive[first:] + alive[:first]
        return alive

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        body = b"" if upgrade else await request.read()
        for member in self._targets(request.path):
            try:
                return await (self._bridge(request, member) if upgrade else self._pass_on(request, member, body))
            except aiohttp.ClientConnectorError:
                continue
        return web.json_response({"error": "no host of the fleet is running"}, status=502)

    def _tell(self, request: web.Request, member: Member) -> None:
        """Say through which host an answer comes: that is the one to end."""
        asks = request.method == "POST" and "/chat/" in request.path
        if request.path.startswith(_SPREAD) and (asks or request.method == "GET"):
            self._say(f"An answer comes through {member.name}: kill -9 {member.process.pid}")

    async def _pass_on(self, request: web.Request, member: Member, body: bytes) -> web.StreamResponse:
        assert self._client is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._client.request(
            request.method, member.url + request.raw_path, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            if answer.status == 200:
                self._tell(request, member)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=kept)
            response.headers["X-Fleet-Host"] = member.name
            await response.prepare(request)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            except aiohttp.ClientError:
                # Not whole: it must not look as if it were.
                if request.transport is not None:
                    request.transport.abort()
            return response

    async def _bridge(self, request: web.Request, member: Member) -> web.StreamResponse:
        assert self._client is not None
        asked = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [word.strip() for word in asked.split(",") if word.strip()]
        kept = ("Host", "Origin", "Cookie", "User-Agent", "Authorization")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        try:
            there = await self._client.ws_connect(
                member.url + request.raw_path, headers=headers, protocols=protocols, max_msg_size=0
            )
        except aiohttp.WSServerHandshakeError as refused:
            return web.json_response({"error": refused.message}, status=refused.status)
        self._tell(request, member)
        here = web.WebSocketResponse(protocols=[there.protocol] if there.protocol else [], max_msg_size=0)
        await here.prepare(request)
        pumps = [asyncio.ensure_future(_pump(here, there)), asyncio.ensure_future(_pump(there, here))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(pumps)
            await there.close()
            await here.close(code=there.close_code or 1001)
        return here


async def _show_errors(name: str, stream: asyncio.StreamReader) -> None:
    """What a host says, with its name before it."""
    async for line in stream:
        sys.stderr.write(f"{name}: {line.decode('utf-8', 'replace')}")


async def _pump(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
