"""Brings every event of a model's stream into the one shape that the agent library reads.

Servers differ in where they put the text, how they count, when they say that they are done, and how they tell of a
failure. All of that is decided here and nowhere else: what comes out are chunks with one choice of index 0 whose
delta holds text, reasoning or complete tool calls; the finish reason and the usage come last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from ..tokens import Counts, Written, counts_of
from .chunks import ChunkMaker
from .finish_reasons import BROKEN, Finish, finish_of, settled
from .repeats import RepeatFilter
from .sse import WRAPPERS, ServerEvent
from .text_filter import TextFilter, is_markup
from .told import failure_in, failure_of_words, sounds_like_failure
from .tool_calls import ToolCalls, is_object
from .tool_markup import calls_in

_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "thought", "reasoning_text", "thinking_content")
_DETAILS: Final = "reasoning_details"
_THINKING_PARTS: Final = ("thinking", "reasoning", "thought", "redacted_thinking", "reasoning_text")
_ALIVE: Final = ("ping", "heartbeat", "keepalive", "keep-alive", "keep_alive", "pong")
# Cut short here, a key or a prompt in it would not be known for one; whoever tells it does that behind the redaction.
_LONGEST_FINISH: Final = 1_000
_FINISHES: Final = ("finish_reason", "finishReason", "stop_reason", "done_reason")
# A failure told as an answer is a short text, in characters.
_SHORT: Final = 600


class TellsProgress(Protocol):
    """Who wants to know what has come: the watch of the attempt."""

    def saw(self, *, text: bool, reasoning: int, tools: bool, finish: str, meaning: Finish | None) -> None:
        """Called for every event that is a chunk; `finish` is the server's own word."""


class ToldFailure(Exception):
    """The server told of a failure inside its answer; `body` is as that of an error status."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        super().__init__(str(body.get("message")))


class OtherInterface(Exception):
    """All that came are events of another interface than the one that was asked, such as Anthropic's."""


class Normaliser:
    """The stream of one attempt: `feed()` each event, `close()` once at the end.

    `known` are the names of the tools, for calls whose name is noisy or which stand in the text. Raises ToldFailure,
    OtherInterface, and JSONDecodeError for an event that is no object.
    """

    def __init__(self, tools: ToolCalls, known: frozenset[str], watch: TellsProgress) -> None:
        self._thought: dict[str, list[Any]] = {}
        self.calls: list[dict[str, Any]] = []
        # Whether the text holds the marks of a tool call that could not be read.
        self.unparsed = False
        self.written = Written()
        self._tools = tools
        self._legacy = ToolCalls(known)
        self._known = known
        self._watch = watch
        self._chunks = ChunkMaker()
        self._repeats = RepeatFilter()
        self._filter = TextFilter(known)
        self._meaning: Finish | None = None
        self._usage: dict[str, Any] = {}
        self._began = False
        # Whether all that came so far are objects of another interface than the one that was asked.
        self._foreign = False

    @property
    def thoughts(self) -> dict[str, Any]:
        """What the model thought, under the server's own names for it."""
        return {key: parts if key == _DETAILS else "".join(parts) for key, parts in self._thought.items()}

    @property
    def counts(self) -> Counts | None:
        """The server's counts of tokens, as far as it has told them."""
        return counts_of(self._usage)

    def feed(self, event: ServerEvent) -> list[Any]:
        """The chunks that an event amounts to; often one, at times none."""
        try:
            return self._feed(event)
        except RecursionError:  # a server has nested it without end
            raise json.JSONDecodeError("nested too deeply", "", 0) from None

    def _feed(self, event: ServerEvent) -> list[Any]:
        data = event.data
        if event.text or isinstance(data, str):
            self._words(event.name, str(data))
            return []
        if isinstance(data, list) and data:
            return [chunk for one in data for chunk in self._feed(ServerEvent(event.name, one))]
        if data is None or isinstance(data, bool):
            return []
        if not isinstance(data, dict):
            raise json.JSONDecodeError("an event that is no object", "", 0)
        if "error" in event.name.lower():
            raise ToldFailure(failure_in(data, alone=True) or failure_of_words(json.dumps(data, ensure_ascii=False)))
        return self._object(data)

    def _words(self, name: str, text: str) -> None:
        """An event whose data is no JSON: a sign of life, or the server's words about its failure."""
        if text.lstrip()[:1] in ("{", "["):
            raise json.JSONDecodeError("an event that is no JSON", text[:80], 0)
        told = text.strip().strip(":").strip().lower()
        if not told or any(word in (told, name.lower()) for word in _ALIVE) or "processing" in told[:30]:
            return
        raise ToldFailure(failure_of_words(text))

    def _object(self, data: dict[str, Any]) -> list[Any]:
        choices = data.get("choices")
        if not choices and (inner := _wrapped(data)) is not None:
            return self._object(inner)
        if "error" in data or "base_resp" in data or not choices:
            answers = bool(choices) or isinstance(data.get("message"), dict)
            if body := failure_in(data, alone=not answers and not data.get("usage")):
                raise ToldFailure(body)
        choice = _choice_of(data, choices)
        self._foreign = not choice and not self._began and (self._foreign or "choices" not in data)
        usage = data.get("usage") or choice.get("usage")
        if "x_groq" in data:
            usage = usage or _usage_of_groq(data["x_groq"])
        if isinstance(usage, dict):
            # Some tell what was asked in the first event, and what was written in the last one.
            self._usage |= {name: value for name, value in usage.items() if value is not None}
        if not self._began:
            self._chunks.head(data)
        for part in (choice, choice.get("delta")):
            if isinstance(part, dict) and "error" in part and (body := failure_in(part, alone=False)):
                raise ToldFailure(body)
        if self._foreign:
            self._watch.saw(text=False, reasoning=0, tools=False, finish="", meaning=None)
            return []
        return self._choice(choice, data)

    def _choice(self, choice: Mapping[str, Any], data: Mapping[str, Any]) -> list[Any]:
        delta = _delta_of(choice)
        content = delta.get("content")
        thoughts = None
        if content.__class__ is not str:
            content, thoughts = _text_of(content)
        if delta.get("refusal"):
            # What the model says when it refuses is its answer; nobody below shows refusals to the user.
            content += str(delta["refusal"])
        out: list[Any] = []
        reasoning = 0
        if len(delta) > 1 or thoughts or not content:
            reasoning = self._thoughts(delta, thoughts, out)
        tools = self._tool_calls(delta)
        word = _finish_word(choice, delta, data)
        meaning = finish_of(word) if word else None
        if meaning is Finish.DONE and (own := choice.get("native_finish_reason")):
            word, meaning = _worse(word, own)
        if meaning is not None:
            self._meaning = settled(self._meaning, meaning)
        shown = ""
        if content:
            piece = self._repeats.feed(content)
            self.written.add(piece)
            shown = self._filter.feed(piece)
            if thought := self._filter.take_thought():
                reasoning += len(thought)
                out.append(self._chunks.delta(reasoning_content=thought))
        if shown:
            out.append(self._chunks.text(shown))
        self._watch.saw(
            text=bool(content) and not self._filter.thinking,
            reasoning=reasoning,
            tools=tools,
            finish=str(word or "")[:_LONGEST_FINISH],
            meaning=meaning,
        )
        if not out and not self._began:
            out.append(self._chunks.delta())  # the first chunk tells the library that the answer begins
        self._began = True
        return out

    def _thoughts(self, delta: Mapping[str, Any], thoughts: str | None, out: list[Any]) -> int:
        """The reasoning of a delta, in the field that the library reads; returns its length."""
        key, text = "", thoughts or ""
        for name in _THOUGHTS:
            if told := _plain(delta.get(name)):
                key, text = name, text + told
                break
        fields: dict[str, Any] = {}
        if text:
            self.written.add(text)
            fields["reasoning" if key == "reasoning" else "reasoning_content"] = text
            if key:
                self._thought.setdefault(key, []).append(text)
        if isinstance(blocks := delta.get("thinking_blocks"), list) and all(isinstance(one, dict) for one in blocks):
            fields["thinking_blocks"] = blocks
        if isinstance(details := delta.get(_DETAILS), list):
            self._thought.setdefault(_DETAILS, []).extend(details)
        if isinstance(notes := delta.get("annotations"), list) and notes:
            fields["annotations"] = notes
        if fields:
            out.append(self._chunks.delta(**fields))
        return len(text) or len(fields.get("thinking_blocks", ()))

    def _tool_calls(self, delta: Mapping[str, Any]) -> bool:
        brought = False
        if entries := delta.get("tool_calls") or delta.get("tool_call"):
            brought = self._tools.feed(entries)
        if entry := delta.get("function_call"):  # the older interface, and a repetition beside the newer
            brought = self._legacy.feed([{"index": 0, "function": entry}]) or brought
        return brought

    def _count_calls(self, calls: list[dict[str, Any]]) -> None:
        for call in calls:
            self.written.add(f"{call['function']['name']} {call['function']['arguments']}")

    def close(self, *, done: bool) -> list[Any]:
        """The stream has ended: what was held back, the tool calls, then finish reason and usage in the last chunk.

        `done` tells that the server has marked the end. Raises ToldFailure if the answer was a failure's words.
        """
        if self._foreign:
            raise OtherInterface
        meaning = self._meaning
        last = self._repeats.rest()
        self.written.add(last)
        rest = self._filter.feed(last)
        thought = self._filter.take_thought()
        before, held = self._filter.rest()
        if meaning in BROKEN:
            self._failed_in_words()
        out: list[Any] = [self._chunks.delta(reasoning_content=thought)] if thought else []
        calls = (self._tools or self._legacy).finished(whole=done or meaning is not None)
        self._count_calls(calls)
        if held and not calls and (found := calls_in(held, self._known)):
            made = ToolCalls(self._known)
            for name, arguments in found:
                made.feed([{"function": {"name": name, "arguments": arguments}}])
            calls, before, held = made.finished(whole=True), "", ""
        self.unparsed = bool(self._known) and is_markup(held)
        if text := rest + before + held:
            out.append(self._chunks.text(text))
        if meaning in (Finish.LENGTH, Finish.FILTERED, Finish.OTHER):
            calls = [call for call in calls if is_object(call["function"]["arguments"])]
        self.calls = calls
        word = None if meaning is None else {Finish.LENGTH: "length", Finish.FILTERED: "content_filter"}.get(meaning)
        if meaning is not None and word is None:
            word = "tool_calls" if calls else "stop"
        if calls or word or self._usage:
            out.append(self._chunks.last(calls, word, self._usage or None))
        return out

    def _failed_in_words(self) -> None:
        """Raise what the text says, if a finish reason tells of a failure and the text is that failure's words."""
        said = self._repeats.text.strip()
        if said and len(said) < _SHORT and (said[:1] == "{" or sounds_like_failure(said)):
            told = {"code": "overloaded"} if self._meaning is Finish.OVERLOADED else {}
            raise ToldFailure(told | failure_of_words(said))


def _wrapped(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The completion that stands inside of an event. Raises ToldFailure if a failure stands there."""
    for part in map(data.get, WRAPPERS):
        if isinstance(part, dict) and part.get("choices"):
            return part
        if isinstance(part, dict) and part.get("error") and (body := failure_in(part, alone=False)):
            raise ToldFailure(body)
    return None


def _choice_of(data: Mapping[str, Any], choices: Any) -> Mapping[str, Any]:
    """The one choice of a chunk, whatever its index: nobody asks for more than one."""
    if isinstance(choices, dict):
        choices = [choices]
    if isinstance(choices, list) and choices:
        if len(choices) > 1:
            choices = [one for one in choices if isinstance(one, dict) and one.get("index") == 0] or choices
        choice = choices[0]
        return choice if isinstance(choice, dict) else {"delta": choice}
    message = data.get("message")
    # An event that names its type is none of ours: Anthropic's begin with a message that is empty.
    return {"message": message} if isinstance(message, dict) and "type" not in data else {}


def _delta_of(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """The delta of a choice: what stands under `delta`, `message` or `text`."""
    delta = choice.get("delta")
    if delta.__class__ is dict and delta.get("content"):
        return delta
    if isinstance(delta, str):
        return {"content": delta}
    if isinstance(delta, dict) and any(
        delta.get(key) for key in ("tool_calls", "function_call", "refusal", *_THOUGHTS)
    ):
        return delta
    message = choice.get("message")
    if isinstance(message, dict) and any(message.values()):
        return message
    if isinstance(message, str) and message:
        return {"content": message}
    if isinstance(text := choice.get("text"), str) and text:
        return {"content": text}
    if isinstance(delta, dict):
        return {"content": delta["text"]} if isinstance(delta.get("text"), str) else delta
    return {}


def _finish_word(choice: Mapping[str, Any], delta: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
    word = choice.get("finish_reason")
    if word:
        return word
    if "finish_reason" in choice and "done" not in data and not delta.get("finish_reason"):
        return None
    for holder in (choice, delta, data):
        for key in _FINISHES:
            word = holder.get(key)
            if isinstance(word, str) and word:
                return word
    return "stop" if data.get("done") is True else None


def _worse(word: Any, own: Any) -> tuple[Any, Finish]:
    """A router's "stop", or the word of the provider behind it where that tells of a failure, a filter or a limit."""
    told = finish_of(own)
    if told in (*BROKEN, Finish.FILTERED, Finish.LENGTH) and told is not None:
        return own, told
    return word, Finish.DONE


def _usage_of_groq(told: Any) -> Any:
    """The usage in Groq's own object, which also tells why a stream was ended early. Raises ToldFailure."""
    if not isinstance(told, dict):
        return None
    if told.get("error"):
        raise ToldFailure(failure_in(told, alone=False) or failure_of_words(str(told["error"])))
    return told.get("usage")


def _text_of(content: Any) -> tuple[str, str | None]:
    """The text of a content that is no plain string, and the thoughts that stand among its parts."""
    if content is None or content is False:
        return "", None
    if isinstance(content, (int, float)):
        return str(content), None
    if isinstance(content, str):
        return content, None
    text: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and (part.get("type") in _THINKING_PARTS or part.get("thought") is True):
            thoughts.append(
                _plain(part.get("thinking") or part.get("text") or part.get("content") or part.get("reasoning"))
            )
        else:
            text.append(_plain(part))
    return "".join(text), "".join(thoughts) or None


def _plain(value: Any) -> str:
    """All text in a value: a string, a part with text, or a list of such."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_plain, value))
    if isinstance(value, dict):
        return next(
            (
                _plain(value[key])
                for key in ("text", "content", "value", "thinking", "summary", "refusal")
                if value.get(key)
            ),
            "",
        )
    return ""
