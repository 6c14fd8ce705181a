"""What stands between Copilot and its MCP server objects: the link and the time of each, errors for the model.

Each object has a `ServerGuard`. The guards of one chat know one another through `ServersOfChat`, and all of a
process are kept by `GuardedServers`, which ends what a chat has left.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import weakref
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ...aio import fail_open, in_front
from ...chats import current_chat
from ..seam import mark_wrapper
from .directory import McpDirectory, Server, digest
from .link import Link, McpLost, McpTimeout
from .reason import judged, reason
from .tls import share_tls_context

if TYPE_CHECKING:
    from ...pulse import Pulse

log = logging.getLogger("copilot_pulse.mcp")

# The answer is out by then; a server that is slow to close its connection does so without the chat.
LEAVE_SECONDS: Final = 1.0
# What a chat waits beyond a server's limit when the event loop itself was held up.
BUSY_SECONDS: Final = 5.0


class ServersOfChat:
    """The guarded servers of one chat, and whose the tool of each name is."""

    def __init__(self) -> None:
        self.guards: list[ServerGuard] = []
        self._tools: dict[str, ServerGuard] = {}

    def holder(self, tool: str, guard: ServerGuard) -> ServerGuard:
        """Who offers `tool`: the first that did, for as long as it is connected; else `guard`, from now on."""
        holder = self._tools.get(tool)
        if holder is None or not holder.up:
            holder = self._tools[tool] = guard
        return holder


class ServerGuard:
    """One server object of one chat: its link, its time, what the model and the user are told."""

    def __init__(
        self,
        servers: GuardedServers,
        siblings: ServersOfChat,
        target: Any,
        base: type,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._servers = servers
        self._pulse = servers.pulse
        self._directory = servers.directory
        self.siblings = siblings
        self._target = target
        self._base: Any = base
        params = target.params
        self._url = str(params["url"])
        self._key = digest(params.get("headers"))
        chat = current_chat.get()
        self._session = chat.session if chat is not None else _session(params.get("headers"))
        self._limit = servers.pulse.settings.current.mcp_timeout
        self._make = _link_maker(base, args, kwargs, partial(_learn, servers.pulse, params.get("headers")))
        share_tls_context(target)
        self._link: Link | None = None
        self._server: Server | None = None
        self._since = 0.0
        self._counted = False

    def begin(self) -> None:
        """Begin to connect, unless the server is known to be down. A second call changes nothing."""
        if self._server is not None:
            return
        directory = self._directory
        self._since = self._servers.clock()
        server = self._server = directory.want(self._url, self._make)
        if directory.shut(server, self._key):
            directory.missing_for(server, self._session)
            return
        base, target = self._base, self._target
        self._link = Link(
            connect=partial(base.connect, target),
            list_tools=partial(in_front(_count_tools, _uncounted, "the count of tools"), base, target),
            cleanup=partial(base.cleanup, target),
            limit=self._limit,
            outcome=self._settled,
            lost=lambda _: directory.suspect(server),
            name=f"mcp {server.name}",
        )
        server.connecting += 1
        self._counted = True
        self._link.start()
        self._servers.adopt(self._link)

    @property
    def up(self) -> bool:
        """Whether the server is connected."""
        return self._link is not None and self._link.up

    def inside(self) -> bool:
        """Whether the original class is calling itself, in the link's task."""
        return self._link is not None and self._link.inside()

    async def enter(self) -> None:
        """Wait until the server is there, for what is left of its time.

        A cancel ends all servers of the chat, those that it has not entered yet as well, and waits for them.
        """
        try:
            self.begin()
        except Exception:
            log.warning("an MCP server is used without Copilot Pulse", exc_info=True)
            self._target._copilot_pulse = None
            await self._base.connect(self._target)
            return
        if self._link is None:
            return
        try:
            # The link settles by itself when its time is up; this is for a loop that hardly turns.
            if await self._link.ready(self._limit + BUSY_SECONDS) is False:
                self._give_up()
        except BaseException:
            await self._servers.abandon(self)
            raise

    async def leave(self) -> None:
        """End the connection; waits a second for it, then it goes on by itself."""
        self.stop()
        self._servers.forget(self)
        if self._link is not None:
            await self._link.close(LEAVE_SECONDS)

    @fail_open("the end of a connection to a tool server")
    def stop(self) -> None:
        """End the connection without waiting. Any number of times."""
        self._settle_count()
        if self._link is not None:
            self._link.stop()

    async def list_tools(self, *args: Any, **kwargs: Any) -> Any:
        """The server's tools; none if it is not there or does not answer within `mcp_timeout`."""
        link = self._link
        if link is None or not link.up:
            return []
        try:
            tools = await link.run(self._base.list_tools(self._target, *args, **kwargs), self._limit)
        except Exception as error:
            log.warning("%s: its tools could not be listed: %s", link.name, type(error).__name__)
            self._broke(error)
            return []
        return [tool for tool in tools if self._is_ours(tool.name)]

    async def call_tool(self, tool_name: str, *args: Any, **kwargs: Any) -> Any:
        """The tool's result, or an error for the model to read. Waits `mcp_tool_timeout` at most.

        A cancel cancels the call and waits for its end; the connection stays.
        """
        link = self._link
        if link is None or not link.up:
            return _tool_error(tool_name, f"the MCP server {self._name} is not connected")
        limit = self._pulse.settings.current.mcp_tool_timeout or None
        call: Awaitable[Any] = self._base.call_tool(self._target, tool_name, *args, **kwargs)
        try:
            return await link.run(call, limit)
        except Exception as error:
            # The tool was called: what breaks of ours here must not call it a second time.
            return in_front(self._failed, self._failed, "the words of a tool server, at the first try")(
                tool_name, error
            )

    def _failed(self, tool_name: str, error: Exception) -> Any:
        """What the model reads of a call that brought no result."""
        if isinstance(error, McpTimeout):
            self._record(error)
            return _tool_error(tool_name, f"the MCP server {self._name} gave no result within {error.seconds:g} s")
        self._broke(error)
        if isinstance(error, McpLost):
            return _tool_error(tool_name, f"the connection to the MCP server {self._name} was lost")
        text = self._pulse.recovery.redactor.redact(reason(error, self._name))
        return _tool_error(tool_name, f"the MCP server {self._name} says: {text}")

    @fail_open("the check for tools of one name", default=True)
    def _is_ours(self, tool: str) -> bool:
        """Whether no other server of the chat has offered a tool of this name before."""
        holder = self.siblings.holder(tool, self)
        if holder is self:
            return True
        log.debug("the tool %s of %s is left out: %s has one of that name", tool, self._name, holder._name)
        return False

    @property
    def _name(self) -> str:
        return self._server.name if self._server is not None else ""

    @fail_open("the state of a tool server")
    def _settled(self, link: Link) -> None:
        self._settle_count()
        server, directory = self._server, self._directory
        if server is None:
            return
        if link.up:
            directory.connected(server, link.tools, self._key)
            directory.back_for(server, self._session)
        else:
            directory.failed(server, link.error or McpLost(), key=self._key, since=self._since)
            directory.missing_for(server, self._session)

    def _give_up(self) -> None:
        link, server = self._link, self._server
        if link is not None and server is not None and link.state == "connecting":
            self.stop()
            self._directory.suspect(server)
            self._directory.missing_for(server, self._session)

    def _settle_count(self) -> None:
        if self._counted and self._server is not None:
            self._counted = False
            self._server.connecting -= 1

    @fail_open("the probe of a tool server")
    def _broke(self, error: Exception) -> None:
        self._record(error)
        if self._server is not None:
            self._directory.suspect(self._server)

    @fail_open("the record of a tool server's error")
    def _record(self, error: Exception) -> None:
        chat = current_chat.get()
        recovery = self._pulse.recovery
        recovery.record(
            judged(recovery, error, self._name),
            where="mcp",
            outcome="ignored",
            attempt=1,
            chat_id=chat.id if chat is not None else None,
            host=self._server.host if self._server is not None else None,
        )


class GuardedServers:
    """All guarded server objects that chats have made, by the task that made them. For the event loop's thread."""

    def __init__(self, pulse: Pulse, directory: McpDirectory, clock: Callable[[], float]) -> None:
        self.pulse = pulse
        self.directory = directory
        self.clock = clock
        self._owners: weakref.WeakKeyDictionary[asyncio.Task[Any], ServersOfChat] = weakref.WeakKeyDictionary()
        self._links: set[Link] = set()

    def guard(self, server: Any, base: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ServerGuard | None:
        """What stands between Copilot and a new server object; None if it cannot be guarded. Never raises."""
        try:
            task = _current_task()
            siblings = self._owners.get(task) if task is not None else None
            guard = ServerGuard(self, siblings or ServersOfChat(), server, base, args, kwargs)
            if task is not None:
                if siblings is None:
                    self._owners[task] = guard.siblings
                    task.add_done_callback(self._owner_done)
                guard.siblings.guards.append(guard)
                guard.begin()
        except Exception:
            log.warning("an MCP server is used without Copilot Pulse", exc_info=True)
            return None
        return guard

    def adopt(self, link: Link) -> None:
        """Keep hold of a link that was started until its task ends."""
        if link.task is not None:
            self._links.add(link)
            link.task.add_done_callback(lambda _: self._links.discard(link))

    async def abandon(self, guard: ServerGuard) -> None:
        """The chat of `guard` was cancelled while it entered its servers: end all of them, and wait."""
        task = _current_task()
        siblings = self._owners.get(task) if task is not None else None
        guards = list(siblings.guards) if siblings is not None else []
        if guard not in guards:
            guards.append(guard)
        for each in guards:
            each.stop()
        await asyncio.gather(*(each.leave() for each in guards))

    def forget(self, guard: ServerGuard) -> None:
        """The chat has left this server; its task may live on."""
        if guard in guard.siblings.guards:
            guard.siblings.guards.remove(guard)

    def _owner_done(self, task: asyncio.Task[Any]) -> None:
        siblings = self._owners.pop(task, None)
        for guard in siblings.guards if siblings is not None else ():
            guard.stop()

    async def aclose(self) -> None:
        """End all connections and wait for them, a few seconds at most."""
        await asyncio.gather(*(link.close(2 * LEAVE_SECONDS) for link in list(self._links)))


MakeGuard = Callable[[Any, type, tuple[Any, ...], dict[str, Any]], "ServerGuard | None"]


class _Guarded:
    """The methods that stand in front of an MCP server class of openai-agents, in each guarded subclass of it.

    What the class calls itself, in the link's task, goes straight to it.
    """

    _copilot_pulse: ServerGuard | None = None
    _copilot_pulse_base: ClassVar[Any]
    _copilot_pulse_make: ClassVar[MakeGuard]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kind = type(self)
        kind._copilot_pulse_base.__init__(self, *args, **kwargs)
        self._copilot_pulse = kind._copilot_pulse_make(self, kind._copilot_pulse_base, args, kwargs)

    def _copilot_pulse_guard(self) -> ServerGuard | None:
        guard = self._copilot_pulse
        return None if guard is None or guard.inside() else guard

    async def __aenter__(self) -> Any:
        if self._copilot_pulse is None:
            return await self._copilot_pulse_base.__aenter__(self)
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: Any) -> Any:
        if self._copilot_pulse is None:
            return await self._copilot_pulse_base.__aexit__(self, *exc_info)
        return await self.cleanup()

    async def connect(self) -> Any:
        guard = self._copilot_pulse_guard()
        return await (self._copilot_pulse_base.connect(self) if guard is None else guard.enter())

    async def cleanup(self) -> Any:
        guard = self._copilot_pulse_guard()
        return await (self._copilot_pulse_base.cleanup(self) if guard is None else guard.leave())

    async def list_tools(self, *args: Any, **kwargs: Any) -> Any:
        guard = self._copilot_pulse_guard()
        if guard is None:
            return await self._copilot_pulse_base.list_tools(self, *args, **kwargs)
        return await guard.list_tools(*args, **kwargs)

    async def call_tool(self, tool_name: str, *args: Any, **kwargs: Any) -> Any:
        guard = self._copilot_pulse_guard()
        if guard is None:
            return await self._copilot_pulse_base.call_tool(self, tool_name, *args, **kwargs)
        return await guard.call_tool(tool_name, *args, **kwargs)


def guarded_class(base: Any, make_guard: MakeGuard) -> Any:
    """A subclass of `base`, an MCP server class of openai-agents, each of whose objects has a guard.

    `make_guard(server, base, args, kwargs)` is called when the object is made; with None it is as without us.
    """
    names = {name: getattr(base, name) for name in ("__qualname__", "__module__", "__doc__")}
    own = {"_copilot_pulse_base": base, "_copilot_pulse_make": staticmethod(make_guard)}
    # What breaks in front of the class leaves the object as without us.
    fronts = {
        name: in_front(getattr(_Guarded, name), getattr(base, name), "the watch over a tool server")
        for name in ("__init__", "__aenter__", "__aexit__", "connect", "cleanup", "list_tools", "call_tool")
    }
    return mark_wrapper(type(base)(base.__name__, (_Guarded, base), {**names, **own, **fronts}), base)


@fail_open("the keys of a tool server, for the redactor")
def _learn(pulse: Pulse, headers: Any) -> None:
    if isinstance(headers, Mapping):
        pulse.recovery.redactor.learn_headers(headers)


def _link_maker(
    base: Any, args: tuple[Any, ...], kwargs: dict[str, Any], learn: Callable[[], None]
) -> Callable[[float], Link]:
    def make(limit: float) -> Link:
        learn()  # a probe runs in no request's context, and sends the keys of the one that wanted the server
        # An object of the original class, because a probe belongs to no chat.
        server = base(*args, **kwargs)
        share_tls_context(server)
        return Link(
            connect=server.connect,
            list_tools=lambda: _count_tools(base, server),
            cleanup=server.cleanup,
            limit=limit,
            name="mcp probe",
        )

    return make


async def _count_tools(base: Any, server: Any) -> int:
    # The list is kept by the server object, so the chat's first turn need not ask again. With a
    # filter the agent must be known, which it is not yet.
    if getattr(server, "tool_filter", None) is not None:
        return 0
    return len(await base.list_tools(server))


async def _uncounted(*_: Any) -> int:
    return 0


def _tool_error(tool: str, why: str) -> Any:
    text = f"The tool {tool} failed: {why}. Go on without it, and tell the user that this tool did not work."
    result: Any = sys.modules["mcp.types"].CallToolResult  # loaded by the agents package
    return result.model_validate({"content": [{"type": "text", "text": text}], "isError": True})


def _session(headers: Any) -> str | None:
    value = headers.get("X-Session-Id") if isinstance(headers, dict) else None
    return str(value) if value else None


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None
