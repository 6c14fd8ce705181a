"""Makes one function of the plugin raise, once, at its first line, whoever called it and wherever it is awaited.

A trace function that raises at a call is the one way that reaches every function, coroutine, generator, lambda and
property alike. It is asked of each call of the whole process, so it compares two names and no more.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import thread as executors
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.support.host import PLUGIN

BACKEND = f"{PLUGIN / 'backend'}/"
MODULE = "<module>"
# Python 3.10 knows no qualified names of code.
_NAME = "co_qualname" if hasattr(CodeType, "co_qualname") else "co_name"
# What does nothing but to return a constant: the stubs of protocols.
_SHORTEST = 8


class InjectedError(RuntimeError):
    """The exception that a function is made to raise."""


def name_of(code: CodeType) -> str:
    """A function by file and qualified name, such as `copilot/run.py:RunReader.read`."""
    return f"{code.co_filename.removeprefix(BACKEND)}:{getattr(code, _NAME)}"


def is_function(code: CodeType) -> bool:
    """Whether it is a function by itself: the body of a class is a part of its module, and `[... for ...]` of its
    function."""
    return bool(code.co_flags & inspect.CO_NEWLOCALS) and not code.co_name.endswith(("comp>", "genexpr>"))


def functions() -> dict[str, None]:
    """All functions in the plugin's files, in order."""
    names: dict[str, None] = {}

    def walk(code: CodeType) -> None:
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                if is_function(inner) and (inner.co_names or len(inner.co_code) > _SHORTEST):
                    names.setdefault(name_of(inner))
                walk(inner)

    for path in sorted(Path(BACKEND).rglob("*.py")):
        walk(compile(path.read_text("utf-8"), str(path), "exec"))
    return names


class Injection:
    """One exception: `hit` says whether the function was entered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hit = False
        self.over = False


@contextmanager
def raising(name: str) -> Iterator[Injection]:
    """The function called `name` (see `name_of`) raises when it is first entered, in whatever thread."""
    injection = Injection(name)
    path, _, qualname = name.partition(":")
    if _NAME == "co_name":
        qualname = qualname.rpartition(".")[2]
    file = BACKEND + path

    def trace(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if code.co_filename == file and getattr(code, _NAME) == qualname and event == "call":
            if injection.hit or injection.over:
                return
            injection.hit = True
            raise InjectedError(f"injected into {name}")

    with _tracing(trace):
        yield injection
    injection.over = True  # a thread that has begun here may live on


@contextmanager
def traced(at_call: Callable[[CodeType], None]) -> Iterator[None]:
    """Call `at_call` with the code of each function and module of the plugin that is entered, in every thread that
    begins here and every pool of threads."""

    def trace(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(BACKEND) and (is_function(code) or code.co_name == MODULE):
            at_call(code)

    with _tracing(trace):
        yield


@contextmanager
def _tracing(trace: Any) -> Iterator[None]:
    # An exception of a function has only its own frames; those of the tracer, below it, pass for the interpreter's.
    trace.__code__ = trace.__code__.replace(co_filename=threading.__file__)
    item = executors._WorkItem
    run = item.run

    def run_traced(self: Any) -> None:
        sys.settrace(trace)  # the pool's thread is older than we are
        try:
            run(self)
        finally:
            sys.settrace(None)

    before = sys.gettrace()
    threading.settrace(trace)
    item.run = run_traced  # type: ignore[method-assign]
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        item.run = run  # type: ignore[method-assign]
        threading.settrace(before)
