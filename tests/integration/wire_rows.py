"""What real OpenAI-compatible servers were seen to send, and what the user must then read. One row a behaviour.

Read by test_wire.py, which asserts it, and by `python -m tests.bench.wire`, which prints the table. The server is
tests/support/raw_server.py, and every byte that it sends stands in the tables that are joined here; the client is the
standalone host with the real agent library and default settings.
"""

from __future__ import annotations

from tests.support.wire_shapes import Row

from .wire_chunks import CHUNKS, FINISH_REASONS
from .wire_failures import (
    CRASHES,
    FAILURES_IN_A_STREAM,
    LIMITS,
    MISSING_MODELS,
    NUMBERS,
    PATIENCE,
    REDIRECTS,
    STATUSES,
    TOO_LONG,
)
from .wire_http import HTTP
from .wire_tools import HISTORIES, TOOL_CALLS

ROWS: tuple[Row, ...] = (
    *FINISH_REASONS,
    *CHUNKS,
    *TOOL_CALLS,
    *HISTORIES,
    *PATIENCE,
    *FAILURES_IN_A_STREAM,
    *TOO_LONG,
    *NUMBERS,
    *LIMITS,
    *MISSING_MODELS,
    *CRASHES,
    *STATUSES,
    *REDIRECTS,
    *HTTP,
)
