"""The standalone host's agent: the same library, shape and seams as Copilot's, in one small generator.

openai-agents is imported when the first `HostAgent` is made, so that its absence can be told in one line.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from ..chats import Chat, current_chat
from ..copilot.client import sharing_client
from ..copilot.model.seam import read_ahead, recovering_model
from ..copilot.run import read_run, without_tracing
from ..copilot.shared_http import Kind, SharedHttp
from ..hosts import is_loopback
from .options import ModelServer
from .scripted_model import CHAT_HEADER

if TYPE_CHECKING:
    from ..pulse import Pulse

Item = tuple[str, dict[str, Any] | None]
MAX_TURNS: Final = 10
_INSTRUCTIONS: Final = (
    "You are a friendly assistant for people who make pictures with ComfyUI. You run in a small host program "
    "that shows Copilot Pulse. Use your tools where they help. Be brief, and write Markdown. {language}"
)
_LANGUAGES: Final = {"en": "Answer in English.", "zh": "Answer in Chinese."}


class AgentsMissing(Exception):
    """openai-agents cannot be imported, or is not the library that we know; the text says what to install."""


class HostAgent:
    """Answers chats at one endpoint. Make it once; `invoke` may run any number of times side by side."""

    def __init__(self, pulse: Pulse, endpoint: ModelServer, http: SharedHttp | None = None) -> None:
        """`http` carries the calls instead of a client that the agent makes itself."""
        self._pulse = pulse
        self._endpoint = endpoint
        self._library = _Library()
        read_ahead()
        model = self._library.chat_model
        # COPILOT_PULSE=off shows what the same faults do without us.
        self._model_class = recovering_model(pulse, model) if pulse.settings.current.enabled else model
        if http is None:
            # A proxy that the environment names cannot know this machine's own ports.
            local = is_loopback(urlsplit(endpoint.base_url).hostname or "")
            http = SharedHttp(cast(Kind, pulse.settings.current.http_client), trust_env=not local)
        self._http = http
        self._client_class = sharing_client(self._library.client_class, http)
        self._tools = [self._library.function_tool(tool) for tool in (list_nodes, now)]

    async def invoke(self, messages: Sequence[Any], images: Any = None) -> AsyncGenerator[Item, None]:
        """Yield `(all the text so far, None)` as it grows, then `(text, {"data", "finished"})`.

        The shape is that of Copilot's `comfyui_agent_invoke`, so that the chat seam wraps either. Runs in the
        pump's task; closed or cancelled early, the model's request is cancelled before this returns.
        """
        chat = current_chat.get()
        await self._http.prepare()
        client = self._client(chat)
        try:
            agent = self._library.agent(
                name="Pulse",
                instructions=_INSTRUCTIONS.format(language=_LANGUAGES[chat.language if chat else "en"]),
                model=self._model_class(model=self._endpoint.model, openai_client=client),
                tools=self._tools,
            )
            run = self._library.runner.run_streamed(
                agent, input=list(messages), max_turns=MAX_TURNS, run_config=without_tracing(None)
            )
            if chat is not None:
                read_run(self._pulse, chat, run)
            text = ""
            events: Any = run.stream_events()
            try:
                async for event in events:
                    if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                        text += event.data.delta
                        yield text, None
            finally:
                await events.aclose()
            yield text, {"data": None, "finished": True}
        finally:
            await client.close()

    async def aclose(self) -> None:
        """Close the connections to the model; the chats have been stopped before."""
        await self._http.aclose()

    def _client(self, chat: Chat | None) -> Any:
        endpoint = self._endpoint
        headers = {CHAT_HEADER: chat.id} if endpoint.scripted and chat is not None else {}
        return self._library.client(self._client_class, endpoint, headers)


class _Library:
    """The parts of openai-agents and openai that we use, imported at the first use."""

    def __init__(self) -> None:
        try:
            from agents import Agent, Runner, function_tool
            from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
            from openai import AsyncOpenAI
        except ImportError as error:
            raise AgentsMissing(
                f"openai-agents is needed here ({error}): pip install -r requirements-standalone.txt"
            ) from error
        self.agent = Agent
        self.runner = Runner
        self.function_tool: Callable[[Callable[..., str]], Any] = function_tool
        self.chat_model = OpenAIChatCompletionsModel
        self.client_class = AsyncOpenAI

    def client(self, kind: Any, endpoint: ModelServer, headers: dict[str, str]) -> Any:
        """A client for one chat. The user's account at OpenAI, which the environment may name, stays out."""
        client = kind(
            api_key=endpoint.api_key,
            base_url=endpoint.base_url,
            default_headers=headers,
            max_retries=0,
        )
        client.organization = None
        client.project = None
        return client


_NODES: Final = {
    "loaders": ["CheckpointLoaderSimple", "LoraLoader", "VAELoader", "LoadImage"],
    "conditioning": ["CLIPTextEncode", "ControlNetApplyAdvanced"],
    "sampling": ["KSampler", "KSamplerAdvanced"],
    "latent": ["EmptyLatentImage", "VAEDecode", "VAEEncode", "LatentUpscale"],
    "image": ["ImageScale", "ImageUpscaleWithModel", "SaveImage", "PreviewImage"],
}


def list_nodes(category: str = "") -> str:
    """List common ComfyUI nodes.

    Args:
        category: One of loaders, conditioning, sampling, latent, image; empty for all.
    """
    return json.dumps({name: nodes for name, nodes in _NODES.items() if category in ("", name)})


def now() -> str:
    """Tell the local date and time."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
