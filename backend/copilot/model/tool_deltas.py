"""Gives each tool call of an answer an index and an id of its own, where the server does not.

The runner ends with an error when a call has no id or one that was used before, and calls that share an index
run into one. Some servers do each of these.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Any


class ToolDeltas:
    """The tool calls of one attempt; `taken` are the ids that earlier turns have used."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        # By the server's index: the server's id, our index, our id.
        self._open: dict[Any, tuple[str, int, str]] = {}
        self._count = 0

    def mend(self, deltas: Iterable[Any]) -> None:
        """Put indexes and ids right in the pieces of tool calls of one chunk, in place."""
        for delta in deltas:
            told = delta.id or ""
            function = delta.function
            known = self._open.get(delta.index)
            if known is None or (told and known[0] and told != known[0] and function and function.name):
                own = told if told and told not in self._taken else f"call_{secrets.token_hex(12)}"
                self._taken.add(own)
                known = (told, self._count, own)
                self._open[delta.index] = known
                self._count += 1
                delta.id = own
            elif told:
                if not known[0]:
                    self._open[delta.index] = known = (told, *known[1:])
                delta.id = known[2]
            delta.index = known[1]
            if function is not None and isinstance(function.arguments, dict):
                function.arguments = json.dumps(function.arguments)


def call_ids(messages: Any) -> set[str]:
    """The ids of the tool calls in a model's input."""
    items = messages if isinstance(messages, list) else []
    return {str(item["call_id"]) for item in items if isinstance(item, dict) and item.get("call_id")}
