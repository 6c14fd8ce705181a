"""The embedded host: an aiohttp server with the plugin, an agent, a model and a page, in one process."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from ..api.routes import RoutesReport, add_routes
from ..chats import Chat
from ..copilot.chat import ChatSeam
from ..copilot.http import HttpSeam, current_request
from ..hosts import is_loopback
from ..monitoring import SourceNames
from ..pulse import VERSION, Pulse
from ..streams.routes import Streams
from .agent import HostAgent
from .folders import store_folder
from .guard import add_headers, guard
from .options import ModelServer, Options
from .places import PLACES
from .script import COMMANDS
from .scripted_model import MODEL, ScriptedModel
from .sockets import SocketHub

log = logging.getLogger("copilot_pulse.standalone")

# A newcomer should see a silence repaired within seconds, however much has been said before. What the
# environment says goes first.
SCRIPTED_DEFAULTS: Final = {
    "COPILOT_PULSE_STALL_TIMEOUT": "3",
    "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "5",
    "COPILOT_PULSE_FIRST_TOKEN_PER_1000_CHARS": "0",
}
_PORTS_TRIED: Final = 20
_PAGE: Final = Path(__file__).parent / "page"
_ROOT: Final = Path(__file__).parents[2]
_LANGUAGES: Final = ("en", "zh")
_LONGEST_BODY: Final = 16 * 2**20
Invoke = Callable[..., AsyncGenerator[Any, None]]


class Host:
    """The running program. Make it on the loop, `await start()`, `await close()`; each once.

    Everything that stands below an HTTP request is the plugin's own: the middleware, the chat pipeline, the
    routes. Only the agent and the page are the host's.
    """

    def __init__(self, options: Options, environ: Mapping[str, str], *, pace: float = 1.0) -> None:
        """`pace` scales the scripted model's times between tokens; 0 plays all at full speed."""
        self.options = options
        self.sockets = SocketHub()
        self.model = ScriptedModel(pace=pace) if options.endpoint is None else None
        self.pulse = Pulse.create({**(SCRIPTED_DEFAULTS if self.model else {}), **environ})
        self.pulse.recovery.host_words = PLACES
        self.pulse.monitor.board.program = PLACES["en"]["program"]
        folder = store_folder(self.pulse.settings.current, environ)
        if folder is not None:
            self.pulse.open_store(folder)
        self.endpoint: ModelServer | None = options.endpoint
        self.url = ""
        self._chat_seam = ChatSeam(self.pulse)
        self._http_seam = HttpSeam(self.pulse)
        self._agent: HostAgent | None = None
        self._invoke: Invoke | None = None
        self._routes: RoutesReport | None = None
        self._streams = Streams(self.pulse.streams)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Start the model, the plugin and the server; `url` is then where the page is.

        A port that is in use gives way to the next free one, unless the user named it. Raises AgentsMissing,
        or OSError if no port can be had; nothing is left running then, and neither after a cancel.
        """
        try:
            if self.model is not None:
                await self.model.start()
                self.endpoint = ModelServer(self.model.base_url, MODEL, self.model.api_key, scripted=True)
            assert self.endpoint is not None
            self.pulse.recovery.redactor.hold(self.endpoint.api_key, for_good=True)
            self.pulse.recovery.redactor.add_url(self.endpoint.base_url)  # people paste what they have
            self._agent = HostAgent(self.pulse, self.endpoint)
            self._attach(self._agent)
            runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=2.0)
            self._runner = runner
            await runner.setup()
            await self._listen(runner)
        except BaseException:
            await self.close()
            raise
        self.url = _url(self.options.host, runner.addresses[0][1])

    async def _listen(self, runner: web.AppRunner) -> None:
        first = self.options.port
        last = first if self.options.fixed_port else first + _PORTS_TRIED
        for port in range(first, last + 1):
            site = web.TCPSite(runner, self.options.host, port)
            try:
                await site.start()
                return
            except OSError as error:
                await site.stop()
                if error.errno != errno.EADDRINUSE or port == last:
                    raise

    def _attach(self, agent: HostAgent) -> None:
        """Put the seams around the agent, as they are put around Copilot's."""
        on = self.pulse.settings.current.enabled
        self._invoke = agent.invoke
        if on:
            self._invoke = self._chat_seam.wrap(agent.invoke, "chat", _session, lambda: None)
        for name in ("model", "run", "chat", "http"):
            self.pulse.seams.set(name, on, "" if on else "switched off by COPILOT_PULSE")

    def application(self) -> web.Application:
        """The aiohttp application: guard, the plugin's middleware and routes, chat, socket, page."""
        app = web.Application(
            client_max_size=_LONGEST_BODY, middlewares=[guard(loopback_only=is_loopback(self.options.host))]
        )
        app.on_response_prepare.append(add_headers)
        routes = add_routes(app, self.pulse, self.sockets.send)
        self._routes = routes
        streams = self._streams
        if self.pulse.settings.current.enabled:
            streams.add_routes(app.router)
            self.pulse.monitor.add_source("streams", streams.snapshot)
        self.pulse.monitor.add_source(
            SourceNames.CONNECTIONS,
            lambda: {"panels": len(routes.feed), "websockets": len(self.sockets) + len(streams.sockets)},
        )
        app.on_startup.append(self._on_startup)
        app.on_shutdown.append(self._on_shutdown)
        if self.pulse.settings.current.enabled:
            self._http_seam.install(app)
        app.router.add_post("/api/chat/invoke", self._chat)
        for prefix in ("", "/api"):
            app.router.add_get(f"{prefix}/standalone", self._info)
            app.router.add_get(f"{prefix}/i18n", self._texts)
        app.router.add_get("/ws", self.sockets.handle)
        app.router.add_get("/", self._index)
        # Where the page's files lie on disk, so that their imports mean the same to a browser and to tsc.
        app.router.add_static("/backend/standalone/page", _PAGE)
        app.router.add_static("/web", _ROOT / "web")
        return app

    async def _on_startup(self, app: web.Application) -> None:
        self.pulse.start()
        attached = [state.name for state in self.pulse.seams.states.values() if state.attached]
        self.pulse.publish("pulse.started", {"version": VERSION, "attached": attached, "missing": []})

    async def _on_shutdown(self, app: web.Application) -> None:
        # Before the server waits for its requests: chats that run and pages that listen would hold it.
        if self._routes is not None:
            await self._routes.aclose()
        await self._streams.aclose()
        await self.pulse.chats.aclose()
        await self.sockets.aclose()

    async def close(self) -> None:
        """End everything, in the order in which it stands on each other. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        await self._http_seam.aclose()
        await self._chat_seam.aclose()
        await self.pulse.aclose()
        if self._agent is not None:
            await self._agent.aclose()
        if self.model is not None:
            await self.model.close()

    # Routes

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        """POST /api/chat/invoke, in Copilot's wire format: a line of JSON an update, the last one whole.

        A page that can come back is also told, in each line, what `_chat_facts()` says of the chat.
        """
        try:
            body = await request.json()
            messages, session = _read_chat(body)
        except ValueError as error:
            return web.json_response({"error": f"this is no chat: {error}"}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        text, ending, told = "", {"data": None, "finished": True}, _chat_facts("")
        assert self._invoke is not None
        try:
            async with aclosing(self._invoke(messages)) as updates:
                async for new, end in updates:
                    facts = _chat_facts(new or text)
                    if not end and (len(new or "") > len(text) or facts != told):
                        told = facts
                        await response.write(_line(session, new or text, False, **facts))
                    text, ending = new or text, end or ending
        except ConnectionError:
            raise  # the page has closed its connection
        except Exception as error:  # only with COPILOT_PULSE=off: the chat seam lets none through
            text = f"{text}\n\nThe chat broke: {type(error).__name__}"
        finished = bool(ending.get("finished", True))
        await response.write(_line(session, text, finished, ext=ending.get("data"), **_chat_facts(text)))
        await response.write_eof()
        return response

    async def _info(self, request: web.Request) -> web.Response:
        """GET /standalone: which model answers, whether answers can be resumed, and the scripted model's commands."""
        assert self.endpoint is not None
        base_url = self.endpoint.base_url
        return web.json_response(
            {
                "version": VERSION,
                "model": self.endpoint.model,
                "host": base_url.partition("//")[2].partition("/")[0],
                "scripted": self.endpoint.scripted,
                "streams": self.pulse.settings.current.enabled,
                "commands": [{"name": c.name, "doc": dict(c.doc), "group": c.group} for c in COMMANDS.values()],
            }
        )

    async def _texts(self, request: web.Request) -> web.Response:
        """GET /i18n: the texts of web/, in the shape in which ComfyUI hands out its custom nodes' texts."""
        return web.json_response({language: _locale(language) for language in _LANGUAGES})

    async def _index(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(_PAGE / "index.html")


def _session() -> str | None:
    return getattr(current_request.get(), "session", None)


def _chat_facts(text: str) -> dict[str, Any]:
    """What the current request's lines say of its chat beside its `text`; nothing where the page cannot resume.

    `retries`: how often a call was made again. `repair`: the kind of failure that is being repaired. `seams`: where in
    the text a broken attempt ended, in UTF-16 units. `again_in`: seconds after which asking again makes sense.
    """
    tap = getattr(current_request.get(), "tap", None)
    chat: Chat | None = tap.chat if tap is not None else None
    if chat is None:
        return {}
    facts: dict[str, Any] = {"chat_id": chat.id, "retries": chat.figures.retries}
    if kind := chat.repair:
        facts["repair"] = kind
    if seams := chat.text.seams():
        facts["seams"] = [len(text[:place].encode("utf-16-le", "surrogatepass")) // 2 for place in seams]
    if chat.again_at is not None and not chat.active:
        facts["again_in"] = max(0.0, round(chat.again_at - chat.clock(), 1))
    return facts


def _read_chat(body: Any) -> tuple[list[dict[str, Any]], str]:
    """The history and the session of a chat request. ValueError says what is wrong with it."""
    if not isinstance(body, dict):
        raise ValueError("the body has to be a JSON object")
    messages = body.get("messages") or [{"role": "user", "content": body.get("prompt")}]
    if not isinstance(messages, list):
        raise ValueError("messages has to be a list")
    clean: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in ("user", "assistant") or not isinstance(content, (str, list)) or not content:
            raise ValueError("each message needs a role, user or assistant, and a content")
        clean.append({"role": role, "content": content})
    return clean, str(body.get("session_id") or "")[:200]


def _line(session: str, text: str, finished: bool, *, ext: Any = None, **facts: Any) -> bytes:
    row = {
        "session_id": session,
        "text": text,
        "finished": finished,
        "type": "message",
        "format": "markdown",
        "ext": ext,
        **facts,
    }
    return json.dumps(row).encode() + b"\n"


def _locale(language: str) -> Any:
    folder = _ROOT / "locales" / language
    try:
        texts = json.loads((folder / "main.json").read_text(encoding="utf-8"))
        return {**texts, "settings": json.loads((folder / "settings.json").read_text(encoding="utf-8"))}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("no texts in %s: %s", language, type(error).__name__)
        return {}


def _url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("", "0.0.0.0") else "[::1]" if host == "::" else host  # noqa: S104
    return f"http://[{shown}]:{port}" if ":" in shown and "[" not in shown else f"http://{shown}:{port}"
