"""The agent to which the chat hands over when the canvas is to be changed."""

from __future__ import annotations

from typing import Any

from agents import Agent

from ..agent_factory import create_agent
from ..utils.globals import WORKFLOW_MODEL_NAME, get_language
from ..utils.key_utils import workflow_config_adapt
from ..utils.request_context import get_config
from .workflow_rewrite_tools import count_up, get_current_workflow, update_workflow


def create_workflow_rewrite_agent() -> Agent[Any]:
    """A new rewrite agent with a client and, usually, a model of its own."""
    return create_agent(
        name="Workflow Rewrite Agent",
        model=WORKFLOW_MODEL_NAME,
        handoff_description="Changes the workflow on the canvas.",
        instructions=f"Change the workflow as the user wishes. Answer in {get_language()}.",
        tools=[get_current_workflow, update_workflow, count_up],
        config={"max_tokens": 8192, **workflow_config_adapt(get_config())},
    )
