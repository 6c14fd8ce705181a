"""What one exception tells, whichever library it came from, without importing that library.

Types are known by `package.Class` names along the MRO (`openai.APIConnectionError`), so two major versions
of a library look the same. Attributes are read with care: a foreign property may raise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from . import words as w
from .bodies import html_title, is_html
from .errors import PulseError

_MAX_TEXT: Final = 4_000
_REST: Final = 300
_PLAIN: Final = 80
_OURS: Final = PulseError.__module__
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
    body: bool = False
    """A body came with the error."""
    spoken: bool = False
    """The message is what the server itself said."""
    page: str = ""
    """The web page that came, in lower case; "" if none did."""

    @property
    def path(self) -> str:
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


def gather(error: BaseException) -> Facts:
    """The facts of one error. Never raises."""
    names = type_names(error)
    response = safe(error, "response")
    body = safe(error, "body")
    request = safe(error, "request") or safe(response, "request")
    headers = _headers(safe(response, "headers") or safe(error, "headers"))
    if body is None and response is not None:
        body = _response_text(response)
    raw = _text(error)
    said, code, kind = _body_facts(body)
    code = code or _word(safe(error, "code"))
    status = _status(error, response)
    if status is None and code is not None and code.isdigit() and 400 <= int(code) <= 599:
        status = int(code)  # an error object inside the stream that carries the status as its code
    html = isinstance(body, str) and is_html(body)
    url = _url(safe(error, "url")) or _url(safe(request, "url"))
    if isinstance(body, str) and html:
        title = html_title(body)
        message = said = f"web page: {title}" if title else "a web page"
    else:
        message = (_beginning(said) if _plain(error, response, body) else said) or _own_words(error, raw, body)
    # The raw text of an API error repeats its body, which may repeat the prompt: words in it prove nothing.
    rest = _limits(body) if said else raw[:_REST] if body else raw
    return Facts(
        error=error,
        name=_short(type(error)),
        names=names,
        message=message,
        text=" ".join(part for part in (said or message, code, kind, rest) if part)[:_MAX_TEXT].lower(),
        status=status,
        code=code or kind,
        html=html,
        page=str(body)[:_MAX_TEXT].lower() if html else "",
        url=_asked(response) or url,
        redirected_to=_url(safe(error, "redirected_to")) or _redirected(response, url),
        headers=headers,
        codes=frozenset(word.lower() for word in (code, kind) if word),
        body=bool(body),
        spoken=bool(said) and bool(message),
    )


def retry_after(facts: Facts, *, wall: Callable[[], float] = time.time) -> float | None:
    """Seconds that the server asks to wait: from its headers, else from its words. None: it did not say."""
    for header, scale in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = facts.headers.get(header, "").strip()
        if not value:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            if scale != 1.0:
                continue
            try:
                seconds = parsedate_to_datetime(value).timestamp() - wall()
            except (TypeError, ValueError, OverflowError):
                continue
        if seconds == seconds and abs(seconds) != float("inf"):
            return max(0.0, seconds)
    own = safe(facts.error, "retry_in")
    if isinstance(own, (int, float)) and not isinstance(own, bool):
        return max(0.0, float(own))
    return asked_wait(facts.text)


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


def _text(error: BaseException) -> str:
    try:
        return str(error)[: _MAX_TEXT * 2]
    except Exception:
        return ""


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


def _body_facts(body: Any) -> tuple[str, str | None, str | None]:
    """Message, code and type out of the error bodies of the providers: nested, flat, in a list, FastAPI's."""
    if isinstance(body, (list, tuple)) and body:
        body = body[0]
    if isinstance(body, str):
        return (body.strip()[:500], None, None) if len(body) <= _MAX_TEXT else (body[:500], None, None)
    if not isinstance(body, Mapping):
        return "", None, None
    inner = body.get("error")
    if isinstance(inner, Mapping):
        message, code, kind = _body_facts(inner)
        return message, code or _word(body.get("code")), kind
    said = inner if isinstance(inner, str) else None
    for key in ("message", "msg", "error_msg", "errorMessage", "detail", "error_description"):
        value = body.get(key)
        if isinstance(value, Mapping):
            message, code, kind = _body_facts(value)
            if message:
                return message, code, kind
        if isinstance(value, str) and value.strip():
            said = f"{value}" if said is None else f"{said}: {value}"
            break
        if isinstance(value, (list, tuple)):  # FastAPI's details repeat the input; its messages do not
            told = [str(d.get("msg")) for d in value if isinstance(d, Mapping) and d.get("msg")]
            if told:
                said = "; ".join(told[:5])
                break
    code = _word(body.get("code")) or _word(body.get("status")) or _word(body.get("error_code"))
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("raw"), str):  # a router quotes its provider
        said = f"{said or ''}: {metadata['raw'][:300]}"
    return (said or "").strip(), code, _word(body.get("type"))


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
    if type(error).__name__ == "ModelBehaviorError":
        return raw.partition(" when parsing")[0]  # what follows quotes the answer
    return raw


def asked_wait(text: str) -> float | None:
    """Seconds that a server's words (in lower case) ask to wait; None if they name no time."""
    found = w.WAIT.search(text)
    if found is None:
        return None
    units = {"h": 3600.0, "小": 3600.0, "m": 60.0, "分": 60.0, "s": 1.0, "秒": 1.0}
    total = 0.0
    for number, unit in w.WAIT_PART.compiled.findall(found[1] or found[2]):
        total += float(number) * (0.001 if unit in ("ms", "milli") else units[unit[0]])
    return total
