"""ComfyUI's door without ComfyUI: `server.PromptServer.instance`, custom nodes loaded as ComfyUI loads them.

Nothing is faked that a plugin can touch: a real aiohttp application with the route table mirrored under /api,
a WebSocket with ComfyUI's message shape, `send_sync` from any thread, start-up in ComfyUI's order. What is
not here at all: nodes, queue, models, users.

    async with Host([PLUGIN, STANDIN], llm=fault_server) as host:
        answer = await host.chat("hello")
        invoke = host.copilot("backend.service.mcp_client").comfyui_agent_invoke
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from aiohttp import web, web_app

from .llm_server import FaultServer
from .net import refused_url
from .page import Chat, CopilotPage

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT
"""The plugin's own folder."""
STANDIN = Path(__file__).resolve().parent / "copilot_standin"
"""The stand-in's folder."""
_SHARED_LOGGER = "comfyui_copilot"


@web.middleware
async def _origin_only(request: web.Request, handler: Any) -> web.StreamResponse:
    """Refuse what a page of another site sends, as ComfyUI does by default."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return web.Response(status=403)
    origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
    if origin and host.partition(":")[0] in ("127.0.0.1", "localhost") and origin.partition("://")[2] != host:
        return web.Response(status=403)
    response: web.StreamResponse = await handler(request)
    return response


class PromptServer:
    """The object that plugins reach as `server.PromptServer.instance`."""

    instance: ClassVar[PromptServer]

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        PromptServer.instance = self
        self.loop = loop
        self.app = web.Application(client_max_size=100 * 2**20, middlewares=[_origin_only])
        self.routes = web.RouteTableDef()
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.client_id: str | None = None
        self.messages: asyncio.Queue[tuple[str, Any, str | None]] = asyncio.Queue()
        self.web_directories: dict[str, str] = {}
        self.sent: list[tuple[str, Any, str | None]] = []
        """Everything that went through `send_sync`, for tests without a socket."""

        @self.routes.get("/ws")
        async def websocket(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            sid = request.rel_url.query.get("clientId") or uuid.uuid4().hex
            self.sockets[sid] = socket
            try:
                await self.send("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": sid}, sid)
                async for _ in socket:
                    pass
            finally:
                self.sockets.pop(sid, None)
            return socket

        @self.routes.get("/extensions")
        async def extensions(_request: web.Request) -> web.Response:
            found = []
            for name, folder in self.web_directories.items():
                for file in sorted(Path(folder).glob("**/*.js")):
                    found.append(f"/extensions/{name}/{file.relative_to(folder).as_posix()}")
            return web.json_response(found)

        @self.routes.get("/system_stats")
        async def system_stats(_request: web.Request) -> web.Response:
            return web.json_response({"system": {"comfyui_version": "test host"}, "devices": []})

    def add_routes(self, web_root: Path) -> None:
        """Mount the /api twins first, then the routes, the extensions, and last the pages."""
        twins = web.RouteTableDef()
        for route in self.routes:
            if isinstance(route, web.RouteDef):
                twins.route(route.method, "/api" + route.path)(route.handler, **route.kwargs)
        self.app.add_routes(twins)
        self.app.add_routes(self.routes)
        for name, folder in self.web_directories.items():
            self.app.add_routes([web.static("/extensions/" + name, folder)])
        self.app.add_routes([web.static("/", web_root)])

    async def send(self, event: str, data: Any, sid: str | None = None) -> None:
        """Send one message to one page or to all; an unknown page is no error."""
        for target, socket in list(self.sockets.items()):
            if sid is None or sid == target:
                with contextlib.suppress(ConnectionError, RuntimeError):
                    await socket.send_str(json.dumps({"type": event, "data": data}))

    def send_sync(self, event: str, data: Any, sid: str | None = None) -> None:
        """The same from any thread, without waiting; one task sends in order."""
        self.loop.call_soon_threadsafe(self.messages.put_nowait, (event, data, sid))

    async def publish_loop(self) -> None:
        """Send what `send_sync` queued."""
        while True:
            message = await self.messages.get()
            self.sent.append(message)
            await self.send(*message)


class Host:
    """Runs custom nodes on loopback; see the module's docstring.

    `nodes` are folders, loaded in this order; `names` gives some of them another folder name, which they get
    by a link in a temporary custom_nodes folder. `mcp` is the pair (base URL of the tools server,
    URL of the search server) for the stand-in; None leaves both refused. `env` is set while the host runs.
    """

    def __init__(
        self,
        nodes: Iterable[Path | str] = (STANDIN,),
        *,
        llm: FaultServer | str | None = None,
        mcp: tuple[str, str] | None = None,
        names: Mapping[Path | str, str] | None = None,
        env: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.paths = [Path(node) for node in nodes]
        self.names = {Path(path): name for path, name in (names or {}).items()}
        self._llm, self.port = llm, port
        tools, search = mcp or (refused_url(), refused_url("/sse"))
        own = {"BACKEND_BASE_URL": tools, "COPILOT_STANDIN_SEARCH_URL": search, "COPILOT_STANDIN_QUIET": "1"}
        self.env = {**own, **(env or {})}
        self.loaded: dict[Path, ModuleType] = {}
        self.failed: dict[Path, Exception] = {}
        self.server: PromptServer
        self.page: CopilotPage
        self._stack = contextlib.AsyncExitStack()

    # -- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Host:
        async with contextlib.AsyncExitStack() as stack:
            self._set_environment(stack)
            self._install_modules(stack)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for path in self.paths:
                self._load(self._placed(path, folder))
            web_root = folder / "web_root"
            web_root.mkdir()
            self.server.add_routes(web_root)
            stack.push_async_callback(self._sweep, asyncio.all_tasks())
            runner = web.AppRunner(self.server.app, access_log=None, shutdown_timeout=0.2)
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self.port)
            await site.start()
            self.port = runner.addresses[0][1]
            stack.push_async_callback(self._stop, asyncio.create_task(self.server.publish_loop()))
            self.page = await stack.enter_async_context(CopilotPage(self.url, self._llm_url()))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @staticmethod
    async def _stop(task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _sweep(self, before: set[asyncio.Task[Any]]) -> None:
        """Close the clients that the unpatched stand-in leaves to the garbage collector, its runs with them.

        Otherwise they would raise, and be logged, in whatever test happens to run when they are collected.
        """
        factory = sys.modules.get(f"{self._root()}.backend.agent_factory")
        for client in list(getattr(factory, "CLIENTS", ())):
            await client.close()
        for task in asyncio.all_tasks() - before:
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _llm_url(self) -> str:
        if isinstance(self._llm, FaultServer):
            return self._llm.base_url
        return self._llm or refused_url("/v1")

    def _set_environment(self, stack: contextlib.AsyncExitStack) -> None:
        before = {name: os.environ.get(name) for name in self.env}
        os.environ.update(self.env)

        def restore() -> None:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

        stack.callback(restore)

    def _install_modules(self, stack: contextlib.AsyncExitStack) -> None:
        """Make `import server` work as inside ComfyUI; undone at the end, with all that was loaded."""
        self.server = PromptServer(asyncio.get_running_loop())
        door = ModuleType("server")
        door.PromptServer = PromptServer  # type: ignore[attr-defined]
        replaced = sys.modules.get("server")
        known = set(sys.modules)
        sys.modules["server"] = door

        def restore() -> None:
            roots = {module.__name__ for module in self.loaded.values()}
            for name in set(sys.modules) - known:  # by the module's own name, so that aliases go too
                own = getattr(sys.modules[name], "__name__", name)
                if own in roots or own.startswith(tuple(f"{root}." for root in roots)):
                    del sys.modules[name]
            # aiohttp keeps the last 1,024 handlers with their middlewares, and each all of a plugin's modules: after
            # some hundred hosts a garbage collection would take seconds.
            if (cached := getattr(web_app, "_cached_build_middleware", None)) is not None:
                cached.cache_clear()
            sys.modules.pop("server", None)
            if replaced is not None:
                sys.modules["server"] = replaced
            logger = logging.getLogger(_SHARED_LOGGER)
            for handler in list(logger.handlers):  # they hold files and this test's stderr
                logger.removeHandler(handler)
                handler.close()

        stack.callback(restore)

    def _placed(self, path: Path, folder: Path) -> Path:
        name = self.names.get(path)
        if name is None:
            return path
        link = folder / name
        link.symlink_to(path, target_is_directory=True)
        return link

    def _load(self, path: Path) -> None:
        """Import one custom node under the name that ComfyUI gives it; a failure is noted, not raised."""
        name = str(path).replace(".", "_x_")
        spec = importlib.util.spec_from_file_location(name, path / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        self.loaded[path] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            logging.getLogger(__name__).warning("cannot import %s: %s", path, error)
            self.failed[path] = error
            return
        folder = getattr(module, "WEB_DIRECTORY", None)
        if folder and (path / folder).is_dir():
            self.server.web_directories[path.name] = str((path / folder).resolve())

    # -- what tests use --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the host listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def root(self) -> str:
        """The package name that the stand-in was loaded under; LookupError if it is not."""
        found = self._root()
        if found is None:
            raise LookupError("the stand-in is not loaded")
        return found

    def _root(self) -> str | None:
        for module in self.loaded.values():
            if f"{module.__name__}.backend.controller.conversation_api" in sys.modules:
                return module.__name__
        return None

    def copilot(self, suffix: str = "") -> Any:
        """A module of the stand-in, such as `backend.service.mcp_client`."""
        return sys.modules[f"{self.root}.{suffix}" if suffix else self.root]

    def tool_counts(self, session: str | None = None) -> Mapping[str, int]:
        """How often each function tool of the stand-in ran."""
        counts: Mapping[str, int] = self.copilot("backend.service.workflow_rewrite_tools").tool_counts(session)
        return counts

    async def chat(self, prompt: str = "hello", **options: Any) -> Chat:
        """Chat as Copilot's page does and wait for the end; options as in CopilotPage.begin."""
        return await self.page.chat(prompt, **options)

    async def begin(self, prompt: str = "hello", **options: Any) -> Chat:
        """Chat and return at once."""
        return await self.page.begin(prompt, **options)

    async def debug(self, workflow: Any = None, **options: Any) -> Chat:
        """Use the debug agent."""
        return await self.page.debug(workflow, **options)


@contextlib.asynccontextmanager
async def standin_host(llm: FaultServer | None = None, **options: Any) -> AsyncIterator[Host]:
    """The unpatched stand-in alone: the "unpatched" column of every comparison."""
    async with Host([STANDIN], llm=llm, **options) as host:
        yield host
