"""The HTTP side of the chat and of the debug agent: JSON lines, each with all the text so far."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import server
from aiohttp import web

from ..dao.workflow_table import get_workflow_data_by_id, save_workflow_data
from ..service.debug_agent import debug_workflow_errors
from ..service.mcp_client import comfyui_agent_invoke
from ..utils.auth_utils import extract_and_store_api_key
from ..utils.globals import apply_llm_env_defaults, set_language
from ..utils.logger import log
from ..utils.request_context import get_session_id, set_request_context

routes: web.RouteTableDef = server.PromptServer.instance.routes

ENDPOINT_HEADERS = {
    "openai_api_key": "Openai-Api-Key",
    "openai_base_url": "Openai-Base-Url",
    "workflow_llm_api_key": "Workflow-LLM-Api-Key",
    "workflow_llm_base_url": "Workflow-LLM-Base-Url",
    "workflow_llm_model": "Workflow-LLM-Model",
}


def get_llm_config_from_headers(request: web.Request) -> dict[str, Any]:
    """The endpoints and keys that the page sends along."""
    return {name: request.headers.get(header) for name, header in ENDPOINT_HEADERS.items()}


class _Lines:
    """Writes the answer's lines."""

    def __init__(self, response: web.StreamResponse, session_id: Any) -> None:
        self.response, self.session_id = response, session_id

    async def write(self, text: str, *, finished: bool, ext: Any = None, form: str = "markdown") -> None:
        line = {
            "session_id": self.session_id,
            "text": text,
            "finished": finished,
            "type": "message",
            "format": form,
            "ext": ext,
        }
        await self.response.write(json.dumps(line).encode() + b"\n")


async def _begin(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"})
    await response.prepare(request)
    return response


@routes.post("/api/chat/invoke")
async def invoke_chat(request: web.Request) -> web.StreamResponse:
    """Stream the answer to the newest message.

    Flaws kept: a body that is no JSON gives a bare 500, one without `ext` a cut connection; after the client
    has gone the model goes on to its end; keys stand in the log.
    """
    extract_and_store_api_key(request)
    body = await request.json()
    log.info("request body", body)
    response = await _begin(request)

    session_id = body.get("session_id")
    checkpoint = body.get("workflow_checkpoint_id")
    set_language(request.headers.get("Accept-Language", "en"))
    chosen = [item["data"][0] for item in body.get("ext") if item["type"] == "model_select" and item.get("data")]
    endpoints = get_llm_config_from_headers(request)
    config = apply_llm_env_defaults(
        {
            **endpoints,
            "session_id": session_id,
            "workflow_checkpoint_id": checkpoint,
            "model_select": chosen[0] if chosen else None,
        }
    )
    set_request_context(session_id, checkpoint, config)
    lines = _Lines(response, session_id)

    try:
        text, written = "", 0
        ext, finished = None, True
        log.info(f"config: {config}")
        async for new_text, extra in comfyui_agent_invoke(body.get("messages", []), None):
            text = new_text or text
            if extra:
                ext, finished = extra.get("data"), extra.get("finished", True)
            if len(text) > written:
                await lines.write(text, finished=False)
                written = len(text)
                await asyncio.sleep(0.01)
        await lines.write(text, finished=finished, ext=ext)
    except Exception as error:
        log.error(f"invoke_chat: {error}")
        await lines.write(f"I apologize, there was an error: {error}", finished=True, form="text")

    await response.write_eof()
    return response


@routes.post("/api/debug-agent")
async def invoke_debug(request: web.Request) -> web.StreamResponse:
    """Stream the debug agent's findings."""
    extract_and_store_api_key(request)
    body = await request.json()
    response = await _begin(request)

    session_id, workflow = body.get("session_id"), body.get("workflow_data")
    endpoints = get_llm_config_from_headers(request)
    config = apply_llm_env_defaults({**endpoints, "session_id": session_id, "model": "standin-debug"})
    set_language(request.headers.get("Accept-Language", "en"))
    set_request_context(session_id, None, config)
    log.info(f"debug config: {config}")
    lines = _Lines(response, session_id)

    try:
        text, last_ext = "", None
        async for new_text, extra in debug_workflow_errors(workflow):
            text = new_text or text
            if not extra:
                await lines.write(text, finished=False)
            elif "data" in extra:
                last_ext = extra["data"]
                live = any(item.get("type") in ("workflow_update", "param_update") for item in last_ext or [])
                send = last_ext if live or extra["finished"] else None
                await lines.write(text, finished=extra["finished"], ext=send)
            else:  # the error's ext goes out as it is: an object where the page expects a list
                last_ext = extra
                await lines.write(text, finished=False, ext=extra)
            await asyncio.sleep(0.01)
        if workflow and text:
            saved = save_workflow_data(get_session_id() or "", workflow)
            note = {"type": "debug_checkpoint", "data": {"checkpoint_id": saved}}
            if isinstance(last_ext, list):
                last_ext = [*last_ext, note]
        done = [{"type": "debug_complete", "data": {"status": "completed"}}]
        await lines.write(text, finished=True, ext=last_ext or done)
    except Exception as error:
        log.error(f"invoke_debug: {error}")
        failed = [{"type": "error", "data": {"error": str(error)}}]
        await lines.write(f"The debug agent failed: {error}", finished=True, ext=failed, form="text")

    await response.write_eof()
    return response


@routes.post("/api/save-workflow-checkpoint")
async def save_workflow_checkpoint(request: web.Request) -> web.Response:
    """Keep the canvas as it was before a message."""
    body = await request.json()
    if not body.get("session_id") or not body.get("workflow_api"):
        return web.json_response({"success": False, "message": "session_id and workflow_api are required"})
    version = save_workflow_data(body["session_id"], body["workflow_api"], body.get("workflow_ui"))
    return web.json_response({"success": True, "data": {"version_id": version, "checkpoint_id": version}})


@routes.get("/api/restore-workflow-checkpoint")
async def restore_workflow_checkpoint(request: web.Request) -> web.Response:
    """Give a kept canvas back."""
    wanted = request.query.get("version_id", "")
    found = get_workflow_data_by_id(int(wanted)) if wanted.isdigit() else None
    if found is None:
        return web.json_response({"success": False, "message": f"no checkpoint {wanted}"})
    return web.json_response({"success": True, "data": {"version_id": int(wanted), **found}})
