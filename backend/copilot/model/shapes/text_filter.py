"""Holds the text of an answer back where a tool call, a failure or thoughts may stand in it; all else passes at once.

What is held is read when the answer has ended (`tool_markup.py`), and let go as it came if it is plain text.
"""

from __future__ import annotations

import functools
import re
from typing import Final

# What begins a call. Each must be rare in prose: the text from there on is shown only when the answer has ended.
_OPENERS: Final = (
    "<tool_call", "<tool▁call", "<｜tool", "<|tool", "<|python_", "<function=", "<function_call", "<functions.",
    "<|function_call", "[TOOL_CALLS]", "[TOOL_CALL]", "[TOOL_REQUEST]", "<invoke ", "<tool_use", "<tool_code",
    "<|channel|>commentary to=", "<|start|>assistant<|channel|>", "<action_start", "<|action_start|>", "<tools>",
    "<minimax:tool_call", "<seed:tool_call", "<longcat_tool_call",
)  # fmt: skip
_FIRSTS: Final = frozenset(one[0] for one in _OPENERS)
# A text that is a JSON object whose first key is one of these may be a call, or a failure told as an answer. Both are
# for a text without blanks before it, and with one for each run of them inside: a model that is lost writes blanks
# without end, and patterns that look for any number of them take time with the cube of that.
_JSON_HEAD: Final = re.compile(
    r"```tool_code |"
    r"(?:```(?:json|tool_call|tool_code|python)? ?)?\[? ?\{ ?\"(?:name|function|tool|tool_name|tool_call|tool_calls|"
    r"type|action|arguments|parameters|message|msg|error|errors|code|detail|status|statusCode|error_msg|error_code)"
    r"\" ?:"
)
_JSON_BEGINNING: Final = re.compile(r"(?:`{0,3}|```[a-z_]{0,9} ?)\[? ?(?:\{ ?(?:\"[A-Za-z_]{0,12}\"? ?)?)?$")
_BLANKS: Final = re.compile(r"\s+")
_LONGEST_HEAD: Final = 1_000
# What opens thoughts at the beginning of a text, and what ends them.
_THINK: Final = {
    **{f"<{word}>": f"</{word}>" for word in ("think", "thinking", "thought", "reasoning", "seed:think", "reflection")},
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel|>analysis<|message|>": "<|end|>",
}


@functools.lru_cache(maxsize=64)
def _opener(known: frozenset[str]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """What begins a call of these tools: the marks, and a tag of a tool's own name."""
    marks = (*_OPENERS, *(f"<{name}>" for name in sorted(known)))
    return re.compile("|".join(map(re.escape, marks))), marks


class TextFilter:
    """Lets text through until a tool call seems to begin; from there on all is held. One answer's text, in order.

    An answer that begins with thoughts between marks is held until something follows them: thoughts alone are none.
    """

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        """`known` are the names of the tools."""
        self._opener, self._marks = _opener(known)
        self._longest = max(map(len, self._marks))
        # A text that begins with one of these may be a call that is written in Python.
        self._heads = tuple(f"{name}(" for name in known)
        self._held: list[str] = []
        # Blanks before all text, and the rest that may be the first part of a mark.
        self._blanks: list[str] = []
        self._pending = ""
        self._begun = False
        # The mark that ends the thoughts while they are read, the last of them, and those that were not taken yet.
        self._close = ""
        self._tail = ""
        self._thought: list[str] = []
        self._taken = 0

    @property
    def thinking(self) -> bool:
        """Whether the text so far holds thoughts and nothing else."""
        return bool(self._close)

    def feed(self, text: str) -> str:
        """What of a piece of text may be shown now."""
        if self._held:
            self._held.append(text)
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
        if not self._close:
            return ""
        taken, self._taken = self._taken, len(self._thought)
        return "".join(self._thought[taken:])

    def rest(self) -> tuple[str, str]:
        """Once the answer has ended: thoughts that go before the text, and the text that is held back."""
        text = "".join((*self._held, *self._blanks, self._pending))
        thought = "" if self._close else "".join(self._thought)
        self._held, self._thought, self._blanks, self._pending = [], [], [], ""
        self._begun = True
        return thought, text

    def _feed_thought(self, text: str) -> str:
        self._thought.append(text)
        self._tail += text
        at = self._tail.find(self._close)
        if at < 0:
            self._tail = self._tail[-len(self._close) :]
            return ""
        after = self._tail[at + len(self._close) :].lstrip()
        if not after:
            self._tail = self._close
            return ""
        thought = "".join(self._thought)
        self._thought, self._close = [thought[: len(thought) - len(after)]], ""
        return self._shown(self._feed_beginning(after))

    def _shown(self, text: str) -> str:
        if not text:
            return ""
        thought, self._thought = "".join(self._thought), []
        return thought + text

    def _feed_beginning(self, text: str) -> str:
        text = self._pending + text
        self._pending = ""
        begin = text.lstrip()
        if not begin:
            self._blanks.append(text)
            return ""
        text = "".join((*self._blanks, text))
        self._blanks.clear()
        if not self._thought and (mark := next((one for one in _THINK if begin.startswith(one)), "")):
            self._close = _THINK[mark]
            return self._feed_thought(text)
        bare = begin.lstrip("[ ")
        head = _BLANKS.sub(" ", begin[:_LONGEST_HEAD])
        heads = (*_THINK, *self._heads)
        may_begin = bool(_JSON_BEGINNING.match(head)) or any(one.startswith((begin, bare)) for one in heads)
        if _JSON_HEAD.match(head) or bare.startswith(self._heads) or (may_begin and len(begin) > _LONGEST_HEAD):
            self._held = [text]
            return ""
        if may_begin:
            self._pending = text
            return ""
        self._begun = True
        return self._shown(self._search(text))

    def _search(self, text: str) -> str:
        self._pending = ""
        found = self._opener.search(text)
        if found is not None:
            self._held = [text[found.start() :]]
            return text[: found.start()]
        # The end may be the first part of a mark.
        for at in range(max(0, len(text) - self._longest), len(text)):
            if text[at] in _FIRSTS and any(one.startswith(text[at:]) for one in self._marks):
                self._pending = text[at:]
                return text[:at]
        return text


def is_markup(text: str) -> bool:
    """Whether a text begins with the marks of a tool call."""
    return text.startswith(_OPENERS)
