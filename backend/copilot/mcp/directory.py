"""What is known of each MCP server, by URL: up or down, why, and when it is asked again.

    unknown -- connected --> up      unknown, up -- failed --> down
    down -- a probe succeeds --> up      down -- a probe fails --> down, asked again after twice the time

While a server is down no chat waits for it. A probe, one at a time a server, brings it back: after
`mcp_retry` seconds, then after twice that and so on up to 5 minutes, for as long as a chat of the last 10
minutes wanted the server; after that the next chat's interest starts the probing again. A server that refuses
one user's key (401, 403) is down for that key only.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from ...aio import cancel_all
from ...error_handling import host_of
from ..log import hide_urls
from .dismissed import Dismissed
from .link import Link
from .reason import judged, refused_key

if TYPE_CHECKING:
    from ...pulse import Pulse

log = logging.getLogger("copilot_pulse.mcp")

INTEREST_SECONDS: Final = 600.0
LONGEST_WAIT: Final = 300.0
# A hosted server may have to wake up first; nobody waits for a probe.
PROBE_SECONDS: Final = 30.0
MAX_SERVERS: Final = 32
MAX_SESSIONS: Final = 1000
Sleep = Callable[[float], Awaitable[Any]]
MakeLink = Callable[[float], Link]


class Server:
    """One MCP server. `name` and `host` are fit to show: no path, query or user, which may hold a key."""

    def __init__(self, url: str, name: str, host: str) -> None:
        self.url = url
        self.name = name
        self.host = host
        self.state: Literal["unknown", "up", "down"] = "unknown"
        self.reason = ""
        self.tools = 0
        self.failures = 0
        self.retry_at = 0.0
        # Set if the reason is one user's key: others may still try. By digest: until when.
        self.key_only = False
        self.refused: dict[str, float] = {}
        self.up_at = float("-inf")
        self.wanted_at = float("-inf")
        self.connecting = 0
        # Makes a link of the kind that the last chat made, for probes.
        self.make: MakeLink | None = None
        self.probing: asyncio.Task[None] | None = None
        self.keeper: asyncio.Task[None] | None = None
        # Sessions whose last chat had to do without the server, and whether any user was told of it.
        self.missed: OrderedDict[str, None] = OrderedDict()
        self.told = False

    def __repr__(self) -> str:
        return f"<Server {self.name} {self.state}, {self.tools} tools>"


class McpDirectory:
    """All MCP servers that chats asked for. For the event loop's thread."""

    def __init__(
        self,
        pulse: Pulse,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._pulse = pulse
        self._clock = clock
        self._sleep = sleep
        self._servers: OrderedDict[str, Server] = OrderedDict()
        self.dismissed = Dismissed()

    # -- chats -----------------------------------------------------------------------------------

    def want(self, url: str, make: MakeLink) -> Server:
        """The server at `url`, which a chat wants now; `make(limit)` makes a link to it, for probes.

        Starts probing if it is down and nobody is at it.
        """
        server = self._servers.get(url)
        if server is None:
            server = self._add(url)
        self._servers.move_to_end(url)
        server.wanted_at = self._clock()
        server.make = make
        self._keep(server)
        return server

    def shut(self, server: Server, key: str) -> bool:
        """Whether a chat with this key (see `digest`) need not try, because it would fail."""
        until = server.refused.get(key)
        if until is not None:
            if self._clock() < until:
                return True
            del server.refused[key]
        return server.state == "down" and not server.key_only

    def connected(self, server: Server, tools: int, key: str | None = None) -> None:
        """A link came up, with this many tools."""
        was = server.state
        server.state = "up"
        server.tools = tools
        server.reason = ""
        server.failures = 0
        server.key_only = False
        server.up_at = self._clock()
        if key is not None:
            server.refused.pop(key, None)
        if was == "down":
            self._publish(server)
            log.info("the MCP server %s is back, with %d tools", server.name, tools)

    def failed(self, server: Server, error: BaseException, *, key: str | None = None, since: float) -> None:
        """A link that began at `since` did not come up; if another did after that, it is only suspected."""
        if server.up_at > since:
            self.suspect(server)
            return
        text = self._reason(server, error)
        if key is not None and refused_key(error):
            while len(server.refused) >= MAX_SESSIONS:
                server.refused.pop(next(iter(server.refused)))
            server.refused[key] = self._clock() + self._pulse.settings.current.mcp_retry
            if server.state == "up":
                return
            self._down(server, text, error, key_only=True)
        else:
            self._down(server, text, error)
        self._keep(server)

    def suspect(self, server: Server) -> None:
        """A call failed on a link that was up: see whether the server is still there, without waiting."""
        if server.state != "down":
            self._probe(server)

    def missing_for(self, server: Server, session: str | None) -> None:
        """A chat of this session does without the server."""
        session = session or ""
        server.missed[session] = server.missed.pop(session, None)
        while len(server.missed) > MAX_SESSIONS:
            server.missed.popitem(last=False)

    def back_for(self, server: Server, session: str | None) -> None:
        """A chat of this session has the server's tools."""
        server.missed.pop(session or "", None)

    def tell(self, session: str | None) -> list[Server]:
        """The servers whose tools the session's chat lacked: each once in this process, and no dismissed one."""
        session = session or ""
        untold: list[Server] = []
        for server in self._servers.values():
            if session in server.missed and not server.told and server.name not in self.dismissed:
                server.told = True
                untold.append(server)
        return untold

    def dismiss(self, name: str, dismissed: bool = True) -> None:
        """Never tell a user again that this server is missing, or do so again. Raises KeyError if it is not known."""
        server = self._find(name)
        self.dismissed.set(server.name, dismissed)

    def _find(self, name: str) -> Server:
        """The server of this name, host or URL. Raises KeyError."""
        for server in self._servers.values():
            if name in (server.name, server.host, server.url):
                return server
        raise KeyError(name)

    # -- the panel -------------------------------------------------------------------------------

    def snapshot(self) -> list[dict[str, Any]]:
        """Plain data for metrics: one row a server; `retry_in` in seconds, 0 if nothing is planned.

        A server that is down stays so while it is asked again (`probing`): "connecting" is the first time.
        """
        now = self._clock()
        return [
            {
                "server": server.name,
                "host": server.host,
                "state": self._shown(server),
                "tools": server.tools,
                "retry_in": round(max(0.0, server.retry_at - now), 1) if server.keeper is not None else 0,
                "reason": server.reason,
                "probing": _runs(server.probing),
                "dismissed": server.name in self.dismissed,
            }
            for server in self._servers.values()
        ]

    def _shown(self, server: Server) -> str:
        busy = server.connecting > 0 or _runs(server.probing)
        return "connecting" if busy and server.state == "unknown" else server.state

    async def probe(self, name: str) -> bool:
        """Ask the server of this name, host or URL now; True if it is up. Waits, 30 s at most.

        A cancel leaves the probe running. Raises KeyError if no chat has asked for such a server.
        """
        server = self._find(name)
        task = self._probe(server)
        if task is not None:
            await asyncio.wait({task})
        return server.state == "up"

    async def aclose(self) -> None:
        """End all probing and wait for it."""
        await cancel_all([task for s in self._servers.values() for task in (s.keeper, s.probing)])

    # -- the state machine -----------------------------------------------------------------------

    def _add(self, url: str) -> Server:
        host = host_of(url) or "invalid URL"
        names = {server.name for server in self._servers.values()}
        name = next(n for i in itertools.count(1) if (n := f"{host} ({i})" if i > 1 else host) not in names)
        server = Server(url, name, host)
        self._servers[url] = server
        if len(self._servers) > MAX_SERVERS:
            for other in list(self._servers.values()):
                idle = other.keeper is None and other.probing is None and other.connecting == 0
                if idle and other is not server:
                    del self._servers[other.url]
                    break
        return server

    def _down(self, server: Server, text: str, error: BaseException, *, key_only: bool = False) -> None:
        was = server.state
        server.state = "down"
        server.reason = text
        server.key_only = key_only
        server.tools = 0
        server.failures += 1
        base = self._pulse.settings.current.mcp_retry
        wait = min(base * 2.0 ** min(server.failures - 1, 30), max(base, LONGEST_WAIT))
        server.retry_at = self._clock() + wait
        if was == "down":
            return
        self._publish(server)
        log.warning("the MCP server %s is down: %s; chats go on without its tools", server.name, text)
        try:
            recovery = self._pulse.recovery
            cause = judged(recovery, error, server.host)
            recovery.record(cause, where="mcp", outcome="ignored", attempt=1, host=server.host)
        except Exception as failure:
            log.debug("not recorded: %s", type(failure).__name__)

    def _wanted(self, server: Server) -> bool:
        return self._clock() - server.wanted_at < INTEREST_SECONDS

    def _keep(self, server: Server) -> None:
        if server.state == "down" and not _runs(server.keeper) and self._wanted(server):
            server.keeper = _detached(self._bring_back(server), f"mcp retry {server.name}")

    async def _bring_back(self, server: Server) -> None:
        try:
            while server.state == "down" and self._wanted(server):
                wait = server.retry_at - self._clock()
                if wait > 0:
                    await self._sleep(wait)
                    continue
                task = self._probe(server)
                if task is None:
                    return
                await asyncio.wait({task})
        finally:
            server.keeper = None

    def _probe(self, server: Server) -> asyncio.Task[None] | None:
        if not _runs(server.probing) and server.make is not None:
            server.probing = _detached(self._visit(server, server.make), f"mcp probe {server.name}")
        return server.probing

    async def _visit(self, server: Server, make: MakeLink) -> None:
        try:
            limit = self._pulse.settings.current.mcp_timeout
            # If it had to wake up it is asked once more: a chat will not wait that long either.
            for _ in range(2):
                link = make(max(limit, PROBE_SECONDS))
                began = self._clock()
                link.start()
                try:
                    up = await link.ready(2 * max(limit, PROBE_SECONDS))
                    took = self._clock() - began
                    error = link.error
                    tools = link.tools
                finally:
                    await _closed(link)
                if not up:
                    self._down_again(server, error or TimeoutError("no answer"))
                    return
                if took <= limit:
                    self.connected(server, tools)
                    return
            self._down_again(server, TimeoutError(f"it takes {took:.1f} s to answer"))
        except Exception as error:
            # Making a link failed: an MCP client that we do not understand.
            self._down_again(server, error)
        finally:
            server.probing = None

    def _down_again(self, server: Server, error: BaseException) -> None:
        self._down(server, self._reason(server, error), error, key_only=refused_key(error))
        self._keep(server)

    def _publish(self, server: Server) -> None:
        data: Mapping[str, Any] = {
            "server": server.name,
            "host": server.host,
            "state": server.state,
            "reason": server.reason,
            "retry_in": 0.0 if server.state == "up" else round(max(0.0, server.retry_at - self._clock()), 1),
            "tools": server.tools,
        }
        try:
            self._pulse.publish("mcp.changed", data)
        except Exception as error:
            log.warning("an mcp.changed event was not published: %s", type(error).__name__)

    def _reason(self, server: Server, error: BaseException) -> str:
        return str(judged(self._pulse.recovery, error, server.host).message)[:200]

    def __repr__(self) -> str:
        return f"<McpDirectory {list(self._servers.values())}>"


def digest(headers: Any) -> str:
    """A fingerprint of the credentials in a server's headers; tells users apart, and is no secret."""
    value = ""
    if isinstance(headers, Mapping):
        value = next((str(v) for k, v in headers.items() if str(k).lower() == "authorization"), "")
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:16]


def _runs(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()


def _detached(work: Any, name: str) -> asyncio.Task[None]:
    """A task in an empty context: what outlives a chat must not hold on to it, nor report in its name."""
    create = asyncio.get_running_loop().create_task
    context = contextvars.Context()
    context.run(hide_urls.set, True)
    task: asyncio.Task[None] = context.run(create, work, name=f"copilot-pulse {name}")
    return task


async def _closed(link: Link) -> None:
    closing = asyncio.ensure_future(link.close(PROBE_SECONDS))
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait({closing})
        raise
