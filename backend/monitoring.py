"""The monitor: told what happens, it knows how Copilot is.

It stands alone: events come in through `on_event()`, levels are pulled from named sources once a second,
and everything that goes out is plain data. Nothing is measured by wrapping somebody else's code.

    monitor = Monitor(publish=lambda type_, data: bus.publish_nowait(Event(type=type_, data=data, ...)))
    monitor.add_source("chats", chats.snapshot)
    monitor.start()                       # on the loop: the loop's watch, and a tick a second
    ...
    await monitor.aclose()

All of it belongs to the event loop's thread, except the loop's watch, whose thread touches nothing else.
Memory is fixed: rings, bounded histograms and bounded label sets. Quantiles are off by at most 2.5 %.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol

from .events import without_text
from .metrics.checks.builtin import builtin
from .metrics.health import WELL, Check, Finding, HealthBoard
from .metrics.histogram import RELATIVE_ERROR
from .metrics.history import History
from .metrics.layers.chat import ChatLayer, known_cost, tokens_of, with_cost
from .metrics.layers.error import ErrorLayer
from .metrics.layers.event import EventLayer
from .metrics.layers.http import HttpLayer
from .metrics.layers.system import Sampler, SystemLayer
from .metrics.loop_watch import LoopWatch
from .metrics.prices import Prices, estimated, parse_prices, rounded
from .metrics.webhook import Webhook, WebhookSettings

__all__ = [
    "RELATIVE_ERROR",
    "WELL",
    "EventLike",
    "Finding",
    "Monitor",
    "Past",
    "PastEvent",
    "SourceNames",
    "Webhook",
    "WebhookSettings",
]

log = logging.getLogger("copilot_pulse.monitoring")

TICK: Final = 1.0
KEPT_EVENTS: Final = 200
ENDED_STATES: Final = frozenset({"done", "failed", "cancelled"})


class SourceNames:
    """The sources that the monitor knows what to do with; any other name appears under `extra`."""

    BUS: Final = "bus"  # what `EventBus.statistics()` says
    LATENCY: Final = "latency"  # drains samples of publish-to-delivery, seconds
    CHATS: Final = "chats"  # rows of the chat registry
    BREAKERS: Final = "breakers"  # rows {name, state, failures, calls, retry_in}
    MCP: Final = "mcp"  # rows {server, host, state, tools, retry_in, reason, probing}
    SEAMS: Final = "seams"  # rows {name, attached, detail}
    CONNECTIONS: Final = "connections"  # {kind: number}
    STORE: Final = "store"  # figures of the event store, or None where there is none; for health and Prometheus
    FAULTS: Final = "faults"  # rows {type, place, missing, count, ago}: what of ours broke, and was gone without
    FLEET: Final = "fleet"  # figures of the fleet, or None where there is none; for health and Prometheus


_ROWS: Final = (SourceNames.CHATS, SourceNames.BREAKERS, SourceNames.MCP, SourceNames.SEAMS, SourceNames.FAULTS)
_KNOWN: Final = frozenset(
    {*_ROWS, SourceNames.BUS, SourceNames.LATENCY, SourceNames.CONNECTIONS, SourceNames.FLEET, SourceNames.STORE}
)


class EventLike(Protocol):
    """What the monitor reads of an event; `backend.event_bus.Event` has it."""

    @property
    def type(self) -> str: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without infinities and NaN: JSON has no word for them, and browsers refuse Python's."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


class PastEvent(NamedTuple):
    """An event from before the start, as a store kept it; `time` is seconds since 1970."""

    id: str
    type: str
    time: float
    source: str
    session: str | None
    data: Mapping[str, Any]


class Past(NamedTuple):
    """What is known from before the start, the oldest first; see `Monitor.restore()`.

    `minutes` are `(end, values)` of `metrics.minute`, `end` in seconds since 1970; `errors` rows with their `time`,
    `told` plain data that goes out as the snapshot's `past` as it is. `install` is what all runs before this one did
    together: the data of `metrics.totals`; `untold` are minutes of which no row tells, because the program had ended
    by then.
    """

    events: Sequence[PastEvent] = ()
    errors: Sequence[Mapping[str, Any]] = ()
    minutes: Sequence[tuple[float, Mapping[str, float | None]]] = ()
    told: Mapping[str, Any] | None = None
    install: Mapping[str, Any] | None = None
    untold: Sequence[tuple[float, Mapping[str, float | None]]] = ()


class Monitor:
    """Counts, measures, keeps history and judges. For the event loop's thread.

    `clock` is monotonic seconds, `wall` seconds since 1970, `publish(type, data)` takes the events that
    the monitor itself has to tell (`health.changed`, `loop.stalled`); `sampler` reads the process.
    `stall_limit()` is asked each time for how long the loop may stand still before it is reported, and
    `expose_text()` whether the events that go out keep the text of chats; `prices()` is the user's list of prices.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        publish: Callable[[str, dict[str, Any]], None] | None = None,
        sampler: Sampler | None = None,
        stall_limit: Callable[[], float] = lambda: 0.25,
        expose_text: Callable[[], bool] = lambda: False,
        prices: Callable[[], str] = lambda: "",
        version: str = "",
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.publish = publish
        self.version = version
        self._expose_text = expose_text
        self._prices = prices
        # Event ids and totals begin anew with each process: a reader that remembers them compares this id first.
        self.boot = os.urandom(8).hex()
        self.started = clock()
        self.started_wall = wall()
        self.events = EventLayer()
        self.errors = ErrorLayer()
        self.chat = ChatLayer()
        self.http = HttpLayer()
        self.system = SystemLayer(sampler)
        self.history = History()
        self.board = HealthBoard(self._tell)
        for name, (check, component) in builtin(self).items():
            self.board.add(name, check, component)
        self.watch = LoopWatch(on_lag=self._on_lag, on_stall=self._on_stall, limit=stall_limit)
        self.ticks = 0
        self._sources: dict[str, Callable[[], Any]] = {}
        self._values: dict[str, Any] = {}
        self._broken: set[str] = set()
        self._log: deque[tuple[int, Any, float]] = deque(maxlen=KEPT_EVENTS)
        # Numbers below are left to the events of before the start, which may become known later.
        self._seq = KEPT_EVENTS
        self.past: Mapping[str, Any] | None = None
        self._install: Mapping[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._on: dict[str, Callable[[Any], None]] = {
            "chat.first_token": lambda event: self.chat.on_first_token(event.data, self.clock()),
            "chat.model_ended": lambda event: self.chat.on_call_ended(event.data),
            "chat.retrying": lambda event: self.chat.on_retrying(event.data),
            "chat.tool_called": lambda event: self.chat.on_tool(event.data),
            "chat.finished": self._on_chat_finished,
            "error": self._on_error,
            "http.request": lambda event: self.http.on_request(event.data),
        }

    # What comes in

    def on_event(self, event: EventLike) -> None:
        """Take one event. Plain, never waits, never raises; a malformed event is counted and logged.

        `chat.delta` should not be subscribed to it: the bus counts those, and its statistics come in
        through the source `bus`.
        """
        type_ = event.type
        self.events.on_event(type_)
        self._seq += 1
        self._log.append((self._seq, event, self.wall()))
        digest = self._on.get(type_)
        if digest is not None:
            try:
                digest(event)
            except Exception:
                self._once(f"event {type_}", "an event of type %s could not be counted", type_)

    def _on_chat_finished(self, event: EventLike) -> None:
        self.chat.on_finished(event.data, self.clock())
        self.errors.on_chat_ended(event.data)

    def _on_error(self, event: EventLike) -> None:
        self.errors.on_error(event.data, self.clock(), self.wall())
        self.chat.on_error(event.data, self.wall())

    def restore(self, past: Past) -> None:
        """Take over what was before the start: the log, the list of failures, the charts.

        Totals, rates and health stay those of this process: Prometheus and the checks must not take an old failure
        for a new one.
        """
        room = KEPT_EVENTS - len(self._log)
        number = self._log[0][0] if self._log else self._seq + 1
        for event in list(reversed(past.events))[:room]:
            number -= 1
            self._log.appendleft((number, event, event.time))
        self.errors.restore(past.errors)
        now, wall = self.clock(), self.wall()
        for end, values in past.minutes:
            self.history.restore(end, values, now=now, wall=wall)
        for end, values in past.untold:
            if not self.history.restore(end, values, now=now, wall=wall, untold=True):
                self._tell("metrics.minute", {"end": end, "values": values})  # the chart of a week needs it, too
        self.past = past.told
        self._install = past.install

    def on_latency(self, samples: Iterable[float]) -> None:
        """Take samples of the time from publish to delivery, in seconds."""
        self.events.on_latency(samples, self.clock())

    def add_source(self, name: str, read: Callable[[], Any]) -> None:
        """Pull `read()` once a second and at each snapshot; see `SourceNames`. It must not wait.

        A source that raises keeps its last value and is logged once.
        """
        self._sources[name] = read

    def add_check(self, name: str, check: Check, component: str = "component") -> None:
        """Add a health check, or replace the one of that name (`component:measurement`).

        `check()` returns a `Finding`, or None while it has nothing to say. It is called once a second, must not wait,
        and if it raises, that is a warning of its own. `component` is the componentType of health+json.
        """
        self.board.add(name, check, component)

    def rows(self, source: str) -> list[dict[str, Any]]:
        """Copies of the rows of a source as last read, infinities as None; [] if it has none."""
        value = self._values.get(source)
        if isinstance(value, Mapping):
            value = list(value.values())
        return [_finite(row) for row in value if isinstance(row, Mapping)] if value else []

    def has_source(self, source: str) -> bool:
        """Whether somebody tells this source."""
        return source in self._sources

    def value(self, source: str) -> Any:
        """What a source said last, or None."""
        return self._values.get(source)

    def _pull(self) -> None:
        for name, read in list(self._sources.items()):
            try:
                value = read()
                if name == SourceNames.BUS:
                    self.events.on_bus(value)
                elif name == SourceNames.LATENCY:
                    self.on_latency(value)
                    continue
                self._values[name] = value
            except Exception:
                self._once(f"source {name}", "the source %s cannot be read; its last value stands", name)

    def _once(self, key: str, text: str, *args: object) -> None:
        """Log the current exception, the first time that `key` comes up."""
        if key not in self._broken:
            self._broken.add(key)
            log.warning(text, *args, exc_info=True)

    # The rhythm

    def start(self) -> None:
        """Start the tick and the loop's watch (it has a thread), on the running loop; twice is fine."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self.run(), name="copilot-pulse monitor")
        self.watch.start()

    async def run(self) -> None:
        """Tick once a second, on the second, until cancelled; nothing is left behind then."""
        while True:
            try:
                self.tick()
            except Exception:
                self._once("tick", "a tick of the monitor failed; it goes on")
            await asyncio.sleep(TICK - self.clock() % TICK)

    async def aclose(self) -> None:
        """Stop the tick and the watch and wait for both. Twice is fine; `start()` begins again.

        A cancel while it waits leaves both stopping.
        """
        self.watch.stop()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def tick(self) -> None:
        """Pull the sources, close the second in the history, evaluate the checks. Once a second."""
        now = self.clock()
        self.ticks += 1
        self._pull()
        values = self.events.tick(now)
        values.update(self.errors.tick(now))
        values.update(self.system.tick())
        values.update(self.chat.tick(self.active()))
        minute = self.history.minute
        self.history.add(now, values)
        if minute is not None and self.history.minute != minute:
            end = round(self.wall() - (now - 60 * (minute + 1)), 3)
            self._tell("metrics.minute", {"end": end, "values": self.history.folded_minute(minute)})
        self.board.evaluate(now, self.wall())

    def _tell(self, type_: str, data: dict[str, Any]) -> None:
        if self.publish is not None:
            self.publish(type_, data)

    def _on_lag(self, seconds: float) -> None:
        self.system.on_lag(seconds, self.clock())

    def _on_stall(self, data: dict[str, Any]) -> None:
        self.system.on_stall(data, self.clock(), self.wall())
        self._tell("loop.stalled", data)

    # What goes out

    def active(self) -> int:
        """Chats that run now, by the registry's rows."""
        return sum(row.get("state") not in ENDED_STATES for row in self.rows(SourceNames.CHATS))

    def connections(self) -> dict[str, int]:
        """Open connections by kind."""
        known = {"chats": self.active(), "panels": 0, "websockets": 0}
        told = self._values.get(SourceNames.CONNECTIONS)
        if isinstance(told, Mapping):
            known.update({str(kind): int(n) for kind, n in told.items()})
        return known

    @property
    def prices(self) -> Prices:
        """What tokens cost, as the user has set it by now."""
        return parse_prices(self._prices())

    def unread_prices(self, text: str) -> tuple[tuple[str, str], ...]:
        """The entries of a list of prices that could not be read, each with what is wrong with it in words."""
        prices = parse_prices(text)
        return tuple(zip(prices.unread, prices.problems, strict=True))

    def with_cost(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A chat's row with `cost` and `cost_estimated`, by the prices of now."""
        return with_cost(row, self.prices)

    def with_sums(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row of totals with the tokens and the cost of its `by_model`, and the cost of each model there."""
        usage, prices = list(row["by_model"]), self.prices
        return {
            **row,
            **tokens_of(usage),
            "by_model": [{**one, "cost": rounded(prices.cost(one))} for one in usage],
            "cost": rounded(known_cost(usage, prices)),
            "cost_estimated": any(map(estimated, usage)),
        }

    def _since_install(self) -> dict[str, Any] | None:
        """What this run and all before it did together, or None as long as nobody tells of those."""
        before = self._install
        if before is None:
            return None
        usage = [*before["by_model"], *self.chat.usage()]
        return {
            "since": before["since"],
            "chats": before["chats"] + self.chat.outcomes.total(),
            "saved": before["saved"] + self.chat.saved,
            **{name: count for name, count in tokens_of(usage).items() if name in ("tokens", "tokens_estimated")},
            "cost": rounded(known_cost(usage, self.prices)),
            "cost_estimated": any(map(estimated, usage)),
        }

    def snapshot(self) -> dict[str, Any]:
        """Everything as JSON-able data: the body of `/api/metrics`. Sources are read anew; about 0.3 ms."""
        self._pull()
        now = self.clock()
        chat = self.chat.snapshot(now, self.rows(SourceNames.CHATS), self.active(), self.prices)
        return {
            "version": self.version,
            "boot": self.boot,
            "time": round(self.wall(), 3),
            "uptime_seconds": round(now - self.started, 3),
            "events": self.events.snapshot(now),
            "errors": self.errors.snapshot(now, self.rows(SourceNames.BREAKERS)),
            "system": self.system.snapshot(now, self.connections()),
            "chat": {**chat, "since_install": self._since_install()},
            "http": self.http.snapshot(),
            "mcp": self.rows(SourceNames.MCP),
            "seams": self.rows(SourceNames.SEAMS),
            "fleet": (self._values.get(SourceNames.FLEET) or {}).get("instances"),
            "health": self.board.verdict(),
            "past": self.past,
            "extra": {name: value for name, value in self._values.items() if name not in _KNOWN},
        }

    def health(self) -> dict[str, Any]:
        """The body of `application/health+json`, with sources read and checks evaluated now."""
        self._pull()
        self.board.evaluate(self.clock(), self.wall())
        return self.board.body(self.version)

    def read_history(self, name: str) -> dict[str, Any]:
        """One range of the history (`1m`, `1h`, `24h`) for the charts: `{range, step, end, series, down}`.

        `series` are lists of values by name, the oldest first, None where nothing is known; `step` is seconds, `end`
        seconds since 1970, `down` the times `[from, to]` in which the process did not run.
        Raises KeyError for another name.
        """
        return self._with_down(self.history.read(name, now=self.clock(), wall=self.wall()))

    def read_week(self, minutes: Iterable[tuple[float, Mapping[str, float | None]]] | None) -> dict[str, Any]:
        """The history of 7 days, in the shape of `read_history()`, from the `(end, values)` of minutes in a store.

        None: from those of this process.
        """
        wall = self.wall()
        if minutes is None:
            minutes = self.history.minutes(now=self.clock(), wall=wall)
        return self._with_down(self.history.week([*minutes, *self.history.unfinished(wall=wall)], wall=wall))

    def _with_down(self, history: dict[str, Any]) -> dict[str, Any]:
        end = history["end"]
        begin = end - history["step"] * len(next(iter(history["series"].values())))
        known = (self.past or {}).get("down", ())
        down = [[max(since, begin), min(until, end)] for since, until in known if until > begin and since < end]
        return {**history, "down": down}

    def events_since(self, seq: int) -> tuple[int, list[dict[str, Any]]]:
        """(number of the newest event, the events after number `seq`), oldest first, at most the last 200.

        Their data carries no text of a chat, only its length, unless the user has turned that on.
        """
        rows = []
        outgoing = (lambda type_, data: dict(data)) if self._expose_text() else without_text
        for number, event, wall in reversed(self._log):
            if number <= seq:
                break
            rows.append(
                {
                    "id": str(getattr(event, "id", number)),
                    "type": event.type,
                    "time": round(wall, 3),
                    "source": getattr(event, "source", ""),
                    "session": getattr(event, "session", None),
                    "data": _finite(outgoing(event.type, event.data)),
                }
            )
        rows.reverse()
        return self._seq, rows

    async def expose(self, format_: str) -> bytes:
        """All figures in a format of Prometheus, `text` or `openmetrics`: read on the loop, encoded in a thread.

        prometheus-client takes 0.1 s to import: that is done in a thread too, when somebody scrapes for the first time.
        A cancel leaves that thread to finish by itself.
        """
        module = await asyncio.to_thread(import_module, ".metrics.exposition.collector", __package__)
        scrape = module.Scrape(self)
        body: bytes = await asyncio.to_thread(getattr(scrape, format_))
        return body

    def __repr__(self) -> str:
        return f"<Monitor {self.board.status}, {self._seq} events, {self.active()} chats active>"
