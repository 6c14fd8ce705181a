"""The event bus: publish and subscribe inside one process, on one event loop.

    bus = get_event_bus()
    sub_id = bus.subscribe("chat.delta", handler)
    await bus.publish(Event(type="chat.delta", data={"chat_id": "7", "text": "Hi"}, source="copilot"))
    bus.unsubscribe("chat.delta", sub_id)

Patterns: `chat.delta` is that type only; `chat.*` is every type that begins with `chat.`; `*` is all.

A plain function is called inside `publish`, in the order of subscription. An `async def` handler has a
bounded mailbox and a task of its own, so that it can be slow or hang and harm nobody else. A handler that
raises is counted and logged (its error's type and place, never its text, which could hold a secret), and
stays subscribed.

What happens when a handler uses the bus while it runs, with plain handlers A and B subscribed in this order:

    A publishes y while it handles x     A(x) begins, everybody gets y, A(x) ends, B(x): depth first, no queue
    A subscribes C while it handles x    A(x), B(x); C gets the next event, not this one
    A unsubscribes B while it handles x  A(x); B is not called any more, not even for x
    A unsubscribes A while it handles x  A(x) ends as usual, B(x); A gets nothing more
    A closes the bus while it handles x  A(x) ends; B is not called; mailboxes deliver what they hold and end

An async handler may do the same. If it unsubscribes itself, the event in its hands is finished and what waits
behind is dropped; if it awaits `join()` or `aclose()`, its own mailbox is not waited for.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from .backpressure import BoundedQueue, OnZone, ThrottlePlan
from .bus.errors import Errors
from .bus.event import DONE, Event
from .bus.hooks import Hooks
from .bus.loop_turns import LoopTurns
from .bus.mailbox import Mailbox
from .bus.routes import CAUGHT, Queue, Route, closed_route, make_put
from .bus.settings import BusSettings, Conflate, Essential, OnError, OnThrottle
from .bus.stream import EventStream
from .bus.subscribers import Subscription, Subscriptions, check_pattern, is_async, name_of, weakly
from .bus.table import RouteTable, figures
from .bus.threads import Inbox, LoopGoneError, on_loop

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .bus.settings import Changes

__all__ = ["DONE", "Event", "EventBus", "EventStream", "LoopGoneError", "get_event_bus"]

Handler = Callable[[Event], Any]

logger = logging.getLogger("copilot_pulse.event_bus")


class EventBus:
    """Publishes events to subscribers on one event loop, as the module's docstring tells.

    Everything is for the loop's thread, except `publish_threadsafe()`. None of the hooks below may wait; one that
    raises is logged and goes on to be called.

    What `configure()` can change at any time:

    capacity: events that a mailbox or stream holds, the one in its handler's hands included; for new ones.
    put_timeout: seconds that `publish()` waits for room in a full one, before room is made there.
    throttle: how its fill slows `publish()` down, a `ThrottlePlan` or the name of a mode: "fixed", by zones,
    "learned", by a model that looks ahead, or "observe", by zones while the model reports; for new ones.
    essential(event): True for events that must not be dropped to make room. They are lost, and counted, only
    where nobody can wait: by `publish_nowait()` into a mailbox that holds twice its capacity, by
    `publish_threadsafe()` when 20,000 events wait for the loop, and when the bus closes. It is also called in
    the threads that use `publish_threadsafe()`, with a lock held: it must not publish.
    conflate(event): a key; an older waiting event with the same key may be replaced by a newer one; None for
    none.
    on_error(name, event, error): told of a handler that raised.
    on_zone(name, zone, was, fill): told of a mailbox that changed its zone.
    on_throttle(name, change): told, at most once a second for each mailbox, what its throttle's model decides (see
    docs/event-bus.md).

    What is settled when the bus is made: slice_seconds, a flood of events lets the loop turn this often; clock
    and sleep, the outside world, for tests.
    """

    __slots__ = (
        "__weakref__", "_closed", "_errors", "_hooks", "_inbox", "_loop", "_refused", "_routes",
        "_settings", "_subscriptions", "_table", "_turns",
    )  # fmt: skip

    def __init__(
        self,
        *,
        capacity: int = 1000,
        put_timeout: float = 5.0,
        throttle: ThrottlePlan | str | None = None,
        essential: Essential | None = None,
        conflate: Conflate | None = None,
        on_error: OnError | None = None,
        on_zone: OnZone | None = None,
        on_throttle: OnThrottle | None = None,
        slice_seconds: float = 0.005,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        settings = self._settings = BusSettings(
            capacity=capacity,
            put_timeout=put_timeout,
            throttle=throttle,
            slice_seconds=slice_seconds,
            clock=clock,
            sleep=sleep,
        )
        self._subscriptions = Subscriptions()
        self._errors = Errors(settings)
        self._hooks = Hooks(settings, self._errors)
        self._turns = LoopTurns(settings)
        self._table = RouteTable(self._subscriptions, self._turns, make_put(settings))
        self._routes = self._table.routes
        self._inbox = Inbox(self.publish_nowait, self._hooks.is_essential, slice_seconds=slice_seconds, clock=clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refused = 0
        self._closed = False
        self.configure(
            essential=essential, conflate=conflate, on_error=on_error, on_zone=on_zone, on_throttle=on_throttle
        )

    # -- publishing ------------------------------------------------------------------------------------

    def publish(self, event: Event) -> Coroutine[Any, Any, None]:
        """Publish an event; `await` the result to be slowed down when mailboxes are full.

        Not a coroutine function: it publishes when it is called, in the thread that calls it. Plain handlers
        have been called, and mailboxes with room have the event, when the call returns. What is left is what
        `await` waits for: room in all full mailboxes at the same time (each gets the event as soon as it has
        room; after `put_timeout` room is made), then the throttle's pause (until no mailbox asks for more),
        or, in a flood, one turn of the loop. If there is nothing to wait for, that is `DONE`, a finished
        awaitable that costs nothing; it works like a coroutine with gather, wait_for, shield, create_task and
        TaskGroup.

        A cancel: mailboxes that have not got the event yet don't get it, all others have it. A handler's
        error is never raised here. On a closed bus nothing happens but a count in `statistics()["refused"]`;
        if it closes while this waits for room, that returns, and the event counts as dropped there.
        """
        # The hot path; routes, and the three cases below, are explained in bus/routes.py.
        try:
            route = self._routes[event.type]
        except KeyError:
            route = self._route(event.type)
        countdown = route.countdown = route.countdown - 1
        if (single := route.single) is not None:
            if (items := route.items) is None:
                try:
                    single(event)
                except CAUGHT as error:
                    self._errors.call_failed(route, single, event, error)
            elif len(items) < single.limit:
                items.append(event)
                return DONE
        else:
            try:
                for call in route:
                    call(event)
            except CAUGHT as error:
                self._errors.call_failed(route, call, event, error)
        if countdown >= 0:
            return DONE
        return route.slow_path(route, event)  # type: ignore[no-any-return]

    def publish_nowait(self, event: Event) -> None:
        """Publish without ever waiting or raising: a full mailbox makes room at once (conflates, or drops).

        Essential events are never dropped for others; if a mailbox holds nothing else, it grows beyond its
        capacity for them, up to twice that. What is dropped is counted by subscriber and type.
        """
        try:
            route = self._routes[event.type]
        except KeyError:
            route = self._route(event.type)
        countdown = route.countdown = route.countdown - 1
        if (single := route.single) is not None:
            if (items := route.items) is None:
                try:
                    single(event)
                except CAUGHT as error:
                    self._errors.call_failed(route, single, event, error)
            elif len(items) < single.limit:
                items.append(event)
                single.nowait += 1
                return
        else:
            try:
                for call in route:
                    call(event)
            except CAUGHT as error:
                self._errors.call_failed(route, call, event, error)
        if countdown < 0:
            route.slow_path_nowait(route, event)

    async def publish_many(self, events: Iterable[Event]) -> int:
        """Publish events one after the other, as `publish()` does each; returns how many.

        A cancel ends it between two events, or as in `publish()`.
        """
        number = 0
        for event in events:
            waiting = self.publish(event)
            number += 1
            if waiting is not DONE:
                await waiting
        return number

    def publish_threadsafe(self, event: Event) -> None:
        """`publish_nowait()` on the loop, from any thread. Doesn't wait.

        Order is kept per thread. Raises TypeError for a type that is no text, and LoopGoneError if the bus has not met
        its loop yet (it does at the first subscribe, publish or `bind()` there) or the loop has ended.
        """
        self._inbox.put(event, self._loop)

    # -- subscribing -----------------------------------------------------------------------------------

    def subscribe(
        self,
        pattern: str,
        handler: Handler,
        *,
        weak: bool = False,
        capacity: int | None = None,
        name: str | None = None,
    ) -> int:
        """Call `handler(event)` for each event whose type matches; returns an id for `unsubscribe()`.

        weak: don't keep the handler alive, for a bound method its object; it is unsubscribed when that is
        gone. capacity: of the mailbox, for an async handler. name: for logs and statistics. May be called
        before the loop runs. Raises ValueError for a bad pattern or a capacity below 1, TypeError for what
        cannot be called, or not be referred to weakly, RuntimeError on a closed bus.
        """
        if not callable(handler):
            raise TypeError(f"a handler must be callable, not {type(handler).__name__}")
        subscription = self._new(pattern, name or name_of(handler))
        call = handler
        if weak:
            me = weakref.ref(self)
            call = weakly(handler, partial(_unsubscribe_later, me, pattern, subscription.id))
        if is_async(handler):
            subscription.mailbox = Mailbox(
                self._give_queue(subscription, capacity),
                call,
                failed=partial(self._errors.handler_failed, subscription),
                cancelled=self._errors.handler_cancelled,
                sampled=self._turns.samples.append,
                slice_seconds=self._settings.slice_seconds,
            )
        else:
            subscription.call = call
        self._add(subscription)
        return subscription.id

    def unsubscribe(self, pattern: str, sub_id: int) -> bool:
        """End a subscription; True if there was one with this pattern and id.

        The handler is not called any more after this returns; events that wait in its mailbox are dropped,
        one in its hands is finished.
        """
        found = self._subscriptions.remove(pattern, sub_id, discard=True, counted=False)
        if found:
            self._table.forget(pattern)
        return found

    def stream(self, pattern: str, *, capacity: int | None = None, name: str | None = None) -> EventStream:
        """The matching events as `async with bus.stream(pattern) as events: async for event in events: ...`.

        See `EventStream`. Raises ValueError for a bad pattern. Entering it raises RuntimeError on a closed bus.
        """
        check_pattern(pattern)

        def open_() -> tuple[Queue, Callable[[], object], Callable[[], object]]:
            subscription = self._new(pattern, name or f"stream of {pattern}")
            queue = self._give_queue(subscription, capacity)
            self._add(subscription)
            return (
                queue,
                partial(self.unsubscribe, pattern, subscription.id),
                partial(_unsubscribe_later, weakref.ref(self), pattern, subscription.id),
            )

        return EventStream(open_)

    def has_subscribers(self, type_: str) -> bool:
        """Whether anybody would get an event of this type: ask before building a costly one."""
        return self._table.has_subscribers(type_)

    # -- the whole -------------------------------------------------------------------------------------

    def configure(self, *, owner: Hashable = None, **changes: Unpack[Changes]) -> None:
        """Change settings, by name; see the class for which. On the loop's thread.

        A bus that several programs share has several owners, and none takes anything from another: all their
        hooks are asked and told (an event is essential if one of them says so; its key is the first that one of
        them has), and of capacity, put_timeout and throttle the value that was set last counts. None takes back
        what this owner has set. owner: any object of yours that can be a key, and that the bus keeps until
        `withdraw()`; without one, it is who made the bus. Raises TypeError for an unknown name,
        ValueError for a capacity below 1.
        """
        self._settings.change(owner, changes)

    def withdraw(self, owner: Hashable) -> None:
        """Take back all that this owner has set; what the others have set counts again. Twice is fine."""
        self._settings.withdraw(owner)

    def bind(self) -> None:
        """Make the running loop known, for `publish_threadsafe()`, and start mailboxes that got events before.

        Raises RuntimeError if no loop runs.
        """
        self._loop = asyncio.get_running_loop()
        for mailbox in self._subscriptions.mailboxes():
            mailbox.kick()

    async def join(self) -> None:
        """Wait until every mailbox is empty and every handler has finished (streams are not waited for).

        Events that are published meanwhile are waited for too. A cancel changes nothing. An async handler
        that waits here is waited for by those outside, not by itself, nor by other handlers that wait here.
        It must do so in its own task: inside of `wait_for()` (before Python 3.12), `gather()` or a new task
        it would wait for itself. The same holds for `aclose()`.
        """
        while self._inbox or await self._subscriptions.join():
            await self._inbox.flush(math.inf)

    def close(self, *, discard: bool = False) -> None:
        """End everything without waiting: no more events in, no more calls of plain handlers, streams end.

        Mailboxes go on until they have delivered what they hold, or drop it at once if `discard`; so with events
        from threads that have not reached the loop yet. A publisher that waits for room goes on, and its event
        counts as dropped by the mailbox that had none. Closing again is fine.
        """
        self._inbox.empty(discard=discard)
        self._closed = True
        self._subscriptions.remove_all(discard=discard)
        self._table.forget("*")

    async def aclose(self, *, drain: bool = True, timeout: float = 5.0) -> None:
        """Close, and return when no task is left.

        drain: let mailboxes deliver what they hold, for at most `timeout` seconds; then, or if not `drain`,
        handlers are cancelled and what waits is dropped and counted. A handler that ignores its
        cancellation is logged and left behind after 1 s. If this is cancelled itself, all handlers are
        cancelled at once. Closing again is fine.
        """
        end = self._settings.clock() + timeout
        try:
            if drain:
                await self._inbox.flush(end)
        finally:
            self.close(discard=not drain)
            await self._subscriptions.end_tasks(drain=drain, timeout=end - self._settings.clock())

    def statistics(self) -> dict[str, Any]:
        """A snapshot as plain data: what was published by type, subscribers, and each mailbox's figures."""
        return {
            **figures(self._table, self._subscriptions, self._errors, self._inbox),
            "refused": self._refused,
            "closed": self._closed,
        }

    def take_latency_samples(self) -> list[float]:
        """Seconds from the making of an event to its delivery, sampled since the last call, which forgets them."""
        samples = list(self._turns.samples)
        self._turns.samples.clear()
        return samples

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<EventBus {state}, {len(self._subscriptions)} subscriptions>"

    # -- what a route cannot do by itself --------------------------------------------------------------

    def _route(self, type_: str) -> Route:
        """The missing route for a type."""
        self._meet_loop()
        if self._closed:
            return closed_route(self._turns.make_tick(sampled=False, waits=True), self._refuse)
        return self._table.add(type_)

    def _refuse(self, event: Event) -> None:
        if not self._refused:
            logger.info("%s was published after the bus was closed; such events are only counted", event.type)
        self._refused += 1

    # -- subscriptions ---------------------------------------------------------------------------------

    def _new(self, pattern: str, name: str) -> Subscription:
        check_pattern(pattern)
        if self._closed:
            raise RuntimeError("the event bus is closed: nothing can be subscribed any more")
        self._meet_loop()
        return self._subscriptions.new(pattern, name)

    def _give_queue(self, subscription: Subscription, capacity: int | None) -> Queue:
        """Give a subscription its queue. Raises ValueError for a capacity below 1."""
        settings, hooks = self._settings, self._hooks
        subscription.queue = BoundedQueue(
            settings.capacity if capacity is None else capacity,
            name=subscription.name,
            throttle=settings.throttle,
            key=hooks.key,
            essential=hooks.is_essential,
            label=attrgetter("type"),
            on_drop=self._subscriptions.count_drop,
            on_zone=hooks.zone_changed,
            on_throttle=hooks.throttle_changed,
            slice_seconds=settings.slice_seconds,
            clock=settings.clock,
            sleep=settings.sleep,
        )
        return subscription.queue

    def _add(self, subscription: Subscription) -> None:
        self._subscriptions.add(subscription)
        self._table.forget(subscription.pattern)

    def _meet_loop(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return


def _unsubscribe_later(reference: weakref.ref[EventBus], pattern: str, id_: int) -> None:
    """Unsubscribe from wherever the garbage collector happens to run."""
    bus = reference()
    if bus is not None:
        on_loop(bus._loop, partial(bus.unsubscribe, pattern, id_))


_default: EventBus | None = None
_default_lock: Final = threading.Lock()


def get_event_bus() -> EventBus:
    """The process's event bus, made on first use. From any thread. A closed one is replaced by a new one."""
    global _default
    with _default_lock:
        if _default is None or _default._closed:
            _default = EventBus()
        return _default
