"""Why an MCP server could not be reached, in words for the panel. No URL, no path, no key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ...error_handling import one_line

if TYPE_CHECKING:
    from ...error_handling import Classification, RecoveryManager

_AGENTS_NAME: Final = re.compile(r"'(?:sse: )?https?://[^']*'")
_URL: Final = re.compile(r"https?://\S+")
_STATUS: Final = re.compile(r"\bHTTP error (\d{3})\b")
_MAX_DEPTH: Final = 20


def reason(error: BaseException, host: str) -> str:
    """One short line about `error`, whose groups and causes are searched for what happened first."""
    leaf = _leaf(error)
    status = status_of(error)
    if status is not None:
        text = f"it answered with HTTP status {status}"
    elif _unsendable(error):
        text = "the key cannot be sent: no header can hold it"
    else:
        text = str(leaf).strip() or type(leaf).__name__
        if type(leaf).__name__ in ("ConnectError", "ConnectionRefusedError", "ConnectTimeout"):
            text = f"no connection to {host}"
        elif "text/html" in text:
            text = "it answered with a web page instead of an event stream"
    text = _AGENTS_NAME.sub(host, text)
    text = _URL.sub(host, text)
    return one_line(text)[:200]


def judged(recovery: RecoveryManager, error: BaseException, host: str) -> Classification:
    """What `error` is, for the record: with `reason()` for its message, as its own text holds the URL.

    That is cleaned as any error's text is: a tool's error may quote what it was asked, in the user's words.
    """
    cause = recovery.classify(error)
    message = recovery.classify(RuntimeError(reason(error, host))).message
    return cause._replace(message=message, url=None, spoken=False)


def refused_key(error: BaseException) -> bool:
    """Whether it is the fault of the credentials, and not of the service: refused, or such as cannot be sent."""
    return status_of(error) in (401, 403) or _unsendable(error)


def _unsendable(error: BaseException) -> bool:
    """Whether a header could not be written: all that is a user's own in them is the key."""
    return any(
        isinstance(part, UnicodeEncodeError)
        or (type(part).__name__ == "LocalProtocolError" and "header" in str(part).lower())
        for part in _parts(error)
    )


def status_of(error: BaseException) -> int | None:
    """The HTTP status that `error`, its groups or its causes tell of."""
    for part in _parts(error):
        status = getattr(getattr(part, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    for part in _parts(error):
        # openai-agents keeps the status in its text only, if the URL may hold a secret.
        found = _STATUS.search(str(part))
        if found is not None:
            return int(found[1])
    return None


def _leaf(error: BaseException) -> BaseException:
    """The innermost error: the first of each group, then its explicit cause."""
    for _ in range(_MAX_DEPTH):
        members = getattr(error, "exceptions", None)
        inner = members[0] if isinstance(members, tuple) and members else error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _parts(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    for _ in range(_MAX_DEPTH):
        if not waiting:
            return
        part = waiting.pop(0)
        yield part
        members = getattr(part, "exceptions", None)
        if isinstance(members, tuple):
            waiting.extend(m for m in members if isinstance(m, BaseException))
        if part.__cause__ is not None:
            waiting.append(part.__cause__)
