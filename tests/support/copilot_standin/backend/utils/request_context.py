"""What belongs to the request that is being served, in ContextVars."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel


class RewriteContext(BaseModel):
    """What the hand-off to the rewrite agent carries over."""

    rewrite_intent: str = ""
    current_workflow: str = ""


_session_id: ContextVar[str | None] = ContextVar("session_id", default=None)
_checkpoint: ContextVar[int | None] = ContextVar("workflow_checkpoint_id", default=None)
_config: ContextVar[dict[str, Any] | None] = ContextVar("config", default=None)
_rewrite: ContextVar[RewriteContext | None] = ContextVar("rewrite_context", default=None)


def set_request_context(
    session_id: str | None, workflow_checkpoint_id: int | None = None, config: dict[str, Any] | None = None
) -> None:
    """Note all of it at once, in the handler's own context."""
    _session_id.set(session_id)
    _checkpoint.set(workflow_checkpoint_id)
    _config.set(config)


def get_session_id() -> str | None:
    """The session that is being served."""
    return _session_id.get()


def get_workflow_checkpoint_id() -> int | None:
    """The workflow that the page had saved before it asked."""
    return _checkpoint.get()


def get_config() -> dict[str, Any] | None:
    """The request's configuration, keys included."""
    return _config.get()


def get_rewrite_context() -> RewriteContext:
    """The rewrite context, made at the first call.

    The first call comes at the hand-off, inside the run's own task: whoever runs again in another task starts
    with an empty one.
    """
    found = _rewrite.get()
    if found is None:
        found = RewriteContext()
        _rewrite.set(found)
    return found
