"""Copilot's routes that block their thread: they leave ComfyUI's loop alone, and end in a sentence."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from backend.copilot.llm_routes import BLOCKING, BlockingRoutes
from backend.copilot.seam import CopilotModules
from tests.support.http_world import ROOT, HttpWorld, answer
from tests.support.net import until


def copilots(handler: Any, module: str = "backend.controller.llm_api") -> Any:
    """`handler` as if it stood in Copilot."""
    handler.__module__ = f"{ROOT}.{module}"
    return handler


class Blocker:
    """Makes handlers that block their thread until the gate opens."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.threads: list[threading.Thread] = []

    def handler(self) -> Any:
        """A new handler of Copilot's."""

        async def list_models(request: web.Request) -> web.Response:
            self.threads.append(threading.current_thread())
            self.gate.wait(60)
            key = request.headers.get("Openai-Api-Key")
            return web.json_response({"key": key, "q": request.query_string})

        return copilots(list_models)


@pytest.mark.parametrize("path", [*BLOCKING, *(f"/api{path}" for path in BLOCKING)])
async def test_a_blocking_route_leaves_the_loop_alone(world: HttpWorld, path: str) -> None:
    """While Copilot waits for somebody's server, ComfyUI answers; the reply is the handler's."""
    blocker = Blocker()
    route = path if path in BLOCKING else path[4:]
    world.seam.attach(CopilotModules(ROOT))
    await world.start(("GET", route, blocker.handler()), ("GET", "/other", answer))
    waiting = asyncio.create_task(world.get(f"{path}?keyword=a", headers={"Openai-Api-Key": "k"}))
    await until(lambda: blocker.threads)

    assert 200 == (await world.get("/other"))[0]
    blocker.gate.set()
    assert (200, {"key": "k", "q": "keyword=a"}) == ((r := await waiting)[0], json.loads(r[1]))
    assert threading.main_thread() not in blocker.threads
    assert [(route, 200)] == [(e["route"], e["status"]) for e in world.events]


@pytest.mark.parametrize(("language", "words"), [("en", "did not answer within"), ("zh", "没有响应")])
async def test_a_server_that_never_answers_gets_a_sentence(world: HttpWorld, language: str, words: str) -> None:
    """After the limit the page is told, in the shape that it reads; the thread is left to itself."""
    blocker = Blocker()
    world.seam.attach(CopilotModules(ROOT))
    world.seam._blocking.limit = 0.01
    await world.start(("GET", "/api/model_config", blocker.handler()), ("GET", "/verify_openai_key", blocker.handler()))
    models = await world.get("/api/model_config", headers={"Accept-Language": language})
    checked = await world.get("/verify_openai_key", headers={"Accept-Language": language})
    blocker.gate.set()

    assert 504 == models[0]
    assert words in json.loads(models[1])["error"]
    assert 200 == checked[0]
    assert json.loads(checked[1])["success"] is False
    assert words in json.loads(checked[1])["message"]


async def test_too_many_of_them_are_refused(world: HttpWorld) -> None:
    """When eight calls hang, the ninth is told so at once."""
    blocker = Blocker()
    world.seam.attach(CopilotModules(ROOT))
    await world.start(("GET", "/verify_openai_key", blocker.handler()))
    hanging = [asyncio.create_task(world.get("/verify_openai_key")) for _ in range(8)]
    await until(lambda: len(blocker.threads) == 8)
    status, text = await world.get("/verify_openai_key")
    blocker.gate.set()
    await asyncio.gather(*hanging)

    assert (200, False) == (status, json.loads(text)["success"])
    assert "still waiting" in json.loads(text)["message"]


async def test_a_handler_that_needs_the_real_loop_gets_it(world: HttpWorld) -> None:
    """A fork's handler that fails in a thread runs on the loop, at once and from then on."""
    loop = asyncio.get_running_loop()
    tried: list[bool] = []

    async def list_models(request: web.Request) -> web.Response:
        tried.append(asyncio.get_running_loop() is loop)
        if not tried[-1]:
            raise RuntimeError("attached to a different loop")
        return web.json_response({})

    world.seam.attach(CopilotModules(ROOT))
    await world.start(("GET", "/api/model_config", copilots(list_models)))

    assert 200 == (await world.get("/api/model_config"))[0]
    assert 200 == (await world.get("/api/model_config"))[0]
    assert [False, True, True] == tried


async def test_an_http_error_in_a_thread_is_the_answer(world: HttpWorld) -> None:
    """A redirect or a 404 that the handler raises is no reason to ask twice."""
    calls: list[int] = []

    async def list_models(request: web.Request) -> web.Response:
        calls.append(1)
        raise web.HTTPNotFound(text="nothing")

    world.seam.attach(CopilotModules(ROOT))
    await world.start(("GET", "/api/model_config", copilots(list_models)))

    assert (404, "nothing") == await world.get("/api/model_config")
    assert [1] == calls


@pytest.mark.parametrize("why", ["other plugin", "other copilot", "behind a middleware"])
async def test_only_copilots_own_handlers_leave_the_loop(world: HttpWorld, why: str) -> None:
    """Another plugin's handler at such a path, or one behind another's middleware, stays where it is."""
    threads: list[threading.Thread] = []

    async def list_models(request: web.Request) -> web.Response:
        threads.append(threading.current_thread())
        return web.json_response({})

    @web.middleware
    async def foreign(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request)

    if why != "other plugin":
        copilots(list_models)
    world.seam.attach(CopilotModules("another_root" if why == "other copilot" else ROOT))
    await world.start(
        ("GET", "/api/model_config", list_models),
        after=(lambda app: app.middlewares.append(foreign)) if why == "behind a middleware" else None,
    )
    await world.get("/api/model_config")

    assert [threading.main_thread()] == threads
    assert [200] == world.statuses


async def test_a_cancelled_wait_leaves_the_thread() -> None:
    """A request that is cancelled while its handler blocks ends at once."""
    blocker = Blocker()
    handler = blocker.handler()
    routes = BlockingRoutes()
    routes.roots.add(ROOT)
    request = cast(Any, SimpleNamespace(match_info=SimpleNamespace(handler=handler), headers={}))
    task = asyncio.create_task(routes.run(request, handler, "/api/model_config"))
    await until(lambda: blocker.threads)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    blocker.gate.set()
