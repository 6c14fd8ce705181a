"""The chat: MCP servers, agent, streamed run, and a retry loop that never helps.

Kept on purpose: servers are connected one after the other and one dead server ends the chat; the history is
summarised on the event loop; `Runner` is imported again at each call; the loop below knows broken connections
by fragments of English, iterates the same dead run again after 1 s sleeps, and runs again with the default
number of turns; text that had arrived before a break is lost with the run's queue.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import HandoffInputData, RunContextWrapper, handoff
from agents.mcp import MCPServerSse
from agents.run import Runner
from openai import APIError, RateLimitError
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

from .. import core
from ..agent_factory import create_agent
from ..utils.globals import BACKEND_BASE_URL, SEARCH_MCP_URL, get_comfyui_copilot_api_key
from ..utils.logger import log
from ..utils.request_context import get_config, get_rewrite_context, get_session_id
from .message_memory import message_memory_optimize
from .workflow_rewrite_agent import create_workflow_rewrite_agent
from .workflow_rewrite_tools import count_up, crash_run, get_current_workflow, raise_error, take_time

__all__ = ["Runner", "comfyui_agent_invoke", "core"]

Item = tuple[str, dict[str, Any] | None]

BROKEN_CONNECTION = (
    "has no attribute 'strip'",
    "Connection broken",
    "InvalidChunkLength",
    "socket hang up",
    "Connection reset",
)
MAX_RETRIES = 3
WORKFLOW_TOOLS = ("gen_workflow", "recall_workflow")
LIVE_EXT = ("workflow_update", "param_update")


class RewriteIntent(BaseModel):
    """What the model says when it hands over."""

    latest_rewrite_intent: str


def _mcp_server(url: str, session_id: str) -> MCPServerSse:
    headers = {"X-Session-Id": session_id, "Authorization": f"Bearer {get_comfyui_copilot_api_key()}"}
    return MCPServerSse(
        params={"url": url, "timeout": 300.0, "headers": headers},
        cache_tools_list=True,
        client_session_timeout_seconds=300.0,
    )


def _trimmed(message: dict[str, Any]) -> dict[str, Any]:
    """Some providers refuse assistant messages that end in blanks."""
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, str):
        return message
    return {**message, "content": content.rstrip()}


def _looks_broken(error: BaseException) -> bool:
    return any(fragment in str(error) for fragment in BROKEN_CONNECTION)


def _read_output(output: Any) -> tuple[dict[str, Any], list[Any] | None]:
    """What a tool's output holds: a result (perhaps empty), and ext items for the canvas."""
    live = None
    parsed = json.loads(str(output))
    items = parsed.get("ext") or []
    if any(item.get("type") in LIVE_EXT for item in items):
        live = items
    if not parsed.get("text"):
        return {}, live
    inner = json.loads(parsed["text"])
    if not isinstance(inner, dict):
        return {"data": inner if isinstance(inner, list) else None, "ext": None}, live
    return {"data": inner.get("data"), "ext": inner.get("ext")}, live


def _final_ext(results: dict[str, dict[str, Any]], live: list[Any] | None) -> dict[str, Any]:
    """The last item's second half; it stays unfinished when only one half of a workflow search was made."""
    called = [name for name in WORKFLOW_TOOLS if name in results]
    if not called:
        items = next((r["ext"] for r in results.values() if r.get("ext")), None) or []
    elif "gen_workflow" in called:
        found = [workflow for name in called for workflow in results[name].get("data") or []]
        items = [{"type": "workflow", "data": found}] if found else []
    else:
        items = []
    return {"data": [*(live or []), *items] or None, "finished": called != ["recall_workflow"]}


async def comfyui_agent_invoke(messages: list[dict[str, Any]], images: Any = None) -> AsyncIterator[Item]:
    """Answer the newest message: (all text so far, None) as it grows, then (text, {"data", "finished"})."""
    try:
        messages = [_trimmed(message) for message in messages]
        session_id, config = get_session_id(), get_config()
        if not session_id or not config:
            raise ValueError("the request has no session or no configuration")
        messages = message_memory_optimize(session_id, messages)
        log.info(f"messages after the memory: {messages}")

        tools_server = _mcp_server(BACKEND_BASE_URL + "/mcp-server/mcp", session_id)
        search_server = _mcp_server(SEARCH_MCP_URL, session_id)
        async with tools_server, search_server:

            async def on_handoff(_context: RunContextWrapper[Any], wish: RewriteIntent) -> None:
                get_rewrite_context().rewrite_intent = wish.latest_rewrite_intent
                log.info(f"handed over: {wish.latest_rewrite_intent}")

            def only_the_call(data: HandoffInputData) -> HandoffInputData:
                log.info(f"history dropped for: {get_rewrite_context().rewrite_intent}")
                return HandoffInputData(input_history=(), pre_handoff_items=(), new_items=tuple(data.new_items))

            agent = create_agent(
                name="ComfyUI-Copilot",
                instructions="You help with workflows. Hand over when the canvas is to be changed.",
                mcp_servers=[tools_server, search_server],
                handoffs=[
                    handoff(
                        agent=create_workflow_rewrite_agent(),
                        input_type=RewriteIntent,
                        input_filter=only_the_call,
                        on_handoff=on_handoff,
                    )
                ],
                tools=[get_current_workflow, count_up, raise_error, crash_run, take_time],
                config=config,
            )

            from agents import Runner, set_default_openai_api, set_tracing_disabled

            set_tracing_disabled(False)
            set_default_openai_api("chat_completions")
            run = Runner.run_streamed(agent, input=messages, max_turns=30)  # type: ignore[arg-type]

            text = ""
            shown = 0
            results: dict[str, dict[str, Any]] = {}
            waiting: list[str] = []
            live: list[Any] | None = None
            switched = False

            async def process_stream_events(stream: Any) -> AsyncIterator[Item]:
                nonlocal text, shown, live, switched
                try:
                    async for event in stream.stream_events():
                        if event.type == "raw_response_event":
                            if isinstance(event.data, ResponseTextDeltaEvent) and event.data.delta:
                                text += event.data.delta
                                if len(text) > shown:
                                    shown = len(text)
                                    yield text, None
                        elif event.type == "agent_updated_stream_event":
                            if switched:  # the first one only says who starts
                                text += f"\n> **Now: {event.new_agent.name}**\n\n"
                                shown = len(text)
                                yield text, None
                            switched = True
                        elif event.item.type == "tool_call_item":
                            waiting.append(getattr(event.item.raw_item, "name", "unknown"))
                        elif event.item.type == "tool_call_output_item":
                            tool = waiting.pop(0) if waiting else "unknown"
                            try:
                                result, items = _read_output(event.item.output)
                                live = items or live
                                if result:
                                    results[tool] = result
                            except (json.JSONDecodeError, TypeError) as error:
                                log.error(f"output of {tool} is no JSON: {error}")
                                results[tool] = {"data": None, "ext": None}
                except Exception as error:
                    log.error(f"stream: {error}")
                    raise

            attempts = 0
            while attempts <= MAX_RETRIES:
                try:
                    async for item in process_stream_events(run):
                        yield item
                    break
                except (AttributeError, TypeError, ConnectionError, OSError, APIError) as error:
                    attempts += 1
                    if _looks_broken(error) and attempts <= MAX_RETRIES:
                        if text:
                            yield text, None
                        await asyncio.sleep(min(2 ** (attempts - 1), 10))
                        run = Runner.run_streamed(agent, input=messages)  # type: ignore[arg-type]
                        continue
                    log.error(f"given up: {error}")
                    if isinstance(error, RateLimitError):
                        body = error.body if isinstance(error.body, dict) else {}
                        yield body.get("message") or "Too many requests, try again later.", None
                        return
                    break
                except Exception as error:
                    attempts += 1
                    log.error(f"unexpected ({attempts} of {MAX_RETRIES}): {error}")
                    if attempts > MAX_RETRIES:
                        break
                    await asyncio.sleep(1)

            yield text, _final_ext(results, live)

    except Exception as error:
        log.error(f"chat failed: {error}")
        if _looks_broken(error) or isinstance(error, APIError):
            yield f"The stream broke for now: {error}. Please ask again.", {"data": None, "finished": False}
        else:
            yield f"I apologize, your request ran into an error: {error}", {"data": None, "finished": True}
