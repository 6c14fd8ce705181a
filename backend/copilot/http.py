"""The HTTP seam: a middleware that sees what Copilot's handlers cannot.

Replaces nothing: `install()` appends one middleware to ComfyUI's (or the standalone host's) application,
before it starts. It runs in the task of the request, innermost, so ComfyUI's own checks come first. Any
request that is not Copilot's passes at the price of one look-up. For the two chat routes it

- tells the redactor the keys in the request's headers, before Copilot logs them;
- refuses a body that would cut the connection or end in a bare 500, with a sentence in JSON;
- makes the request known to the chat in `current_request`;
- watches the connection: when the client hangs up, also while the model is silent, it cancels the handler,
  exactly once, and answers 499 to nobody, without a traceback. Not so if the page can come back
  (`streams/tap.py`): then the chat goes on, and `streams/registry.py` stops it after `resume_grace`;
- closes the chats of the request when the handler has ended, however it ended.

Copilot's blocking routes go through `llm_routes`. Every request to a route of Copilot's becomes an
`http.request` event.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import web
from aiohttp.typedefs import Handler

from ..aio import fail_open, in_front, missed, our_fault
from ..error_handling import language_of
from ..streams.registry import StreamRefused, StreamRegistry
from ..streams.tap import StreamTap, open_tap
from ..streams.wire import PAGE, STREAM, parse
from .llm_routes import BLOCKING, BlockingRoutes
from .seam import CopilotModules

if TYPE_CHECKING:
    from ..pulse import Pulse

__all__ = ["HttpSeam", "RequestInfo", "current_request"]

log = logging.getLogger("copilot_pulse.http")

Kind = Literal["chat", "debug", "blocking", "timed"]

POLL_SECONDS: Final = 0.1
CLIENT_GONE: Final = 499
MAX_SESSION: Final = 500
"""Characters of a session's name, which stands in every event and every message to the panel; Copilot's page has 36."""
# Copilot sends it to the model's server and to the tool servers in a header.
_SESSION: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_ROUTES: Final[dict[tuple[str, str], Kind]] = {
    ("POST", "/api/chat/invoke"): "chat",
    ("POST", "/api/debug-agent"): "debug",
    **{("GET", path): "blocking" for path in BLOCKING},
    ("GET", "/api/model-paths"): "timed",
    ("POST", "/api/download-model"): "timed",
    ("POST", "/api/save-workflow-checkpoint"): "timed",
    ("GET", "/api/restore-workflow-checkpoint"): "timed",
    ("POST", "/api/update-workflow-ui"): "timed",
    ("GET", "/api/expert/experts"): "timed",
    ("POST", "/api/expert/experts"): "timed",
}
# ComfyUI serves each route a second time under /api. path -> {method: (kind, route)}
_BY_PATH: Final[dict[str, dict[str, tuple[Kind, str]]]] = {}
for (_method, _path), _kind in _ROUTES.items():
    for _twin in (_path, f"/api{_path}"):
        _BY_PATH.setdefault(_twin, {})[_method] = (_kind, _path)


class RequestInfo:
    """What a chat may know of the HTTP request that asked for it; also its key in the chat registry.

    `language` is "en" or "zh", `session` what the body says, `tap` the way to its stream if the page can resume,
    `page` ComfyUI's name for the page that asks, "" if it does not say.
    """

    __slots__ = ("kind", "language", "page", "session", "tap")

    def __init__(self, request: web.Request, kind: Literal["chat", "debug"]) -> None:
        self.kind: Literal["chat", "debug"] = kind
        self.language = language_of(request.headers.get("Accept-Language"))
        self.page = request.headers.get(PAGE, "")[:128]
        self.session: str | None = None
        self.tap: StreamTap | None = None


current_request: contextvars.ContextVar[RequestInfo | None] = contextvars.ContextVar(
    "copilot_pulse_request", default=None
)


class HttpSeam:
    """The middleware and what it needs. For the event loop's thread."""

    name = "http"

    def __init__(self, pulse: Pulse, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pulse = pulse
        self._clock = clock
        self._blocking = BlockingRoutes()
        self._on = True
        self._apps: list[web.Application] = []
        self._closing: set[asyncio.Task[None]] = set()
        self.middleware = self._make()

    def install(self, app: web.Application) -> None:
        """Append the middleware to `app`, once. Raises RuntimeError if the application has started."""
        if self.middleware not in app.middlewares:
            app.middlewares.append(self.middleware)
            app.on_response_prepare.append(_on_response_prepare)
            self._apps.append(app)

    def attach(self, copilot: CopilotModules) -> None:
        """Take this Copilot's blocking routes off the loop, and switch the middleware on."""
        self._blocking.roots.add(copilot.root)
        self._on = True

    def detach(self) -> None:
        """Let everything pass, and take the middleware out again where the application still allows it."""
        self._on = False
        self._blocking.roots.clear()
        for app in self._apps:
            if not app.middlewares.frozen and self.middleware in app.middlewares:
                app.middlewares.remove(self.middleware)
        self._apps = [app for app in self._apps if self.middleware in app.middlewares]

    async def aclose(self) -> None:
        """Wait until the chats of all requests that have ended are closed."""
        if self._closing:
            await asyncio.wait(set(self._closing))

    def _make(self) -> Any:
        # aiohttp passes the second argument by keyword: it must be called `handler`.
        @web.middleware
        async def copilot_pulse(request: web.Request, handler: Handler) -> web.StreamResponse:
            methods = _BY_PATH.get(request.path)
            if methods is None or not self._on:
                return await handler(request)
            found = methods.get(request.method)
            if found is None:
                return await handler(request)
            kind, route = found
            begun = kind == "blocking"  # it is the handler that is wrapped, and called in a thread
            response: web.StreamResponse | None = None

            async def once(asked: web.Request) -> web.StreamResponse:
                nonlocal begun, response
                if response is not None:  # it is called a second time where code of ours broke
                    return response
                begun = True
                response = await handler(asked)
                return response

            try:
                if kind == "chat" or kind == "debug":
                    return await self._chat(request, once, kind, route)
                return await self._timed(request, handler if begun else once, kind, route)
            except Exception as error:
                # What the handler itself raises is its own; what it has answered is answered.
                if not our_fault(error) or (begun and response is None):
                    raise
                missed(error, "the watch over a request")
            return await handler(request) if response is None else response

        return copilot_pulse

    async def _chat(
        self, request: web.Request, handler: Handler, kind: Literal["chat", "debug"], route: str
    ) -> web.StreamResponse:
        self._remember_keys(request)
        started = self._clock()
        status = 500
        info = RequestInfo(request, kind)
        try:
            refusal = await self._refusal(request, info)
            if refusal is not None:
                status = refusal.status
                return refusal
            answer = in_front(self._answer, self._answer, "the watch over a request, at the first try")
            answered: tuple[web.StreamResponse, int] = await answer(request, handler, info)
            response, status = answered
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        except Exception as error:
            if info.tap is not None and our_fault(error):
                info.tap.step_aside()
            raise
        finally:
            self._report(request, route, status, started)

    async def _refusal(self, request: web.Request, info: RequestInfo) -> web.Response | None:
        """The answer to a request that must not reach the handler; None if it may. Opens its stream then."""
        problem = None
        try:
            problem = await _problem(request, info, self._pulse.streams)
        except web.HTTPException:
            raise
        except ConnectionError:
            return web.Response(status=CLIENT_GONE)
        except Exception as error:  # the handler will meet it, too; without a session there is no stream
            missed(error, "the check of a request, and the resuming of its answer")
            return None
        if problem is not None:
            return web.json_response({"error": problem, "message": problem, "success": False}, status=400)
        try:
            info.tap = await open_tap(self._pulse.streams, request, info.session, info.kind)
        except StreamRefused as refused:
            return web.json_response({"error": refused.reason}, status=refused.status)
        except Exception as error:
            missed(error, "the resuming of an answer")
        return None

    async def _answer(
        self, request: web.Request, handler: Handler, info: RequestInfo
    ) -> tuple[web.StreamResponse, int]:
        """The handler's response and the status to report: 499 if the client left before it was whole."""
        tap = info.tap
        fault: BaseException | None = None
        token = current_request.set(info)
        try:
            with HangUpWatch(request, on_gone=tap.client_left if tap is not None else None) as watch:
                if tap is not None:
                    tap.stream.stop = watch.fire
                    if tap.stream.cancelled:
                        watch.fire()
                response = await handler(request)
                if tap is not None:
                    await tap.returned(response)
                return response, _status(response)
        except HungUp as left:
            fault = left.reason
            if tap is not None and tap.response is not None and isinstance(fault, asyncio.CancelledError):
                await self._close_chats(info)
                return await tap.conclude(fault, tap.response), CLIENT_GONE
            return web.Response(status=CLIENT_GONE), CLIENT_GONE
        except web.HTTPException as answer:
            if tap is not None:
                tap.plain(answer)
            raise
        except BaseException as other:
            fault = other
            raise
        finally:
            current_request.reset(token)
            await self._close_chats(info)
            again = isinstance(fault, Exception) and our_fault(fault) and tap is not None and not tap.begun
            if tap is not None and not again:  # a second try still needs it
                tap.finish(fault)
                await tap.aclose()

    async def _timed(self, request: web.Request, handler: Handler, kind: Kind, route: str) -> web.StreamResponse:
        started = self._clock()
        status = 500
        self._remember_keys(request)
        try:
            if kind == "blocking":
                response = await self._blocking.run(request, handler, route)
            else:
                response = await handler(request)
            status = _status(response)
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        except ConnectionError:
            status = CLIENT_GONE
            raise
        finally:
            self._report(request, route, status, started)

    @fail_open("the end of a request's chats")
    async def _close_chats(self, info: RequestInfo) -> None:
        # In a task of its own: a cancel of the handler at this point must not become a
        # second cancel of the run that is being closed.
        closing = asyncio.get_running_loop().create_task(self._pulse.chats.close_request(info))
        self._closing.add(closing)
        closing.add_done_callback(self._closed)
        await asyncio.wait({closing})

    @fail_open("the end of a request's chats")
    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("a chat could not be closed: %s", type(task.exception()).__name__)

    @fail_open("the keys of a request, for the redactor")
    def _remember_keys(self, request: web.Request) -> None:
        self._pulse.recovery.redactor.learn_headers(request.headers)

    @fail_open("the figures of requests")
    def _report(self, request: web.Request, route: str, status: int, started: float) -> None:
        data = {
            "method": request.method,
            "route": route,
            "status": status,
            "seconds": round(self._clock() - started, 6),
        }
        self._pulse.publish("http.request", data)


async def _prepare(request: web.Request, response: web.StreamResponse) -> None:
    # Runs in the handler's own task, when it begins to answer.
    info = current_request.get()
    tap = info.tap if info is not None else None
    if tap is not None:
        try:
            in_front(tap.take, tap.take, "the resuming of an answer, at the first try")(request, response)
        except Exception as error:
            missed(error, "the resuming of an answer")
            tap.step_aside()


# The page counts on a stream that it was promised: it is tried again before the answer goes on without.
_on_response_prepare = fail_open("the resuming of an answer")(
    in_front(_prepare, _prepare, "the resuming of an answer, at the first try")
)


def _status(response: Any) -> int:
    # A handler that returns nothing is aiohttp's to complain about, in the words that its author knows.
    return int(getattr(response, "status", 500))


def gone(request: web.Request) -> bool:
    """Whether the client of `request` has hung up (closed, reset, or half-closed the connection)."""
    transport = request.transport
    return transport is None or transport.is_closing()


class HungUp(Exception):
    """Raised out of a `HangUpWatch` when the handler ended because its client has left; `reason` is how it ended."""

    def __init__(self, reason: asyncio.CancelledError | ConnectionError) -> None:
        super().__init__()
        self.reason: asyncio.CancelledError | ConnectionError = reason


class HangUpWatch:
    """A context manager that cancels its task, once, when the client of a request has hung up.

    aiohttp tells a handler of it only at its next write, which in a stall never comes, and its supported
    versions have nothing to wait for; so a timer looks every 0.1 s (6 µs a look).

    Our cancel leaves the block as `HungUp`, and so does the ConnectionError of a write to a client that has
    left. A cancel that came from somebody else passes, also when it came beside ours.
    """

    __slots__ = ("_fired", "_handle", "_loop", "_on_gone", "_request", "_task")

    def __init__(self, request: web.Request, *, on_gone: Callable[[], None] | None = None) -> None:
        """`on_gone` is called when the client has left, instead of the cancel: the chat outlives it."""
        self._request = request
        self._on_gone = on_gone
        self._task: asyncio.Task[Any] | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._fired = False

    def __enter__(self) -> HangUpWatch:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(POLL_SECONDS, self._look)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        task, self._task = self._task, None
        others = False
        if self._fired:
            # Take our cancel back (Python 3.11 and newer), also if the handler has swallowed it.
            uncancel = getattr(task, "uncancel", None)
            others = uncancel is not None and uncancel() > 0
        if isinstance(error, asyncio.CancelledError) and self._fired and not others:
            raise HungUp(error) from None
        if isinstance(error, ConnectionError) and gone(self._request):
            raise HungUp(error) from None

    @fail_open("the watch over a connection")
    def _look(self) -> None:
        if not gone(self._request):
            self._handle = self._loop.call_later(POLL_SECONDS, self._look)
            return
        self._handle = None
        if self._on_gone is not None:
            self._on_gone()
        else:
            self.fire()

    def fire(self) -> None:
        """Cancel the task, once, as if the client had hung up; without effect outside of the block."""
        if self._task is not None and not self._fired:
            self._fired = True
            self._task.cancel()


@fail_open("a request's body, parsed once for everybody")
def _read_once(request: web.Request, body: Any) -> None:
    """The handler's own first `json()` gets what has been read: megabytes of it would hold the loop twice as long."""
    if not _is_utf8(request):
        return
    plain = request.json
    left = [body]

    async def read(*args: Any, **options: Any) -> Any:
        return left.pop() if left and not args and not options else await plain(*args, **options)

    vars(request)["json"] = read  # plainly set, aiohttp warns of an attribute of ours


def _is_utf8(request: web.Request) -> bool:
    return (request.charset or "utf-8").lower() in ("utf-8", "utf8")


def _wrong_session(session: Any) -> str | None:
    if session is None:
        return None
    if not isinstance(session, str):
        return 'The field "session_id" must be text.'
    if len(session) > MAX_SESSION:
        return f'The field "session_id" may have {MAX_SESSION} characters.'
    if session and not _SESSION.fullmatch(session):
        return 'The field "session_id" must be plain ASCII without a blank at its ends: it is sent in a header.'
    return None


def _names(data: Any) -> bool:
    """Whether this is a list of names, or nothing."""
    return data is None or (isinstance(data, list) and all(isinstance(name, (str, type(None))) for name in data))


async def _problem(request: web.Request, info: RequestInfo, streams: StreamRegistry) -> str | None:
    """What is wrong with the body of a chat request, in a sentence, or None. It can be read again."""
    try:
        # `read()` keeps the bytes for the handler's own `json()`. Errors of HTTP itself pass.
        data = await request.read()
        stream_id = request.headers.get(STREAM)
        known = streams.asked(stream_id, data) if stream_id is not None else None
        body = parse(data if _is_utf8(request) else data.decode(request.charset or "")) if known is None else known
    except ValueError:
        return "The body is not JSON. Send one JSON object."
    except (web.RequestPayloadError, LookupError):  # an encoding that nobody knows ends here, too
        return "The body cannot be read as its headers say."
    if not isinstance(body, dict):
        return "The body must be one JSON object."
    _read_once(request, body)
    session = body.get("session_id")
    if (wrong := _wrong_session(session)) is not None:
        return wrong
    info.session = session
    if info.kind == "debug":
        workflow = body.get("workflow_data")
        if workflow is not None and not isinstance(workflow, dict):
            return 'The field "workflow_data" must be an object: the workflow in API format.'
        return None
    ext = body.get("ext")
    if not isinstance(ext, list) or not all(isinstance(item, dict) and "type" in item for item in ext):
        return 'The field "ext" must be a list of objects with a "type"; it may be empty.'
    for item in ext:
        if item["type"] == "model_select" and not _names(item.get("data")):
            return 'The "data" of "model_select" in "ext" must be a list with the model\'s name.'
    messages = body.get("messages", [])
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return 'The field "messages" must be a list of objects.'
    return None
