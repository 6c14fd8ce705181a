"""The memory seam: Copilot's history summary, off the event loop.

Replaces `message_memory_optimize` in Copilot's `mcp_client`. Copilot calls it synchronously at the start of a
chat, and above eight messages it asks the model for a summary with a blocking client: all of ComfyUI stands
still until the model has answered. Here the chat's pump awaits `precompute()` first, which runs the original
in a thread under a copy of the pump's context; the result travels in a ContextVar, and the replaced function
hands it over. Without a prepared result (nobody called `precompute()`, or the messages differ) the original
runs as unpatched. A summary that takes longer than the first-token limit is given up: the chat goes on with
the recent messages that are not summarised yet, and the thread ends by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..aio import ends, in_front
from .seam import CopilotModules, Replacements, SeamMissing, SeamUnneeded, is_wrapper, mark_wrapper
from .threads import CallTimeout, DaemonThreads

if TYPE_CHECKING:
    from ..pulse import Pulse

log = logging.getLogger("copilot_pulse.memory")

Messages = list[dict[str, Any]]
_MODULE: Final = "backend.service.mcp_client"
_NAME: Final = "message_memory_optimize"
_SUMMARY: Final = "backend.service.message_memory"
_STORED: Final = "get_optimized_messages"
_STORED_LIMIT: Final = 1.0
# A summary is not worth a longer wait, in seconds: the chat goes on without it.
_SUMMARY_LIMIT: Final = 60.0


@dataclass
class _Prepared:
    """A result that waits to be handed over, once, to the call that it was made for."""

    original: Callable[..., Any]
    session: str
    messages: Messages
    result: Messages
    taken: bool = False

    def fits(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this is the very call that the result was prepared for."""
        if self.taken or self.original is not original:
            return False
        asked = dict(zip(("session_id", "messages"), args, strict=False)) | kwargs
        try:
            return bool(asked.get("session_id") == self.session and asked.get("messages") == self.messages)
        except Exception:  # a fork's own message type that cannot be compared
            return False


_prepared: contextvars.ContextVar[_Prepared | None] = contextvars.ContextVar("copilot_pulse_memory", default=None)


class MemorySeam:
    """Summarises a chat's history in a thread, before Copilot asks for it. For the event loop's thread."""

    name = "memory"

    def __init__(self, pulse: Pulse, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pulse = pulse
        self._clock = clock
        self._replacements = Replacements()
        self._originals: dict[str, Callable[..., Any]] = {}
        self._threads = DaemonThreads("history summary")
        # Summaries that run: (since when, the future). One a session, so that a model that hangs
        # does not collect a thread with every message the user sends.
        self._running: dict[tuple[int, str], tuple[float, asyncio.Future[Any]]] = {}

    def attach(self, copilot: CopilotModules) -> None:
        """Replace the function in this Copilot; a second call changes nothing. Raises SeamMissing."""
        module = copilot.module(_MODULE)
        original = getattr(module, _NAME, None)
        if not callable(original):
            if f"{copilot.root}.{_SUMMARY}" not in sys.modules:
                raise SeamUnneeded("this version of Copilot makes no summary of the history")
            raise SeamMissing(f"{_MODULE} has no {_NAME}")
        if is_wrapper(original):
            return
        self._replacements.replace(module, _NAME, _hand_over(original))
        self._originals[copilot.root] = original

    def detach(self) -> None:
        """Put the original functions back."""
        self._replacements.restore()
        self._originals.clear()

    async def aclose(self) -> None:
        """Nothing to wait for: a thread that still waits for a model is a daemon and ends by itself."""

    async def precompute(
        self, messages: Messages, session_id: str | None, copilot: CopilotModules | None = None
    ) -> None:
        """Prepare, in a thread, the messages that Copilot will ask for; for the task that runs the chat.

        Takes the messages as the page sent them. Waits `first_token_timeout` seconds (0: no limit) or a minute
        at most.
        A cancel leaves nothing prepared, and a thread that ends by itself. Raises nothing else.
        """
        original = self._original(copilot)
        if original is None or not session_id or not isinstance(messages, list):
            return
        try:
            stripped = strip_assistant(messages)
            result = await self._optimize(original, session_id, stripped)
        except Exception as error:
            # Copilot then calls the original itself, as unpatched.
            log.warning("the history summary could not be prepared: %s", type(error).__name__)
            return
        if isinstance(result, list):
            _prepared.set(_Prepared(original, session_id, stripped, result))

    def _original(self, copilot: CopilotModules | None) -> Callable[..., Any] | None:
        if copilot is not None:
            return self._originals.get(copilot.root)
        return next(iter(self._originals.values()), None)

    async def _optimize(self, original: Callable[..., Any], session_id: str, messages: Messages) -> Any:
        limit = min(self._pulse.settings.current.first_token_timeout, _SUMMARY_LIMIT) or None
        key = (id(original), session_id)
        started = self._clock()
        try:
            earlier = self._running.get(key)
            if earlier is not None:
                # The user asked again while the last summary is on its way: it is this one's input.
                since, future = earlier
                left = None if limit is None else limit - (started - since)
                if left is not None and left <= 0:
                    raise CallTimeout(self._threads.name, limit or 0.0)
                if not await ends(future, left):
                    raise CallTimeout(self._threads.name, limit or 0.0)
            left = None if limit is None else max(0.0, limit - (self._clock() - started))
            await self._threads.until_free(left)
            left = None if limit is None else max(0.0, limit - (self._clock() - started))
            future = self._threads.start(original, session_id, messages)
            self._running[key] = (self._clock(), future)
            future.add_done_callback(functools.partial(self._finished, key))
            return await self._threads.wait(future, left)
        except CallTimeout as error:
            log.warning("%s; the chat goes on with the recent messages", error)
            self._record(error)
            return await self._recent(original, session_id, messages)

    def _finished(self, key: tuple[int, str], future: asyncio.Future[Any]) -> None:
        if self._running.get(key, (0.0, None))[1] is future:
            del self._running[key]

    async def _recent(self, original: Callable[..., Any], session_id: str, messages: Messages) -> Messages:
        """The last summary that Copilot has stored and what came after it; all messages if there is none."""
        stored = getattr(sys.modules.get(original.__module__), _STORED, None)
        if callable(stored):
            try:
                recent = await self._threads.run(stored, session_id, limit=_STORED_LIMIT)
            except Exception as error:
                log.debug("no stored messages: %s", type(error).__name__)
            else:
                # A record of an earlier turn does not hold the user's new message: of no use.
                if isinstance(recent, list) and recent and messages and recent[-1] == messages[-1]:
                    return recent
        return messages

    def _record(self, error: Exception) -> None:
        try:
            self._pulse.recovery.record(error, where="memory", outcome="ignored", attempt=1)
        except Exception as failure:
            log.debug("not recorded: %s", type(failure).__name__)


def _hand_over(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def optimize(*args: Any, **kwargs: Any) -> Any:
        prepared = _prepared.get()
        if prepared is not None and prepared.fits(original, args, kwargs):
            prepared.taken = True
            return prepared.result
        return original(*args, **kwargs)

    return mark_wrapper(in_front(optimize, original, "the prepared history summary"), original)  # type: ignore[no-any-return]


def strip_assistant(messages: Messages) -> Messages:
    """A copy without white space at the end of the assistant's texts, as Copilot makes it before a summary.

    Texts are strings or lists of parts with a "text"; other roles and shapes stay as they are.
    """
    return [_strip(m) if isinstance(m, dict) and m.get("role") == "assistant" else m for m in messages]


def user_texts(messages: Messages) -> list[str]:
    """What the user has written, oldest first; of parts, those that are text."""
    texts: list[str] = []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        parts = content if isinstance(content, list) else [content]
        told = (part.get("text") if isinstance(part, dict) else part for part in parts)
        texts += (text for text in told if isinstance(text, str))
    return texts


def workflow_texts(workflow: Any) -> list[str]:
    """What the user has written into the nodes of a workflow: texts of several words, of the first 20,000 values."""
    texts: list[str] = []
    left = [workflow]
    for _ in range(20_000):
        if not left:
            break
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and (
            len(value.split(None, 2)) > 2 or any(char >= "\u2e80" for char in value[:100])
        ):
            texts.append(value)  # names of nodes and files are no texts: errors have to name them
    return texts


def _strip(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": content.rstrip()}
    if isinstance(content, list):
        return {**message, "content": [_strip_part(part) for part in content]}
    return dict(message)


def _strip_part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    text = part.get("text")
    return {**part, "text": text.rstrip()} if isinstance(text, str) else dict(part)
