"""The debug agent: a coordinator that hands over to a parameter agent, streamed like the chat."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
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


class _Log:
    """What one debugging has written, and the events that the page shows beside it."""

    def __init__(self) -> None:
        self.text, self.agent = "", COORDINATOR
        self.events: list[dict[str, Any]] = []
        self.update: dict[str, Any] | None = None

    def take(self, event: Any) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Take one event of the run; what to yield for it."""
        if event.type == "raw_response_event":
            if isinstance(event.data, ResponseTextDeltaEvent) and event.data.delta:
                self.text += event.data.delta
                yield self.text, None
        elif event.type == "agent_updated_stream_event":
            self.agent = event.new_agent.name
            self.text += ("\n\n" if self.text else "") + f"> **Now: {self.agent}**\n\n"
            self._note("agent_handoff")
            yield self.text, None
        else:
            yield from self._item(event.item)

    def _item(self, item: Any) -> Iterator[tuple[str, dict[str, Any] | None]]:
        if item.type == "tool_call_item":
            tool = getattr(item.raw_item, "name", "unknown")
            self.text += f"\n\n*{self.agent} uses {tool}*\n\n"
            self._note("tool_call", tool=tool)
        elif item.type == "tool_call_output_item":
            output = str(item.output)
            self.text += f"\n\n*Tool done*\n\n```\n{output[:200]}\n```\n\n"
            self._note("tool_result")
            for ext in _ext_of(output):
                self.update = ext
                yield self.text, {"data": [ext], "finished": False}
        elif item.type == "message_output_item":
            message = ItemHelpers.text_message_output(item)
            if not message.strip() or message in self.text:
                return
            self.text += f"\n\n{message}\n\n"
            self._note("message_complete")
        else:
            return
        yield self.text, None

    def _note(self, kind: str, **data: Any) -> None:
        self.events.append({"type": kind, "agent": self.agent, "timestamp": len(self.text), **data})


def _coordinator() -> Any:
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
    return coordinator


async def debug_workflow_errors(workflow_data: Any) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
    """Reading at the workflow and repair it: (all the text so far, None), now and then with ext, then the end.

    Any error replaces all the text by a raw message, and its ext has no data (both are flaws).
    """
    try:
        session_id = get_session_id()
        if not session_id:
            raise ValueError("the request has no session")
        save_workflow_data(session_id, workflow_data)
        told = _Log()
        run = Runner.run_streamed(
            _coordinator(), input=[{"role": "user", "content": "Debug this workflow."}], max_turns=30
        )
        async for event in run.stream_events():
            for item in told.take(event):
                yield item

        checkpoint = save_workflow_data(session_id, get_workflow_data(session_id))
        done = {
            "status": "completed",
            "final_agent": told.agent,
            "events": told.events,
            "total_events": len(told.events),
        }
        ext: list[dict[str, Any]] = [{"type": "debug_complete", "data": done}]
        ext.append({"type": "debug_checkpoint", "data": {"checkpoint_id": checkpoint}})
        yield told.text, {"data": [told.update, *ext] if told.update else ext, "finished": True}
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
