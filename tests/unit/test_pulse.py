"""A running plugin ties its parts together: the bus knows what is essential, and follows the settings."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backend import pulse as pulse_module
from backend.aio import forget_faults
from backend.chats import Chat
from backend.event_bus import Event, EventBus
from backend.monitoring import Monitor
from backend.pulse import Pulse, read_install
from backend.settings import LiveSettings, Settings
from backend.store import Filter, NotStored
from tests.support.stores import event, running


@pytest.fixture
async def pulse() -> AsyncIterator[Pulse]:
    """A plugin's parts, running, with the smallest mailboxes."""
    started = Pulse(LiveSettings(Settings(queue_size=10)), EventBus())
    started.start()
    yield started
    await started.aclose()


async def test_a_full_mailbox_drops_text_and_keeps_what_matters(pulse: Pulse) -> None:
    """Of a slow subscriber's events the deltas go first; the end of a chat is never dropped, and zones are told."""
    gate = asyncio.Event()
    seen: list[str] = []
    zones: list[str] = []

    async def slow(event: Any) -> None:
        await gate.wait()
        seen.append(event.type)

    pulse.bus.subscribe("queue.zone", lambda event: zones.append(event.data["zone"]))
    pulse.bus.subscribe("chat.*", slow)
    for _ in range(30):
        pulse.bus.publish_nowait(Event(type="chat.delta", data={"chat_id": "c", "text": "x"}, source="test"))
    pulse.bus.publish_nowait(Event(type="chat.finished", data={"chat_id": "c"}, source="test"))
    gate.set()
    await pulse.bus.join()

    assert "chat.finished" == seen[-1]
    assert len(seen) < 31
    assert zones, "crossing a threshold is an event"


async def test_new_mailboxes_have_the_size_that_was_set(pulse: Pulse) -> None:
    """A change of `queue_size` in the panel holds for the next subscriber."""
    pulse.settings.update({"queue_size": 50})

    async def handler(event: Any) -> None:
        """Not called."""

    pulse.bus.subscribe("chat.finished", handler, name="after")
    rows = {row["name"]: row["capacity"] for row in pulse.monitor.snapshot()["events"]["queues"]}

    assert 50 == rows["after"]


async def test_starting_and_closing_twice_changes_nothing(pulse: Pulse) -> None:
    """One subscription for each event type, and none is left after the end."""
    pulse.start()
    pulse.publish("pulse.started", {"version": "0", "attached": [], "missing": []})
    once = pulse.monitor.snapshot()["events"]["by_type"]["pulse.started"]
    await pulse.aclose()
    await pulse.aclose()

    assert 1 == once
    assert not pulse.bus.has_subscribers("pulse.started")


async def test_a_change_of_a_setting_takes_nothing_from_another_owner_of_the_bus() -> None:
    """Another custom node uses the same bus: what it has set stays, and its hooks are told beside ours."""
    bus = EventBus(capacity=7, put_timeout=7.0)
    told: list[str] = []
    bus.configure(owner="another node", on_zone=lambda name, zone, was, fill: told.append(zone.value))
    pulse = Pulse(LiveSettings(Settings(queue_size=10)), bus)
    pulse.start()
    bus.configure(owner="another node", put_timeout=0.5)

    pulse.settings.update({"queue_size": 50})
    assert (50, 0.5) == (bus._settings.capacity, bus._settings.put_timeout)
    pulse.settings.update({"put_timeout": 2.0})
    assert 2.0 == bus._settings.put_timeout
    async with bus.stream("x") as events:
        for _ in range(20):
            bus.publish_nowait(Event(type="x", data={}, source="test"))
        await anext(events)
    assert ["yellow", "green"] == told

    await pulse.aclose()
    assert (7, 0.5) == (bus._settings.capacity, bus._settings.put_timeout)


async def test_a_closed_plugin_leaves_nothing_on_the_bus() -> None:
    """The process's bus outlives it: no hook of it is called any more, and nothing keeps it alive."""
    bus = EventBus()
    pulse = Pulse(LiveSettings(Settings()), bus)
    pulse.start()
    await pulse.aclose()
    gone = weakref.ref(pulse)
    del pulse
    gc.collect()

    assert gone() is None
    assert ((), ()) == (bus._settings.essential, bus._settings.on_zone)


@pytest.mark.parametrize(("settings", "mode"), [(Settings(), "observe"), (Settings(throttle="learned"), "learned")])
async def test_the_throttle_is_what_was_set_and_reports_itself(settings: Settings, mode: str) -> None:
    """As long as nobody says otherwise, the model observes."""

    async def handler(event: Any) -> None:
        """Not called."""

    pulse = Pulse(LiveSettings(settings), EventBus())
    pulse.start()
    try:
        pulse.bus.subscribe("chat.finished", handler, name="reader")
        rows = {row["name"]: row["throttle"]["mode"] for row in pulse.monitor.snapshot()["events"]["queues"]}
        assert mode == rows["reader"]

        told: list[Any] = []
        pulse.bus.subscribe("queue.throttle", told.append)
        pulse._throttle_changed("reader", {"mode": mode, "state": "hold", "was": "free", "why": "room"})
        assert {"queue": "reader", "mode": mode, "state": "hold", "was": "free", "why": "room"} == told[0].data
    finally:
        await pulse.aclose()


async def test_before_a_chat_its_failures_are_prepared_for(pulse: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    """What judging the first failure takes is done ahead, in the chat's own task."""
    prepared: list[str] = []

    async def prepare() -> None:
        prepared.append("recovery")

    monkeypatch.setattr(pulse.recovery, "prepare", prepare)
    for ready in pulse.before_chat:
        await ready(Chat(session=None), [])

    assert ["recovery"] == prepared


def test_only_a_fault_of_ours_is_to_be_reported_to_us() -> None:
    """What Copilot's code or a library raises is told as theirs; what breaks inside of this package as ours."""
    pulse = Pulse.create({})
    told: dict[str, str] = {}

    def ours() -> None:
        Monitor(clock="no clock")  # type: ignore[arg-type]

    for name, broken in (("ours", ours), ("theirs", {}.popitem)):
        try:
            broken()
        except Exception as error:
            cause = pulse.recovery.classify(error)
            told[name] = f"{cause.kind}: {pulse.recovery.explain(cause)}"
    assert told["ours"].startswith("fault: Copilot Pulse itself failed")
    assert "Copilot Pulse's panel" in told["ours"]
    assert told["theirs"].startswith("internal: Code of ")
    assert "report the error to" in told["theirs"]
    assert "Copilot Pulse" not in told["theirs"]


async def test_what_was_done_since_the_installation_outlives_its_events(tmp_path: Path) -> None:
    """Retention takes chats after some days; what they came to stands in a row that each start writes anew."""
    models = [{"model": "m", "host": "h", "output": 50}]
    old = {"since": 100.0, "until": 200.0, "chats": 7, "saved": 2, "by_model": models}
    told = {"outcome": "completed", "model": "m", "host": "h", "seconds": 1.0, "attempts": 2, "saved": True}
    async with running(tmp_path) as store:
        store.on_event(event("metrics.totals", None, **old))
        store.on_event(event("chat.finished", "s", chat_id="1", tokens=9, output_tokens=9, **told))
        store.on_event(event("chat.finished", "s", chat_id="2", tokens=3, tokens_estimated=3, **{**told, "model": "n"}))
        await store.flush()
        until = time.time() + 1
        install = await store.ask(read_install, store, until)
        again = {**install, "until": until - 0.5}
        store.on_event(event("metrics.totals", None, **again))
        await store.flush()

        assert {
            "since": 100.0, "until": until, "chats": 9, "saved": 4,
            "by_model": [
                {"model": "m", "host": "h", "output": 59, "calls": 2},
                {"model": "n", "host": "h", "estimated": 3, "calls": 2},
            ],
        } == install  # fmt: skip
        later = await store.ask(read_install, store, until + 1)
        assert (9, 4, install["by_model"]) == (later["chats"], later["saved"], later["by_model"])


async def test_what_breaks_at_the_end_keeps_nothing_else_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last events are on disk, though another part of the plugin could not be closed."""
    pulse = Pulse(LiveSettings(Settings()), EventBus())
    pulse.open_store(tmp_path)
    pulse.start()
    pulse.bus.publish_nowait(Event("other.last", {"told": 1}, "test"))

    async def broken() -> None:
        raise KeyError("ours")

    monkeypatch.setattr(pulse.fleet, "aclose", broken)
    await pulse.aclose()
    async with running(tmp_path) as store:
        page = await store.ask(store.query, Filter(("other.last",)))
    assert [row.data for row in page.events] == [{"told": 1}]
    forget_faults()


async def test_a_day_on_which_the_disk_is_full_does_not_end_the_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a server that runs for months: the next day what was done is summed up again, before retention takes it."""
    monkeypatch.setattr(pulse_module, "_DAY", 0.0)
    pulse = Pulse(LiveSettings(Settings(store=True)), EventBus())
    pulse.open_store(tmp_path)
    store, sums = pulse.store, asyncio.Semaphore(0)
    assert store is not None
    flushed, flush = 0, store.flush

    async def fail_now_and_then() -> None:
        nonlocal flushed
        flushed += 1
        if flushed % 2:
            raise NotStored("the disk is full")
        await flush()

    monkeypatch.setattr(store, "flush", fail_now_and_then)
    pulse.bus.subscribe("metrics.totals", lambda event: sums.release())
    pulse.start()
    try:
        for _ in range(3):
            await sums.acquire()
    finally:
        await pulse.aclose()
