"""Tokens: the server's own counts where it tells them, an estimate by characters where it does not.

`Asking` lets a request ask for the counts (`stream_options.include_usage`), and never again on a host that refused
that. `counts_of` reads them under the names that servers use. `Written` counts what is written meanwhile; adding a
piece costs no more than appending it to a list.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

log = logging.getLogger("copilot_pulse.model")

_OPTION: Final = "stream_options"
_NAMED: Final = re.compile(r"stream_options|include_usage", re.IGNORECASE)
# A field that the server does not know, without its name; what names another one is not about ours.
_REFUSED: Final = re.compile(
    r"(?:extra|unknown|unexpected|unrecogni[sz]ed|additional|unsupported|disallowed)[ _-](?:\w+ ){0,2}"
    r"(?:fields?|param\w*|arguments?|args?|keys?|propert\w+|inputs?|options?)\b|extra_forbidden",
    re.IGNORECASE,
)
_OTHERS: Final = re.compile(
    r"reason|think|thought|tool|function|message|role|content|temperature|top_|max_|parallel|store|response_format",
    re.IGNORECASE,
)
_SIZE: Final = 256
MOST_TOKENS: Final = 10**12
"""More tokens than this are no count: a server may say 1e999, which JSON reads as infinity."""

# -- counts that a server tells ----------------------------------------------------------------------


class Counts(NamedTuple):
    """The server's counts of one call, in tokens; None for what it does not tell. `cached` is a part of `input`,
    `reasoning` one of `output`."""

    input: int | None
    output: int | None
    cached: int | None
    reasoning: int | None


def counts_of(usage: Mapping[str, Any] | None) -> Counts | None:
    """The counts in a server's `usage`; None if it holds neither input nor output."""
    if not usage:
        return None
    asked = _first(usage, "prompt_tokens", "input_tokens") or None
    written = _first(usage, "completion_tokens", "output_tokens") or None  # some say 0 where they do not count
    if asked is None and written is None:
        return None
    of_input = _details(usage, "prompt_tokens_details", "input_tokens_details")
    of_output = _details(usage, "completion_tokens_details", "output_tokens_details")
    cached = _first(of_input, "cached_tokens")
    if cached is None:
        cached = _first(usage, "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
    reasoning = _first(of_output, "reasoning_tokens")
    if reasoning is None:
        reasoning = _first(usage, "reasoning_tokens")
    return Counts(asked, written, cached, reasoning)


def _first(holder: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = holder.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS:
            return int(value)
    return None


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((found for name in names if isinstance(found := usage.get(name), Mapping)), {})


# -- asking for them ---------------------------------------------------------------------------------


class UsageMemory:
    """The hosts that do not take `stream_options`. Bounded: the oldest of 256 is forgotten."""

    def __init__(self) -> None:
        self._refused: dict[str, None] = {}

    def refuses(self, host: str) -> bool:
        """Whether this host is known to refuse to be asked."""
        return host in self._refused

    def note(self, host: str) -> None:
        """This host has refused."""
        if host not in self._refused and len(self._refused) >= _SIZE:
            del self._refused[next(iter(self._refused))]
        self._refused[host] = None


class Asking:
    """The requests of one attempt to `host`: with the question for the counts, or without."""

    def __init__(self, memory: UsageMemory, host: str) -> None:
        self._memory = memory
        self._host = host
        self._without = memory.refuses(host)

    async def ask(self, create: Callable[..., Awaitable[Any]], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Make a request that streams and asks for its counts; at once again, without, where that is refused.

        Raises what `create` raises; a cancel passes, and nothing is learnt then.
        """
        if kwargs.get("stream") is not True:
            return await create(*args, **kwargs)
        plain = {name: value for name, value in kwargs.items() if name != _OPTION}
        if self._without:
            return await create(*args, **plain)
        told = kwargs.get(_OPTION)
        options = {**(told if isinstance(told, Mapping) else {}), "include_usage": True}
        try:
            return await create(*args, **plain, stream_options=options)
        except Exception as error:
            named = _refusal(error)
            if named is None:
                raise
        self._without = True
        if named:
            self._memory.note(self._host)
        answer = await create(*args, **plain)
        self._memory.note(self._host)  # only now is it known what the words about some field were about
        log.info("the model server does not take stream_options: its tokens are estimated")
        return answer


def _refusal(error: Exception) -> bool | None:
    """Whether a refusal names the question itself (True) or may be about it (False); None if it is another error."""
    if getattr(error, "status_code", None) not in (400, 422):
        return None
    words = str(error)
    if _NAMED.search(words):
        return True
    return False if _REFUSED.search(words) and not _OTHERS.search(words) else None


# -- an estimate -------------------------------------------------------------------------------------

# Fitted to the tokenizers of Qwen 2.5 and Llama 3 on prose, Markdown, code and JSON (docs/monitoring.md).
_WORD: Final = re.compile(r"[A-Za-z]+")
_DIGIT: Final = re.compile(r"[0-9]")
_SIGNS: Final = re.compile(r"[!-/:-@\[-`{-~]+")
_INDENT: Final = re.compile(r"\n[ \t]+")
_BROAD: Final = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]")
_SHORT_WORD: Final = 6
_FOLDED: Final = 512  # pieces
_LOOKED_AT: Final = 20_000  # characters of one text


def estimate(text: str) -> float:
    """About how many tokens a text has: one a word and more for a long one, one or two a digit, one a run of signs and
    an indent, three for four Chinese, Japanese or Korean characters, one for three others. Costs 0.1 ms for 1,000."""
    words = _WORD.findall(text)
    tokens = len(words) + 0.56 * sum(len(word) - _SHORT_WORD for word in words if len(word) > _SHORT_WORD)
    tokens += 1.5 * len(_DIGIT.findall(text)) + 0.8 * len(_SIGNS.findall(text)) + 0.6 * len(_INDENT.findall(text))
    if not text.isascii():
        broad = len(_BROAD.findall(text))
        tokens += 0.73 * broad + 0.33 * (len(_FOREIGN.findall(text)) - broad)
    return tokens


def estimate_prompt(texts: Iterable[str]) -> int:
    """About how many tokens a prompt of these texts has. Of a very long one the beginning stands for the rest."""
    tokens = 0.0
    for text in texts:
        begin = text[:_LOOKED_AT]
        tokens += estimate(begin) * (len(text) / len(begin) if begin else 0)
    return round(tokens)


class Written:
    """What a model has written in one attempt: text, thoughts and tool calls, in estimated tokens."""

    __slots__ = ("_pieces", "_tokens")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._tokens = 0.0

    def add(self, text: str) -> None:
        """Another piece has come; it is looked at later."""
        self._pieces.append(text)
        if len(self._pieces) >= _FOLDED:
            self._fold()

    def _fold(self) -> None:
        self._tokens += estimate("".join(self._pieces))
        self._pieces.clear()

    @property
    def tokens(self) -> int:
        """So far, at least one if there is anything."""
        if self._pieces:
            self._fold()
        return max(1, round(self._tokens)) if self._tokens else 0
