"""Typed, validated settings: the defaults below, then `COPILOT_PULSE_*` from the environment, then the panel.

A bad value never stops the plugin: it is reported as a `Problem` that names the variable, the value and
what is allowed, and the default stands. `LiveSettings` is the one object that the parts of a running plugin
share; they read `live.current.<name>` when they need a value, so that a change takes effect at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, NamedTuple

PREFIX: Final = "COPILOT_PULSE_"
_TRUE: Final = frozenset({"1", "true", "on", "yes"})
_FALSE: Final = frozenset({"0", "false", "off", "no"})


class Secret:
    """A text that shows itself to nobody but the one who calls `reveal()`: its str and repr are `…`."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; not for logs, files, routes or errors."""
        return self._text

    def __str__(self) -> str:
        return "…" if self._text else ""

    __repr__ = __str__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


_NOTHING: Final = Secret()


def _setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    low: float = 0,
    high: float = 0,
    panel: bool = True,
    form: str = "",
    lines: bool = False,
) -> Any:
    """`low` and `high` bound a number, or the length of a text; `form` is what a text has to look like; `lines`: it
    may have several."""
    shape: dict[str, Any] = {"doc": doc, "unit": unit, "low": low, "high": high, "panel": panel}
    shape |= {"form": form} if form else {}
    return field(default=default, metadata={**shape, "lines": True} if lines else shape)


@dataclass(frozen=True)
class Settings:
    """All settings of the plugin. Times are seconds. 0 switches a limit off where its text says so."""

    enabled: bool = _setting(True, "Off: nothing of Copilot is wrapped.")
    queue_size: int = _setting(1000, "Items that a queue or mailbox holds.", low=10, high=100_000)
    throttle: str = _setting(
        "observe",
        "What slows publishers down: fixed, zones of the fill; learned, a model that looks ahead; observe, the zones, "
        "while the model only reports.",
        high=16,
        panel=False,
        form="fixed|learned|observe",
    )
    put_timeout: float = _setting(5.0, "How long a full queue lets its producer wait.", unit="s", low=0, high=60)
    updates_per_second: float = _setting(30.0, "Updates that the sidebar gets at most.", unit="/s", low=1, high=60)
    update_bytes_per_second: int = _setting(
        64_000, "Bytes of cumulative text sent per second at most.", unit="B/s", low=4_000, high=10_000_000
    )
    first_token_timeout: float = _setting(
        300.0,
        "Silence allowed before the first token; grows with the prompt. 0: no limit.",
        unit="s",
        low=0,
        high=3600,
    )
    first_token_per_1000_chars: float = _setting(
        1.0,
        "Seconds added to the first-token limit for every 1,000 characters of prompt.",
        unit="s",
        low=0,
        high=60,
    )
    stall_timeout: float = _setting(
        180.0, "Silence allowed between two bytes of an answer. 0: no limit.", unit="s", low=0, high=3600
    )
    max_retries: int = _setting(3, "How often a broken model call is made again.", low=0, high=10)
    retry_base: float = _setting(0.5, "Upper bound of the first wait; doubles each time.", unit="s", low=0, high=30)
    retry_max: float = _setting(10.0, "Upper bound of one wait, Retry-After excepted.", unit="s", low=0, high=120)
    retry_budget: float = _setting(30.0, "All waits of one model call together.", unit="s", low=0, high=600)
    breaker_share: float = _setting(0.8, "Share of failed calls that opens a breaker.", low=0.05, high=1)
    breaker_min_calls: int = _setting(5, "Calls in the window before a breaker may open.", low=1, high=1000)
    breaker_window: float = _setting(60.0, "The window of a breaker.", unit="s", low=1, high=3600)
    breaker_open: float = _setting(
        20.0, "How long a breaker stays open before it probes.", unit="s", low=0.1, high=3600
    )
    breaker_probes: int = _setting(1, "Probes let through at once while half open.", low=1, high=10)
    mcp_timeout: float = _setting(5.0, "How long an MCP server may take to connect.", unit="s", low=0.1, high=300)
    mcp_retry: float = _setting(20.0, "How long a dead MCP server is left alone.", unit="s", low=0.1, high=3600)
    mcp_tool_timeout: float = _setting(
        120.0, "How long a tool of an MCP server may take. 0: as long as Copilot allows.", unit="s", low=0, high=3600
    )
    loop_stall: float = _setting(0.25, "A blocked event loop is reported after this.", unit="s", low=0.05, high=60)
    panel_refresh: float = _setting(1.0, "Seconds between two updates of the panel.", unit="s", low=0.2, high=60)
    resume_grace: float = _setting(
        30.0, "How long a chat lives on without a reader that can resume. 0: stop at once.", unit="s", low=0, high=600
    )
    stream_keep: float = _setting(600.0, "How long a finished answer stays readable.", unit="s", low=0, high=86_400)
    stream_keep_bytes: int = _setting(
        32_000_000, "Memory for finished answers, all told.", unit="B", low=100_000, high=1_000_000_000
    )
    prices: str = _setting(
        "",
        "What a million tokens cost, in / out (/ from the cache), by model: gpt-4.1* = $2.00 / $8.00; deepseek-* = "
        "0.27 / 1.10. A local server costs nothing.",
        high=10_000,
        lines=True,
    )
    http_client: str = _setting(
        "aiohttp",
        "What carries model calls: one client for all chats (aiohttp or httpx), or own, Copilot's: one for each.",
        high=10,
        panel=False,
        form=r"aiohttp|httpx|own",
    )
    expose_text: bool = _setting(False, "Let events with the text of chats leave the process.", panel=False)
    private: bool = _setting(
        False,
        "Figures only: no sessions, models, hosts or servers' words, no panel, and nobody can stop a chat.",
        panel=False,
    )
    webhook: Secret = _setting(  # noqa: RUF009
        _NOTHING,
        "URL that is told of changes of health and of chats given up, one message a minute at most: Slack, Discord, "
        "ntfy. Empty: off.",
        high=2_000,
        panel=False,
    )
    redis_url: Secret = _setting(  # noqa: RUF009
        _NOTHING,
        "Redis that several machines share, as redis://user:password@host:6379/0 or rediss://… for TLS. Empty: off.",
        high=2_000,
        panel=False,
    )
    redis_prefix: str = _setting(
        "copilot-pulse", "First part of all keys in Redis.", high=64, panel=False, form=r"[A-Za-z0-9_.:-]+"
    )
    instance: str = _setting("", "Name of this machine in the fleet. Empty: its host name.", high=64, panel=False)
    redis_events: str = _setting(
        "*,!chat.delta,!http.request",
        "Event types that the fleet gets; one with ! in front is left out.",
        high=1_000,
        panel=False,
        form=r"!?(\*|[\w.]+(\.\*)?)(\s*,\s*!?(\*|[\w.]+(\.\*)?))*",
    )
    redis_outbox: int = _setting(10_000, "Events kept while Redis is away.", low=100, high=1_000_000, panel=False)
    redis_pace: float = _setting(0.01, "Least time between two writes.", unit="s", low=0, high=1, panel=False)
    redis_read_pace: float = _setting(
        0.02, "Least time between two reads while events come from many.", unit="s", low=0, high=1, panel=False
    )
    redis_timeout: float = _setting(2.0, "How long Redis may take to answer.", unit="s", low=0.1, high=60, panel=False)
    redis_keep_bytes: int = _setting(
        4_000_000,
        "Newest events that Redis keeps of each machine.",
        unit="B",
        low=10_000,
        high=1_000_000_000,
        panel=False,
    )
    redis_tail_bytes: int = _setting(
        1_000_000, "Newest events kept here, to send again what Redis loses.", unit="B", low=0, high=100_000_000,
        panel=False,
    )  # fmt: skip
    redis_answers: bool = _setting(
        False, "Answers can be read on from every machine. The text of chats lies in Redis then.", panel=False
    )
    redis_claim_idle: float = _setting(
        60.0, "Shared work that nobody finishes goes to another machine after this.", unit="s", low=1, high=3600,
        panel=False,
    )  # fmt: skip
    store: bool = _setting(True, "Events are kept on disk, through restarts and crashes.", panel=False)
    store_dir: str = _setting(
        "", "Folder of the event store. Empty: in ComfyUI's user folder.", high=1_000, panel=False
    )
    store_days: float = _setting(7.0, "How many days of events are kept.", unit="d", low=1, high=365, panel=False)
    store_bytes: int = _setting(
        64_000_000, "What all files of events may take.", unit="B", low=1_000_000, high=10_000_000_000, panel=False
    )
    store_flush: float = _setting(
        0.25, "How much of the newest events a crash may cost.", unit="s", low=0.01, high=60, panel=False
    )
    store_sync: str = _setting(
        "normal", "`full`: every commit waits for the disk, for power cuts.", high=6, panel=False, form="normal|full"
    )
    store_text: bool = _setting(
        False,
        "The text of answers is stored, too, so that a page finds what there was of one after a crash. Keys are taken "
        "out all the same.",
        panel=False,
    )


class Problem(NamedTuple):
    """One rejected value, in words that a user can act on."""

    name: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.name}={self.value!r} is not usable: {self.allowed}; the setting keeps its value"


def describe() -> Iterator[dict[str, Any]]:
    """Every setting as plain data: name, type, default, unit, range, text, variable. Feeds docs and panel."""
    for spec in fields(Settings):
        yield {
            "name": spec.name,
            "type": _kind(spec.default),
            "default": spec.default,
            "env": env_name(spec.name),
            **spec.metadata,
        }


def is_secret(name: str) -> bool:
    """Whether the setting's value must be shown to nobody, a rejected one neither."""
    return any(spec.name == name and isinstance(spec.default, Secret) for spec in fields(Settings))


def env_name(name: str) -> str:
    """The environment variable of a setting; `enabled` is plain `COPILOT_PULSE`."""
    return "COPILOT_PULSE" if name == "enabled" else PREFIX + name.upper()


def _kind(default: Any) -> str:
    return {bool: "boolean", int: "integer", float: "number", str: "text", Secret: "secret"}[type(default)]


def _parse_text(raw: Any, limits: Mapping[str, Any]) -> str:
    text = raw.strip() if isinstance(raw, str) else None
    if text is not None and limits.get("lines"):
        text = "\n".join(line.strip() for line in text.splitlines())
    plain = text.replace("\n", " ") if text is not None and limits.get("lines") else text
    if text is None or plain is None or len(text) > limits["high"] or not plain.isprintable():
        raise ValueError(f"allowed is printable text of at most {limits['high']} characters")
    if limits.get("form") and not re.fullmatch(limits["form"], text):
        raise ValueError(f"allowed is text like {limits['form']}")
    return text


def parse(name: str, raw: Any) -> Any:
    """`raw` as the type of setting `name`.

    Raises KeyError for an unknown name and ValueError, whose text says what is allowed, for a bad value.
    """
    spec = next((f for f in fields(Settings) if f.name == name), None)
    if spec is None:
        raise KeyError(name)
    kind: type[Any] = type(spec.default)
    if kind is bool:
        if isinstance(raw, bool):
            return raw
        word = str(raw).strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise ValueError("allowed are on and off")
    if kind is str:
        return _parse_text(raw, spec.metadata)
    if kind is Secret:
        return raw if isinstance(raw, Secret) else Secret(_parse_text(raw, spec.metadata))
    low, high = spec.metadata["low"], spec.metadata["high"]
    noun = "a whole number" if kind is int else "a number"
    allowed = f"allowed is {noun} from {low:g} to {high:g}" + (
        f" ({spec.metadata['unit']})" if spec.metadata["unit"] else ""
    )
    if isinstance(raw, bool):
        raise ValueError(allowed)
    try:
        number = float(raw)
        if kind is int and number != int(number):
            raise ValueError(allowed)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(allowed) from None
    if not low <= number <= high:  # also refuses NaN
        raise ValueError(allowed)
    return kind(number)


def from_environment(environ: Mapping[str, str]) -> tuple[Settings, list[Problem]]:
    """The settings that an environment asks for, and what in it could not be used."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    known = {env_name(f.name): f.name for f in fields(Settings)}
    for variable, raw in environ.items():
        if variable in known and raw.strip():
            try:
                values[known[variable]] = parse(known[variable], raw)
            except ValueError as error:
                shown = "…" if is_secret(known[variable]) else raw
                problems.append(Problem(variable, shown, str(error)))
        elif variable.startswith(PREFIX) and variable not in known:
            problems.append(Problem(variable, "…", "no setting has this name"))
    return Settings(**values), problems


class LiveSettings:
    """The settings of a running plugin: read `current`, change with `update()`. For the loop's thread."""

    def __init__(self, settings: Settings | None = None, problems: list[Problem] | None = None) -> None:
        self.current = settings or Settings()
        self.problems: list[Problem] = list(problems or ())
        self._listeners: list[Callable[[list[str]], None]] = []

    def update(self, values: Mapping[str, Any]) -> list[Problem]:
        """Validate `values` and take over all of them, or none if one is bad. Returns what was bad.

        What guards the user (`panel=False`) is bad whatever its value: only the environment decides it.
        """
        parsed: dict[str, Any] = {}
        problems: list[Problem] = []
        locked = {spec.name for spec in fields(Settings) if not spec.metadata["panel"]}
        for name, raw in values.items():
            try:
                parsed[name] = parse(name, raw)
                if name in locked:
                    raise ValueError("it can only be set by its variable")
            except KeyError:
                problems.append(Problem(name, str(raw), "no setting has this name"))
            except ValueError as error:
                problems.append(Problem(name, "…" if is_secret(name) else str(raw), str(error)))
        if problems:
            return problems
        changed = [name for name, value in parsed.items() if getattr(self.current, name) != value]
        if changed:
            self.current = replace(self.current, **{name: parsed[name] for name in changed})
            for listener in list(self._listeners):
                listener(changed)
        return []

    def on_change(self, listener: Callable[[list[str]], None]) -> Callable[[], None]:
        """Call `listener(names)` after each change; the returned function takes it off again."""
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove
