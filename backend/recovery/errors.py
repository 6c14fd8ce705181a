"""The errors that Pulse itself raises about a model call. Imports nothing of the package, so all may import
it.

Each message is built here from facts that are safe to show: names, hosts, seconds, never a key or a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PulseError(Exception):
    """Base of all errors below; never raised itself."""


class StreamStalled(PulseError):
    """Raised when the model sent nothing for `seconds`; `first` tells that not even a first byte came."""

    def __init__(self, seconds: float = 0.0, *, first: bool = False) -> None:
        self.seconds = seconds
        self.first = first
        super().__init__(f"no data for {seconds:g} s" + (" before the first token" if first else ""))


class StreamTruncated(PulseError):
    """Raised when a stream ended without a finish reason, after `length` characters of text."""

    def __init__(self, length: int = 0) -> None:
        self.length = length
        super().__init__(f"the stream ended without a finish reason after {length} characters")


class LengthLimit(PulseError):
    """Raised, or only classified, when the model stopped at its length limit after `length` characters."""

    def __init__(self, length: int = 0) -> None:
        self.length = length
        super().__init__(f"the model reached its length limit after {length} characters")


class ContentFiltered(PulseError):
    """Raised, or only classified, when the provider's filter, or the model's own, cut an answer off.

    `reason` is the finish reason that says so, such as `RECITATION`.
    """

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        named = f" (finish reason {self.reason})" if self.reason else ""
        super().__init__(f"the provider's content filter stopped the answer{named}")


class StoppedEarly(PulseError):
    """Raised, or only classified, when an answer ended after `length` characters with a finish reason that is no
    known good end, nor a known failure."""

    def __init__(self, reason: str, length: int = 0) -> None:
        self.reason = reason
        self.length = length
        super().__init__(f"the answer ended with the finish reason {self.reason} after {length} characters")


class UnparsedToolCall(PulseError):
    """Raised, or only classified, when the markup of a tool call stands in the answer's text: the server does not
    parse what the model writes."""

    def __init__(self) -> None:
        super().__init__("the server passed a tool call on as text")


class EmptyAnswer(PulseError):
    """Raised when a model call ended normally and held neither text nor a tool call."""

    def __init__(self) -> None:
        super().__init__("the model's answer was empty")


class ReasoningOnly(PulseError):
    """Raised when a model call ended with `length` characters of reasoning and no answer."""

    def __init__(self, length: int = 0) -> None:
        self.length = length
        super().__init__(f"the model sent {length} characters of reasoning and no answer")


class UnknownTool(PulseError):
    """Raised when the model insists on tools that do not exist."""

    def __init__(self, *names: str) -> None:
        self.names = names
        super().__init__("the model called tools that do not exist: " + ", ".join(n[:60] for n in names))


class HtmlBody(PulseError):
    """Raised when a web page came where the model's stream was due.

    `redirected_to` is the address that it came from, if that is not the one that was asked.
    """

    def __init__(
        self,
        host: str,
        url: str,
        redirected_to: str | None = None,
        *,
        status: int | None = None,
        title: str = "",
    ) -> None:
        self.host = host
        self.url = url
        self.redirected_to = redirected_to
        self.status_code = status
        self.title = title
        super().__init__(f"{host} answered with a web page" + (f' titled "{title}"' if title else ""))


class UnexpectedBody(PulseError):
    """Raised when something other than an event stream came with a good status, such as an error object in
    JSON.

    `body` is the parsed JSON or the first characters of the text; it is judged like the body of an error
    status.
    """

    def __init__(
        self, host: str, url: str, body: Any = None, *, status: int | None = None, content_type: str = ""
    ) -> None:
        self.host = host
        self.url = url
        self.body = body
        self.status_code = status
        self.content_type = content_type
        super().__init__(f"{host} answered with {content_type or 'an unknown type'} instead of an event stream")


class StreamError(PulseError):
    """Raised when the server tells of a failure inside a stream whose status was good.

    `body` is what it said: the parsed object (the whole event, an error object or a choice's), or its text. It is
    judged like the body of an error status; with words and numbers that nobody knows it is the server's own
    failure, and the model is asked again. `headers` are the response's, which may tell when to come back.
    """

    def __init__(self, host: str, url: str = "", body: Any = None, *, headers: Mapping[str, str] | None = None) -> None:
        self.host = host
        self.url = url
        self.body = body
        self.headers = headers or {}
        super().__init__(f"{host} told of a failure inside its answer")


class CircuitOpen(PulseError):
    """Raised instead of a call to an upstream that keeps failing; it is tried again in `retry_in` seconds."""

    def __init__(self, name: str, retry_in: float = 0.0) -> None:
        self.name = name
        self.retry_in = retry_in
        super().__init__(f"{name} keeps failing; next try in {retry_in:.0f} s")
