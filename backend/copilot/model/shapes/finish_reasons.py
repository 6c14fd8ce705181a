"""What the finish reasons of the providers mean. Good ends are few; a word that is none of them is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final


class Finish(Enum):
    """How a model's answer ended, by its own word."""

    DONE = "done"
    LENGTH = "at its limit of tokens"
    FILTERED = "by a filter, or because the model refused"
    CUT_OFF = "by a failure of the server"
    OVERLOADED = "for want of capacity"
    OTHER = "for a reason that nobody knows"


BROKEN: Final = (Finish.CUT_OFF, Finish.OVERLOADED)
"""Ends that are failures of the server: the call is made again."""


def settled(before: Finish | None, now: Finish) -> Finish:
    """The meaning of an answer whose server gives a second finish reason: a worse one replaces a good end."""
    return now if before in (None, Finish.DONE) else before


_NOT_YET: Final = frozenset({"", "null", "none", "unspecified", "finish_reason_unspecified", "in_progress", "continue"})
# Read from above: the first pattern that is found decides.
_MEANINGS: Final[Sequence[tuple[re.Pattern[str], Finish]]] = tuple(
    (re.compile(pattern), finish)
    for pattern, finish in (
        (r"malformed|(?:function|tool)_call_filter|unexpected_(?:function|tool)", Finish.CUT_OFF),
        (
            r"filter|safety|recitation|spii|prohibit|sensitive|moderat|policy|violat|block|guard|harm|censor|unsafe"
            r"|refus|declin|reject|copyright|inappropriate|banned|forbid|illegal|risk|\blanguage\b|denied|intervened",
            Finish.FILTERED,
        ),
        (
            r"insufficient|overload|unavailable|capacity|busy|throttl|rate_?limit|too_?many|exhausted|preempt",
            Finish.OVERLOADED,
        ),
        (
            r"^(?:max_?)?(?:output_?|completion_?|model_?)?(?:length|len)|length|max_?(?:\w+_)?tokens?|token_?limit|context"
            r"|truncat|too_?long|budget|max_?(?:new|output|length)|max_?turns|^limit|_limit",
            Finish.LENGTH,
        ),
        (
            r"error|abort|cancel|interrupt|incomplete|time_?d?_?out|network|fail|malformed|exception|crash|disconnect"
            r"|unexpected|invalid|\boom\b|out_of_memory|kill|evict|broken|reset|server|internal|shutdown|closed",
            Finish.CUT_OFF,
        ),
        (
            r"^(?:stop|stopped|stop_?sequence|stop_?token|stop_?word|stop_?str\w*|end|ended|end_?turn|end_?of_?\w+"
            r"|eos\w*|eot\w*|eom\w*|im_end|tool\w*|function\w*|complete|completed|completion|finish|finished|done"
            r"|success\w*|succeeded|normal\w*|natural\w*|ok|true|1|final|user_?stop|turn_complete)$",
            Finish.DONE,
        ),
    )
)
_PREFIX: Final = re.compile(r"^(?:finish_?_?reason|finishreason|stop_?reason)[._:]*(?=\w)")


def finish_of(reason: Any) -> Finish | None:
    """The meaning of a chunk's finish reason; None while there is none (some servers write "null")."""
    if not reason:
        return None
    if reason == "stop":  # by far the most frequent one
        return Finish.DONE
    if isinstance(reason, dict):
        reason = reason.get("reason") or reason.get("type")
    word = re.sub(r"[^a-z0-9_]+", "_", str(reason).lower()).strip("_")
    if word in _NOT_YET:
        return None
    word = _PREFIX.sub("", word) or word
    return next((finish for pattern, finish in _MEANINGS if pattern.search(word)), Finish.OTHER)
