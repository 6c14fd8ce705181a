"""The kinds of failure: how grave each is, whether the model is asked again, whether its breaker counts it.

`KINDS` is read by the classifier and printed in docs/errors.md.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple


class Severity(enum.Enum):
    """What is done about an error. Ordered: `rank` grows with gravity."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for LOW to 3 for CRITICAL, to compare by."""
        return _RANKS[self]


_RANKS: Final = {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2, Severity.CRITICAL: 3}


class KindSpec(NamedTuple):
    """One row of the table of kinds. `upstream`: the failure counts against the server's circuit breaker.
    `patient`: it takes its time to heal, and waits are long."""

    severity: Severity
    retryable: bool
    upstream: bool
    doc: str
    patient: bool = False


def _low(doc: str) -> KindSpec:
    return KindSpec(Severity.LOW, retryable=False, upstream=False, doc=doc)


def _medium(doc: str, *, retryable: bool = True, upstream: bool = False, patient: bool = False) -> KindSpec:
    return KindSpec(Severity.MEDIUM, retryable=retryable, upstream=upstream, doc=doc, patient=patient)


def _high(doc: str) -> KindSpec:
    return KindSpec(Severity.HIGH, retryable=False, upstream=False, doc=doc)


def _critical(doc: str) -> KindSpec:
    return KindSpec(Severity.CRITICAL, retryable=False, upstream=False, doc=doc)


KINDS: Final[Mapping[str, KindSpec]] = {
    "cancelled": _low("The user stopped the chat or closed the page. Not an error."),
    "timeout": _medium("The server did not answer in time.", upstream=True),
    "stalled": _medium("A stream began, or its request was accepted, and then nothing came.", upstream=True),
    "truncated": _medium("The stream ended without a finish reason."),
    "empty_answer": _medium("The model finished without a word and without a tool call."),
    "reasoning_only": _medium("The model sent its reasoning and no answer."),
    "malformed": _medium("The stream held something that is no valid event."),
    "connection": _medium("The connection broke or could not be made.", upstream=True),
    "connection_refused": _medium("Nothing listens at the address.", upstream=True),
    "dns": _medium("The host's name was not found.", upstream=True),
    "server_error": _medium("The server failed (500 and its like).", upstream=True),
    "overloaded": _medium("The server is overloaded.", upstream=True),
    "loading": _medium("The server is still loading the model.", patient=True),
    "crashed": _medium("The model crashed in the server; asked again, it is loaded anew."),
    # A limit is one key's: to others the server answers, and Retry-After says how long to wait.
    "rate_limited": _medium("Too many requests or tokens in a short time.", patient=True),
    "circuit_open": _medium("The server failed so often that it is left alone for a while.", retryable=False),
    "mcp": _medium("An MCP server reported an error; its tools are missing, the chat goes on.", retryable=False),
    "tls": _high("No encrypted connection: a bad certificate, or a plain port."),
    "length_limit": _high("The model stopped at its limit of output tokens."),
    "quota": _high("The account's credit or quota is used up."),
    "auth": _high("The API key is missing, wrong or expired."),
    "forbidden": _high("The key is valid but may not do this."),
    "bad_http": _high("The server's answer breaks the rules of HTTP."),
    "model_not_found": _high("The server has no model of this name."),
    "not_activated": _high("The model is there, and the account has not activated it."),
    "no_provider": _high("The router has no provider for the model that fits the account's settings or the request."),
    "server_memory": _high("The server has too little memory for the model."),
    "region": _high("The provider does not serve this country or region."),
    "protected": _high("A protection page in front of the server answered, such as Cloudflare's."),
    "redirected": _high("The server led to another one, to which the key is not sent."),
    "network_login": _high("A proxy or the network in between wants a login before it lets requests through."),
    "not_found": _high("The server has nothing at this address."),
    "missing_v1": _high("The base URL lacks its `/v1`."),
    "html_body": _high("A web page came instead of the model's answer."),
    "bad_url": _high("The base URL is no usable address."),
    "context_too_long": _high("The conversation is longer than the model can read."),
    "bad_request": _high("The server refused the request."),
    "no_tools": _high("The model cannot call tools."),
    "no_images": _high("The model takes no images."),
    "unparsed_tools": _high("The server passes tool calls on as text."),
    "stopped_early": _high("The answer ended with a finish reason that is no usual end."),
    "content_filter": _high("The provider's filter refused the request or the answer."),
    "unknown_tool": _high("The model insists on a tool that does not exist."),
    "max_turns": _high("The agent used all its turns."),
    "model_behavior": _high("The model's answer makes no sense to the agent."),
    "bad_messages": _high("The agent cannot make a request of the chat's messages; no server was asked."),
    "user_error": _high("The agent or one of its tools is set up wrongly."),
    "fault": _high("Code of Copilot Pulse failed that should not."),
    "internal": _high("Code failed that should not (a KeyError, a ValueError...): Copilot's, or that of a library."),
    "unknown": _high("An error that no rule knows."),
    "memory": _critical("Out of memory."),
    "recursion": _high("Too deep a recursion: what somebody sent is nested without end."),
    "system": _critical("The interpreter or the system itself is in trouble."),
}
