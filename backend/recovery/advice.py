"""What a user reads when an answer could not be had: what happened, where, what was tried, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from ..hosts import bare_host, is_local
from . import addresses, advice_en, advice_zh
from .lazy import LazyPattern
from .redact import one_line, redact
from .words import NONE_LOADED, OPTION, TOOL_CALL, TOOL_CALL_CODES

if TYPE_CHECKING:
    from .classify import Classification

_QUOTE_LENGTH: Final = 240
# Kinds of which the server's own words help: they are quoted, if there are any.
_QUOTED: Final = frozenset(
    ("bad_request", "forbidden", "content_filter", "server_error", "quota", "rate_limited", "not_found")
    + ("model_not_found", "context_too_long", "no_tools", "overloaded", "loading", "crashed")
    + (
        "not_activated",
        "no_provider",
        "server_memory",
        "region",
        "redirected",
        "no_images",
        "auth",
        "timeout",
        "malformed",
    )
)
# Kinds of which the error's own text helps: it is no sentence of a server.
_DETAILED: Final = frozenset(
    (
        "unknown",
        "fault",
        "internal",
        "model_behavior",
        "bad_messages",
        "user_error",
        "tls",
        "system",
        "unknown_tool",
        "mcp",
    )
    + ("stopped_early",)
)
# Pieces that are told of a local server only, and those that have another form there.
_LOCAL_ONLY: Final = frozenset(("local", "context", "serve", "loading", "crashed", "vision", "template"))
_EITHER: Final = frozenset(("slow", "refused"))
_SPACE_AT_WIDE: Final = LazyPattern(
    r" +(?=[\uff0c\uff1a\uff1b\uff08\uff09“。])|(?<=[\uff0c\uff1a\uff1b\uff08\uff09”。]) +"
)
_WORD_AT_HAN: Final = LazyPattern(r"(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9\[])|(?<=[A-Za-z0-9\]/])(?=[\u4e00-\u9fff])")
# A link's bracket with what follows it, and the begin of an element. A server's words may hold either.
_MARKUP: Final = LazyPattern(r"(\])([(\[:])|(<)([A-Za-z/!?])")
# What client libraries say of a key that no header can hold.
_UNSENDABLE: Final = ("header value", "codec can't encode", "detected in headers")
_OWN_WORD: Final = LazyPattern("[\u2e80-\uffef]+|[^\\W\\d_\u2e80-\uffef][A-Za-z0-9_'/-]*")
_NOT_REACHED: Final = frozenset(("connection", "connection_refused", "dns", "tls", "timeout"))
_DAY: Final = 86_400.0
_LONGEST: Final = 30


def own_words() -> Iterator[str]:
    """The words of our sentences, without the signs around them, and the clauses of Chinese ones; some come often."""
    for spoken in (advice_en, advice_zh):
        texts = (*(text for pair in spoken.TEXTS.values() for text in pair), *spoken.PHRASES.values())
        for text in (*texts, *spoken.PLACES.values()):
            yield from _OWN_WORD.compiled.findall(text)


def language_of(header: str | None) -> str:
    """ "zh" or "en" for an Accept-Language header or a locale such as zh_CN; the first language decides."""
    return "zh" if (header or "").strip().lower().startswith(("zh", "cn")) else "en"


def explain(
    c: Classification,
    *,
    host: str | None = None,
    model: str | None = None,
    base_url: str | None = None,
    attempts: int = 1,
    waited: float = 0.0,
    language: str = "en",
    where_set: str | None = None,
    partial: bool = False,
    host_words: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """One paragraph about a failure, without a line break and without a secret. Pure; any thread.

    `host` is host and port of the base URL, `attempts` counts all calls that were made, `waited` is seconds.
    `language` is a language tag; all but Chinese read English. `where_set` tells where the model was chosen:
    "chat", "workflow" or words of your own. `partial` tells that a part of the answer stands above. `host_words` are
    a host's own by language, in the place of those of `PLACES` and `PHRASES` in advice_en and advice_zh.
    """
    zh = language_of(language) == "zh"
    spoken = advice_zh if zh else advice_en
    p = {**spoken.PLACES, **spoken.PHRASES, **(host_words or {}).get("zh" if zh else "en", {})}
    base = addresses.clean_url(base_url)
    host = addresses.host_of(host) or addresses.clean_url(host) or addresses.host_of(base) or addresses.host_of(c.url)
    led = addresses.host_of(c.redirected_to) if c.redirected_to and c.kind in _NOT_REACHED and not c.spoken else ""
    asked, host = host, led or host  # who could not be reached is the one that was led to
    words = _quotable(c.message)
    quoted = bool(words) and c.spoken and c.kind in _QUOTED
    fields = _Pieces(c, p, host=host, model=model, base=base, where_set=where_set, quoted=quoted)
    kind = "bad_url" if c.kind == "dns" and base and not addresses.host_of(base) else c.kind
    what, do = spoken.TEXTS.get(kind, spoken.TEXTS["unknown"])
    what = _special(c, p) or what
    incomplete = partial and kind not in ("truncated", "length_limit")  # these two say so themselves
    spaced = _WORD_AT_HAN.sub if zh else _as_it_is
    parts = [p["partial"] if incomplete else "", spaced(" ", _fill(what, fields))]
    if quoted:
        parts.append(p["quote"].format(words=words))
    elif words and (kind in _DETAILED or kind not in spoken.TEXTS):
        parts.append(p["details"].format(words=words))
    if c.redirected_to and kind not in ("html_body", "redirected"):
        if fields["target"] != asked:
            parts.append(_fill(p["led"], fields))
        elif kind == "not_found" and fields["try_target"] != base.rstrip("/"):
            # A client asks in another way where a redirect has led, and the address there is the right one.
            parts.append(_fill(p["led_here"], fields))
    if attempts > 1:
        waiting = p["waiting"].format(seconds=_seconds(waited, p)) if waited >= 0.5 else ""
        parts.append(p["tried"].format(attempts=attempts, waiting=waiting))
    name = " ".join((model or "").split())[:100]
    if name and name not in "".join(parts):
        parts.append(p["asked"].format(name=name))
    parts.append(spaced(" ", _fill(do, fields)))
    text = harmless(one_line(("" if zh else " ").join(part.strip() for part in parts if part.strip())))
    return redact(_SPACE_AT_WIDE.sub("", text) if zh else text)


class _Pieces(Mapping[str, str]):
    """What fills the braces of a text, each piece made when it is asked for: `{base}` is what `_base()` returns."""

    def __init__(
        self,
        c: Classification,
        phrases: Mapping[str, str],
        *,
        host: str,
        model: str | None,
        base: str,
        where_set: str | None,
        quoted: bool,
    ) -> None:
        self._c = c
        self._p = phrases
        self._host = host
        self._name = " ".join((model or "").split())[:100]
        self._url = base
        self._where_set = where_set
        self._quoted = quoted
        self._is_local = is_local(host or "")

    def __getitem__(self, name: str) -> str:
        if name in advice_en.PLACES:
            return self._p[name]
        if name in _LOCAL_ONLY:
            return self._p[name] if self._is_local else ""
        if name == "slow" and self._c.status is not None:
            return _fill(self._p["slow_in_between"], self)
        if name in _EITHER:
            return _fill(self._p[f"{name}_local" if self._is_local else name], self)
        made: str = getattr(self, f"_{name}")()
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    # The server and the model

    def _server(self) -> str:
        return self._host or self._p["server"]

    def _Server(self) -> str:
        return self._host or _capital(self._p["server"])

    def _model(self) -> str:
        return self._p["model_named"].format(name=self._name) if self._name else self._p["model"]

    def _Model(self) -> str:
        return self._model() if self._name else _capital(self._model())

    def _the_model(self) -> str:
        return self._p["model_there"].format(name=self._name) if self._name else self._p["model_chosen"]

    def _at(self) -> str:
        return self._p["at"].format(host=self._host) if self._host else ""

    def _hostname(self) -> str:
        return bare_host(self._host) or self._server()

    def _address(self) -> str:
        return self._server()

    # Addresses

    def _base(self) -> str:
        return self._p["base"].format(base=self._url) if self._url else ""

    def _called(self) -> str:
        asked = self._url.rstrip("/") + "/chat/completions" if self._url else self._server()
        return addresses.clean_url(self._c.url) or asked

    def _try_url(self) -> str:
        return addresses.with_version(self._url or self._c.url or (f"http://{self._host}" if self._host else None))

    def _example(self) -> str:
        example = addresses.example(self._host)
        # That very address may be the one that answered with the page.
        return addresses.example(None) if example.rstrip("/") == self._url.rstrip("/") else example

    def _target(self) -> str:
        return addresses.host_of(self._c.redirected_to) or self._server()

    def _try_target(self) -> str:
        return addresses.base_of(self._c.redirected_to) or self._server()

    def _redirect(self) -> str:
        return self._p["redirect"].format(host=self._target()) if self._c.redirected_to else ""

    def _scheme(self) -> str:
        url = self._url or addresses.base_of(self._c.url)
        plain = url.startswith("http://") or self._c.status is not None
        turned = url.replace("http://", "https://", 1) if plain else url.replace("https://", "http://", 1)
        suggest = self._p["suggest"].format(url=turned) if url else ""
        return self._p["scheme_http" if plain else "scheme_https"].format(suggest=suggest)

    # What happened

    def _status(self) -> str:
        return self._p["status"].format(status=self._c.status) if self._c.status else ""

    def _type(self) -> str:
        return self._c.type.rpartition(".")[2]

    def _seconds(self) -> str:
        return _seconds(self._c.retry_after or 0.0, self._p, at_least=1.0)

    def _wait(self) -> str:
        return self._p["wait"].format(seconds=self._seconds()) if self._c.retry_after else ""

    def _limit(self) -> str:
        return self._when("limit", "limit_until", "limit_unknown")

    def _again(self) -> str:
        return self._when("again", "again_until", "again_never")

    def _when(self, in_a_time: str, at_a_date: str, unknown: str) -> str:
        if self._c.retry_after is not None:
            return self._p[in_a_time].format(seconds=self._seconds())
        return self._p[at_a_date].format(until=self._c.until) if self._c.until else self._p[unknown]

    # What to do

    def _own_words(self) -> str:
        return self._p["own_words"] if self._quoted else ""

    def _why_refused(self) -> str:
        if OPTION.search(self._c.message.lower()):
            return _fill(self._p["option"], self)
        return _fill(self._p["own_words" if self._quoted else "no_words"], self)

    def _why_forbidden(self) -> str:
        return _fill(self._p["own_words" if self._quoted else "no_right"], self)

    def _no_stream(self) -> str:
        if TOOL_CALL.search(self._c.message.lower()) or self._c.code in TOOL_CALL_CODES:
            return _fill(self._p["bad_call"], self)
        return _fill(self._p["no_interface" if self._c.type == "UnexpectedBody" else "damaged"], self)

    def _picker(self) -> str:
        if self._where_set in (None, "", "chat"):
            return self._p["picker"]
        if self._where_set == "workflow":
            return self._p["picker_workflow"]
        return self._p["picker_other"].format(where=self._where_set)

    def _none_loaded(self) -> bool:
        return NONE_LOADED.search(self._c.message.lower()) is not None

    def _where_model(self) -> str:
        if self._none_loaded():
            return self._p["load_one"]
        if not self._where_set:
            return self._p["where_model"]
        if self._where_set in ("chat", "workflow"):
            return self._p[f"where_model_{self._where_set}"]
        return self._p["where_model_other"].format(where=self._where_set)

    def _pull(self) -> str:
        if not (self._is_local and self._name) or self._none_loaded():
            return ""
        if self._host.endswith(":1234"):
            return self._p["load"]
        return self._p["pull"].format(name=self._name) if self._host.endswith(":11434") else ""

    def _Computer(self) -> str:
        return _capital(self._p["computer"])

    def _parse(self) -> str:
        return self._p["parse"]


def _special(c: Classification, p: Mapping[str, str]) -> str:
    """Two sorts of a bad key never reach a server, which then cannot have refused it."""
    if c.kind != "auth" or c.status is not None:
        return ""
    if c.type == "openai.OpenAIError":
        return p["no_key"]
    return p["bad_key"] if any(words in c.message for words in _UNSENDABLE) else ""


def _seconds(seconds: float, p: Mapping[str, str], at_least: float = 0.0) -> str:
    seconds = max(seconds, at_least)
    if seconds < 120:
        return p["seconds"].format(n=max(1, round(seconds)))
    if seconds < 7_200:
        return p["minutes"].format(n=round(seconds / 60))
    if seconds < 2 * _DAY:
        return p["hours"].format(n=round(seconds / 3_600))
    return p["days"].format(n=round(seconds / _DAY)) if seconds <= _LONGEST * _DAY else p["long"]


def harmless(text: str) -> str:
    """`text` without what Markdown or HTML would make an image, a link or an element of: a blank parts its signs."""
    return _MARKUP.sub(lambda found: " ".join(filter(None, found.groups())), text)


def _quotable(message: str) -> str:
    """The words for a sentence that puts them in double quotes; single ones stand for any inside."""
    words = " ".join(message.split())
    for opening, closing in ('""', "''", "“”"):
        inner = words[1:-1]
        if words[:1] == opening and words[-1:] == closing and not {opening, closing} & set(inner):
            words = inner.strip()
    words = words.replace('"', "'")
    return words if len(words) <= _QUOTE_LENGTH else words[: _QUOTE_LENGTH - 1] + "…"


def _as_it_is(_: str, text: str) -> str:
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _fill(template: str, fields: Mapping[str, str]) -> str:
    return template.format_map(fields)
