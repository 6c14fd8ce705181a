"""A stand-in for ComfyUI-Copilot: the same seams and the same flaws, and not a line of its code.

Tests need a Copilot that CI may have. This one has the module paths, names, call order and wire format
that our seams rely on, and it breaks in the same ways: blank answers, lost text, a dead MCP server that ends
every chat, a summary call that freezes the loop, keys in the log. Don't repair it: each flaw is what a test
measures.

It loads as a custom node in the real ComfyUI under any folder name, and under tests/support/host.py without.
Environment: BACKEND_BASE_URL and COPILOT_STANDIN_SEARCH_URL (the two MCP servers), COPILOT_STANDIN_LOG (a log
file; without it only the console is written), COPILOT_STANDIN_QUIET (no console either).
"""

from __future__ import annotations

from typing import Any

from .backend.controller import conversation_api, llm_api

WEB_DIRECTORY = "entry"
NODE_CLASS_MAPPINGS: dict[str, Any] = {}

__all__ = ["NODE_CLASS_MAPPINGS", "WEB_DIRECTORY", "conversation_api", "llm_api"]
