"""The history of tool calls as a server accepts it: what one turn brought must not make the next one a 400.

Several thinking models answer 400 to a history whose tool calls come without their thoughts; some servers answer 400
to any field that they do not know. So what a server sent goes back to it under the server's own name for it, and what
a server refuses is remembered. Calls that the model got wrong, with arguments that are no JSON or a name that is none,
go back in a form that every server reads.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakKeyDictionary

from .shapes.tool_calls import is_object

log = logging.getLogger("copilot_pulse.model")

# What goes back: what the server sent; nothing; or the usual field with each call, even where nothing was sent.
Mode = Literal["echo", "nothing", "always"]
_FIELDS: Final = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thought", "thinking_blocks")
_ABOUT: Final = re.compile(r"reasoning|thinking|thought", re.IGNORECASE)
_MISSING: Final = re.compile(
    r"missing|must|required?\b|need|provide|include|pass(?:ed)? back|not found|absent|lack|expected", re.IGNORECASE
)
_REFUSED: Final = re.compile(
    r"extra|unknown|unexpected|unrecogni[sz]ed|not permitted|not allowed|additional|unsupported|not supported|"
    r"forbidden|invalid field|no such field|does not support|should not|must not|remove",
    re.IGNORECASE,
)
_SIZE: Final = 256
_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]+")


class Thought(NamedTuple):
    """What came with a tool call: the fields of its message and those of the call itself."""

    fields: Mapping[str, Any]
    call: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The thoughts as text."""
        return next((value for value in self.fields.values() if isinstance(value, str)), "")


class ReplayMemory:
    """The thoughts of the chats that run, by the tool call that they led to, and what each server wants of them."""

    def __init__(self) -> None:
        self._thoughts: WeakKeyDictionary[Any, dict[str, Thought]] = WeakKeyDictionary()
        self._modes: dict[str, Mode] = {}

    def of(self, owner: Any) -> dict[str, Thought]:
        """The thoughts of a chat (or of a model, where there is no chat); they go when it does."""
        return self._thoughts.setdefault(owner, {})

    def keep(self, owner: Any, fields: Mapping[str, Any], calls: list[dict[str, Any]]) -> None:
        """An answer was accepted: remember what the model thought before these calls."""
        for call in calls:
            extras = {key: value for key, value in call.items() if key not in ("index", "id", "type", "function")}
            if fields or extras:
                self.of(owner)[call["id"]] = Thought(dict(fields), extras)

    def mode(self, server: str) -> Mode:
        """What goes back to this server."""
        return self._modes.get(server, "echo")

    def learn(self, server: str, mode: Mode) -> None:
        """The server has accepted a request in this mode, after it had refused another."""
        if server not in self._modes and len(self._modes) >= _SIZE:
            del self._modes[next(iter(self._modes))]
        self._modes[server] = mode


class Replay:
    """One model call's requests: `server` names host and model, `owner` whose thoughts they are."""

    def __init__(self, memory: ReplayMemory, server: str, owner: Any) -> None:
        self._memory = memory
        self._server = server
        self._owner = owner

    async def ask(self, create: Callable[..., Awaitable[Any]], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Make the request with the thoughts that it needs; once more, in another way, if the server refuses those.

        Raises what `create` raises; a cancel passes, and nothing is learnt then.
        """
        messages = kwargs.get("messages")
        if not isinstance(messages, list) or not any(_has_calls(message) for message in messages):
            return await create(*args, **kwargs)
        mode = self._memory.mode(self._server)
        try:
            return await create(*args, **{**kwargs, "messages": self._with_thoughts(messages, mode)})
        except Exception as error:
            other = _other_mode(mode, error)
            if other is None:
                raise
            log.info("the server did not take the history: it is sent again, thoughts: %s", other)
        answer = await create(*args, **{**kwargs, "messages": self._with_thoughts(messages, other)})
        self._memory.learn(self._server, other)
        return answer

    def _with_thoughts(self, messages: list[Any], mode: Mode) -> list[Any]:
        thoughts = self._memory.of(self._owner)
        return [self._with_thought(_readable(one), thoughts, mode) if _has_calls(one) else one for one in messages]

    @staticmethod
    def _with_thought(message: dict[str, Any], thoughts: Mapping[str, Thought], mode: Mode) -> dict[str, Any]:
        if mode == "nothing":
            return {key: value for key, value in message.items() if key not in _FIELDS}
        calls = message["tool_calls"]
        found = next((thought for call in calls if (thought := thoughts.get(call.get("id", ""))) is not None), None)
        made = dict(message)
        if found is not None:
            for key, value in found.fields.items():
                made.setdefault(key, value)
            made["tool_calls"] = [_with_extras(call, thoughts) for call in calls]
        if mode == "always":
            made.setdefault("reasoning_content", found.text if found is not None else "")
        return made


def _readable(message: dict[str, Any]) -> dict[str, Any]:
    """The message with calls that any server can parse; the very same one if they are."""
    calls = [_readable_call(call) for call in message["tool_calls"]]
    return message if calls == message["tool_calls"] else {**message, "tool_calls": calls}


def _readable_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    name = _NO_NAME.sub("_", str(function.get("name") or "")).strip("_")[:64] or "unnamed"
    arguments = function.get("arguments")
    if not isinstance(arguments, str) or not is_object(arguments):
        arguments = json.dumps({"not_json": str(arguments)[:2000]} if arguments else {}, ensure_ascii=False)
    return {**call, "function": {**function, "name": name, "arguments": arguments}}


def _with_extras(call: dict[str, Any], thoughts: Mapping[str, Thought]) -> dict[str, Any]:
    thought = thoughts.get(call.get("id", ""))
    return {**thought.call, **call} if thought is not None and thought.call else call


def _has_calls(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant" and bool(message.get("tool_calls"))


def _other_mode(mode: Mode, error: Exception) -> Mode | None:
    """How to ask again after a refusal; None if it was for something else."""
    if getattr(error, "status_code", None) not in (400, 422):
        return None
    words = str(error)
    about = _ABOUT.search(words) is not None
    refused = _REFUSED.search(words) is not None
    if about and not refused and _MISSING.search(words):
        return "always" if mode != "always" else None
    if mode == "nothing":
        return None
    return "nothing" if refused or about else None
