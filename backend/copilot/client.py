"""The client seam: Copilot's openai clients share one HTTP client, and one without a key is made all the same.

Replaces `AsyncOpenAI` in `<copilot>.backend.agent_factory`, where the name is looked up for every agent, by a
subclass. Only what Copilot's factory leaves open is filled in: a client that brings an HTTP client of its own keeps
it, and so does every client while there is none to share (see `shared_http`).

Servers on the user's own machine (Ollama, llama.cpp, LM Studio) want no key, and openai refuses to make a client
without one. Such a client gets a word in its place that is no secret; a server that does want a key answers 401.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, cast

from ..aio import fail_open, in_front
from .seam import CopilotModules, Replacements, SeamMissing, is_wrapper, mark_wrapper
from .shared_http import Kind, SharedHttp

if TYPE_CHECKING:
    from ..pulse import Pulse

_MODULE: Final = "backend.agent_factory"
_NAME: Final = "AsyncOpenAI"
NO_KEY: Final = "no-key"


def sharing_client(base: Any, http: SharedHttp) -> type[Any]:
    """A subclass of `base`, openai's asynchronous client, whose objects share the HTTP client of `http`.

    Raises SeamMissing if `base` does not take what we would give it.
    """
    if not inspect.isclass(base) or not {"api_key", "http_client"} <= set(inspect.signature(base).parameters):
        raise SeamMissing(f"{_MODULE} has no usable {_NAME}")

    class SharingClient(base):  # type: ignore[misc]
        _copilot_pulse_shares = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if isinstance(kwargs.get("api_key"), str) and not kwargs["api_key"].strip():
                kwargs["api_key"] = NO_KEY
            if kwargs.get("http_client") is None:
                kwargs["http_client"] = http.share(self)
                self._copilot_pulse_shares = kwargs["http_client"] is not None
            super().__init__(*args, **kwargs)

        @fail_open("the closing of a model client")
        async def close(self) -> None:
            """Close the connections; of shared ones, those that nobody needs."""
            if self._copilot_pulse_shares:
                await http.leave(self)
            else:
                await super().close()

    made = in_front(SharingClient.__init__, base.__init__, "the shared HTTP client")
    SharingClient.__init__ = made  # type: ignore[method-assign]
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(SharingClient, name, getattr(base, name))
    return mark_wrapper(SharingClient, base)  # type: ignore[no-any-return]


class ClientSeam:
    """Puts the sharing client into Copilot's agent factory, and keeps what is shared."""

    name = "client"

    def __init__(self, pulse: Pulse) -> None:
        self.http = SharedHttp(cast(Kind, pulse.settings.current.http_client))
        self._replaced = Replacements()

    def attach(self, copilot: CopilotModules) -> None:
        """Replace the class; see `Seam.attach`."""
        module = copilot.module(_MODULE)
        base = getattr(module, _NAME, None)
        if not is_wrapper(base):
            self._replaced.replace(module, _NAME, sharing_client(base, self.http))

    def detach(self) -> None:
        """Put the class back. Clients that were made share until they are done."""
        self._replaced.restore()

    async def aclose(self) -> None:
        """Close the shared client; the chats have been stopped before."""
        await self.http.aclose()
