"""Tool calls that stand in the text, as models write them where the server does not parse them.

`TextFilter` holds text back from where such a call begins; `calls_in()` reads the calls out of it. Text that turns
out to be none is let go as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from .tool_calls import meant_name

# What begins a call. Each must be rare in prose: the text from there on is shown only when the answer has ended.
_OPENERS: Final = (
    "<tool_call", "<tool▁call", "<｜tool", "<|tool", "<|python_tag|>", "<function=", "<function_call", "<functions.",
    "<|function_call", "[TOOL_CALLS]", "[TOOL_CALL]", "[TOOL_REQUEST]", "<invoke ", "<tool_use", "<tool_code",
    "<|channel|>commentary to=", "<|start|>assistant<|channel|>", "<action_start", "<|action_start|>", "<tools>",
    "<minimax:tool_call", "<seed:tool_call", "<longcat_tool_call",
)  # fmt: skip
_OPENER: Final = re.compile("|".join(re.escape(one) for one in _OPENERS))
_FIRSTS: Final = frozenset(one[0] for one in _OPENERS)
_LONGEST: Final = max(map(len, _OPENERS))
# A text that is a JSON object whose first key is one of these may be a call, or a failure told as an answer.
_JSON_HEAD: Final = re.compile(
    r"\s*(?:```(?:json|tool_call|tool_code)?\s*)?\[?\s*\{\s*\"(?:name|function|tool|tool_name|tool_call|tool_calls|type|"
    r"action|arguments|parameters|message|msg|error|errors|code|detail|status|statusCode|error_msg|error_code)\"\s*:"
)
_JSON_BEGINNING: Final = re.compile(r"\s*(?:`{0,3}|```[a-z_]{0,9}\s*)\[?\s*(?:\{\s*(?:\"[A-Za-z_]{0,12}\"?\s*)?)?$")
_NAMES: Final = ("name", "tool", "tool_name", "function", "action", "recipient_name")
_ARGUMENTS: Final = ("arguments", "parameters", "args", "input", "action_input", "params", "kwargs")
_XML_NAME: Final = re.compile(r"<(?:function|tool|invoke)(?:=|\s+name=[\"']?)\s*([\w.:-]+)[\"']?\s*>", re.IGNORECASE)
_XML_PARAMETER: Final = re.compile(
    r"<(?:parameter|param)(?:=|\s+name=[\"']?)\s*([\w.-]+)[\"']?[^>]{0,80}>(.*?)</(?:parameter|param)>",
    re.IGNORECASE | re.DOTALL,
)
_GLM_PARAMETER: Final = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_GLM_NAME: Final = re.compile(r"<tool_call>\s*([\w.-]+)\s*(?=<arg_key>|</tool_call>|\n|$)")
_BEFORE: Final = re.compile(r"([\w.:-]{1,80})\s*(?:<[^<>]{1,60}>|```json|\n|\(|\s){0,6}$")
# What opens thoughts at the beginning of a text, and what ends them.
_THINK: Final = {
    **{f"<{word}>": f"</{word}>" for word in ("think", "thinking", "thought", "reasoning", "seed:think", "reflection")},
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel|>analysis<|message|>": "<|end|>",
}
_decode = json.JSONDecoder().raw_decode


class TextFilter:
    """Lets text through until a tool call seems to begin; from there on all is held. One answer's text, in order.

    An answer that begins with thoughts between marks is held until something follows them: thoughts alone are none.
    """

    def __init__(self) -> None:
        self._held = ""
        self._pending = ""
        self._begun = False
        self._holding = False
        # The mark that ends the thoughts while they are read, the thoughts, where they end, and how much was taken.
        self._close = ""
        self._thought = ""
        self._end = 0
        self._taken = 0

    @property
    def thinking(self) -> bool:
        """Whether the text so far holds thoughts and nothing else."""
        return bool(self._close)

    def feed(self, text: str) -> str:
        """What of a piece of text may be shown now."""
        if self._holding:
            self._held += text
            return ""
        if self._close:
            return self._feed_thought(text)
        if not self._begun:
            return self._feed_beginning(text)
        if not self._pending and _FIRSTS.isdisjoint(text):
            return text
        return self._search(self._pending + text)

    def take_thought(self) -> str:
        """The thoughts that have come since they were last taken."""
        taken, self._taken = self._taken, len(self._thought)
        return self._thought[taken:] if self._close else ""

    def rest(self) -> tuple[str, str]:
        """Once the answer has ended: thoughts that go before the text, and the text that is held back."""
        text = self._held + self._pending
        thought = "" if self._close else self._thought
        self._held = self._pending = self._thought = ""
        self._begun, self._holding = True, False
        return thought, text

    def _feed_thought(self, text: str) -> str:
        begin = max(0, len(self._thought) - len(self._close))
        self._thought += text
        if not self._end:
            at = self._thought.find(self._close, begin)
            if at < 0:
                return ""
            self._end = at + len(self._close)
        end = self._end
        after = self._thought[end:]
        if not after.strip():
            return ""
        blank = len(after) - len(after.lstrip())
        self._thought, self._close = self._thought[: end + blank], ""
        return self._shown(self._feed_beginning(after[blank:]))

    def _shown(self, text: str) -> str:
        if not text:
            return ""
        thought, self._thought = self._thought, ""
        return thought + text

    def _feed_beginning(self, text: str) -> str:
        text = self._pending + text
        self._pending = ""
        begin = text.lstrip()
        if not self._thought and (mark := next((one for one in _THINK if begin.startswith(one)), "")):
            self._close = _THINK[mark]
            return self._feed_thought(text)
        if _JSON_HEAD.match(text):
            self._holding, self._held = True, text
            return ""
        if _JSON_BEGINNING.match(text) or any(one.startswith(begin) for one in _THINK):
            self._pending = text
            return ""
        self._begun = True
        return self._shown(self._search(text))

    def _search(self, text: str) -> str:
        self._pending = ""
        found = _OPENER.search(text)
        if found is not None:
            self._holding, self._held = True, text[found.start() :]
            return text[: found.start()]
        # The end may be the first part of a mark.
        for at in range(max(0, len(text) - _LONGEST), len(text)):
            if text[at] in _FIRSTS and any(one.startswith(text[at:]) for one in _OPENERS):
                self._pending = text[at:]
                return text[:at]
        return text


def calls_in(text: str, known: frozenset[str]) -> list[tuple[str, str]]:
    """The calls that stand in a text, as names and arguments in JSON; none if it holds other text.

    Between marks of a call any name is one, so that the model can be told that there is no such tool; a JSON object
    alone is a call only if it names a known one.
    """
    marked = is_markup(text)
    calls: list[tuple[str, str]] = []
    for name, arguments in (*_in_json(text, known), *_in_tags(text)):
        meant = meant_name(name, known)
        if (meant in known or (marked and meant)) and (meant, arguments) not in calls:
            calls.append((meant, arguments))
    real = [call for call in calls if call[0] in known]
    return real or calls


def is_markup(text: str) -> bool:
    """Whether a text begins with the marks of a tool call."""
    return _OPENER.match(text) is not None


def _in_json(text: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    at = 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = _decode(text, at)
        except ValueError:
            at += 1
            continue
        found = list(_calls_of(value))
        if not found and (before := _BEFORE.search(text[max(0, at - 160) : at])):
            # The name stands before the arguments: name{...}, name<|message|>{...}, to=functions.name ...{...}.
            head = text[max(0, at - 160) : at]
            if (name := _name_before(head, before[1], known)) is not None:
                found = [(name, json.dumps(value, ensure_ascii=False))]
        yield from found
        at = end


def _name_before(head: str, nearest: str, known: frozenset[str]) -> str | None:
    if (name := meant_name(nearest, known)) in known:
        return name
    words = [word for word in re.findall(r"[\w-]+", head) if word in known]
    return words[-1] if words else None


def _calls_of(value: Any) -> Iterator[tuple[str, str]]:
    """The calls that a JSON value tells of: an object with a name, or lists and wrappers of such."""
    if isinstance(value, list):
        for one in value:
            yield from _calls_of(one)
        return
    if not isinstance(value, dict):
        return
    for key in ("tool_calls", "tool_call", "function_call", "tool_uses", "calls"):
        if isinstance(value.get(key), (dict, list)):
            yield from _calls_of(value[key])
            return
    if isinstance(value.get("function"), dict):
        yield from _calls_of(value["function"])
        return
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    if name is None:
        return
    given: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
    yield name, given if isinstance(given, str) else json.dumps(given if given is not None else {}, ensure_ascii=False)


def _in_tags(text: str) -> Iterator[tuple[str, str]]:
    """Calls whose arguments are tags: one for each, with the name in the opening one."""
    names = list(_XML_NAME.finditer(text)) or list(_GLM_NAME.finditer(text))
    for number, found in enumerate(names):
        end = names[number + 1].start() if number + 1 < len(names) else len(text)
        body = text[found.end() : end]
        given: list[tuple[str, str]] = _XML_PARAMETER.findall(body) or _GLM_PARAMETER.findall(body)
        if not given and (begin := body.find("{")) >= 0:
            try:
                value, _ = _decode(body, begin)
            except ValueError:
                continue
            if not list(_calls_of(value)):
                yield found[1], json.dumps(value, ensure_ascii=False)
            continue
        yield found[1], json.dumps({key.strip(): _value(raw) for key, raw in given}, ensure_ascii=False)


def _value(raw: str) -> Any:
    text = raw.strip()
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (dict, list, bool, int, float)) else text
