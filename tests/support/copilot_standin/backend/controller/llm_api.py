"""Lists models and checks keys, with blocking requests inside the handlers and no time limit (the flaw)."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import server
from aiohttp import web

from ..utils.globals import LLM_DEFAULT_BASE_URL
from ..utils.logger import log

routes: web.RouteTableDef = server.PromptServer.instance.routes

_open = build_opener(ProxyHandler({})).open


def _blocking_get(url: str, key: str) -> tuple[int, bytes]:
    """Fetch on the calling thread, which is the event loop's."""
    try:
        with _open(Request(url, headers={"Authorization": f"Bearer {key}"})) as response:
            return response.status, response.read()
    except HTTPError as error:
        return error.code, error.read()


@routes.get("/api/model_config")
async def list_models(request: web.Request) -> web.Response:
    """The models of the endpoint that the page has configured."""
    base = request.headers.get("Openai-Base-Url") or LLM_DEFAULT_BASE_URL
    try:
        code, raw = _blocking_get(f"{base}/models", request.headers.get("Openai-Api-Key") or "")
        found: list[dict[str, Any]] = json.loads(raw)["data"] if code == 200 else []
        models = [{"label": m["id"], "name": m["id"], "image_enable": True} for m in found]
        return web.json_response({"models": models})
    except Exception as error:
        log.error(f"list_models: {error}")
        return web.json_response({"error": f"cannot list models: {error}"}, status=500)


@routes.get("/verify_openai_key")
async def verify_openai_key(request: web.Request) -> web.Response:
    """Whether the endpoint takes the key."""
    base = request.headers.get("Openai-Base-Url", "https://api.openai.com/v1")
    try:
        code, raw = _blocking_get(f"{base}/models", request.headers.get("Openai-Api-Key") or "")
        if code == 200:
            return web.json_response({"success": True, "data": True, "message": "The key is valid."})
        text = raw.decode(errors="replace")
        return web.json_response({"success": False, "data": False, "message": f"HTTP {code}: {text}"})
    except Exception as error:
        log.error(f"verify_openai_key: {error}")
        return web.json_response({"success": False, "data": False, "message": str(error)})
