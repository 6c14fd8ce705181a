"""Copilot's routes that block the event loop, run in a thread.

Copilot asks the model's server for its models, and ModelScope for a search, with a synchronous HTTP client
and without a time limit, inside async handlers: for as long as that takes, nothing in ComfyUI moves. The
handlers read the request's headers and query and return a complete response, so each can run in a thread
under a loop of its own. A handler that turns out to need the real loop runs there, from then on. Other
plugins' handlers at these paths are not touched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from ..error_handling import language_of
from .threads import CallTimeout, DaemonThreads, ThreadsBusy

log = logging.getLogger("copilot_pulse.http")

LIMIT_SECONDS: Final = 30.0
_TEXT: Final = {
    "en": "The server did not answer within {seconds:g} s. Check the base URL, and that the server runs.",
    "zh": "服务器在 {seconds:g} 秒内没有响应。请检查 Base URL 是否正确、服务是否在运行。",
}
_FULL: Final = {
    "en": "Earlier requests to this server are still waiting for an answer. Try again in a moment.",
    "zh": "之前发往该服务器的请求仍在等待响应，请稍后再试。",
}


def _no_models(text: str) -> web.Response:
    return web.json_response({"error": text, "message": text}, status=504)


def _no_success(text: str) -> web.Response:
    # Copilot's page reads `success` and shows `message`, with status 200.
    return web.json_response({"success": False, "data": False, "message": text})


BLOCKING: Final[dict[str, Callable[[str], web.Response]]] = {
    "/api/model_config": _no_models,
    "/verify_openai_key": _no_success,
    "/api/model-searchs": _no_success,
}
_MODULES: Final = ("backend.controller.llm_api", "backend.controller.conversation_api")


class BlockingRoutes:
    """Runs the handlers of `BLOCKING` that belong to a Copilot under `roots`. For the event loop's thread."""

    def __init__(self, *, limit: float = LIMIT_SECONDS) -> None:
        self.roots: set[str] = set()
        self.limit = limit
        self._threads = DaemonThreads("Copilot's routes")
        self._on_loop: set[Any] = set()

    async def run(self, request: web.Request, handler: Handler, route: str) -> web.StreamResponse:
        """The response of `handler`, or after 30 s one that says the server is silent (its thread goes on).

        A cancel leaves the thread to itself. Raises what the handler raises.
        """
        if not self._ours(request, handler):
            return await handler(request)
        texts, seconds = _FULL, self.limit
        try:
            return await self._threads.run(_in_own_loop, handler, request, limit=self.limit)
        except web.HTTPException:
            raise
        except ThreadsBusy:
            log.debug("%s", self._threads)
        except CallTimeout:
            texts = _TEXT
        except Exception as error:
            # Most likely it needs something of the real loop. These are GETs: asking again is harmless.
            log.info("%s runs on the event loop: %s in a thread", route, type(error).__name__)
            self._on_loop.add(handler)
            return await handler(request)
        language = language_of(request.headers.get("Accept-Language"))
        return BLOCKING[route](texts[language].format(seconds=seconds))

    def _ours(self, request: web.Request, handler: Handler) -> bool:
        # Behind another plugin's middleware, or not Copilot's: then it may need the loop.
        if handler != request.match_info.handler or handler in self._on_loop:
            return False
        module = getattr(handler, "__module__", "")
        return any(module == f"{root}.{name}" for root in self.roots for name in _MODULES)


def _in_own_loop(handler: Handler, request: web.Request) -> web.StreamResponse:
    async def call() -> web.StreamResponse:
        return await handler(request)

    return asyncio.run(call())
