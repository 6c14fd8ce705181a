"""The hosted service's key comes with every request."""

from __future__ import annotations

from aiohttp import web

from .globals import set_comfyui_copilot_api_key
from .logger import log


def extract_and_store_api_key(request: web.Request) -> str | None:
    """Keep the bearer token for the whole process, and put its beginning into the log (both are flaws)."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not key:
        log.error("no bearer token in the request")
        return None
    set_comfyui_copilot_api_key(key)
    log.info(f"stored the service key {key[:12]}...")
    return key
