"""The event bus: who gets what, in which order, and that no handler harms another."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backend.event_bus as module
from backend.backpressure import UNTHROTTLED
from backend.event_bus import DONE, Event, EventBus, get_event_bus
from tests.support.manual_time import turns
from tests.support.net import PATIENCE


def event(type_: str = "chat.delta", number: int = 0) -> Event:
    return Event(type=type_, data={"n": number}, source="test")


def test_all_is_what_the_module_defines() -> None:
    """Nothing in `__all__` is missing."""
    assert [] == [name for name in module.__all__ if not hasattr(module, name)]


# -- patterns and order -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "types"),
    [
        ("chat.delta", {"chat.delta"}),
        ("chat.*", {"chat.delta", "chat.tool.called"}),
        ("chat.tool.*", {"chat.tool.called"}),
        ("*", {"chat", "chat.delta", "chat.tool.called", "chatter.x", "error"}),
        ("error", {"error"}),
    ],
)
async def test_a_pattern_matches_a_type_a_prefix_or_all(bus: EventBus, pattern: str, types: set[str]) -> None:
    """`chat.*` is what begins with `chat.`, at any depth, and not `chat` itself."""
    got: set[str] = set()
    bus.subscribe(pattern, lambda e: got.add(e.type))
    for type_ in ("chat", "chat.delta", "chat.tool.called", "chatter.x", "error"):
        await bus.publish(event(type_))
        assert bus.has_subscribers(type_) is (type_ in types)

    assert types == got


@pytest.mark.parametrize("bad", ["", ".*", "chat*", "*.delta", "chat.*.x", "**"])
def test_a_pattern_that_could_never_match_is_refused(bad: str) -> None:
    """With a sentence that says what is allowed."""
    with pytest.raises(ValueError, match="allowed are"):
        EventBus().subscribe(bad, print)
    with pytest.raises(ValueError, match="allowed are"):
        EventBus().stream(bad)


def test_a_handler_must_be_callable() -> None:
    """A coroutine instead of its function, for example."""
    with pytest.raises(TypeError, match="callable"):
        EventBus().subscribe("*", "not a function")  # type: ignore[arg-type]


async def test_plain_handlers_run_in_the_order_of_subscription(bus: EventBus) -> None:
    """Whatever their patterns, and inside of `publish`, before it is awaited."""
    got: list[str] = []
    for name, pattern in (("a", "*"), ("b", "chat.delta"), ("c", "chat.*"), ("d", "chat.delta"), ("e", "*")):
        bus.subscribe(pattern, functools.partial(lambda name, e: got.append(name), name))
    waiting = bus.publish(event())

    assert list("abcde") == got
    await waiting
    assert list("abcde") == got


@pytest.mark.parametrize("type_", ["*", "chat.*", "chat.tool.*"])
async def test_a_type_that_looks_like_a_pattern_is_delivered_once(bus: EventBus, type_: str) -> None:
    """Each subscription gets an event at most once, whatever its type is called."""
    got: list[str] = []
    for pattern in ("*", "chat.*", "chat.tool.*"):
        bus.subscribe(pattern, functools.partial(lambda pattern, e: got.append(pattern), pattern))
    await bus.publish(event(type_))

    assert {"*": ["*"], "chat.*": ["*", "chat.*"]}.get(type_, ["*", "chat.*", "chat.tool.*"]) == got


async def test_unsubscribing_says_whether_there_was_one(bus: EventBus) -> None:
    """By pattern and id together; a second time it is gone."""
    got: list[Event] = []
    sub_id = bus.subscribe("chat.*", got.append)

    assert not bus.unsubscribe("chat.delta", sub_id)
    assert bus.unsubscribe("chat.*", sub_id)
    assert not bus.unsubscribe("chat.*", sub_id)
    await bus.publish(event())
    assert [] == got
    assert not bus.has_subscribers("chat.delta")


TYPES = ["a", "a.b", "a.b.c", "b", "b.a"]


PATTERNS = [*TYPES, "a.*", "a.b.*", "b.*", "*"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("subscribe"), st.sampled_from(PATTERNS)),
            st.tuples(st.just("unsubscribe"), st.integers(0, 9)),
            st.tuples(st.just("publish"), st.sampled_from(TYPES)),
            st.tuples(st.just("publish_nowait"), st.sampled_from(TYPES)),
        ),
        max_size=40,
    )
)
def test_the_bus_agrees_with_a_list_of_subscriptions(steps: list[tuple[str, Any]]) -> None:
    """Against the plain model: all subscriptions in one list, searched for each event."""
    bus = EventBus()
    model: list[tuple[int, str]] = []
    got: list[int] = []
    published = dict.fromkeys(TYPES, 0)
    for step, what in steps:
        if step == "subscribe":
            number = len(model) + len(steps)

            def handler(e: Event, me: list[int]) -> None:
                got.append(me[0])

            me = [number]
            me[0] = bus.subscribe(what, functools.partial(handler, me=me))
            model.append((me[0], what))
        elif step == "unsubscribe" and model:
            sub_id, pattern = model.pop(what % len(model))
            assert bus.unsubscribe(pattern, sub_id)
        elif step in ("publish", "publish_nowait"):
            got.clear()
            published[what] += 1
            assert getattr(bus, step)(event(what)) in (None, DONE)
            matching = [
                sub_id
                for sub_id, pattern in model
                if pattern in ("*", what) or (pattern.endswith(".*") and what.startswith(pattern[:-1]))
            ]
            assert matching == got
    assert {type_: n for type_, n in published.items() if n} == bus.statistics()["published"]


async def test_subscribing_without_a_loop_is_fine() -> None:
    """Custom nodes are imported before ComfyUI's loop runs."""
    got: list[Event] = []

    async def handler(e: Event) -> None:
        got.append(e)

    bus = await asyncio.to_thread(_subscribed_in_a_thread, handler)
    await bus.publish(event())
    await bus.join()

    assert 1 == len(got)
    await bus.aclose()


def _subscribed_in_a_thread(handler: Callable[[Event], Any]) -> EventBus:
    bus = EventBus()
    bus.subscribe("*", handler)
    return bus


# -- re-entrancy, as the module's docstring shows it ------------------------------------------------


async def test_publishing_from_a_handler_goes_depth_first(bus: EventBus) -> None:
    """The inner event reaches everybody before the outer one goes on."""
    got: list[str] = []

    def a(e: Event) -> None:
        got.append(f"A({e.type}")
        if e.type == "x":
            bus.publish_nowait(event("y"))
        got.append(")")

    bus.subscribe("*", a)
    bus.subscribe("*", lambda e: got.append(f"B({e.type})"))
    await bus.publish(event("x"))

    assert "A(x A(y ) B(y) ) B(x)" == " ".join(got)


async def test_a_handler_subscribed_by_a_handler_gets_the_next_event(bus: EventBus) -> None:
    """Not the one that is being delivered."""
    got: list[int] = []

    def a(e: Event) -> None:
        if e.data["n"] == 0:
            bus.subscribe("*", lambda e: got.append(e.data["n"]))

    bus.subscribe("*", a)
    await bus.publish(event(number=0))
    await bus.publish(event(number=1))

    assert [1] == got


async def test_a_handler_unsubscribed_by_a_handler_is_not_called_any_more(bus: EventBus) -> None:
    """Not even for the event that is being delivered, also if the routes have changed in between."""
    got: list[str] = []

    def a(e: Event) -> None:
        got.append("a")
        bus.subscribe("other", print)
        bus.subscribe("chat.*", lambda e: None)
        bus.unsubscribe("*", b_id)

    bus.subscribe("*", a)
    b_id = bus.subscribe("*", lambda e: got.append("b"))
    bus.subscribe("*", lambda e: got.append("c"))
    await bus.publish(event())

    assert ["a", "c"] == got


async def test_one_function_may_be_subscribed_twice(bus: EventBus) -> None:
    """It is called twice, and each subscription ends for itself, also in the middle of a delivery."""
    got: list[str] = []

    def first(e: Event) -> None:
        bus.unsubscribe("*", twice_id)

    def twice(e: Event) -> None:
        got.append("twice")

    bus.subscribe("*", first)
    twice_id = bus.subscribe("*", twice)
    bus.subscribe("*", twice)
    await bus.publish(event())

    assert ["twice"] == got


async def test_a_handler_may_unsubscribe_itself(bus: EventBus) -> None:
    """Plain or async: it ends as usual, and the others get the event."""
    got: list[str] = []

    def plain(e: Event) -> None:
        bus.unsubscribe("*", plain_id)
        got.append("plain")

    async def slow(e: Event) -> None:
        bus.unsubscribe("*", slow_id)
        await asyncio.sleep(0)
        got.append("slow")

    plain_id = bus.subscribe("*", plain)
    slow_id = bus.subscribe("*", slow)
    bus.subscribe("*", lambda e: got.append("last"))
    for _ in range(2):
        bus.publish_nowait(event())
    await turns()

    assert ["plain", "last", "last", "slow"] == got


async def test_a_handler_may_close_the_bus(bus: EventBus) -> None:
    """The next plain handler is not called; mailboxes deliver what they hold; publishing is counted only."""
    got: list[str] = []

    async def box(e: Event) -> None:
        got.append("box")

    def a(e: Event) -> None:
        got.append("a")
        bus.close()

    bus.subscribe("*", box)
    bus.publish_nowait(event())
    bus.subscribe("*", a)
    bus.subscribe("*", lambda e: got.append("b"))
    await bus.publish(event())
    await bus.publish(event())
    bus.publish_nowait(event())
    await turns()

    assert ["a", "box"] == got
    assert 2 == bus.statistics()["refused"]
    with pytest.raises(RuntimeError, match="closed"):
        bus.subscribe("*", print)


# -- what publish() returns -------------------------------------------------------------------------


async def test_what_publish_returns_works_like_a_coroutine(bus: EventBus) -> None:
    """With await, gather, wait_for, shield, create_task and TaskGroup, also when it has nothing to wait for."""
    bus.subscribe("*", lambda e: None)
    assert bus.publish(event()) is DONE

    await bus.publish(event())
    await asyncio.gather(bus.publish(event()), bus.publish(event()), asyncio.sleep(0))
    await asyncio.wait_for(bus.publish(event()), PATIENCE)
    await asyncio.shield(bus.publish(event()))
    await asyncio.create_task(bus.publish(event()))
    group = getattr(asyncio, "TaskGroup", None)
    if group is not None:
        async with group() as tasks:
            tasks.create_task(bus.publish(event()))
    assert asyncio.iscoroutine(DONE)
    assert "published" in repr(DONE)
    DONE.close()
    with pytest.raises(ValueError, match="x"):
        DONE.throw(ValueError("x"))


def test_what_publish_returns_runs_on_a_loop_by_itself() -> None:
    """As a coroutine does; and once more, as no coroutine does."""
    loop = asyncio.new_event_loop()
    try:
        for _ in range(2):
            loop.run_until_complete(DONE)
    finally:
        loop.close()


def test_publish_works_on_one_loop_after_another() -> None:
    """A bus outlives a loop, and a mailbox that slept on the old one wakes up on the new one."""
    bus = EventBus()
    got: list[int] = []

    async def handler(e: Event) -> None:
        got.append(e.data["n"])

    bus.subscribe("*", handler)

    async def main(number: int) -> None:
        await asyncio.gather(bus.publish(event(number=number)), bus.publish(event(number=number)))
        await bus.join()

    for number in range(3):
        asyncio.run(main(number), debug=number == 2)
    asyncio.run(bus.aclose())

    assert [0, 0, 1, 1, 2, 2] == got


async def test_publish_many_publishes_in_order(bus: EventBus) -> None:
    """And says how many; a generator is read as it goes."""
    got: list[int] = []
    bus.subscribe("*", lambda e: got.append(e.data["n"]))

    assert 5 == await bus.publish_many(event(number=number) for number in range(5))
    assert list(range(5)) == got


# -- small ------------------------------------------------------------------------------------------


async def test_the_statistics_are_plain_data(bus: EventBus) -> None:
    """Counts by type, one row for each subscriber, one for each mailbox or stream, with a name of its own."""

    async def handler(e: Event) -> None:
        await asyncio.sleep(0)

    bus.subscribe("chat.*", handler)
    bus.subscribe("chat.*", handler, capacity=5)
    bus.subscribe("*", print, name="printer")
    bus.unsubscribe("*", bus.subscribe("*", print))
    async with bus.stream("x"):
        await bus.publish_many([event("x"), event("chat.delta")])
        figures = bus.statistics()

    assert {"x": 1, "chat.delta": 1} == figures["published"]
    assert 2 == figures["published_total"]
    assert ["mailbox", "mailbox", "inline", "stream"] == [row["kind"] for row in figures["subscribers"]]
    names = [row["name"] for row in figures["queues"]]
    assert len(names) == len(set(names)) == 3
    assert [1000, 5, 1000] == [row["capacity"] for row in figures["queues"]]
    assert [1, 1, 1] == [row["size"] for row in figures["queues"]]
    assert "<EventBus open, 3 subscriptions>" == repr(bus)


async def test_settings_can_be_changed_while_it_runs() -> None:
    """What the plugin's owner does with a bus that another custom node has made."""
    bus = EventBus(throttle=UNTHROTTLED)
    bus.configure(capacity=2, essential=lambda e: e.data["n"] == 0, put_timeout=0, on_error=None)
    async with bus.stream("*") as events:
        for number in range(4):
            await bus.publish(event(number=number))
        assert [0, 3] == [(await anext(events)).data["n"] for _ in range(2)]

    with pytest.raises(TypeError, match="size"):
        bus.configure(size=1)  # type: ignore[call-arg]


def test_there_is_one_bus_for_the_process() -> None:
    """Whoever asks gets the same; after it was closed, a new one."""
    bus = get_event_bus()
    assert get_event_bus() is bus

    bus.close()
    assert get_event_bus() is not bus


# -- weak subscriptions -----------------------------------------------------------------------------


class Listener:
    """Has a plain and an async handler."""

    def __init__(self, got: list[str]) -> None:
        self.got = got

    def plain(self, e: Event) -> None:
        self.got.append("plain")

    async def slow(self, e: Event) -> None:
        self.got.append("slow")

    async def __call__(self, e: Event) -> None:
        self.got.append("called")


async def test_a_weak_subscription_ends_with_its_object(bus: EventBus) -> None:
    """Bound methods, plain and async; the bus does not keep the object alive."""
    got: list[str] = []
    listener = Listener(got)
    bus.subscribe("*", listener.plain, weak=True)
    bus.subscribe("*", listener.slow, weak=True)
    await bus.publish(event())
    await bus.join()
    assert ["plain", "slow"] == got

    del listener
    gc.collect()
    await turns()
    await bus.publish(event())
    await bus.join()
    assert ["plain", "slow"] == got
    assert [] == bus.statistics()["subscribers"]


async def test_what_cannot_be_subscribed_weakly_is_refused(bus: EventBus) -> None:
    """With a sentence; and its name stays free. A built-in function is no method, and is fine."""
    got: list[Event] = []
    with pytest.raises(TypeError, match=r"list\.append cannot be subscribed weakly"):
        bus.subscribe("*", got.append, weak=True)
    with pytest.raises(ValueError, match="capacity"):
        bus.subscribe("*", Listener([]).slow, name="list.append", capacity=0)
    bus.subscribe("*", got.append)
    bus.subscribe("*", callable, weak=True)
    await bus.publish(event())

    assert 1 == len(got)
    assert ["list.append", "callable"] == [row["name"] for row in bus.statistics()["subscribers"]]


async def test_a_weak_handler_that_dies_with_events_in_its_mailbox(bus: EventBus) -> None:
    """They are dropped; nothing fails."""
    got: list[str] = []
    listener = Listener(got)
    bus.subscribe("*", listener.slow, weak=True)
    bus.publish_nowait(event())
    del listener
    gc.collect()
    await turns()

    assert [] == got
    assert 0 == bus.statistics()["handler_errors_total"]


def test_a_weak_handler_that_dies_without_a_loop() -> None:
    """The subscription is gone at once."""
    bus = EventBus()
    listener = Listener([])
    bus.subscribe("*", listener.plain, weak=True)
    bus.subscribe("*", listener, weak=True)
    del listener
    gc.collect()

    assert [] == bus.statistics()["subscribers"]


@pytest.mark.parametrize("make", [lambda f: f, lambda f: functools.partial(f), lambda f: f.__call__])
async def test_async_handlers_are_recognised(bus: EventBus, make: Callable[[Any], Any]) -> None:
    """Functions, methods, partials and objects whose call is async: all have a mailbox."""
    got: list[str] = []
    bus.subscribe("*", make(Listener(got)))

    await bus.publish(event())
    await bus.join()
    assert ["called"] == got


async def test_a_handler_runs_in_the_context_it_was_subscribed_in(bus: EventBus) -> None:
    """Context variables of a publisher do not leak into somebody else's handler."""
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    got: list[str] = []

    async def handler(e: Event) -> None:
        got.append(who.get())

    who.set("subscriber")
    bus.subscribe("*", handler)
    who.set("publisher")
    await bus.publish(event())
    await bus.join()

    assert ["subscriber"] == got


async def test_the_log_stays_silent_when_all_is_well(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    """No line for what is no trouble."""
    caplog.set_level(logging.DEBUG, logger="copilot_pulse")
    bus.subscribe("*", lambda e: None)
    await bus.publish_many(event() for _ in range(1000))

    assert [] == caplog.records
