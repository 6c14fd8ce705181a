"""The chat seam: Copilot's answer is pumped by a task of its own and handed on at a pace that a page can read.

Replaces `comfyui_agent_invoke` and `debug_workflow_errors` in `<copilot>.backend.controller.conversation_api` (both
are looked up for each request). The wrapper runs in the handler's task; Copilot's generator runs, from its
first step to its close, in the pump's task, in a copy of the handler's context that also holds the `Chat`.

Guarantees: the answer is read as fast as it comes, whatever the browser does; cumulative text is conflated,
so the newest state reaches the browser and nothing is lost; items with data are all delivered, in order; the
last item is always delivered whole, with what the user must be told. If setting this up fails, Copilot's own
generator is used as it is.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from ..aio import missed, our_fault
from ..chats import Chat, current_chat
from ..error_handling import hold_prompt, language_of
from .http import current_request
from .memory import user_texts, workflow_texts
from .notices import strip_messages
from .pump import ChatPump
from .seam import CopilotModules, Replacements, SeamMissing, is_wrapper, mark_wrapper

if TYPE_CHECKING:
    from ..pulse import Pulse

MODULE: Final = "backend.controller.conversation_api"
TARGETS: Final[dict[str, Literal["chat", "debug"]]] = {
    "comfyui_agent_invoke": "chat",
    "debug_workflow_errors": "debug",
}
Generator = Callable[..., Any]


async def _hold_prompt(chat: Chat, messages: Any) -> None:
    """What the user wrote is kept out of the errors of the chat, in whose task this runs."""
    hold_prompt(user_texts(messages) if isinstance(messages, list) else workflow_texts(messages))


class ChatSeam:
    """Wraps the generators that answer a chat and a debug run."""

    name = "chat"

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._replaced = Replacements()
        pulse.before_chat.append(_hold_prompt)

    def attach(self, copilot: CopilotModules) -> None:
        """Replace both generators; see `Seam.attach`. A fork without the debug agent is attached, too."""
        module = copilot.module(MODULE)
        if not callable(getattr(module, "comfyui_agent_invoke", None)):
            raise SeamMissing(f"{MODULE} has no comfyui_agent_invoke")
        for name, kind in TARGETS.items():
            function = getattr(module, name, None)
            if callable(function) and not is_wrapper(function):
                session, language = _readers(copilot)
                self._replaced.replace(module, name, self.wrap(function, kind, session, language, copilot))

    def detach(self) -> None:
        """Put both generators back. Chats that run go on to their end."""
        self._replaced.restore()

    async def aclose(self) -> None:
        """Stop the chats that still run."""
        await self._pulse.chats.aclose()

    def wrap(
        self,
        function: Generator,
        kind: Literal["chat", "debug"],
        session: Callable[[], str | None],
        language: Callable[[], str | None],
        copilot: CopilotModules | None = None,
    ) -> Generator:
        """An async generator function that yields what `function` yields, pumped and paced.

        `session` and `language` are asked in the caller's context when a chat begins; `copilot` is whose
        function it is, if anybody's.
        """

        async def wrapped(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            pump = None
            try:
                request = current_request.get()
                words = request.language if request is not None else language_of(language() or "")
                chat = Chat(session=session(), kind=kind, language=words)
                chat.owner = copilot
                chat.page = request.page if request is not None else ""
                if kind == "chat" and args:
                    args = (strip_messages(args[0]), *args[1:])
                if request is not None and request.tap is not None:
                    chat.resumable = True
                    request.tap.bind(chat)
                context = contextvars.copy_context()
                context.run(current_chat.set, chat)
                pump = ChatPump(self._pulse, chat, partial(function, *args, **kwargs))
                self._pulse.chats.add(chat, request)
                context.run(pump.start, messages=args[0] if args else None)
            except Exception as error:
                missed(error, "the chat itself: it runs as without Copilot Pulse")
                if pump is not None:
                    self._pulse.chats.remove(pump.chat)
                pump = None
            if pump is None:
                async for item in function(*args, **kwargs):
                    yield item
                return
            try:
                for last in (False, True):
                    try:
                        async for item in pump.updates():
                            yield item
                        break
                    except Exception as error:
                        if last or not our_fault(error):
                            raise
                        missed(error, "the pace of an answer")  # the next item has all of its text
            finally:
                # The handler has left: either it is done, or its browser is gone and the HTTP seam
                # (or, without it, this) stops the chat.
                pump.release()

        wrapper: Generator = mark_wrapper(wrapped, function)
        return wrapper


def _readers(copilot: CopilotModules) -> tuple[Callable[[], str | None], Callable[[], str | None]]:
    def session() -> str | None:
        value = copilot.module("backend.utils.request_context").get_session_id()
        return str(value) if value else None

    def language() -> str | None:
        return str(copilot.module("backend.utils.globals").get_language())

    return _or_none(session), _or_none(language)


def _or_none(read: Callable[[], str | None]) -> Callable[[], str | None]:
    def guarded() -> str | None:
        try:
            return read()
        except (SeamMissing, AttributeError, TypeError):
            return None  # a fork keeps it elsewhere: the chat works without

    return guarded
