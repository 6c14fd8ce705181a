"""Circuit breakers: an upstream that keeps failing is left alone for a while, and a caller learns so at once.

All of this is for the loop's thread; nothing waits.
"""

from __future__ import annotations

import enum
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from .errors import CircuitOpen
from .kinds import Severity

if TYPE_CHECKING:
    from .classify import Classification

log = logging.getLogger("copilot_pulse.recovery")
_SLOTS: Final = 30


class State(enum.Enum):
    """All calls go through, none does, or a few do as probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerSettings(Protocol):
    """The settings that limits are made of; `backend.settings.Settings` has them."""

    @property
    def breaker_share(self) -> float: ...
    @property
    def breaker_min_calls(self) -> int: ...
    @property
    def breaker_window(self) -> float: ...
    @property
    def breaker_open(self) -> float: ...
    @property
    def breaker_probes(self) -> int: ...


class BreakerLimits(NamedTuple):
    """A breaker opens when at least `min_calls` of the last `window` seconds ended and `share` of them
    failed.

    It stays open for `open_for` seconds; then `probes` calls at a time may try. One that succeeds closes it. If
    nobody tries within another `window`, it closes by itself: what was counted is out of date.
    """

    share: float = 0.8
    min_calls: int = 5
    window: float = 60.0
    open_for: float = 20.0
    probes: int = 1

    @classmethod
    def of(cls, settings: BreakerSettings) -> BreakerLimits:
        """The limits that the settings ask for."""
        return cls(
            settings.breaker_share,
            settings.breaker_min_calls,
            settings.breaker_window,
            settings.breaker_open,
            settings.breaker_probes,
        )


class BreakerChange(NamedTuple):
    """A change of state, as `on_change` is told it. `retry_in` is seconds; the counts are of the window."""

    name: str
    state: str
    was: str
    retry_in: float
    failures: int
    calls: int


class CircuitBreaker:
    """One upstream's breaker. `acquire()` before a call, then tell the lease how it ended."""

    def __init__(
        self,
        name: str,
        limits: BreakerLimits | Callable[[], BreakerLimits] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[BreakerChange], object] | None = None,
    ) -> None:
        self.name = name
        fixed = limits if isinstance(limits, BreakerLimits) else BreakerLimits()
        self._limits: Callable[[], BreakerLimits] = limits if callable(limits) else lambda: fixed
        self._clock = clock
        self._on_change = on_change
        self._state = State.CLOSED
        # Grows with every change of state: a result of an earlier epoch says nothing about this one.
        self._epoch = 0
        self._probing = 0
        self._open_until = 0.0
        self._cause: Classification | None = None
        self._calls = self._failures = 0
        self._window: deque[list[float]] = deque()  # [slot, calls, failures], at most _SLOTS + 1 of them

    def __repr__(self) -> str:
        failures, calls = self._counts()
        return f"<CircuitBreaker {self.name} {self._state.value}, {failures} of {calls} calls failed>"

    @property
    def state(self) -> str:
        """closed, open or half_open. An open one whose time is up lets the next call through: half_open."""
        self._forget()
        if self._state is State.OPEN and self._clock() >= self._open_until:
            return State.HALF_OPEN.value
        return self._state.value

    @property
    def retry_in(self) -> float:
        """Seconds until a probe may go; 0 unless open."""
        return max(0.0, self._open_until - self._clock()) if self._state is State.OPEN else 0.0

    @property
    def cause(self) -> Classification | None:
        """What the last failure was, for a caller who is refused: only its kind, type and status; None if closed.

        The words of a server may quote what another user has asked.
        """
        return self._cause if self._state is not State.CLOSED else None

    @property
    def idle(self) -> bool:
        """True if it may be forgotten: closed and without a call in the window."""
        self._forget()
        return self._state is State.CLOSED and self._counts()[1] == 0

    def acquire(self) -> Lease:
        """A lease for one call. Raises CircuitOpen, with the seconds left, while the breaker is open."""
        self._forget()
        if self._state is State.OPEN:
            if self._clock() < self._open_until:
                raise CircuitOpen(self.name, self.retry_in)
            self._move(State.HALF_OPEN)
        if self._state is State.HALF_OPEN:
            if self._probing >= max(1, self._limits().probes):
                raise CircuitOpen(self.name, 1.0)  # a probe is under way; it decides soon
            self._probing += 1
            return Lease(self, self._epoch, probe=True)
        return Lease(self, self._epoch, probe=False)

    def probe_now(self) -> bool:
        """Let the next call through as a probe without waiting. False if the breaker is not open."""
        if self._state is not State.OPEN:
            return False
        self._move(State.HALF_OPEN)
        return True

    def snapshot(self) -> dict[str, Any]:
        """Name, state, failures and calls since the start and in the window, seconds until the next try."""
        state = self.state
        failures, calls = self._counts()
        return {
            "name": self.name,
            "state": state,
            "failures": self._failures,
            "calls": self._calls,
            "window_failures": failures,
            "window_calls": calls,
            "retry_in": round(self.retry_in, 3),
        }

    def _forget(self) -> None:
        """Close it if its pause is long over and nobody has come to try."""
        if self._state is State.CLOSED or self._probing:
            return
        if self._clock() >= self._open_until + self._limits().window:
            self._move(State.CLOSED)

    def _ended(self, lease: Lease, failed: bool | None, cause: Classification | None = None) -> None:
        """The result of a lease: True failed (of `cause`, if that is known), False succeeded, None neither."""
        if failed is not None:
            self._calls += 1
            self._failures += failed
        if lease.epoch != self._epoch:
            return
        if failed:
            self._cause = cause
        if lease.probe:
            self._probing -= 1
            if failed is None:
                return
            self._window.clear()
            self._count(failed)
            self._move(State.OPEN if failed else State.CLOSED)
            return
        if failed is None:
            return
        self._count(failed)
        limits = self._limits()
        failures, calls = self._counts()
        if failed and calls >= limits.min_calls and failures >= limits.share * calls:
            self._move(State.OPEN)

    def _move(self, state: State) -> None:
        was, self._state = self._state, state
        self._epoch += 1
        self._probing = 0
        failures, calls = self._counts()
        if state is State.OPEN:
            self._open_until = self._clock() + self._limits().open_for
        elif state is State.CLOSED:
            self._window.clear()
        if self._on_change is None:
            return
        try:
            self._on_change(BreakerChange(self.name, state.value, was.value, round(self.retry_in, 3), failures, calls))
        except Exception:
            log.exception("a listener of circuit breaker %s failed", self.name)

    def _count(self, failed: bool) -> None:
        slot = float(self._slot())
        if not self._window or self._window[-1][0] != slot:
            self._window.append([slot, 0, 0])
            if len(self._window) > _SLOTS + 1:
                self._window.popleft()
        self._window[-1][1] += 1
        self._window[-1][2] += failed

    def _counts(self) -> tuple[int, int]:
        oldest = self._slot() - _SLOTS
        while self._window and self._window[0][0] <= oldest:
            self._window.popleft()
        return int(sum(s[2] for s in self._window)), int(sum(s[1] for s in self._window))

    def _slot(self) -> int:
        return int(self._clock() / (self._limits().window / _SLOTS))


class Lease:
    """The right to make one call. Tell it once how the call ended; whatever is told later is ignored.

    A chat should settle its lease with the first token: a probe that streams for minutes would keep every other
    chat out as long. A lease that is thrown away counts as cancelled.
    """

    __slots__ = ("_breaker", "_open", "epoch", "probe")

    def __init__(self, breaker: CircuitBreaker, epoch: int, *, probe: bool) -> None:
        self._breaker = breaker
        self._open = True
        self.epoch = epoch
        self.probe = probe

    def success(self) -> None:
        """The upstream answered."""
        self._end(False)

    def failure(self, cause: Classification | None = None) -> None:
        """The upstream failed; of the cause only its kind, type and status are kept."""
        if cause is not None:
            cause = cause._replace(message="", code=None, retry_after=None, url=None, redirected_to=None)
        self._end(True, cause)

    def cancelled(self) -> None:
        """The call was given up before it said anything about the upstream; a probe gives its slot back."""
        self._end(None)

    def settle(self, cause: Classification | None) -> None:
        """As the classification of the call's error says; None is a success.

        A refusal that blames the caller (401, 404...) comes from a living server and is a success here; an
        error that never reached the server is neither.
        """
        if cause is None:
            self.success()
        elif cause.kind == "circuit_open" or cause.severity in (Severity.LOW, Severity.CRITICAL):
            self.cancelled()
        elif cause.counts_against_upstream:
            self.failure(cause)
        elif cause.status is not None or cause.severity is Severity.MEDIUM:
            self.success()
        else:
            self.cancelled()

    def _end(self, failed: bool | None, cause: Classification | None = None) -> None:
        if self._open:
            self._open = False
            self._breaker._ended(self, failed, cause)

    def __del__(self) -> None:
        self.cancelled()


class BreakerRegistry:
    """Breakers by name, made when first asked for.

    Bounded: beyond `bound` of them an idle one is forgotten, else the one that was asked for longest ago.
    """

    def __init__(
        self,
        limits: BreakerLimits | Callable[[], BreakerLimits] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[BreakerChange], object] | None = None,
        bound: int = 256,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._on_change = on_change
        self._bound = bound
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()

    def __repr__(self) -> str:
        states = [b.state for b in self._breakers.values()]
        return f"<BreakerRegistry {len(states)} breakers, {states.count('open')} open>"

    def get(self, name: str) -> CircuitBreaker:
        """The breaker of this name; the same one each time while it is remembered."""
        breaker = self._breakers.get(name)
        if breaker is None:
            if len(self._breakers) >= self._bound:
                spare = next((n for n, b in self._breakers.items() if b.idle), next(iter(self._breakers)))
                del self._breakers[spare]
            breaker = self._breakers[name] = CircuitBreaker(
                name, self._limits, clock=self._clock, on_change=self._on_change
            )
        self._breakers.move_to_end(name)
        return breaker

    def snapshot(self) -> list[dict[str, Any]]:
        """Every breaker's snapshot: the open ones first, then by name."""
        rows = [b.snapshot() for b in self._breakers.values()]
        return sorted(rows, key=lambda row: (row["state"] == "closed", row["name"]))
