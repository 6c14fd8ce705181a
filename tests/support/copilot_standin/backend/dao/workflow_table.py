"""Workflows by session and by checkpoint, in memory."""

from __future__ import annotations

from itertools import count
from typing import Any

_ids = count(1)
_versions: dict[int, dict[str, Any]] = {}
_newest: dict[str, int] = {}


def save_workflow_data(
    session_id: str,
    workflow_data: Any,
    workflow_data_ui: Any = None,
    attributes: dict[str, Any] | None = None,
) -> int:
    """Keep a version; returns its id."""
    version = next(_ids)
    _versions[version] = {
        "workflow_data": workflow_data,
        "workflow_data_ui": workflow_data_ui,
        "attributes": attributes or {},
    }
    _newest[session_id] = version
    return version


def get_workflow_data(session_id: str) -> Any:
    """The newest workflow of a session, or None."""
    version = _newest.get(session_id)
    return None if version is None else _versions[version]["workflow_data"]


def get_workflow_data_by_id(version_id: int) -> dict[str, Any] | None:
    """One version, or None."""
    return _versions.get(version_id)
