"""When the patterns that judge a failure are compiled, and on whose thread."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import pytest

from backend.error_handling import RecoveryManager
from backend.recovery.lazy import LazyPattern, compile_all
from backend.settings import Settings


class Compiler:
    """Stands in front of `re.compile`; notes which thread compiles, and waits for leave to."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.leave = threading.Event()
        self.leave.set()
        self._compile = re.compile

    def __call__(self, *args: Any) -> Any:
        """Compile."""
        self.threads.append(threading.get_ident())
        assert self.leave.wait(60)
        return self._compile(*args)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """Nothing is compiled yet, and compiling is watched."""
    compiler = Compiler()
    for pattern in LazyPattern.made:
        monkeypatch.setattr(pattern, "_compiled", None)
    monkeypatch.setattr(re, "compile", compiler)
    return compiler


def manager() -> RecoveryManager:
    """A manager of its own."""
    return RecoveryManager(lambda type_, data: None, settings=Settings)


async def test_after_preparing_a_failure_compiles_nothing(compiler: Compiler) -> None:
    """The loop is held for none of it: a thread does it all, and once."""
    recovery = manager()

    await recovery.prepare()
    await recovery.prepare()

    assert len(compiler.threads) == len(LazyPattern.made) > 50
    assert threading.get_ident() not in compiler.threads
    compiler.threads.clear()
    cause = recovery.classify(RuntimeError("rate limit reached, try again in 20 s; key sk-1234567890abcdef"))
    recovery.explain(cause, host="example.com", model="m", attempts=1, language="zh")
    recovery.record(cause, where="test", outcome="gave_up")
    assert compiler.threads == []


async def test_a_cancel_while_preparing_leaves_the_rest_to_the_thread(compiler: Compiler) -> None:
    """The chat ends at once; the next one has nothing to wait for."""
    compiler.leave.clear()
    recovery = manager()
    preparing = asyncio.create_task(recovery.prepare())
    while not compiler.threads:
        await asyncio.sleep(0.001)

    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    await recovery.prepare()
    compiler.leave.set()
    while any(pattern._compiled is None for pattern in LazyPattern.made):
        await asyncio.sleep(0.001)

    assert threading.get_ident() not in compiler.threads


def test_what_is_compiled_already_is_not_compiled_again(compiler: Compiler) -> None:
    """A failure before the first chat has done a part of it."""
    LazyPattern.made[0].search("anything")
    before = len(compiler.threads)

    compile_all()

    assert before == 1
    assert len(compiler.threads) == len(LazyPattern.made)
