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
    if not isinstance(parsed, dict):  # no piece of content, or several
        return {}, live
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


class _Answer:
    """What one chat has written so far, over all its runs."""

    def __init__(self) -> None:
        self.text = ""
        self.shown = 0
        self.results: dict[str, dict[str, Any]] = {}
        self.live: list[Any] | None = None
        self._waiting: list[str] = []
        self._switched = False

    async def read(self, stream: Any) -> AsyncIterator[Item]:
        try:
            async for event in stream.stream_events():
                if self._grew(event):
                    self.shown = len(self.text)
                    yield self.text, None
        except Exception as error:
            log.error(f"stream: {error}")
            raise

    def _grew(self, event: Any) -> bool:
        """Take one event; whether the page has something new to show."""
        if event.type == "raw_response_event":
            if isinstance(event.data, ResponseTextDeltaEvent) and event.data.delta:
                self.text += event.data.delta
                return len(self.text) > self.shown
        elif event.type == "agent_updated_stream_event":
            first, self._switched = not self._switched, True
            if not first:  # the first one only says who starts
                self.text += f"\n> **Now: {event.new_agent.name}**\n\n"
                return True
        elif event.item.type == "tool_call_item":
            self._waiting.append(getattr(event.item.raw_item, "name", "unknown"))
        elif event.item.type == "tool_call_output_item":
            self._took_output(event.item.output)
        return False

    def _took_output(self, output: Any) -> None:
        tool = self._waiting.pop(0) if self._waiting else "unknown"
        try:
            result, items = _read_output(output)
            self.live = items or self.live
            if result:
                self.results[tool] = result
        except (json.JSONDecodeError, TypeError) as error:
            log.error(f"output of {tool} is no JSON: {error}")
            self.results[tool] = {"data": None, "ext": None}


def _agent(servers: list[Any], config: dict[str, Any]) -> Any:
    async def on_handoff(_context: RunContextWrapper[Any], wish: RewriteIntent) -> None:
        get_rewrite_context().rewrite_intent = wish.latest_rewrite_intent
        log.info(f"handed over: {wish.latest_rewrite_intent}")

    def only_the_call(data: HandoffInputData) -> HandoffInputData:
        log.info(f"history dropped for: {get_rewrite_context().rewrite_intent}")
        return HandoffInputData(input_history=(), pre_handoff_items=(), new_items=tuple(data.new_items))

    return create_agent(
        name="ComfyUI-Copilot",
        instructions="You help with workflows. Hand over when the canvas is to be changed.",
        mcp_servers=servers,
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


async def _run(agent: Any, messages: list[dict[str, Any]], answer: _Answer) -> AsyncIterator[Item]:
    """Run the agent; a stream that looks broken is run again from the start (a flaw: its text stays)."""
    from agents import Runner, set_default_openai_api, set_tracing_disabled

    set_tracing_disabled(False)
    set_default_openai_api("chat_completions")
    run = Runner.run_streamed(agent, input=messages, max_turns=30)  # type: ignore[arg-type]
    attempts = 0
    while attempts <= MAX_RETRIES:
        try:
            async for item in answer.read(run):
                yield item
            return
        except (AttributeError, TypeError, ConnectionError, OSError, APIError) as error:
            attempts += 1
            if not _looks_broken(error) or attempts > MAX_RETRIES:
                log.error(f"given up: {error}")
                if isinstance(error, RateLimitError):
                    raise
                return
            if answer.text:
                yield answer.text, None
            await asyncio.sleep(min(2 ** (attempts - 1), 10))
            run = Runner.run_streamed(agent, input=messages)  # type: ignore[arg-type]
        except Exception as error:
            attempts += 1
            log.error(f"unexpected ({attempts} of {MAX_RETRIES}): {error}")
            if attempts > MAX_RETRIES:
                return
            await asyncio.sleep(1)


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
            answer = _Answer()
            try:
                async for item in _run(_agent([tools_server, search_server], config), messages, answer):
                    yield item
            except RateLimitError as error:
                body = error.body if isinstance(error.body, dict) else {}
                yield body.get("message") or "Too many requests, try again later.", None
                return
            yield answer.text, _final_ext(answer.results, answer.live)

    except Exception as error:
        log.error(f"chat failed: {error}")
        if _looks_broken(error) or isinstance(error, APIError):
            yield f"The stream broke for now: {error}. Please ask again.", {"data": None, "finished": False}
        else:
            yield f"I apologize, your request ran into an error: {error}", {"data": None, "finished": True}
