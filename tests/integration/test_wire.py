"""What real servers send, byte for byte, through the real agent library: the right value of every row."""

from __future__ import annotations

import pytest

from tests.integration.wire_rows import ROWS, Row
from tests.support.wire import play, wrong


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_row(row: Row) -> None:
    """The whole answer, or what happened in words that are right; no request and no tool too many."""
    assert "" == wrong(row, await play(row))
