"""The circuit breaker: when it opens, whom it lets through, and what it does not count."""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from backend.recovery.breaker import BreakerChange, BreakerLimits, BreakerRegistry, CircuitBreaker, Lease
from backend.recovery.classify import Classifier
from backend.recovery.errors import CircuitOpen, EmptyAnswer, StreamTruncated, UnexpectedBody
from backend.settings import Settings
from tests.support.clock import FakeClock

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

classify = Classifier().classify
LIMITS = BreakerLimits(share=0.5, min_calls=4, window=60, open_for=20, probes=1)


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    """A closed breaker that opens at the fourth call if half of them failed."""
    return CircuitBreaker("llm:x", LIMITS, clock=clock)


def calls(breaker: CircuitBreaker, results: str) -> None:
    """One call a letter: f failed, s succeeded, c cancelled."""
    for letter in results:
        lease = breaker.acquire()
        {"f": lease.failure, "s": lease.success, "c": lease.cancelled}[letter]()


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("fff", "closed"), ("ffff", "open"), ("ssff", "open"), ("sssf", "closed"), ("ffss", "closed"), ("ffssf", "open"),
        ("fffcccc", "closed"), ("cccccccc", "closed"),
    ],
)  # fmt: skip
def test_share_of_failures_opens_it(breaker: CircuitBreaker, results: str, state: str) -> None:
    """A share over a minimum of calls, judged at a failure; a cancelled call counts as neither."""
    calls(breaker, results)

    assert state == breaker.state


def test_old_calls_fall_out_of_the_window(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """Three failures of a minute ago and one of now are one failure; since the start they are four."""
    calls(breaker, "fff")
    clock.advance(61)
    calls(breaker, "f")

    assert {
        "name": "llm:x",
        "state": "closed",
        "failures": 4,
        "calls": 4,
        "window_failures": 1,
        "window_calls": 1,
        "retry_in": 0.0,
    } == breaker.snapshot()


def test_window_is_bounded(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """A million calls cost no more memory than a few: they are counted in thirty slots."""
    for _ in range(500):
        calls(breaker, "ss")
        clock.advance(0.7)

    assert len(breaker._window) <= 31
    assert 160 <= breaker.snapshot()["window_calls"] <= 180


def test_open_refuses_at_once_and_tells_the_seconds_left(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """The refused caller learns the remaining time, not the configured one."""
    calls(breaker, "ffff")
    clock.advance(12)

    with pytest.raises(CircuitOpen) as caught:
        breaker.acquire()

    assert "llm:x" == caught.value.name
    assert pytest.approx(8.0) == caught.value.retry_in
    assert "next try in 8 s" in str(caught.value)


def opened(breaker: CircuitBreaker, clock: FakeClock) -> CircuitBreaker:
    """The breaker, open for as long as it stays so."""
    calls(breaker, "ffff")
    clock.advance(20)
    return breaker


def test_one_probe_at_a_time_and_its_success_closes(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """After the pause one caller may try; the others are refused until it knows."""
    probe = opened(breaker, clock).acquire()
    assert ("half_open", True) == (breaker.state, probe.probe)
    with pytest.raises(CircuitOpen):
        breaker.acquire()
    probe.success()

    assert ("closed", 0) == (breaker.state, breaker.snapshot()["window_calls"])
    assert not breaker.acquire().probe


def test_failed_probe_opens_it_again(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """For the whole time again."""
    opened(breaker, clock).acquire().failure()

    assert ("open", 20.0) == (breaker.state, breaker.retry_in)


def test_cancelled_probe_gives_its_place_back(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """It neither closes nor opens anything; the next caller is the probe."""
    opened(breaker, clock).acquire().cancelled()

    assert "half_open" == breaker.state
    assert breaker.acquire().probe


def test_lost_lease_gives_its_place_back(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """A caller that forgets to tell must not lock the upstream out for ever."""
    opened(breaker, clock).acquire()
    gc.collect()

    assert breaker.acquire().probe


def test_number_of_probes_can_be_set(clock: FakeClock) -> None:
    """Two at once, the third is refused; one slot given back is one slot free."""
    breaker = CircuitBreaker("x", BreakerLimits(min_calls=4, probes=2), clock=clock)
    opened(breaker, clock)
    first, _second = breaker.acquire(), breaker.acquire()
    with pytest.raises(CircuitOpen):
        breaker.acquire()
    first.cancelled()

    assert breaker.acquire().probe


def test_late_results_of_an_earlier_epoch_are_ignored(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """A call that began before the breaker opened says nothing about the server of now."""
    early = [breaker.acquire() for _ in range(3)]
    probe = opened(breaker, clock).acquire()
    early[0].success()
    assert "half_open" == breaker.state
    early[1].cancelled()
    with pytest.raises(CircuitOpen):
        breaker.acquire()
    probe.success()
    early[2].failure()

    assert ("closed", 0) == (breaker.state, breaker.snapshot()["window_failures"])


def test_second_probe_of_an_ended_round_is_ignored(clock: FakeClock) -> None:
    """Its success does not close a breaker that the other probe has opened again."""
    breaker = CircuitBreaker("x", BreakerLimits(min_calls=4, probes=2), clock=clock)
    opened(breaker, clock)
    bad, good = breaker.acquire(), breaker.acquire()
    bad.failure()
    good.success()

    assert "open" == breaker.state


def test_lease_counts_once(breaker: CircuitBreaker) -> None:
    """Whatever is told after the first word is ignored."""
    lease = breaker.acquire()
    lease.failure()
    lease.success()
    lease.cancelled()

    assert (1, 1) == (breaker.snapshot()["window_failures"], breaker.snapshot()["window_calls"])


def refusal(status: int) -> UnexpectedBody:
    """A server's refusal with a status."""
    return UnexpectedBody("x", "http://x/v1/chat/completions", {"error": {"message": "no"}}, status=status)


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (None, "s"), (TimeoutError(), "f"), (ConnectionRefusedError(), "f"), (refusal(500), "f"), (refusal(429), "s"),
        (refusal(401), "s"), (refusal(400), "s"), (refusal(404), "s"), (StreamTruncated(3), "s"), (EmptyAnswer(), "s"),
        (asyncio.CancelledError(), "c"), (MemoryError(), "c"), (KeyError("x"), "c"), (CircuitOpen("x", 1), "c"),
    ],
)  # fmt: skip
def test_settle_by_classification(breaker: CircuitBreaker, error: BaseException | None, counted: str) -> None:
    """Failures of the server count; a refusal that blames the caller proves the server alive; others say nothing."""
    breaker.acquire().settle(None if error is None else classify(error))
    row = breaker.snapshot()

    assert {"s": (0, 1), "f": (1, 1), "c": (0, 0)}[counted] == (row["failures"], row["calls"])


def test_the_last_cause_is_kept_for_those_who_are_refused(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """Its kind, type and status; a server's words may quote another user's prompt, and an address may hold a key."""
    calls(breaker, "ff")
    for error in (ConnectionRefusedError("no"), refusal(500)):
        breaker.acquire().settle(classify(error))
    cause = breaker.cause

    assert cause is not None
    assert ("server_error", 500, "", None, None) == (cause.kind, cause.status, cause.message, cause.code, cause.url)
    clock.advance(20)
    breaker.acquire().success()
    assert breaker.cause is None


@pytest.mark.parametrize("half_open", [False, True], ids=["open", "probe cancelled"])
def test_an_open_breaker_that_nobody_calls_is_forgotten(clock: FakeClock, half_open: bool) -> None:
    """A server that was given up for another one does not keep a warning in health for ever."""
    told: list[str] = []
    breaker = CircuitBreaker("x", LIMITS, clock=clock, on_change=lambda change: told.append(change.state))
    opened(breaker, clock)
    if half_open:
        breaker.acquire().cancelled()
    clock.advance(59)
    assert "half_open" == breaker.snapshot()["state"]
    clock.advance(1)

    assert ("closed", 0) == (breaker.snapshot()["state"], breaker.snapshot()["window_calls"])
    assert breaker.idle
    assert "closed" == told[-1]
    assert not breaker.acquire().probe


def test_a_probe_under_way_is_not_forgotten(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """A slow model may take its time: the probe decides, and until then the others wait."""
    probe = opened(breaker, clock).acquire()
    clock.advance(1000)
    with pytest.raises(CircuitOpen):
        breaker.acquire()
    probe.failure()

    assert "open" == breaker.state


def test_probe_now(breaker: CircuitBreaker) -> None:
    """The panel's button: try at once."""
    assert not breaker.probe_now()
    calls(breaker, "ffff")
    assert breaker.probe_now()

    assert breaker.acquire().probe


def test_changes_are_told_once_each(clock: FakeClock) -> None:
    """Closed, open, half open, open, half open, closed; with counts and seconds."""
    told: list[BreakerChange] = []
    breaker = CircuitBreaker("x", LIMITS, clock=clock, on_change=told.append)
    opened(breaker, clock).acquire().failure()
    clock.advance(20)
    breaker.acquire().success()

    assert [
        BreakerChange("x", "open", "closed", 20.0, 4, 4),
        BreakerChange("x", "half_open", "open", 0.0, 4, 4),
        BreakerChange("x", "open", "half_open", 20.0, 1, 1),
        BreakerChange("x", "half_open", "open", 0.0, 1, 1),
        BreakerChange("x", "closed", "half_open", 0.0, 0, 1),
    ] == told


def test_listener_that_raises_harms_nobody(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the breaker does its work."""

    def listener(_change: BreakerChange) -> None:
        raise RuntimeError("bug")

    breaker = CircuitBreaker("x", LIMITS, clock=clock, on_change=listener)
    calls(breaker, "ffff")

    assert "open" == breaker.state
    assert "listener of circuit breaker x failed" in caplog.text


def test_changed_limits_take_effect_at_once(clock: FakeClock) -> None:
    """The limits are read at each decision, so a setting needs no restart."""
    limits = [BreakerLimits(min_calls=100)]
    breaker = CircuitBreaker("x", lambda: limits[0], clock=clock)
    calls(breaker, "fffff")
    limits[0] = BreakerLimits.of(Settings(breaker_min_calls=3, breaker_open=5))
    calls(breaker, "f")

    assert ("open", 5.0) == (breaker.state, breaker.retry_in)


def test_repr_tells_state_and_counts(breaker: CircuitBreaker) -> None:
    """Good enough to debug with."""
    calls(breaker, "sf")

    assert "<CircuitBreaker llm:x closed, 1 of 2 calls failed>" == repr(breaker)


operations = st.lists(
    st.one_of(
        st.just(("acquire",)), st.tuples(st.sampled_from(["success", "failure", "cancelled", "lose"]), st.integers(0, 30)),
        st.tuples(st.just("advance"), st.floats(0, 50)), st.just(("probe_now",)),
    ),
    max_size=80,
)  # fmt: skip


@given(operations, st.integers(1, 3))
def test_invariants_hold_for_any_sequence(script: list[tuple[Any, ...]], probes: int) -> None:
    """Never more probes than allowed, never a negative count, always a way back to closed."""
    clock = FakeClock()
    breaker = CircuitBreaker("x", BreakerLimits(min_calls=2, probes=probes), clock=clock)
    leases: list[Lease] = []
    refusals: list[tuple[str, float]] = []
    for name, *rest in script:
        if name == "acquire":
            try:
                leases.append(breaker.acquire())
            except CircuitOpen as refused:
                refusals.append((breaker.state, refused.retry_in))
        elif name == "advance":
            clock.advance(rest[0])
        elif name == "lose":
            leases = leases[: rest[0]]
        elif name == "probe_now":
            getattr(breaker, name)()
        elif leases:
            getattr(leases[rest[0] % len(leases)], name)()
        under_way = [x for x in leases if x.probe and x._open and x.epoch == breaker._epoch]
        row = breaker.snapshot()
        assert len(under_way) == breaker._probing <= probes
        assert 0 <= row["failures"] <= row["calls"]

    assert [] == [r for r in refusals if r[0] == "closed" or not 0 <= r[1] <= 20]
    leases.clear()
    clock.advance(1000)
    breaker.acquire().success()
    assert "closed" == breaker.state


def test_registry_makes_each_breaker_once(clock: FakeClock) -> None:
    """One a base URL or MCP server, with the registry's limits and listener."""
    told: list[str] = []
    registry = BreakerRegistry(LIMITS, clock=clock, on_change=lambda change: told.append(change.name))
    calls(registry.get("llm:a"), "ffff")

    assert registry.get("llm:a") is registry.get("llm:a")
    assert ["llm:a"] == told
    assert [("llm:a", "open"), ("llm:0", "closed")] == [
        (row["name"], row["state"]) for row in (registry.get("llm:0"), registry)[1].snapshot()
    ]
    assert "<BreakerRegistry 2 breakers, 1 open>" == repr(registry)


def test_registry_is_bounded(clock: FakeClock) -> None:
    """Beyond its bound the idle are forgotten first, so an open breaker outlives a flood of names."""
    registry = BreakerRegistry(LIMITS, clock=clock, bound=10)
    calls(registry.get("bad"), "ffff")
    for i in range(50):
        registry.get(f"host{i}")

    assert 10 == len(registry.snapshot())
    assert "open" == registry.get("bad").state
    busy: Callable[[int], None] = lambda i: calls(registry.get(f"busy{i}"), "s")  # noqa: E731
    for i in range(20):
        busy(i)
    assert 10 == len(registry.snapshot())
