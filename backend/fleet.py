"""Several machines as one: events of all instances, over Redis Streams. Off until COPILOT_PULSE_REDIS_URL is set.

    fleet = get_fleet()
    fleet.bus.subscribe("chat.finished", lambda event: print(event.instance or "here", event.data["outcome"]))

The local bus keeps its meaning: what happens here. `fleet.bus` has the events of all instances, this one included
(with `instance` ""), each in its order. Whatever was lost on the way is told by `fleet.gap`, with its number. Redis
that is away, slow, full or wrong delays no chat (only where answers are shared, the begin of one by a quarter second),
never holds the loop and costs bounded memory.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .aio import kept_up
from .event_bus import Event, EventBus, get_event_bus
from .events import without_text
from .fleet_redis.layout import FleetEvent, Keys, new_boot, shown
from .settings import Settings

if TYPE_CHECKING:
    from .fleet_redis.groups import Groups
    from .fleet_redis.mirror import Mirror
    from .fleet_redis.outbox import Outbox
    from .fleet_redis.reader import Reader
    from .fleet_redis.redis_link import Link, LinkError
    from .fleet_redis.registry import Instance, Registry
    from .fleet_redis.replica import Replica
    from .fleet_redis.writer import Writer

__all__ = ["Answers", "Fleet", "FleetEvent", "get_fleet"]

log = logging.getLogger("copilot_pulse.fleet")

Loop = Callable[[], Awaitable[None]]

DRAIN: Final = 1.0
RESTART: Final = 5.0
"""Seconds after which a task of ours that has broken begins anew."""
KEPT_EVENTS: Final = 200
LEFT_SHOWN: Final = 300.0


def _nothing() -> Mapping[str, Any]:
    return {}


class Fleet:
    """This process's part in the fleet. For the loop's thread; `get_fleet()` makes it.

    Made once and inert: no import of redis, no task, no connection until `start()` finds a Redis URL in the settings.
    """

    def __init__(self, local: EventBus) -> None:
        self.boot = new_boot()
        self.local = local
        self.closed = False
        self._bus: EventBus | None = None
        self._bridge: int | None = None
        self._settings = Settings()
        self._parts: _Parts | None = None
        self._problem: LinkError | None = None
        self._shared: list[_Share] = []
        self._recent: deque[tuple[int, FleetEvent]] = deque(maxlen=KEPT_EVENTS)
        self._seq = 0

    @property
    def bus(self) -> EventBus:
        """The events of all instances, as `FleetEvent`s. Without a fleet it has those of this process alone.

        `chat.delta`, `http.request` and whatever COPILOT_PULSE_REDIS_EVENTS leaves out are not on it.
        """
        bus = self._fleet_bus()
        if self._bridge is None and not self.closed:
            from .fleet_redis.outbox import Patterns

            self._wanted = Patterns(self._settings.redis_events).match
            self._bridge = self.local.subscribe("*", self._bridge_event, name="fleet bus")
        return bus

    @property
    def on(self) -> bool:
        """Whether a Redis URL is set and usable."""
        return self._parts is not None

    def start(
        self, settings: Settings, *, version: str = "", status: Callable[[], Mapping[str, Any]] = _nothing
    ) -> None:
        """Join the fleet, on the running loop, if the settings name a Redis. Twice is fine. Nothing is waited for.

        `status()` is asked every few seconds for what other instances may know of this one: plain data, no text of
        chats. Whatever is wrong with the URL or Redis is told by `figures()`; it raises nothing.
        """
        self._settings = settings
        if self._parts is not None or self.closed or not settings.redis_url:
            return
        from .fleet_redis.redis_link import LinkError, Target

        try:
            target = Target(settings.redis_url.reveal())
        except LinkError as error:
            self._problem = error
            log.warning("fleet: %s", error)
            return
        if not target.tls and not target.is_loopback:
            log.warning("fleet: the connection to Redis at %s is not encrypted; rediss:// would be", target)
        self._parts = _Parts(self, target, settings, version, status)
        for share in self._shared:
            share.begin(self._parts)

    async def aclose(self) -> None:
        """Leave the fleet: write what waits for at most 1 s, tell the others, end all tasks. Twice is fine.

        A cancel leaves the tasks cancelled and the rest unwritten.
        """
        self.closed = True
        if self._bridge is not None:
            self.local.unsubscribe("*", self._bridge)
            self._bridge = None
        parts, self._parts = self._parts, None
        try:
            if parts is not None:
                await parts.aclose()
            if self._bus is not None:
                await self._bus.aclose()
        except asyncio.CancelledError:
            if self._bus is not None:
                self._bus.close(discard=True)
            raise

    def share(self, pattern: str, *, group: str, handler: Callable[[FleetEvent], Any]) -> Callable[[], None]:
        """Have each matching event of all instances handled by one instance of the group, at least once.

        `handler` may be `async`. While it works the event is its own; if it raises, the event comes again, here or
        elsewhere, and after five times it lies in the stream `{prefix}:dead:<group>` and `fleet.dead` is told. An
        event that comes twice has the same `key`. Each instance of a group has to share the same patterns: several
        calls with one group belong together. Without a fleet the events of this process are handled here. Doesn't
        wait. Returns a function that ends it; what the handler does at that moment is finished. Raises ValueError for a
        bad pattern or name.
        """
        self.local.stream(pattern)  # raises ValueError for a bad pattern
        if not re.fullmatch(r"[\w.-]{1,64}", group):
            raise ValueError("a group is named by 1 to 64 letters, digits, dots, dashes or underscores")
        share = _Share(self.local, group, pattern, handler)
        self._shared.append(share)
        share.begin(self._parts)

        def end() -> None:
            if share in self._shared:
                self._shared.remove(share)
            share.end()

        return end

    # -- what can be asked -----------------------------------------------------------------------------

    @property
    def answers(self) -> Answers | None:
        """What the streams need so that answers can be read on elsewhere; None unless COPILOT_PULSE_REDIS_ANSWERS."""
        return self._parts.answers if self._parts is not None else None

    def instances(self) -> list[dict[str, Any]]:
        """A row for each instance that is known, this one first. Empty without a fleet.

        `boot` (of this start), `name`, `here`, `state` (up, gone or left), `seconds` since when (None here), `version`,
        `started` (seconds since 1970), `behind` (events not read yet) and `status`, which it tells of itself.
        """
        parts = self._parts
        if parts is None:
            return []
        return parts.rows()

    def figures(self) -> dict[str, Any] | None:
        """What metrics and health tell, as plain data; None if no Redis is set. Never waits.

        `target` (host and port), `links` by role (`up`, `down_seconds`, `problem`), and, once it runs, `outbox`,
        `groups`, `instances`, what was sent, received and lost (`gaps`), and how long that took.
        """
        if self._parts is not None:
            return self._parts.figures()
        if self._problem is None:
            return None
        problem = {"kind": self._problem.kind, "text": str(self._problem)}
        return {"links": {"writer": {"up": False, "down_seconds": None, "problem": problem}}, "target": ""}

    def events_since(self, seq: int) -> tuple[int, list[dict[str, Any]]]:
        """(number of the newest, the events of other instances after number `seq`), oldest first, at most the last 200.

        As plain data, without text of a chat; numbers are of this process and begin at 1.
        """
        rows = [
            {
                "instance": event.instance, "key": event.key, "type": event.type, "time": round(event.wall, 3),
                "source": event.source, "session": shown(event.session),
                "data": shown(without_text(event.type, event.data)),
            }
            for number, event in self._recent if number > seq
        ]  # fmt: skip
        return self._seq, rows

    # -- inside ----------------------------------------------------------------------------------------

    def _fleet_bus(self) -> EventBus:
        if self._bus is None:
            settings = self._settings
            self._bus = EventBus(capacity=settings.queue_size, put_timeout=settings.put_timeout)
        return self._bus

    def _bridge_event(self, event: Event) -> None:
        """Give a local event to the fleet bus, if somebody there wants it."""
        type_ = event.type
        bus = self._bus
        if bus is not None and bus.has_subscribers(type_) and self._wanted(type_):
            bus.publish_nowait(FleetEvent(type_, event.data, event.source, event.session, wall=event.wall))

    def _see(self, event: FleetEvent) -> None:
        """Remember an event of another instance, for the panel's log."""
        self._seq += 1
        self._recent.append((self._seq, event))


class _Share:
    """Shared work: by the group in Redis, or by a plain subscription while there is no fleet."""

    def __init__(self, local: EventBus, group: str, pattern: str, handler: Callable[[FleetEvent], Any]) -> None:
        self._local = local
        self._name = group
        self._pattern = pattern
        self._handler = handler
        self.end: Callable[[], Any] = lambda: None

    def begin(self, parts: _Parts | None) -> None:
        """Begin, or begin anew with a fleet."""
        self.end()
        if parts is not None:
            self.end = parts.groups.add(self._name, self._pattern, self._handler)
        else:
            sub_id = self._local.subscribe(self._pattern, self._alone, name=f"group {self._name}")
            self.end = partial(self._local.unsubscribe, self._pattern, sub_id)

    async def _alone(self, event: Event) -> None:
        waiting = self._handler(
            FleetEvent(event.type, event.data, event.source, event.session, key=f"here-{event.id}", wall=event.wall)
        )
        if inspect.isawaitable(waiting):
            await waiting


class Answers:
    """Answers that move: those written here are copied, those of other instances can be followed.

    What the streams ask for (`streams/registry.py`, `Elsewhere`). For the loop's thread; none of it raises.
    """

    def __init__(self, mirror: Mirror, replica: Replica) -> None:
        self._mirror = mirror
        self.begin, self.finish, self.discard = mirror.begin, mirror.finish, mirror.discard
        self.claimed, self.find = replica.claimed, replica.find
        self._replica = replica

    def figures(self) -> dict[str, Any]:
        """For metrics."""
        return {**self._mirror.figures(), "followed": len(self._replica.followed)}


class _Parts:
    """What runs while the fleet is on."""

    def __init__(
        self,
        fleet: Fleet,
        target: Any,
        settings: Settings,
        version: str,
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        from .fleet_redis.groups import Groups
        from .fleet_redis.layout import Encoder
        from .fleet_redis.outbox import Outbox, Patterns
        from .fleet_redis.reader import Reader
        from .fleet_redis.redis_link import Link
        from .fleet_redis.registry import Registry, this_place
        from .fleet_redis.writer import Writer

        self.fleet = fleet
        self.target = target
        self.keys = keys = Keys(settings.redis_prefix)
        host = f"private-{this_place()[:4]}" if settings.private else socket.gethostname()
        label = settings.instance or host or fleet.boot
        self.outbox: Outbox = Outbox(
            settings.redis_outbox,
            Patterns(settings.redis_events).match,
            Encoder(settings.expose_text, settings.private),
        )
        self.writer: Writer = Writer(
            self.outbox, Link(target, "writer", settings.redis_timeout), keys, fleet.boot,
            pace=settings.redis_pace, keep_bytes=settings.redis_keep_bytes, tail_bytes=settings.redis_tail_bytes,
        )  # fmt: skip
        self.reader: Reader = Reader(
            fleet._fleet_bus(), Link(target, "reader", settings.redis_timeout), keys, fleet.boot,
            pace=settings.redis_read_pace, poke=self._poke,
        )  # fmt: skip
        self.reader.seen = fleet._see
        self.reader.on_inbox = self._on_inbox
        self.registry: Registry = Registry(
            keys, fleet.boot, label, version, writer=self.writer, reader=self.reader, outbox=self.outbox,
            status=status, changed=self._changed,
        )  # fmt: skip
        self._subscription = fleet.local.subscribe("*", self.outbox.offer, name="fleet")
        self.groups: Groups = Groups(
            lambda: Link(target, "groups", settings.redis_timeout), self.writer, self.registry, keys,
            start=self._start, claim_idle=settings.redis_claim_idle, given_up=partial(self._tell, "fleet.dead"),
        )  # fmt: skip
        loops: dict[str, Loop] = {
            "writer": self.writer.run, "reader": self.reader.run, "registry": self.registry.run,
        }  # fmt: skip
        self.answers: Answers | None = None
        if settings.redis_answers:
            loops.update(self._share_answers(settings))
        self.tasks: set[asyncio.Task[None]] = set()
        for name, run in loops.items():
            self._start(run, name)

    def _start(self, run: Loop, name: str) -> None:
        task = asyncio.get_running_loop().create_task(
            kept_up(run, "the fleet", RESTART), name=f"copilot-pulse fleet {name}"
        )
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _share_answers(self, settings: Settings) -> dict[str, Loop]:
        from .fleet_redis.mirror import Mirror
        from .fleet_redis.replica import Replica

        self.mirror = Mirror(
            self.writer, self.keys, self.fleet.boot,
            keep=lambda: settings.stream_keep, grace=lambda: settings.resume_grace,
        )  # fmt: skip
        replica = Replica(self.writer, self.reader, self.registry, self.keys)
        self.answers = Answers(self.mirror, replica)
        return {"mirror": self.mirror.run, "replica": replica.run}

    async def aclose(self) -> None:
        """Write what waits, tell the others that this instance leaves, end the tasks."""
        self.fleet.local.unsubscribe("*", self._subscription)
        end = time.monotonic() + DRAIN
        try:
            while self.writer.link.up and not self.writer.empty and time.monotonic() < end:
                await asyncio.sleep(0.005)
            if self.writer.link.up:
                leaving = asyncio.ensure_future(self._leave())
                try:
                    await asyncio.wait({leaving}, timeout=max(0.05, end - time.monotonic()))
                finally:
                    leaving.cancel()
        finally:
            tasks = set(self.tasks)
            for task in tasks:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _leave(self) -> None:
        if self.answers is not None:
            await self.mirror.write_last()
        await self.registry.leave()

    async def _poke(self) -> None:
        await self.writer.errand(*self.registry.tell(self.fleet.boot, "poke"))

    def _on_inbox(self, fields: dict[str, bytes]) -> None:
        kind = fields.get("k", b"")
        if kind in (b"look", b"bye"):
            self.registry.look_soon()
        elif kind in (b"cancel", b"lease"):
            if self.answers is not None:
                self.mirror.on_inbox(kind, fields)
        elif kind != b"poke":
            self.reader.bad.note()

    async def _changed(self, name: str, state: str) -> None:
        await self._tell("fleet.instance", {"instance": name, "state": state})

    async def _tell(self, type_: str, data: dict[str, Any]) -> None:
        instance = data.get("instance", "")
        event = FleetEvent(type_, data, "copilot-pulse", instance=instance, wall=time.time())
        self.fleet._see(event)
        await self.fleet._fleet_bus().publish(event)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each instance."""
        registry, now = self.registry, time.monotonic()
        own = {
            "boot": registry.boot, "name": registry.label, "here": True, "state": "up", "seconds": None,
            "version": registry.version, "started": registry.started, "behind": 0, "status": dict(registry.status()),
        }  # fmt: skip
        known = registry.instances.values()
        names = {one.name for one in known if one.state == "up"}  # a restart takes the place of the start before it
        others = [
            one for one in known if one.state != "left" or (one.name not in names and now - one.since < LEFT_SHOWN)
        ]
        return [own, *(self._row(one, now) for one in sorted(others, key=lambda one: one.name))]

    def _row(self, one: Instance, now: float) -> dict[str, Any]:
        source = self.reader.sources.get(one.boot)
        return {
            "boot": one.boot, "name": one.name, "here": False, "state": one.state,
            "seconds": round(now - one.since, 1), "version": one.version, "started": one.started,
            "behind": source.lag if source is not None else 0, "status": dict(one.status),
        }  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """See `Fleet.figures()`."""
        now = time.monotonic()
        outbox, writer, reader, registry = self.outbox, self.writer, self.reader, self.registry
        groups = self.groups.groups
        links = {link.role: _link_row(link, now) for link in (writer.link, reader.link)}
        if groups:
            links["groups"] = _together([_link_row(group.link, now) for group in groups.values()])
        states = [one.state for one in registry.instances.values()]
        bad = [reader.bad, writer.foreign, *([self.mirror.foreign] if self.answers is not None else [])]
        ages = [now - one.last for one in bad if one.last is not None]
        return {
            "target": repr(self.target),
            "links": links,
            "groups": {name: group.figures() for name, group in groups.items()},
            "outbox": {
                "size": len(outbox), "capacity": outbox.capacity, "peak": max(outbox.peak, len(outbox)),
                "dropped": outbox.dropped,
            },
            "sent_events": writer.sent_events, "sent_batches": writer.sent_batches,
            "write_seconds": writer.write_seconds.snapshot(),
            "delivery_seconds": reader.delivery_seconds.snapshot(),
            "healed_events": writer.healed, "received_events": reader.received,
            "bad_entries": sum(one.number for one in bad), "bad_seconds": min(ages, default=None),
            "gaps": dict(reader.gaps), "lag": max((one.lag for one in reader.sources.values()), default=0),
            "gap_seconds": None if reader.last_gap is None else now - reader.last_gap,
            "instances": {"up": 1 + states.count("up"), "gone": states.count("gone")},
            "gone_seconds": None if registry.last_gone is None else now - registry.last_gone,
            "answers": self.answers.figures() if self.answers is not None else None,
            "gone": [one.name for one in registry.instances.values() if one.state == "gone"],
        }  # fmt: skip


def _link_row(link: Link, now: float) -> dict[str, Any]:
    trouble = link.trouble
    since = link.down_since if trouble is None else trouble[1]
    return {
        "up": link.up and trouble is None,
        "down_seconds": None if since is None else now - since,
        "problem": None if trouble is None else {"kind": trouble[0].kind, "text": str(trouble[0])},
        "reconnects": dict(link.reconnects),
        "errors": dict(link.errors),
    }


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Several connections of one role: the worst of them, and all their counts."""
    worst = max(rows, key=lambda row: (not row["up"], row["down_seconds"] or 0.0))
    counts = {name: sum((Counter(row[name]) for row in rows), Counter()) for name in ("reconnects", "errors")}
    return {**worst, **{name: dict(found) for name, found in counts.items()}}


_default: Fleet | None = None
_lock: Final = threading.Lock()


def get_fleet() -> Fleet:
    """The process's part in the fleet, made on first use. From any thread. A closed one is replaced by a new one."""
    global _default
    with _lock:
        local = get_event_bus()
        if _default is None or _default.closed or _default.local is not local:
            _default = Fleet(local)
        return _default
