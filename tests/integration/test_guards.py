"""The guards of backend/aio.py stand around chats and calls, and not on the path of a token."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.injection.harness import name_of, traced, world
from tests.support.llm_steps import answer

GUARDS = ("spared", "spared_async", "before", "before_async")


@pytest.mark.parametrize("transport", ["post", "stream over websocket"])
async def test_no_guard_is_entered_for_a_token(transport: str) -> None:
    """Ten times the tokens, and as many guards: those that are more belong to the updates that the page gets."""
    entered: Counter[int] = Counter()
    async with world() as running:
        for tokens in (40, 400, 40, 400):
            running.plan = answer(tokens)
            entered[tokens] = 0

            def count(code: object, tokens: int = tokens) -> None:
                name = name_of(code)  # type: ignore[arg-type]
                entered[tokens] += name.startswith("aio.py:") and name.endswith(GUARDS)

            with traced(count):
                text = await running.ask(transport)
            assert len(text.split()) == tokens
    assert entered[40] > 0
    assert entered[400] - entered[40] < 90, "one guard for four tokens is a guard on their path"
