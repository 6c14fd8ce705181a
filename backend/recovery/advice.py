"""What a user reads when an answer could not be had: what happened, where, what was tried, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from . import addresses, advice_en, advice_zh
from .lazy import LazyPattern
from .redact import redact

if TYPE_CHECKING:
    from .classify import Classification

_QUOTE_LENGTH: Final = 240
# Kinds of which the server's own words help: they are quoted, if there are any.
_QUOTED: Final = frozenset(
    ("bad_request", "forbidden", "content_filter", "server_error", "quota", "rate_limited", "not_found")
    + ("model_not_found", "context_too_long", "no_tools", "overloaded", "loading", "crashed")
    + ("not_activated", "no_provider", "server_memory", "region", "redirected", "no_images", "auth", "timeout")
)
# Kinds of which the error's own text helps: it is no sentence of a server.
_DETAILED: Final = frozenset(
    ("unknown", "internal", "model_behavior", "user_error", "tls", "system", "unknown_tool", "mcp") + ("stopped_early",)
)
_SPACE_AT_WIDE: Final = LazyPattern(
    r" +(?=[\uff0c\uff1a\uff1b\uff08\uff09“。])|(?<=[\uff0c\uff1a\uff1b\uff08\uff09”。]) +"
)
_WORD_AT_HAN: Final = LazyPattern(r"(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9\[])|(?<=[A-Za-z0-9\]/])(?=[\u4e00-\u9fff])")
_DAY: Final = 86_400.0
_LONGEST: Final = 30


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
) -> str:
    """One paragraph about a failure, without a line break and without a secret. Pure; any thread.

    `host` is host and port of the base URL, `attempts` counts all calls that were made, `waited` is seconds.
    `language` is a language tag; all but Chinese read English. `where_set` tells where the model was chosen:
    "chat", "workflow" or words of your own. `partial` tells that a part of the answer stands above.
    """
    zh = language_of(language) == "zh"
    spoken = advice_zh if zh else advice_en
    p = spoken.PHRASES
    base = addresses.clean_url(base_url)
    host = addresses.host_of(host) or addresses.clean_url(host) or addresses.host_of(base) or addresses.host_of(c.url)
    fields = _fields(c, p, host=host, model=model, base=base, where_set=where_set)
    words = _quotable(c.message)
    quoted = bool(words) and c.spoken and c.kind in _QUOTED
    fields["own_words"] = p["own_words"] if quoted else ""
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
    if attempts > 1:
        waiting = p["waiting"].format(seconds=_seconds(waited, p)) if waited >= 0.5 else ""
        parts.append(p["tried"].format(attempts=attempts, waiting=waiting))
    name = " ".join((model or "").split())[:100]
    if name and name not in "".join(parts):
        parts.append(p["asked"].format(name=name))
    parts.append(spaced(" ", _fill(do, fields)))
    text = " ".join(("" if zh else " ").join(part.strip() for part in parts if part.strip()).split())
    return redact(_SPACE_AT_WIDE.sub("", text) if zh else text)


def _fields(
    c: Classification, p: Mapping[str, str], *, host: str, model: str | None, base: str, where_set: str | None
) -> dict[str, str]:
    local = addresses.is_local(host)
    name = " ".join((model or "").split())[:100]
    server = host or p["server"]
    model_words = p["model_named"].format(name=name) if name else p["model"]
    called = addresses.clean_url(c.url) or (base.rstrip("/") + "/chat/completions" if base else server)
    example = addresses.example(host)
    if example.rstrip("/") == base.rstrip("/"):
        example = addresses.example(None)  # that very address answered with the page
    f = {
        "server": server,
        "Server": server if host else _capital(server),
        "model": model_words,
        "Model": model_words if name else _capital(model_words),
        "the_model": p["model_there"].format(name=name) if name else p["model_chosen"],
        "at": p["at"].format(host=host) if host else "",
        "hostname": addresses.host_name(host) or server,
        "address": host or server,
        "base": p["base"].format(base=base) if base else "",
        "status": p["status"].format(status=c.status) if c.status else "",
        "called": called,
        "try_url": addresses.with_version(base or c.url or (f"http://{host}" if host else None)),
        "example": example,
        "type": c.type.rpartition(".")[2],
        "seconds": _seconds(c.retry_after or 0.0, p, at_least=1.0),
        "picker": _picker(p, where_set),
        "where_model": _where_model(p, where_set),
        "local": p["local"] if local else "",
        "context": p["context_local"] if local else "",
        "serve": p["serve_vllm"] if local else "",
        "redirect": "",
        "pull": "",
        "target": addresses.host_of(c.redirected_to) or server,
        "try_target": addresses.with_version(c.redirected_to),
        **{key: p[key] if local else "" for key in ("loading", "crashed", "vision")},
        "parse": p["parse"],
    }
    f["wait"] = p["wait"].format(seconds=f["seconds"]) if c.retry_after else ""
    f["limit"] = p["limit"].format(seconds=f["seconds"]) if c.retry_after else p["limit_unknown"]
    f["slow"] = _fill(p["slow_local"] if local else p["slow"], f)
    f["refused"] = _fill(p["refused_local"] if local else p["refused"], f)
    f["scheme"] = _scheme(c, p, base)
    if c.redirected_to:
        f["redirect"] = p["redirect"].format(host=addresses.host_of(c.redirected_to) or server)
    if local and name:
        f["pull"] = p["pull"].format(name=name) if host.endswith(":11434") else ""
        f["pull"] = p["load"] if host.endswith(":1234") else f["pull"]
    return f


def _special(c: Classification, p: Mapping[str, str]) -> str:
    """Two sorts of a bad key never reach a server, which then cannot have refused it."""
    if c.kind != "auth" or c.status is not None:
        return ""
    if c.type == "openai.OpenAIError":
        return p["no_key"]
    return p["bad_key"] if "header value" in c.message or "codec can't encode" in c.message else ""


def _scheme(c: Classification, p: Mapping[str, str], base: str) -> str:
    url = base or addresses.base_of(c.url)
    plain = url.startswith("http://") or c.status is not None
    turned = url.replace("http://", "https://", 1) if plain else url.replace("https://", "http://", 1)
    suggest = p["suggest"].format(url=turned) if url else ""
    return p["scheme_http" if plain else "scheme_https"].format(suggest=suggest)


def _picker(p: Mapping[str, str], where_set: str | None) -> str:
    if where_set in (None, "", "chat"):
        return p["picker"]
    return p["picker_workflow"] if where_set == "workflow" else p["picker_other"].format(where=where_set)


def _where_model(p: Mapping[str, str], where_set: str | None) -> str:
    if not where_set:
        return p["where_model"]
    if where_set in ("chat", "workflow"):
        return p[f"where_model_{where_set}"]
    return p["where_model_other"].format(where=where_set)


def _seconds(seconds: float, p: Mapping[str, str], at_least: float = 0.0) -> str:
    seconds = max(seconds, at_least)
    if seconds < 120:
        return p["seconds"].format(n=max(1, round(seconds)))
    if seconds < 7_200:
        return p["minutes"].format(n=round(seconds / 60))
    if seconds < 2 * _DAY:
        return p["hours"].format(n=round(seconds / 3_600))
    return p["days"].format(n=round(seconds / _DAY)) if seconds <= _LONGEST * _DAY else p["long"]


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
