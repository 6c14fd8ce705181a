"""The peers of the event bus, each brought into the same form.

A peer is made with its handlers, and then runs a slice of work: build `n` events by keyword, publish each, and
return when all were handled. All use our Event class (bubus demands its own), so that a class is not mistaken
for a bus. Where a peer has no bound of its own, the slice waits for its end by looking at a counter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from backend.backpressure import UNTHROTTLED
from backend.event_bus import Event, EventBus

DATA = {"chat_id": "1", "text": "hello"}
TYPE = "chat.delta"
CAPACITY = 1000

# What has to be awaited at the end, so that no peer's task is left.
CLEANUPS: list[Callable[[], Awaitable[Any]]] = []

Slice = Callable[[int], Awaitable[None]]
Handler = Callable[..., Any]


class Handlers:
    """Ten plain handlers and an async one, that count what they get."""

    def __init__(self) -> None:
        self.count = 0

    def plain(self, number: int, shape: str = "event") -> list[Handler]:
        """So many different functions, each as cheap as can be, with the parameters that a peer passes."""
        return [self._one(shape) for _ in range(number)]

    def _one(self, shape: str) -> Handler:
        def handler(event: Any) -> None:
            self.count += 1

        def handler_with_key(key: Any, event: Any) -> None:
            self.count += 1

        def handler_with_sender(sender: Any, ev: Any) -> None:
            self.count += 1

        shapes: dict[str, Handler] = {
            "event": handler,
            "key": handler_with_key,
            "sender": handler_with_sender,
        }
        return shapes[shape]

    def slow(self) -> Handler:
        """An async handler that does not wait."""

        async def handler(event: Any) -> None:
            self.count += 1

        return handler

    async def until(self, number: int) -> None:
        """Until so many events were handled; for peers that have no way to wait for that."""
        while self.count < number:
            await asyncio.sleep(0)


# -- one or ten plain handlers --------------------------------------------------------------------


def plain_bare(handlers: list[Handler]) -> Slice:
    if len(handlers) == 1:
        (handler,) = handlers

        async def run_one(n: int) -> None:
            for _ in range(n):
                handler(Event(type=TYPE, data=DATA, source="bench"))

        return run_one

    async def run(n: int) -> None:
        for _ in range(n):
            event = Event(type=TYPE, data=DATA, source="bench")
            for handler in handlers:
                handler(event)

    return run


def plain_ours(handlers: list[Handler]) -> Slice:
    bus = EventBus()
    for handler in handlers:
        bus.subscribe(TYPE, handler)

    async def run(n: int) -> None:
        for _ in range(n):
            await bus.publish(Event(type=TYPE, data=DATA, source="bench"))

    return run


def plain_ours_nowait(handlers: list[Handler]) -> Slice:
    bus = EventBus()
    for handler in handlers:
        bus.subscribe(TYPE, handler)

    async def run(n: int) -> None:
        for _ in range(n):
            bus.publish_nowait(Event(type=TYPE, data=DATA, source="bench"))

    return run


def plain_queue(handlers: list[Handler]) -> Slice:
    queues: list[tuple[asyncio.Queue[Any], Handler]] = [(asyncio.Queue(CAPACITY), h) for h in handlers]

    async def run(n: int) -> None:
        for _ in range(n):
            event = Event(type=TYPE, data=DATA, source="bench")
            for queue, handler in queues:
                queue.put_nowait(event)
                handler(queue.get_nowait())

    return run


def plain_blinker(handlers: list[Handler]) -> Slice:
    import blinker

    signal = blinker.Signal()
    for handler in handlers:
        signal.connect(handler, weak=False)

    async def run(n: int) -> None:
        for _ in range(n):
            signal.send(None, ev=Event(type=TYPE, data=DATA, source="bench"))

    return run


def _psygnal(handlers: list[Handler]) -> Any:
    import psygnal

    class Emitter:
        delta = psygnal.Signal(object)

    emitter = Emitter()
    for handler in handlers:
        emitter.delta.connect(handler)
    return emitter


def plain_psygnal(handlers: list[Handler]) -> Slice:
    emitter = _psygnal(handlers)

    async def run(n: int) -> None:
        for _ in range(n):
            emitter.delta.emit(Event(type=TYPE, data=DATA, source="bench"))

    return run


def plain_psygnal_fast(handlers: list[Handler]) -> Slice:
    emitter = _psygnal(handlers)

    async def run(n: int) -> None:
        for _ in range(n):
            emitter.delta.emit_fast(Event(type=TYPE, data=DATA, source="bench"))

    return run


def plain_pyee(handlers: list[Handler]) -> Slice:
    import pyee

    emitter = pyee.EventEmitter()
    for handler in handlers:
        emitter.on(TYPE, handler)

    async def run(n: int) -> None:
        for _ in range(n):
            emitter.emit(TYPE, Event(type=TYPE, data=DATA, source="bench"))

    return run


def plain_reactivex(handlers: list[Handler]) -> Slice:
    from reactivex.subject import Subject

    subject: Any = Subject()
    for handler in handlers:
        subject.subscribe(handler)

    async def run(n: int) -> None:
        for _ in range(n):
            subject.on_next(Event(type=TYPE, data=DATA, source="bench"))

    return run


def plain_aiopubsub(handlers: list[Handler]) -> Slice:
    import aiopubsub

    hub = aiopubsub.Hub()
    key = aiopubsub.Key(*TYPE.split("."))
    for handler in handlers:
        hub.add_subscriber(key, handler)

    async def run(n: int) -> None:
        for _ in range(n):
            hub.publish(key, Event(type=TYPE, data=DATA, source="bench"))

    return run


def plain_pymitter(handlers: list[Handler]) -> Slice:
    import pymitter

    emitter = pymitter.EventEmitter()
    for handler in handlers:
        emitter.on(TYPE, handler)

    async def run(n: int) -> None:
        for _ in range(n):
            emitter.emit(TYPE, Event(type=TYPE, data=DATA, source="bench"))

    return run


def plain_bubus(handlers: list[Handler]) -> Slice:
    for number, handler in enumerate(handlers):
        handler.__name__ = f"handler_{number}"  # it refuses two of one name
    return _bubus(handlers)


def _bubus(handlers: list[Handler]) -> Slice:
    """A bus for each slice: its loop goes on running between two of them, at the cost of all others."""
    import bubus

    base: Any = bubus.BaseEvent
    delta: Any = type("Delta", (base,), {"__annotations__": {"data": dict}, "__module__": __name__})

    async def run(n: int) -> None:
        bus = bubus.EventBus()
        for handler in handlers:
            bus.on(delta, handler)
        for _ in range(n):
            await bus.dispatch(delta(data=DATA))
        await bus.stop(timeout=1, clear=True)

    return run


SHAPES = {"aiopubsub": "key", "blinker": "sender"}
# Events in a slice, of a peer whose time per event depends on it; of all others, what fills a slice.
SIZES = {"bubus": 30}

PLAIN: dict[str, tuple[Callable[[list[Handler]], Slice], str]] = {
    "bare call": (plain_bare, "builds the event and calls the handlers: the limit"),
    "this bus": (plain_ours, "`await publish`"),
    "this bus, nowait": (plain_ours_nowait, "`publish_nowait`"),
    "aiopubsub": (plain_aiopubsub, "Hub.publish with a ready key"),
    "psygnal emit_fast": (plain_psygnal_fast, "compiled; one signal is one type, no routing"),
    "psygnal": (plain_psygnal, "compiled; emit, with re-entry and locks"),
    "asyncio.Queue": (plain_queue, "put_nowait, get_nowait, call; no routing"),
    "pyee": (plain_pyee, "EventEmitter"),
    "reactivex": (plain_reactivex, "Subject.on_next; no routing"),
    "blinker": (plain_blinker, "Signal.send"),
    "pymitter": (plain_pymitter, "EventEmitter"),
    "bubus": (plain_bubus, "pydantic events, history, always queued; slices of 30: its time per event grows with them"),
}


# -- one async handler, through a buffer ----------------------------------------------------------


def box_bare(handlers: Handlers) -> Slice:
    handler = handlers.slow()

    async def run(n: int) -> None:
        for _ in range(n):
            await handler(Event(type=TYPE, data=DATA, source="bench"))

    return run


def box_ours(handlers: Handlers, **kwargs: Any) -> Slice:
    bus = EventBus(**kwargs)
    CLEANUPS.append(bus.aclose)
    bus.subscribe(TYPE, handlers.slow())

    async def run(n: int) -> None:
        for _ in range(n):
            await bus.publish(Event(type=TYPE, data=DATA, source="bench"))
        await bus.join()

    return run


def box_ours_unthrottled(handlers: Handlers) -> Slice:
    return box_ours(handlers, throttle=UNTHROTTLED)


def box_queue(handlers: Handlers) -> Slice:
    handler = handlers.slow()

    async def run(n: int) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue(CAPACITY)

        async def consume() -> None:
            while (event := await queue.get()) is not None:
                await handler(event)

        task = asyncio.create_task(consume())
        for _ in range(n):
            await queue.put(Event(type=TYPE, data=DATA, source="bench"))
        await queue.put(None)
        await task

    return run


def box_janus(handlers: Handlers) -> Slice:
    import janus

    handler = handlers.slow()

    async def run(n: int) -> None:
        queue: Any = janus.Queue(CAPACITY)

        async def consume() -> None:
            while (event := await queue.async_q.get()) is not None:
                await handler(event)

        task = asyncio.create_task(consume())
        for _ in range(n):
            await queue.async_q.put(Event(type=TYPE, data=DATA, source="bench"))
        await queue.async_q.put(None)
        await task
        await queue.aclose()

    return run


def box_anyio(handlers: Handlers) -> Slice:
    import anyio

    handler = handlers.slow()

    async def run(n: int) -> None:
        sender, receiver = anyio.create_memory_object_stream[Any](CAPACITY)

        async def consume() -> None:
            async with receiver:
                async for event in receiver:
                    await handler(event)

        task = asyncio.create_task(consume())
        async with sender:
            for _ in range(n):
                await sender.send(Event(type=TYPE, data=DATA, source="bench"))
        await task

    return run


def box_blinker(handlers: Handlers) -> Slice:
    import blinker

    async def receive(sender: Any, ev: Any) -> None:
        handlers.count += 1

    signal = blinker.Signal()
    signal.connect(receive, weak=False)

    async def run(n: int) -> None:
        for _ in range(n):
            await signal.send_async(None, ev=Event(type=TYPE, data=DATA, source="bench"))

    return run


def box_pyee(handlers: Handlers) -> Slice:
    from pyee.asyncio import AsyncIOEventEmitter

    emitter: Any = None

    async def run(n: int) -> None:
        nonlocal emitter
        if emitter is None:
            emitter = AsyncIOEventEmitter(asyncio.get_running_loop())
            emitter.on(TYPE, handlers.slow())
        before = handlers.count
        for _ in range(n):
            emitter.emit(TYPE, Event(type=TYPE, data=DATA, source="bench"))
        await handlers.until(before + n)

    return run


def box_aiopubsub(handlers: Handlers) -> Slice:
    import aiopubsub

    hub: Any = None
    key = aiopubsub.Key(*TYPE.split("."))

    async def receive(key: Any, event: Any) -> None:
        handlers.count += 1

    async def run(n: int) -> None:
        nonlocal hub
        if hub is None:
            hub = aiopubsub.Hub()
            subscriber = aiopubsub.Subscriber(hub, "bench")
            subscriber.add_async_listener(key, receive)
            CLEANUPS.append(subscriber.remove_all_listeners)
        before = handlers.count
        for _ in range(n):
            hub.publish(key, Event(type=TYPE, data=DATA, source="bench"))
        await handlers.until(before + n)

    return run


def box_pymitter(handlers: Handlers) -> Slice:
    import pymitter

    emitter = pymitter.EventEmitter()
    emitter.on(TYPE, handlers.slow())

    async def run(n: int) -> None:
        for _ in range(n):
            await emitter.emit_async(TYPE, Event(type=TYPE, data=DATA, source="bench"))

    return run


def box_reactivex(handlers: Handlers) -> Slice:
    import reactivex.operators as operators
    from reactivex.scheduler.eventloop import AsyncIOScheduler
    from reactivex.subject import Subject

    subject: Any = None
    (plain,) = handlers.plain(1)

    async def run(n: int) -> None:
        nonlocal subject
        if subject is None:
            subject = Subject()
            scheduler: Any = AsyncIOScheduler(asyncio.get_running_loop())
            subject.pipe(operators.observe_on(scheduler)).subscribe(plain)
        before = handlers.count
        for _ in range(n):
            subject.on_next(Event(type=TYPE, data=DATA, source="bench"))
        await handlers.until(before + n)

    return run


def box_bubus(handlers: Handlers) -> Slice:
    return _bubus([handlers.slow()])


BOX: dict[str, tuple[Callable[[Handlers], Slice], str]] = {
    "bare call": (box_bare, "awaits the handler itself: no buffer, the limit"),
    "this bus": (box_ours, "bounded: waits, throttles"),
    "this bus, unthrottled": (box_ours_unthrottled, "bounded: waits when full"),
    "asyncio.Queue": (box_queue, "bounded: waits when full; no routing, no fan-out"),
    "janus": (box_janus, "bounded: waits when full; also serves threads"),
    "anyio stream": (box_anyio, "bounded: waits when full; yields at each item"),
    "blinker": (box_blinker, "no buffer: the publisher awaits the handler"),
    "pyee": (box_pyee, "no bound: a task per event"),
    "aiopubsub": (box_aiopubsub, "no bound: a queue, and a task per event"),
    "reactivex": (box_reactivex, "no bound: observe_on; a PLAIN handler"),
    "pymitter": (box_pymitter, "no buffer: gather, a task per event"),
    "bubus": (box_bubus, "awaits the end of each event; in slices of 30"),
}
