"""Every event type of Copilot Pulse and the keys of its data, in one place.

`EVENTS` is the table that the docs print and that tests compare with what is published. Times are
seconds, sizes are characters of text unless the key says bytes. A key that may be absent is marked
`NotRequired`. Text of a chat is in `chat.*` events only, under the keys of `TEXT_KEYS`, and
`without_text()` takes it out before an event leaves the process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypedDict, get_args, get_type_hints

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:  # aiohttp brings typing_extensions there
    from typing_extensions import NotRequired

Outcome = Literal["completed", "failed", "cancelled"]
ErrorOutcome = Literal["retrying", "recovered", "gave_up", "cancelled", "ignored"]


class ChatStarted(TypedDict):
    """A chat begins; `messages` is how many the page sent, the history among them."""

    chat_id: str
    kind: Literal["chat", "debug"]
    messages: int


class ChatModel(TypedDict):
    """The model call of a chat begins; `host` is the base URL's host and port."""

    chat_id: str
    model: str
    host: str
    attempt: int
    turn: int


class ChatModelEnded(TypedDict):
    """The model call that `chat.model` of this turn and attempt told of has ended. `first_token` is seconds after its
    beginning; `finish` is the provider's word for why it stopped, empty if it gave none. The counts of tokens are the
    provider's: what it does not say is absent. If it does not say what was written, `tokens_estimated` does, by the
    characters."""

    chat_id: str
    model: str
    host: str
    turn: int
    attempt: int
    outcome: Outcome
    seconds: float
    first_token: float | None
    finish: str
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]
    tokens_estimated: NotRequired[int]


class ChatDelta(TypedDict):
    """A piece of an answer as the model wrote it; with `reasoning`, of its thoughts. Only on the local bus."""

    chat_id: str
    text: str
    reasoning: NotRequired[bool]


class ChatFirstToken(TypedDict):
    """The first word of a chat, `seconds` after its beginning."""

    chat_id: str
    model: str
    host: str
    seconds: float


class ChatToolCalled(TypedDict):
    """The model calls a tool; `call_id` is the same in the `chat.tool_output` that follows."""

    chat_id: str
    tool: str
    call_id: str


class ChatToolOutput(TypedDict):
    """A tool returned after `seconds`; `length` is its output in characters."""

    chat_id: str
    tool: str
    call_id: str
    seconds: float
    length: int


class ChatAgentChanged(TypedDict):
    """Another agent took the chat over, by its name."""

    chat_id: str
    agent: str


class ChatSilent(TypedDict):
    """The model has sent nothing of an answer for `seconds`. In `left` seconds (absent: never) it is asked again, or
    given up, as `then` says. Told after 10 s, and again every 10 s."""

    chat_id: str
    model: str
    host: str
    seconds: float
    then: Literal["retry", "give_up"]
    left: NotRequired[float]


class ChatHeard(TypedDict):
    """A silence that was told of is over; it lasted `seconds`, and ended with a word or with the attempt."""

    chat_id: str
    model: str
    host: str
    seconds: float


class ChatRetrying(TypedDict):
    """The model call broke and will be made again after `wait` seconds; `cut` characters are taken back."""

    chat_id: str
    model: str
    host: str
    attempt: int
    of: int
    wait: float
    error: str
    cut: int


class ModelUsage(TypedDict):
    """What one model of one host has cost in a chat, in tokens: `input`, `output`, `cached` (a part of the input) and
    `reasoning` (a part of the output) as the server told them, `estimated` and `estimated_input` what it did not tell.
    What is unknown or nothing is absent."""

    model: str
    host: str
    calls: NotRequired[int]
    input: NotRequired[int]
    output: NotRequired[int]
    cached: NotRequired[int]
    reasoning: NotRequired[int]
    estimated: NotRequired[int]
    estimated_input: NotRequired[int]


class ChatFinished(TypedDict):
    """`tokens` is what models wrote: `output_tokens`, which servers told, and `tokens_estimated`, which they did not.
    The other counts are the servers' too, and absent where nobody told; `input_estimated` is then what was asked. If
    several models were asked, `by_model` has all of it apart (see `usage_of()`). `attempts` are the
    calls of models, `failed_attempts` those that broke; `saved`: completed although one broke. `error_kind` and
    `error_type` are of the last failure. `stream_tokens` came within
    `stream_seconds`, the time from each model call's first token to its last: their ratio is the model's speed.
    `bytes_saved` is against sending the cumulative text once per delta, as unpatched Copilot does."""

    chat_id: str
    kind: Literal["chat", "debug"]
    outcome: Outcome
    model: str
    host: str
    seconds: float
    first_token: float | None
    tokens: int
    tokens_estimated: int
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]
    input_estimated: int
    by_model: NotRequired[list[ModelUsage]]
    attempts: int
    failed_attempts: int
    saved: bool
    error_kind: NotRequired[str]
    error_type: NotRequired[str]
    stream_tokens: int
    stream_seconds: float
    length: int
    updates: int
    bytes_sent: int
    bytes_saved: int
    retries: int
    notice: NotRequired[str]


class ErrorEvent(TypedDict):
    """One error and what became of it. `error_id` ties the events of one failure together."""

    error_id: str
    severity: Literal["low", "medium", "high", "critical"]
    kind: str
    type: str
    where: str
    message: str
    outcome: ErrorOutcome
    attempt: int
    wait: NotRequired[float]
    status: NotRequired[int]
    chat_id: NotRequired[str]
    model: NotRequired[str]
    host: NotRequired[str]


class BreakerChanged(TypedDict):
    """A breaker went from `was` to `state`; `retry_in` is seconds until a call may be tried, 0 unless it is open.
    `failures` and `calls` are those of its window."""

    name: str
    state: Literal["closed", "open", "half_open"]
    was: Literal["closed", "open", "half_open"]
    retry_in: float
    failures: int
    calls: int


class McpChanged(TypedDict):
    """An MCP server was lost, with a `reason` in words and seconds until the next try, or came back with so many
    `tools`."""

    server: str
    host: str
    state: Literal["up", "down"]
    reason: str
    retry_in: float
    tools: int


class QueueZoneChanged(TypedDict):
    """A queue is in another zone; `fill` is the share of its capacity that is taken."""

    queue: str
    zone: str
    was: str
    fill: float


class QueueThrottleChanged(TypedDict):
    """What a throttle's model decides. `mode` is learned, or observe if it does not act; `state` and `was` are
    zones (it is not trusted), free or hold; `why` is one word; `threshold` is the level from which on it holds."""

    queue: str
    mode: str
    state: str
    was: str
    why: str
    level: int
    threshold: int | None


class LoopStalled(TypedDict):
    """The event loop did not turn for `seconds`; `frame` is the code that held it: file:line function.

    `cause` tells whether that is code on the loop, a thread that held Python's lock, or none: the whole process
    was paused, and `frame` says so.
    """

    seconds: float
    cause: Literal["code", "thread", "paused"]
    frame: str
    stack: list[str]


class HttpRequest(TypedDict):
    """A request to one of Copilot's routes was answered after `seconds`; `route` is its path, without a query."""

    method: str
    route: str
    status: int
    seconds: float


class HealthChanged(TypedDict):
    """`impact` is "none" if nobody need act, or needed to; see `Finding`."""

    check: str
    status: Literal["pass", "warn", "fail"]
    was: Literal["pass", "warn", "fail"]
    output: str
    impact: Literal["", "none"]


class SettingsChanged(TypedDict):
    """The settings of these names have other values now; the values themselves are not told."""

    names: list[str]


class MetricsMinute(TypedDict):
    """The figures of the charts, folded over a minute that ended at `end` (seconds since 1970)."""

    end: float
    values: dict[str, float | None]


class MetricsTotals(TypedDict):
    """What all runs since `since` did together up to `until` (seconds since 1970)."""

    since: float
    until: float
    chats: int
    saved: int
    by_model: list[ModelUsage]


class PulseStarted(TypedDict):
    """The plugin runs; the names of the seams that are attached, and of those that found no place in Copilot."""

    version: str
    attached: list[str]
    missing: list[str]


class StreamEvent(TypedDict):
    """A reader came to or left a chat's relay (`transport` is http or websocket)."""

    chat_id: str
    transport: str
    readers: int
    after: int


class FleetGap(TypedDict):
    """Events of an instance that no longer can be read. `reason`: unsent (it could not keep them while Redis was
    away), trimmed (Redis no longer had them), lost (Redis lost them), gone (it vanished with them), unreadable."""

    instance: str
    lost: int
    reason: Literal["unsent", "trimmed", "lost", "gone", "unreadable"]


class FleetInstance(TypedDict):
    """`gone`: it vanished without a word."""

    instance: str
    state: Literal["up", "gone", "left"]


class FleetDead(TypedDict):
    """`key` is that of the event that no handler of the group could take; it lies in the dead-letter stream."""

    group: str
    key: str
    type: str
    deliveries: int


class EventSpec(NamedTuple):
    """One row of the event table.

    `essential` events are never dropped to make room, up to twice the mailbox's capacity. `text` tells that the
    data holds a user's text.
    """

    data: type
    doc: str
    essential: bool = True
    text: bool = False


EVENTS: Final[Mapping[str, EventSpec]] = {
    "chat.started": EventSpec(ChatStarted, "A chat or a debug run began."),
    "chat.model": EventSpec(ChatModel, "The model is asked (once a turn, and again for each retry)."),
    "chat.model_ended": EventSpec(ChatModelEnded, "A model call ended, with its usage."),
    "chat.first_token": EventSpec(ChatFirstToken, "The first text or reasoning of a chat arrived."),
    "chat.delta": EventSpec(ChatDelta, "A piece of the answer arrived.", essential=False, text=True),
    "chat.tool_called": EventSpec(ChatToolCalled, "The model called a tool."),
    "chat.tool_output": EventSpec(ChatToolOutput, "A tool returned."),
    "chat.agent_changed": EventSpec(ChatAgentChanged, "Another agent took over (a hand-off)."),
    "chat.silent": EventSpec(ChatSilent, "The model is silent, and the chat says so."),
    "chat.heard": EventSpec(ChatHeard, "The model is heard again, or the attempt is over."),
    "chat.retrying": EventSpec(ChatRetrying, "A model call broke and is made again."),
    "chat.finished": EventSpec(ChatFinished, "A chat ended, with its figures.", text=True),
    "error": EventSpec(ErrorEvent, "An error, a retry, a recovery or a give-up."),
    "breaker.changed": EventSpec(BreakerChanged, "A circuit breaker changed its state."),
    "mcp.changed": EventSpec(McpChanged, "An MCP server was lost or came back."),
    "queue.zone": EventSpec(QueueZoneChanged, "A queue crossed 30, 70 or 90 % of its size."),
    "queue.throttle": EventSpec(
        QueueThrottleChanged,
        "A queue's throttle begins to hold publishers, or lets them go; at most once a second.",
        essential=False,
    ),
    "loop.stalled": EventSpec(LoopStalled, "Something blocked the event loop."),
    "http.request": EventSpec(HttpRequest, "One of Copilot's routes answered.", essential=False),
    "health.changed": EventSpec(HealthChanged, "A health check changed its status."),
    "metrics.minute": EventSpec(
        MetricsMinute, "The charts' figures of a minute, for the event store.", essential=False
    ),
    "metrics.totals": EventSpec(
        MetricsTotals,
        "What was done since the installation, for the event store; at each start and once a day.",
        essential=False,
    ),
    "settings.changed": EventSpec(SettingsChanged, "Settings were changed at run time."),
    "pulse.started": EventSpec(PulseStarted, "The plugin attached its seams."),
    "stream.opened": EventSpec(StreamEvent, "A reader opened a chat's stream."),
    "stream.closed": EventSpec(StreamEvent, "A reader left a chat's stream."),
    "fleet.instance": EventSpec(FleetInstance, "Another machine came, vanished or left (on the fleet's bus)."),
    "fleet.gap": EventSpec(FleetGap, "Events of another machine were lost (on the fleet's bus)."),
    "fleet.dead": EventSpec(FleetDead, "Shared work was given up (on the fleet's bus)."),
}


def own_words() -> Iterator[str]:
    """The names of the events, of what is in them, and the words that a value may be one of."""
    for type_, spec in EVENTS.items():
        yield type_
        for name, hint in get_type_hints(spec.data).items():
            yield name
            yield from _words_of(hint)


def _words_of(hint: Any) -> Iterator[str]:
    for part in get_args(hint):
        if isinstance(part, str):
            yield part
        else:
            yield from _words_of(part)


_COUNTS: Final = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cached_tokens",
    "reasoning": "reasoning_tokens",
    "estimated": "tokens_estimated",
    "estimated_input": "input_estimated",
    "calls": "attempts",
}


def usage_of(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `ModelUsage` of a chat's figures, such as the data of `chat.finished`: one for each model.

    Tokens of an older version, which told none apart, are an estimate.
    """
    rows = data.get("by_model")
    if isinstance(rows, list):
        return [row for row in rows if isinstance(row, dict)]
    known = {name: value for name, key in _COUNTS.items() if isinstance(value := data.get(key), int) and value}
    if "attempts" not in data and isinstance(data.get("tokens"), int):
        known["estimated"] = data["tokens"]
    if not known:
        return []
    return [{"model": str(data.get("model") or "unknown"), "host": str(data.get("host") or "unknown"), **known}]


TEXT_KEYS: Final = frozenset({"text", "notice"})


def without_text(type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an event's data that may leave the process: no text of the chat, only its length."""
    spec = EVENTS.get(type_)
    if spec is not None and not spec.text:
        return dict(data)
    clean: dict[str, Any] = {}
    for key, value in data.items():
        if key in TEXT_KEYS and isinstance(value, str):
            clean[f"{key}_length"] = len(value)
        else:
            clean[key] = value
    return clean


_OWN_TEXT: Final = frozenset({"check", "kind", "error_kind", "version"})
"""The keys whose text is the program's own, although it is not one of few words."""


def figures_only(type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an event's data that names nobody: its numbers, and the words that are the program's own.

    Other text is "". What is neither number nor text is left out, and so is all that another plugin has made up.
    """
    clean: dict[str, Any] = {}
    for name, words in _words_by_key(type_).items():
        value = data.get(name)
        if isinstance(value, (bool, int, float)):
            clean[name] = value
        elif isinstance(value, str):
            clean[name] = value if value in words or name in _OWN_TEXT else ""
    return clean


@lru_cache(maxsize=len(EVENTS))
def _words_by_key(type_: str) -> dict[str, frozenset[str]]:
    spec = EVENTS.get(type_)
    hints = get_type_hints(spec.data) if spec is not None else {}
    return {name: frozenset(_words_of(hint)) for name, hint in hints.items()}
