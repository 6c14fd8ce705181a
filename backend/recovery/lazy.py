"""Regular expressions that are compiled when first used: most never are, and all together cost a start-up.

Those that judge a failure are needed all at once, by the first one. `compile_all()` does them before that, in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar


class LazyPattern:
    """Stands for `re.compile(pattern, flags)`, for as long as the process lives: make it at import. Any thread."""

    __slots__ = ("_compiled", "_flags", "pattern")
    made: ClassVar[list[LazyPattern]] = []

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.pattern = pattern
        self._flags = flags
        self._compiled: re.Pattern[str] | None = None
        self.made.append(self)

    def __repr__(self) -> str:
        return f"<LazyPattern {self.pattern[:40]!r}>"

    @property
    def compiled(self) -> re.Pattern[str]:
        """The pattern; two threads that ask first may both compile it, to the same effect."""
        found = self._compiled
        if found is None:
            found = self._compiled = re.compile(self.pattern, self._flags)
        return found

    def search(self, text: str) -> re.Match[str] | None:
        """As of a compiled pattern."""
        return self.compiled.search(text)

    def match(self, text: str, at: int = 0) -> re.Match[str] | None:
        """As of a compiled pattern."""
        return self.compiled.match(text, at)

    def sub(self, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        """As of a compiled pattern."""
        return self.compiled.sub(replacement, text)


def compile_all() -> None:
    """Compile every pattern that has not been needed yet. Some 100 ms in all: for a thread."""
    for pattern in tuple(LazyPattern.made):
        pattern.compiled  # noqa: B018 - the property compiles
