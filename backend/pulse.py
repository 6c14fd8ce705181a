"""A running plugin: one object that holds its parts and ties them together.

Made once, by the door to ComfyUI (`__init__.py`) or by the standalone host, and passed down. Making it starts
nothing: no task, no thread, no file. `start()` does, on the event loop, and `aclose()` ends all of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from .aio import cancel_all, close_all, fail_open, faults, our_fault
from .chats import Chat, ChatRegistry
from .error_handling import RecoveryManager, Redactor, Severity, secret_name
from .event_bus import Event, EventBus, get_event_bus
from .events import EVENTS, own_words
from .fleet import Fleet, get_fleet
from .monitoring import WELL, Finding, Monitor, Past, PastEvent, SourceNames, Webhook, WebhookSettings
from .settings import LiveSettings, Settings, from_environment
from .store import EventStore, Filter, NotStored, Redaction
from .streams.registry import StreamRegistry

log = logging.getLogger("copilot_pulse")

VERSION: Final = "0.1.0"
# Deltas come by the thousand and the bus counts them itself; what the monitor says for the store is no news to it.
_TOTALS: Final = "metrics.totals"
_MONITORED: Final = tuple(type_ for type_ in EVENTS if type_ not in ("chat.delta", "metrics.minute", _TOTALS))
# Names that no event has: those in rows of the store and in what is made of them.
_ROW_NAMES: Final = ("session", "source", "started", "by_type", "errors", "errors_by_kind", "recovered", "models")
_SOURCES: Final = ("copilot", "copilot-pulse", "interrupted")
_DAY: Final = 86_400.0
_WEEK: Final = 7 * _DAY


def _is_essential(event: Event) -> bool:
    spec = EVENTS.get(event.type)
    return spec is not None and spec.essential


def new_store(folder: Path, settings: Settings, redactor: Redactor | None = None, **opened: Any) -> EventStore:
    """The event store of a folder; nothing is opened. `redactor` knows the keys in use, if there are any; `opened` is
    what the store's first row says of the program."""
    redactor = redactor or Redactor()
    return EventStore(
        folder,
        redaction=Redaction(redactor.redact, secret_name, lambda: redactor.version),
        keep_days=settings.store_days,
        keep_bytes=settings.store_bytes,
        flush_seconds=settings.store_flush,
        full_sync=settings.store_sync == "full",
        with_text=settings.store_text,
        opened=opened,
    )


def read_past(store: EventStore, start: float) -> Past:
    """What the monitor shows of the time before `start` (seconds since 1970). Blocks: for a thread."""
    day = start - _DAY
    events = store.query(Filter(_MONITORED, until=start), limit=200, newest_first=True).events
    failed = store.query(Filter(("error",), until=start), limit=400, newest_first=True).events
    rows = store.query(Filter(("metrics.minute",), since=day, until=start), limit=2_000).events
    minutes = [(e.data["end"], e.data["values"]) for e in rows if isinstance(e.data.get("values"), dict)]
    opened = store.query(Filter(("store.opened",), since=start - _WEEK), limit=2_000).events
    days = store.totals(until=start, step="day")
    chats: Counter[str] = Counter()
    for row in days:
        chats.update(row["chats"])
    told = {
        "since": days[0]["time"] if days else None,
        "until": start,
        "down": [
            [one.data["down_since"], one.time]
            for one in opened
            # Another ComfyUI with the same folder writes to a slot of its own, and was perhaps not down.
            if one.data.get("down_since") is not None and one.slot == store.statistics()["slot"]
        ],
        "chats": dict(chats),
        **{name: sum(row[name] for row in days) for name in ("errors", "recovered", "retries", "tokens")},
    }
    return Past(
        [PastEvent(f"{e.slot}-{e.id}", e.type, e.time, e.source, e.session, e.data) for e in reversed(events)],
        [{"time": e.time, **e.data} for e in reversed(failed)],
        minutes,
        told,
        read_install(store, start),
        _untold_minutes(store, max((end for end, _ in minutes), default=day), start),
    )


def _untold_minutes(store: EventStore, since: float, until: float) -> list[tuple[float, dict[str, float | None]]]:
    """`(end, values)` of the minutes after `since` that the program did not live to tell, by what their events say."""
    found: dict[int, dict[str, list[float]]] = {}
    which = Filter(("error", "chat.first_token", "chat.finished"), since=since, until=until)
    for event in store.query(which, limit=2_000).events:
        if not found:
            since = max(since, event.time - 1)
        minute = found.setdefault(int((event.time - since) // 60), {"errors": [], "first": [], "speed": []})
        data = event.data
        if event.type == "error":
            minute["errors"].append(float(data.get("outcome") != "recovered" and data.get("severity") != "low"))
        elif event.type == "chat.first_token":
            minute["first"].append(float(data.get("seconds", 0)))
        elif data.get("stream_seconds"):
            minute["speed"].append(data.get("stream_tokens", 0) / data["stream_seconds"])
    return [
        (
            min(since + 60 * (number + 1), until),
            {
                "errors": sum(minute["errors"]),
                "first_token_p50": median(minute["first"]) if minute["first"] else None,
                "tokens_per_second": median(minute["speed"]) if minute["speed"] else None,
            },
        )
        for number, minute in sorted(found.items())
    ]


def read_install(store: EventStore, until: float) -> dict[str, Any]:
    """What all runs up to `until` did together, as the data of `metrics.totals`: what was summed up last, and what has
    happened since. So it holds what retention has taken meanwhile. Blocks: for a thread."""
    last = store.query(Filter((_TOTALS,), until=until), limit=1, newest_first=True).events
    first = store.query(limit=1).events
    known: Mapping[str, Any] = {"since": min(first[0].time, until) if first else until, "chats": 0, "saved": 0}
    after = None
    if last and isinstance(last[0].data.get("until"), (int, float)):
        known, after = last[0].data, last[0].data["until"]
    sums: dict[tuple[str, str], Counter[str]] = {}
    chats, saved = Counter({"": known["chats"]}), known["saved"]
    days = store.totals(since=after, until=until, step="day")
    for row in (known, *days):
        for used in row.get("by_model", ()):
            counts = {name: value for name, value in used.items() if isinstance(value, int)}
            sums.setdefault((used["model"], used["host"]), Counter()).update(counts)
    for row in days:
        chats.update(row["chats"])
        saved += row["saved"]
    by_model = [{"model": model, "host": host, **counts} for (model, host), counts in sums.items()]
    return {"since": known["since"], "until": until, "chats": sum(chats.values()), "saved": saved, "by_model": by_model}


class SeamState(NamedTuple):
    """Whether a seam is attached, for health and the panel."""

    name: str
    attached: bool
    detail: str = ""
    needed: bool = True


class SeamRegistry:
    """The state of every seam, in the order in which they are attached."""

    def __init__(self) -> None:
        self.states: dict[str, SeamState] = {}
        self.copilots: list[str] = []
        self.detail = ""

    def set(self, name: str, attached: bool, detail: str = "", needed: bool = True) -> None:
        """Note the outcome of attaching seam `name`; `detail` says why it is missing, or not needed."""
        self.states[name] = SeamState(name, attached, detail, needed)

    @property
    def missing(self) -> list[SeamState]:
        """The seams that are needed and not attached."""
        return [state for state in self.states.values() if state.needed and not state.attached]

    def snapshot(self) -> list[dict[str, Any]]:
        """Plain data for metrics: one row a seam that this Copilot needs."""
        return [{"name": s.name, "attached": s.attached, "detail": s.detail} for s in self.states.values() if s.needed]


class Pulse:
    """The parts of a running plugin: settings, bus, monitor, recovery, chats, seams."""

    def __init__(self, settings: LiveSettings, bus: EventBus, fleet: Fleet | None = None) -> None:
        """`fleet`: this process's part in a fleet of machines; one of its own by default."""
        self.settings = settings
        self.bus = bus
        self.fleet = fleet or Fleet(bus)
        self.monitor = Monitor(
            publish=self.publish,
            stall_limit=lambda: settings.current.loop_stall,
            expose_text=lambda: settings.current.expose_text,
            prices=lambda: settings.current.prices,
            version=VERSION,
        )
        self.recovery = RecoveryManager(self.publish, settings=lambda: settings.current)
        self.recovery.redactor.spare(lambda: (*own_words(), *_ROW_NAMES, *_SOURCES))
        self.recovery.register_rule(our_fault, severity=Severity.HIGH, kind="fault")
        self.chats = ChatRegistry()
        self.streams = StreamRegistry(settings=lambda: settings.current, publish=self.publish, clock=time.monotonic)
        self.seams = SeamRegistry()
        self.webhook = Webhook(self._webhook_settings, version=VERSION)
        # Awaited in a chat's own task before Copilot's generator starts: (chat, messages).
        self.before_chat: list[Callable[[Chat, Any], Awaitable[None]]] = [self._prepare_recovery]
        # Asked when an answer ends: what else the user must be told, or None.
        self.chat_notices: list[Callable[[Chat], str | None]] = []
        # Tries a dead MCP server again, for the panel; False if it is not known. Set by who attaches.
        self.probe_mcp: Callable[[str], Awaitable[bool]] | None = None
        # Ends the notices about an MCP server, or lets them come again; KeyError if it is not known. Set likewise.
        self.dismiss_mcp: Callable[[str, bool], None] | None = None
        self.store: EventStore | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._undo: list[Callable[[], Any]] = []
        self._add_sources()

    @classmethod
    def create(cls, environ: Mapping[str, str] = os.environ) -> Pulse:
        """The plugin with the settings that `environ` asks for, on the process's event bus."""
        settings, problems = from_environment(environ)
        pulse = cls(LiveSettings(settings, problems), get_event_bus(), get_fleet())
        pulse.recovery.redactor.hold(settings.webhook.reveal(), for_good=True)
        pulse.recovery.redactor.learn_environment(environ)
        return pulse

    @fail_open("events")
    def publish(self, type_: str, data: Mapping[str, Any], chat: Chat | None = None) -> None:
        """Publish an event of ours, or one of a chat's, from the loop, without waiting. Never raises."""
        self.publish_now(type_, data, chat)

    def publish_now(self, type_: str, data: Mapping[str, Any], chat: Chat | None = None) -> None:
        """The same without a guard, for each token: whoever calls catches what fails here."""
        source, session = ("copilot-pulse", None) if chat is None else ("copilot", chat.session)
        self.bus.publish_nowait(Event(type=type_, data=data, source=source, session=session))

    def _webhook_settings(self) -> WebhookSettings:
        settings = self.settings.current
        return WebhookSettings(settings.webhook.reveal(), settings.instance, settings.private)

    def _check_webhook(self) -> Finding | None:
        """The health check: whether the last message of the webhook has arrived."""
        webhook = self.webhook
        if not webhook.on:
            return None
        if not webhook.problem:
            return Finding("pass", webhook.sent, "messages")
        return Finding(
            "warn", webhook.failed, "messages", 1,
            f"The webhook does not take messages: {webhook.problem}.",
            "Chats are not affected. Check COPILOT_PULSE_WEBHOOK and send a test.",
            "webhook_failed", {"problem": webhook.problem}, "none",
        )  # fmt: skip

    async def _prepare_recovery(self, chat: Chat, messages: Any) -> None:
        await self.recovery.prepare()

    def open_store(self, folder: Path) -> None:
        """Keep events in `folder`, or where the setting says, from `start()` on; nothing if the user wants none."""
        settings = self.settings.current
        if settings.store:
            folder = Path(settings.store_dir).expanduser() if settings.store_dir else folder
            opened = {"boot": self.monitor.boot, "version": VERSION}
            self.store = new_store(folder, settings, self.recovery.redactor, **opened)

    @fail_open("the event store")
    def _start_store(self, store: EventStore) -> None:
        store.start()
        sub_id = self.bus.subscribe("*", store.on_event, name="event store")
        self._undo.append(partial(self.bus.unsubscribe, "*", sub_id))

        def figures() -> dict[str, Any]:
            problem = store.problem()
            return {**store.statistics(), "problem": None if problem is None else problem._asdict()}

        self.monitor.add_source(SourceNames.STORE, figures)
        self._restoring = asyncio.get_running_loop().create_task(self._restore(store), name="copilot-pulse past")

    async def _restore(self, store: EventStore) -> None:
        """Show what was before the start; a history that cannot be read is no reason not to run."""
        try:
            with suppress(NotStored):
                await store.flush()  # so that this start is in it, and what the time before it ended with
            past = await store.ask(read_past, store, self.monitor.started_wall)
            self.monitor.restore(past)
            install = past.install
        except Exception as error:
            log.warning("what was before the start cannot be shown: %s", type(error).__name__)
            install = None
        while True:
            if install is not None:
                self.publish(_TOTALS, install)
            await asyncio.sleep(_DAY)  # this comes well before retention takes the events that it sums up
            install = await self._sum_up(store)

    async def _sum_up(self, store: EventStore) -> dict[str, Any] | None:
        """What was done since the installation; None on a day on which the events cannot be written or read."""
        try:
            until = time.time()
            await store.flush()
            return await store.ask(read_install, store, until)
        except Exception as error:
            log.warning("what was done since the installation is summed up tomorrow: %s", type(error).__name__)
            return None

    def start(self) -> None:
        """Begin to watch, on the running loop: subscribe the monitor and start its tick. Twice is fine."""
        if self._undo:
            return
        monitor = self.monitor
        self.bus.bind()
        self.bus.configure(
            owner=self, essential=_is_essential, on_zone=self._zone_changed, on_throttle=self._throttle_changed
        )
        self._undo.append(partial(self.bus.withdraw, self))
        self._configure_bus(["queue_size", "put_timeout", "throttle"])
        self._undo.append(self.settings.on_change(self._configure_bus))
        if self.store is not None:
            self._start_store(self.store)
        for type_ in _MONITORED:
            sub_id = self.bus.subscribe(type_, monitor.on_event)
            self._undo.append(partial(self.bus.unsubscribe, type_, sub_id))
        self._undo.append(self.settings.on_change(lambda names: self.publish("settings.changed", {"names": names})))
        for type_ in ("health.changed", "error"):
            sub_id = self.bus.subscribe(type_, self.webhook.on_event, name="webhook")
            self._undo.append(partial(self.bus.unsubscribe, type_, sub_id))
        self._start_fleet()
        # What was stored here is at hand at once; another machine has to be asked.
        stored = self.store.answers if self.store is not None else None
        self.streams.elsewhere = tuple(one for one in (stored, self.fleet.answers) if one is not None)
        monitor.start()

    def _add_sources(self) -> None:
        monitor = self.monitor
        monitor.add_check("webhook:delivered", self._check_webhook)
        monitor.add_source(SourceNames.BUS, self.bus.statistics)
        monitor.add_source(SourceNames.LATENCY, self.bus.take_latency_samples)
        monitor.add_source(SourceNames.CHATS, self.chats.snapshot)
        monitor.add_source(SourceNames.BREAKERS, self.recovery.breakers.snapshot)
        monitor.add_source(SourceNames.SEAMS, self.seams.snapshot)
        monitor.add_source(SourceNames.FLEET, self.fleet.figures)
        monitor.add_source(SourceNames.FAULTS, faults)

    @fail_open("the fleet")
    def _start_fleet(self) -> None:
        self.fleet.start(self.settings.current, version=VERSION, status=self._fleet_status)

    def _fleet_status(self) -> dict[str, Any]:
        """What the other machines may know of this one: figures, running chats, problems; no text of a chat.

        Of a private one: figures, and which checks are not well.
        """
        now = self.monitor.snapshot()
        private = self.settings.current.private
        # Whoever else is missed is not how this one is, and has a row of its own.
        problems = [one for one in now["health"]["problems"] if one["check"] != "fleet:instances"]
        worst = problems[0] if problems else {"status": "pass", "check": "", "output": WELL, "impact": ""}
        shown = ("chat_id", "state", "model", "seconds", "tokens", "retries", "first_token")
        return {
            "health": worst["status"],
            "impact": worst["impact"],
            "summary": (worst["check"] if private else "") or worst["output"],
            "problems": [
                {name: problem[name] for name in ("check", "status", "code", "output", "impact")}
                | ({"output": ""} if private else {})
                for problem in problems[:10]
            ],
            "chats": now["chat"]["active"],
            "done": now["chat"]["completed"],
            "failed": now["chat"]["failed"],
            "first_token": now["chat"]["first_token_seconds"]["p50"],
            "errors": now["errors"]["total"],
            "lag": now["system"]["loop_lag_seconds"]["p99"],
            "current": [{name: row.get(name) for name in shown} for row in now["chat"]["current"][:10]]
            if not private
            else [],
        }

    def _configure_bus(self, names: Collection[str]) -> None:
        """Tell the bus of those settings, and of no other: it has other owners, too."""
        settings = self.settings.current
        if "queue_size" in names:
            self.bus.configure(owner=self, capacity=settings.queue_size)
        if "put_timeout" in names:
            self.bus.configure(owner=self, put_timeout=settings.put_timeout)
        if "throttle" in names:
            self.bus.configure(owner=self, throttle=settings.throttle)

    def _zone_changed(self, name: str, zone: Any, was: Any, fill: float) -> None:
        self.publish("queue.zone", {"queue": name, "zone": zone.value, "was": was.value, "fill": fill})

    def _throttle_changed(self, name: str, change: Mapping[str, Any]) -> None:
        self.publish("queue.throttle", {"queue": name, **change})

    async def aclose(self) -> None:
        """Stop chats, fleet, monitor and event store, and take the plugin's handlers off the bus, which stays open.

        Waits for each in turn, some seconds at most; one that breaks does not keep the others open. A cancel passes at
        once and leaves the rest as it is; call it again then.
        """
        store = [self.store] if self.store is not None else []
        await close_all(
            *(one.answers.close for one in store),  # before chats end only because of this
            self.chats.aclose,
            self.streams.close,
            partial(setattr, self.streams, "elsewhere", ()),
            self.fleet.aclose,
            self.webhook.aclose,
            self.monitor.aclose,
            partial(cancel_all, [self._restoring]),
            *(one.aclose for one in store),
            *reversed(self._undo),
        )
        self._undo.clear()
