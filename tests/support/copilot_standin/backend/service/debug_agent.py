"""The debug agent: a coordinator that hands over to a parameter agent, streamed like the chat."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from agents import ItemHelpers, function_tool
from agents.run import Runner
from openai.types.responses import ResponseTextDeltaEvent

from ..agent_factory import create_agent
from ..dao.workflow_table import get_workflow_data, save_workflow_data
from ..utils.globals import WORKFLOW_MODEL_NAME
from ..utils.key_utils import workflow_config_adapt
from ..utils.logger import log
from ..utils.request_context import get_config, get_session_id
from .workflow_rewrite_tools import count_up, get_current_workflow, raise_error, update_workflow

COORDINATOR = "ComfyUI-Debug-Coordinator"


@function_tool
def run_workflow() -> str:
    """Try the workflow and say what is wrong with it."""
    found = get_workflow_data(get_session_id() or "")
    return json.dumps({"success": bool(found)} if found else {"error": "no workflow in this session"})


async def debug_workflow_errors(workflow_data: Any) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
    """Reading at the workflow and repair it: (all the text so far, None), now and then with ext, then the end.

    Any error replaces all the text by a raw message, and its ext has no data (both are flaws).
    """
    try:
        session_id = get_session_id()
        if not session_id:
            raise ValueError("the request has no session")
        save_workflow_data(session_id, workflow_data)
        config = workflow_config_adapt(get_config())
        coordinator = create_agent(
            name=COORDINATOR,
            model=WORKFLOW_MODEL_NAME,
            instructions="Run the workflow; hand over what is wrong.",
            tools=[run_workflow, count_up, raise_error],
            config={"max_tokens": 8192, **config},
        )
        parameters = create_agent(
            name="Parameter Agent",
            model=WORKFLOW_MODEL_NAME,
            instructions="Repair parameters, then hand back.",
            tools=[get_current_workflow, update_workflow, count_up],
            handoffs=[coordinator],
            config={"max_tokens": 8192, **config},
        )
        coordinator.handoffs = [parameters]

        run = Runner.run_streamed(
            coordinator, input=[{"role": "user", "content": "Debug this workflow."}], max_turns=30
        )
        text, agent = "", COORDINATOR
        events: list[dict[str, Any]] = []
        update: dict[str, Any] | None = None

        def note(kind: str, **data: Any) -> None:
            events.append({"type": kind, "agent": agent, "timestamp": len(text), **data})

        async for event in run.stream_events():
            if event.type == "raw_response_event":
                if isinstance(event.data, ResponseTextDeltaEvent) and event.data.delta:
                    text += event.data.delta
                    yield text, None
            elif event.type == "agent_updated_stream_event":
                agent = event.new_agent.name
                text += ("\n\n" if text else "") + f"> **Now: {agent}**\n\n"
                note("agent_handoff")
                yield text, None
            elif event.item.type == "tool_call_item":
                tool = getattr(event.item.raw_item, "name", "unknown")
                text += f"\n\n*{agent} uses {tool}*\n\n"
                note("tool_call", tool=tool)
                yield text, None
            elif event.item.type == "tool_call_output_item":
                output = str(event.item.output)
                text += f"\n\n*Tool done*\n\n```\n{output[:200]}\n```\n\n"
                note("tool_result")
                for item in _ext_of(output):
                    update = item
                    yield text, {"data": [item], "finished": False}
                yield text, None
            elif event.item.type == "message_output_item":
                message = ItemHelpers.text_message_output(event.item)
                if message.strip() and message not in text:
                    text += f"\n\n{message}\n\n"
                    note("message_complete")
                    yield text, None

        checkpoint = save_workflow_data(session_id, get_workflow_data(session_id))
        done = {"status": "completed", "final_agent": agent, "events": events, "total_events": len(events)}
        ext: list[dict[str, Any]] = [{"type": "debug_complete", "data": done}]
        ext.append({"type": "debug_checkpoint", "data": {"checkpoint_id": checkpoint}})
        yield text, {"data": [update, *ext] if update else ext, "finished": True}
    except Exception as error:
        log.error(f"debugging failed: {error}")
        yield f"\n\n× Debugging ran into an error: {error}\n\n", {"finished": True}


def _ext_of(output: str) -> list[dict[str, Any]]:
    """The first ext item that changes the canvas, if the output is JSON and has one."""
    try:
        items = json.loads(output).get("ext") or []
    except (ValueError, AttributeError):
        return []
    return [item for item in items if item.get("type") in ("workflow_update", "param_update")][:1]
