"""What one exception tells, whichever library it came from, without importing that library.

Types are known by `package.Class` names along the MRO (`openai.APIConnectionError`), so two major versions
of a library look the same. Attributes are read with care: a foreign property may raise.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from . import times
from .addresses import host_of, provider_of
from .bodies import html_title, is_html
from .errors import PulseError
from .lazy import LazyPattern

_MAX_TEXT: Final = 4_000
_REST: Final = 300
_PLAIN: Final = 80
_OURS: Final = PulseError.__module__
_PARSER: Final = "aiohttp.HttpProcessingError"
_MAX_DEPTH: Final = 4
_MAX_JSON: Final = 262_144
_CHINA: Final = 8.0
"""Hours ahead of UTC of the dates of Chinese providers, which name no zone."""
_CHINESE: Final = frozenset(("zhipu", "minimax", "dashscope", "siliconflow", "moonshot", "volcengine", "qianfan"))
# Where an object keeps the one that tells of the error, its code, its type and its words; the first found counts.
_INSIDE: Final = (
    "error",
    "errors",
    "Error",
    "base_resp",
    "baseResp",
    "ResponseMetadata",
    "Response",
    "header",
    "choices",
) + ("detail", "message", "data", "body", "response")
_CODES: Final = ("code", "Code", "error_code", "errorCode", "status", "status_code", "statusCode", "errcode")
_TYPES: Final = ("type", "error_type", "errorType", "__type", "object_type")
_MESSAGES: Final = (
    "message",
    "msg",
    "Message",
    "error_msg",
    "errorMessage",
    "error_message",
    "status_msg",
    "detail",
    "details",
) + ("error_description", "errmsg", "description", "reason", "title")
# Where a list of what is wrong names the field, and what it says of it.
_FIELDS: Final = ("field", "param", "parameter", "path", "property")
_ISSUES: Final = ("issue", "message", "msg", "description", "reason", "error")
_STATUS: Final = re.compile("[45][0-9]{2}")
_IDENTIFIER: Final = LazyPattern(r"\b[a-z]{2,20}(?:_[a-z]{2,20}){1,6}\b")
_PACKAGES: Final = {"httpx2": "httpx", "httpcore2": "httpcore", "builtins": "", "exceptiongroup": ""}


class Facts(NamedTuple):
    """One link of an exception chain, as the rules see it. `text` is lower case, for matching only."""

    error: BaseException
    name: str
    names: frozenset[str]
    message: str
    text: str
    status: int | None = None
    code: str | None = None
    html: bool = False
    url: str | None = None
    redirected_to: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    codes: frozenset[str] = frozenset()
    """The provider's code and type, in lower case."""
    named: frozenset[str] = frozenset()
    """Words of the message that look like codes: `insufficient_quota`."""
    body: bool = False
    """A body came with the error."""
    spoken: bool = False
    """The message is what the server itself said."""
    page: str = ""
    """The web page that came, in lower case; "" if none did."""
    provider: str = ""
    """Whose numbers the codes are; "" if nobody knows."""
    param: str = ""
    """The field of the request that the server refuses, in lower case."""
    of_messages: bool = False
    """It was raised where the agent library makes a request of the chat's messages."""
    told: times.Told = times.NOTHING
    """When to come back, by the words and the body; the headers are read by `retry_after()`."""

    @property
    def path(self) -> str:
        """The path of the called address; "" if there is none."""
        return urlsplit(self.url).path if self.url else ""


def type_names(error: BaseException) -> frozenset[str]:
    """`package.Class` of the error's type and its bases; builtins without a package."""
    names = set()
    for cls in type(error).__mro__[:-1]:
        names.add(_short(cls))
    return frozenset(names)


def children(error: BaseException) -> tuple[BaseException, ...]:
    """The errors of an exception group (also of a back-port's); empty for any other error."""
    if not any(cls.__name__ in ("BaseExceptionGroup", "ExceptionGroup") for cls in type(error).__mro__):
        return ()
    inner = safe(error, "exceptions")
    return tuple(e for e in inner if isinstance(e, BaseException)) if isinstance(inner, (tuple, list)) else ()


def beneath(error: BaseException, *, carrier: bool, known: bool) -> BaseException | None:
    """The error that this one came from.

    A carrier hides its cause at times ("raise ... from None" in connection pools), so its context counts
    even if suppressed; that of a type nobody knows counts unless suppressed; that of any other counts not
    at all, as it may be an accident in an except clause.
    """
    if error.__cause__ is not None:
        return error.__cause__
    if carrier or not (known or error.__suppress_context__):
        return error.__context__
    return None


def gather(error: BaseException, wall: Callable[[], float] = time.time) -> Facts:
    """The facts of one error; `wall` is the clock that dates are held against where the server sends no date of its
    own. Never raises."""
    names = type_names(error)
    response = safe(error, "response")
    body = safe(error, "body")
    request = safe(error, "request") or safe(response, "request")
    headers = _headers(safe(response, "headers") or safe(error, "headers"))
    clock = times.server_clock(headers, wall)
    if body is None and response is not None:
        body = _response_text(response)
    body = _whole(response) or _parsed(body)
    raw = _text(error)
    told_of = _body_facts(body)
    said, code, kind = told_of.words, told_of.code, told_of.kind
    code = code or _word(safe(error, "code"))
    status = _status(error, response)
    if _PARSER in names or _PARSER in type_names(error.__cause__ or error):
        status = code = None  # what a client's own parser thinks of an answer that it cannot read
    if (status is None or status < 400) and code is not None and _STATUS.fullmatch(code):
        status = int(code)  # an error object inside the stream that carries the status as its code
    html = isinstance(body, str) and is_html(body)
    url = _url(safe(error, "url")) or _url(safe(request, "url"))
    if isinstance(body, str) and html:
        title = html_title(body)
        message = said = f"web page: {title}" if title else "a web page"
    else:
        message = (_beginning(said) if _plain(error, response, body) else said) or _own_words(error, raw, body)
    url = _asked(response) or url
    minimax = isinstance(body, Mapping) and ("base_resp" in body or {"status_code", "status_msg"} <= body.keys())
    provider = "minimax" if minimax else provider_of(host_of(url))
    # The raw text of an API error repeats its body, which may repeat the prompt: words in it prove nothing.
    rest = _limits(body) if said else raw[:_REST] if body else raw
    text = " ".join(part for part in (said or message, code, kind, rest) if part)[:_MAX_TEXT].lower()
    zone = _CHINA if provider in _CHINESE else 0.0
    told = times.in_body(body, clock, zone) if not isinstance(body, str) else times.NOTHING
    return Facts(
        error=error,
        name=_short(type(error)),
        names=names,
        message=message,
        text=text,
        status=status,
        code=code or kind,
        html=html,
        page=str(body)[:_MAX_TEXT].lower() if html else "",
        url=url,
        redirected_to=_url(safe(error, "redirected_to")) or _redirected(response, url),
        headers=headers,
        codes=_with_families(told_of.codes | ({code.lower()} if code else set())),
        named=frozenset(_IDENTIFIER.compiled.findall((said or "")[:600].lower())),
        body=bool(body),
        spoken=bool(said) and bool(message),
        provider=provider,
        of_messages=_of_messages(error),
        param=told_of.param.lower(),
        told=told if told.any else times.in_words(text, clock, zone),
    )


def retry_after(facts: Facts, *, limited: bool, wall: Callable[[], float] = time.time) -> times.Told:
    """When the server asks to come back: by its headers, else by its body, else by its words.

    `limited` tells that a rate limit was hit: then the headers of the limits themselves count too. In any other
    answer they tell of limits that are not used up.
    """
    zone = _CHINA if facts.provider in _CHINESE else 0.0
    own = safe(facts.error, "retry_in")
    if isinstance(own, (int, float)) and not isinstance(own, bool):
        return times.Told(max(0.0, float(own)))
    wall = times.server_clock(facts.headers, wall)
    told = times.in_headers(facts.headers, wall, zone)
    if not told.any:
        told = facts.told
    if not told.any and limited:
        told = times.of_rate_limits(facts.headers, wall, zone)
    return told


def safe(thing: Any, name: str) -> Any:
    """The attribute, or None if it is absent or its property raises."""
    if thing is None:
        return None
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def _short(cls: type) -> str:
    if cls.__module__ == _OURS:  # where a host has put our package says nothing
        return cls.__name__
    package = cls.__module__.partition(".")[0]
    package = _PACKAGES.get(package, package)
    return f"{package}.{cls.__name__}" if package else cls.__name__


def _of_messages(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "items_to_messages":
            return True
        trace = trace.tb_next
    return False


def _text(error: BaseException) -> str:
    try:
        return str(error)[: _MAX_TEXT * 2]
    except Exception:
        return ""


def _with_families(codes: frozenset[str] | set[str]) -> frozenset[str]:
    """The codes, and what stands before the point of each that has one: `RateLimitExceeded.EndpointTPMExceeded`."""
    return frozenset(codes) | {code.partition(".")[0] for code in codes if "." in code and not code[0].isdigit()}


def _word(value: Any) -> str | None:
    if isinstance(value, bool) or value is None:
        return None
    return str(value)[:100] if isinstance(value, (str, int)) and str(value) else None


def _status(error: BaseException, response: Any) -> int | None:
    for value in (safe(error, "status_code"), safe(error, "status"), safe(response, "status_code")):
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
            return int(value)
    return None


def _headers(headers: Any) -> dict[str, str]:
    try:
        return {str(k).lower(): str(v) for k, v in headers.items()} if headers is not None else {}
    except Exception:
        return {}


def _response_text(response: Any) -> str | None:
    """The body of a response that was already read; an unread one raises and stays unread."""
    text = safe(response, "text")
    return text[:_MAX_TEXT] if isinstance(text, str) and text else None


def _url(value: Any) -> str | None:
    """Without credentials, query and fragment: these may hold keys."""
    if value is None or callable(value):
        return None
    try:
        parts = urlsplit(str(value))
        if not parts.netloc:
            return None
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]
    except (TypeError, ValueError):
        return None


def _asked(response: Any) -> str | None:
    """The address that was asked before any redirect; None if there was none."""
    history = safe(response, "history")
    return _url(safe(history[0], "url")) if isinstance(history, (list, tuple)) and history else None


def _redirected(response: Any, url: str | None) -> str | None:
    history = safe(response, "history")
    if not isinstance(history, (list, tuple)) or not history or url is None:
        return None
    return _url(safe(response, "url")) or url


def _whole(response: Any) -> Any:
    """The object of JSON that was sent; a client keeps only what stands under its "error". None if there is none."""
    text = safe(response, "text")
    parsed = _parsed(text) if isinstance(text, str) and len(text) <= _MAX_JSON else None
    return None if isinstance(parsed, str) else parsed


def _parsed(body: Any) -> Any:
    """A text that holds an object of JSON, as the object."""
    if isinstance(body, str) and body.lstrip()[:1] in ("{", "["):
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            return body
        return parsed if isinstance(parsed, (dict, list)) and parsed else body
    return body


class _Said(NamedTuple):
    """What a body says: its words, its code and type, and all codes and types on the way to them."""

    words: str = ""
    code: str | None = None
    kind: str | None = None
    codes: frozenset[str] = frozenset()
    param: str = ""


def _body_facts(body: Any, depth: int = 0) -> _Said:
    """What the error bodies of the providers say: nested, flat, in a list, FastAPI's, a choice's."""
    if isinstance(body, (list, tuple)) and body:
        body = body[0]
    if isinstance(body, str):
        return _Said(body.strip()[:500])
    if not isinstance(body, Mapping) or depth > _MAX_DEPTH:
        return _Said()
    code = _first(body, _CODES)
    kind = _first(body, _TYPES)
    here = frozenset(word.lower() for name in (*_CODES, *_TYPES) if (word := _word(body.get(name))) is not None)
    for key in _INSIDE:
        inner = body.get(key)
        if isinstance(inner, (list, tuple)) and key not in ("detail", "details"):
            inner = inner[0] if inner else None
        if isinstance(inner, Mapping):
            found = _body_facts(inner, depth + 1)
            if found.words or found.code:
                words = found.words or _words_of(body)
                return _Said(words, found.code or code, found.kind or kind, found.codes | here, found.param)
    said = _words_of(body)
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("raw"), str):  # a router quotes its provider
        raw = _body_facts(_parsed(metadata["raw"]), depth + 1)
        said = f"{said}: {(raw.words or metadata['raw'])[:300]}"
        here |= raw.codes
    return _Said(said.strip(": "), code, kind, here, _word(body.get("param")) or "")


def _words_of(body: Mapping[Any, Any]) -> str:
    """What an object says: its "error", if that is a text, and its message."""
    inner = body.get("error")
    said = [inner] if isinstance(inner, str) and inner.strip() else []
    for key in _MESSAGES:
        value = body.get(key)
        if isinstance(value, str) and value.strip():
            if key == "message" and value.lstrip()[:1] == "{":  # a relay that quotes an object
                value = _body_facts(_parsed(value), 1).words or value
            said.append(value)
            break
        if isinstance(value, (list, tuple)):  # FastAPI's details repeat the input; its messages do not
            told = [_detail(one) for one in value if isinstance(one, Mapping) and one.get("msg")]
            if told:
                said.append("; ".join(told[:5]))
                break
    return ": ".join(dict.fromkeys((*said, *_fields_at_fault(body))))


def _fields_at_fault(body: Mapping[Any, Any]) -> list[str]:
    """What is said of single fields of the request: by their names, or in a list of such."""
    errors, details = body.get("errors"), body.get("details")
    found: list[str] = []
    if isinstance(errors, Mapping):
        found += [f"{name}: {_text_of(said)}" for name, said in errors.items() if _text_of(said)]
    for one in details if isinstance(details, list) else ():
        more = one.get("fieldViolations") if isinstance(one, Mapping) else None
        for detail in more if isinstance(more, list) else (one,):
            name = _first(detail, _FIELDS) if isinstance(detail, Mapping) else None
            said = _text_of(next((detail[key] for key in _ISSUES if detail.get(key)), "")) if name else ""
            if said:
                found.append(f"{name}: {said}")
    return [one[:200] for one in found[:5]]


def _text_of(said: Any) -> str:
    said = said[0] if isinstance(said, (list, tuple)) and said else said
    return said if isinstance(said, str) else ""


def _detail(detail: Mapping[Any, Any]) -> str:
    """What one of FastAPI's details says, and of which field: a name of the interface, and no part of the input."""
    place = detail.get("loc")
    names = [one for one in place if isinstance(one, str) and one != "body"] if isinstance(place, (list, tuple)) else []
    said = str(detail["msg"])
    return f"{names[-1][:60]}: {said}" if names and names[-1] not in said else said


def _first(body: Mapping[Any, Any], names: tuple[str, ...]) -> str | None:
    return next((word for name in names if (word := _word(body.get(name))) is not None), None)


def _limits(body: Any) -> str:
    """Which limits were hit, and for how long, by the details of Google's errors: words for the rules."""
    if isinstance(body, (list, tuple)) and body:
        body = body[0]
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    details = inner.get("details") if isinstance(inner, Mapping) else None
    words: list[str] = []
    for detail in details[:20] if isinstance(details, list) else ():
        if not isinstance(detail, Mapping):
            continue
        violations = detail.get("violations")
        for hit in violations[:20] if isinstance(violations, list) else ():
            if isinstance(hit, Mapping):
                words.append(str(hit.get("quotaId", ""))[:200])
        if isinstance(detail.get("retryDelay"), str):
            words.append(f"retry in {detail['retryDelay'][:20]}")
    return " ".join(words)


def _plain(error: BaseException, response: Any, body: Any) -> bool:
    """Whether the body is a text, and not the string that some servers put under "error" in JSON."""
    if not isinstance(body, str):
        return False
    sent = _response_text(response)
    return isinstance(error, PulseError) if sent is None else not sent.lstrip().startswith(("{", "["))


def _beginning(body: str) -> str:
    """What a body that is no JSON says first. Servers that are no model's echo the request behind it."""
    text = body.partition("{")[0].replace("\ufffd", " ")
    return " ".join(text.split())[:_PLAIN].rstrip(" :[(\"'")


def _own_words(error: BaseException, raw: str, body: Any) -> str:
    """The error's text, unless it may quote the prompt or the answer."""
    if body and not isinstance(error, PulseError):  # a client library's text repeats the body
        return ""
    if type(error).__name__ == "ValidationError":  # quotes its input
        return "data of an unexpected shape"
    if _of_messages(error):  # what follows quotes a message
        return re.split("[:{]", raw)[0].strip() if "agents.UserError" in type_names(error) else ""
    if type(error).__name__ == "ModelBehaviorError":
        return raw.partition(" when parsing")[0]  # what follows quotes the answer
    return raw
