"""What all seams share: finding Copilot by its shape, replacing an attribute, putting it back.

A seam replaces one name in one of Copilot's modules. It is found by shape, never by the name of a folder:
users rename Copilot's folder, and forks have other names. A seam that is not where we expect it raises
`SeamMissing`; the others attach all the same, and health says which one is missing and why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final, NamedTuple, Protocol

ENTRY_SUFFIX: Final = ".backend.controller.conversation_api"
ENTRY_FUNCTION: Final = "comfyui_agent_invoke"
_WRAPS: Final = "__copilot_pulse_wraps__"


class SeamMissing(Exception):
    """Raised when a seam does not find its target; the text says what was expected and where."""


class SeamUnneeded(SeamMissing):
    """Raised when this Copilot has nothing that the seam would mend: an older version without that feature."""


class CopilotModules(NamedTuple):
    """One installed Copilot: `root` is the package name that ComfyUI gave it (it is made from a path)."""

    root: str

    def module(self, suffix: str) -> ModuleType:
        """The module `<root>.<suffix>`, such as `backend.service.mcp_client`.

        Raises SeamMissing if Copilot did not import it.
        """
        module = sys.modules.get(f"{self.root}.{suffix}")
        if module is None:
            raise SeamMissing(f"Copilot has no module {suffix}")
        return module


def find_copilots() -> Iterator[CopilotModules]:
    """Every Copilot that this process has imported, in import order. Looks at loaded modules only."""
    # A copy is made in one step; a list of pairs is not, and other threads import.
    for name, module in sys.modules.copy().items():
        if name.endswith(ENTRY_SUFFIX) and callable(getattr(module, ENTRY_FUNCTION, None)):
            yield CopilotModules(name[: -len(ENTRY_SUFFIX)])


def mark_wrapper(wrapper: Any, original: Any) -> Any:
    """Note on `wrapper` what it stands for, so that a second attach leaves it alone."""
    setattr(wrapper, _WRAPS, original)
    return wrapper


def is_wrapper(value: Any) -> bool:
    """Whether `value` is one of our wrappers (an attribute inherited from a wrapped class does not count)."""
    return _WRAPS in getattr(value, "__dict__", ())


class Replacements:
    """The attributes that one seam replaced. `restore()` puts back the very same objects."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """Set `owner.name` to `new` and remember what stood there, descriptors of a class included."""
        original = vars(owner)[name]
        setattr(owner, name, new)
        self._done.append((owner, name, original, vars(owner)[name]))

    def restore(self) -> None:
        """Put everything back, newest first; what somebody replaced after us is left alone."""
        while self._done:
            owner, name, original, ours = self._done.pop()
            if vars(owner).get(name) is ours:
                setattr(owner, name, original)

    def __len__(self) -> int:
        return len(self._done)


class Seam(Protocol):
    """One place where we wrap Copilot."""

    name: str

    def attach(self, copilot: CopilotModules) -> None:
        """Replace the target in this Copilot. A second call for the same Copilot changes nothing.

        Raises SeamMissing if the target is not there; then nothing was changed.
        """

    def detach(self) -> None:
        """Put back exactly the objects that were replaced, in every Copilot attached."""

    async def aclose(self) -> None:
        """End what the seam still runs; called once, after `detach()`."""
