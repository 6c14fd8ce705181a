"""A custom node of somebody else that owns a generic route: the one in its folder's name, as rival-health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS: dict[str, Any] = {}

_path = "/" + Path(__file__).parent.name.removeprefix("rival-")


async def answer(request: web.Request) -> web.Response:
    """Say whose route this is."""
    return web.json_response({"owner": "rival", "path": _path})


PromptServer.instance.routes.get(_path)(answer)
