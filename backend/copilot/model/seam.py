"""The model seam: one broken model call is made again, under the same run.

Replaces `<copilot>.backend.agent_factory.OpenAIChatCompletionsModel` by a subclass; Copilot's factory looks the
name up for every agent it makes, so the chat, rewrite and debug agents all get it. `stream_response` runs in
the task and context of the agent's run, one call at a time for each model object.

Guarantees: only the model call is repeated, so no tool runs twice and no turn is counted twice; the runner
always sees a call that ends normally. When a call cannot be saved, the chat gets a notice and the run ends.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ...aio import fail_open, in_front
from ...chats import current_chat
from ..seam import CopilotModules, Replacements, SeamMissing, is_wrapper, mark_wrapper

if TYPE_CHECKING:
    from ...pulse import Pulse
    from .call import ModelCall

log = logging.getLogger("copilot_pulse.model")

TARGET_MODULE = "backend.agent_factory"
TARGET = "OpenAIChatCompletionsModel"


@fail_open("imports before the first chat")
def read_ahead() -> None:
    """Import what a model call is made of: ComfyUI's start need not wait for that. For a thread, before the first call.

    Never raises: a call imports itself what is not there yet, and goes on without recovery if it cannot.
    """
    from . import call, judge, tool_history, watch  # noqa: F401


def calls_for(pulse: Pulse) -> Callable[..., ModelCall]:
    """What makes the model calls of a plugin: `(model, arguments, open_stream)`, see `ModelCall`."""

    @cache
    def maker() -> Callable[..., ModelCall]:
        from . import watch
        from .call import CallParts, ModelCall
        from .judge import HostMemory
        from .tokens import UsageMemory
        from .tool_history import ReplayMemory

        pulse.monitor.watch.look_past(watch.__file__)
        parts = CallParts(
            pulse.recovery, lambda: pulse.settings.current, pulse.bus, HostMemory(), ReplayMemory(), UsageMemory()
        )
        return partial(ModelCall, parts)

    return lambda *arguments: maker()(*arguments)


def recovering_model(pulse: Pulse, base: type[Any]) -> type[Any]:
    """A subclass of `base` (openai-agents' chat completions model) whose calls recover from failures.

    Raises SeamMissing if `base` has not the shape that we know.
    """
    for name in ("stream_response", "get_response"):
        if not inspect.isfunction(getattr(base, name, None)):
            raise SeamMissing(f"{base.__name__} has no method {name}")
    stream_signature = inspect.signature(base.stream_response)
    response_signature = inspect.signature(base.get_response)
    new_call = calls_for(pulse)

    class RecoveringModel(base):  # type: ignore[misc]
        """Copilot's model class, with Copilot Pulse's recovery around each call."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # Copilot makes a client for each agent, asked or not, and closes none: the chat does it.
            chat, client = current_chat.get(), getattr(self, "_client", None)
            if chat is not None and client is not None:
                chat.clients.append(client)

        def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            # Not a generator of its own: one layer less for every token.
            try:
                arguments = stream_signature.bind(self, *args, **kwargs)
                return new_call(self, arguments, open_stream).stream()
            except Exception:
                log.exception("a model call goes on without recovery")
                answer: AsyncIterator[Any] = base.stream_response(self, *args, **kwargs)
                return answer

        async def get_response(self, *args: Any, **kwargs: Any) -> Any:
            arguments = response_signature.bind(self, *args, **kwargs)
            return await new_call(self, arguments, open_stream).respond(base.get_response)

    def open_stream(model: Any, arguments: inspect.BoundArguments, client: Any) -> Any:
        # A copy for each attempt carries the watched client, so that calls that share a model object
        # (an agent used twice at once) cannot mix their watches up.
        attempt = copy.copy(model)
        attempt._client = client
        arguments.arguments["self"] = attempt
        return base.stream_response(*arguments.args, **arguments.kwargs)

    for name in ("__init__", "stream_response", "get_response"):
        ours, plain = getattr(RecoveringModel, name), getattr(base, name)
        setattr(RecoveringModel, name, in_front(ours, plain, "recovery for a model call"))
    RecoveringModel.__name__ = base.__name__
    RecoveringModel.__qualname__ = base.__qualname__
    mark_wrapper(RecoveringModel, base)
    return RecoveringModel


class ModelSeam:
    """Puts the recovering model into Copilot's agent factory."""

    name = "model"

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._replaced = Replacements()

    def attach(self, copilot: CopilotModules) -> None:
        """Replace the model class; see `Seam.attach`."""
        module = copilot.module(TARGET_MODULE)
        base = getattr(module, TARGET, None)
        if is_wrapper(base):
            return
        if not inspect.isclass(base):
            raise SeamMissing(f"{TARGET_MODULE} has no class {TARGET}")
        self._replaced.replace(module, TARGET, recovering_model(self._pulse, base))

    def detach(self) -> None:
        """Put the model class back."""
        self._replaced.restore()

    async def aclose(self) -> None:
        """Nothing runs outside the runs of the agents."""
