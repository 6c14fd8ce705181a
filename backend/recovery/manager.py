"""`RecoveryManager`: one place where every failure is judged, counted, told and remembered."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import random
import time
import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from .advice import explain
from .breaker import BreakerChange, BreakerLimits, BreakerRegistry, BreakerSettings
from .classify import Classification, Classifier, Predicate
from .critical import CriticalState
from .kinds import Severity
from .redact import Redactor
from .retry import RetryInfo, RetryPolicy, RetrySettings, retry

log = logging.getLogger("copilot_pulse.recovery")
T = TypeVar("T")

OUTCOMES: Final = ("retrying", "recovered", "gave_up", "cancelled", "ignored")
KEEP: Final = 200
_MAX_TYPES: Final = 100


class RecoverySettings(RetrySettings, BreakerSettings, Protocol):
    """The settings that the manager reads; `backend.settings.Settings` has them."""


@dataclass(slots=True)
class ErrorContext:
    """Where an error happened, for `handle_error()`, which fills in `classification`, `delay` and `error_id`.

    `attempt` counts the failures of this operation so far, from 1; `waited` the seconds waited between them.
    """

    where: str
    attempt: int = 1
    waited: float = 0.0
    chat_id: str | None = None
    model: str | None = None
    host: str | None = None
    classification: Classification | None = None
    delay: float | None = None
    error_id: str | None = None


Handler = Callable[[BaseException, ErrorContext], "Awaitable[bool | None] | bool | None"]


class RecoveryManager:
    """Classifier, retry policy, breakers, redactor and the memory of the last errors, tied together.

    `publish(type, data)` gets "error" and "breaker.changed" events; an exception of it is logged and goes no
    further. `settings()` is read each time, so that changes take effect at once. For the loop's thread, apart
    from `classify()` and the redactor, which any thread may use.
    """

    def __init__(
        self,
        publish: Callable[[str, dict[str, Any]], object],
        *,
        settings: Callable[[], RecoverySettings],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: Callable[[], float] = random.random,
        memory_free: Callable[[], float | None] | None = None,
    ) -> None:
        self._publish_event = publish
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._rng = rng
        self._ids = itertools.count(1)
        # Ids of two runs of the program differ, and tell the order within one.
        self._run = f"{int(wall() * 1000) & 0xFFFFFF:06x}"
        self._recent: deque[dict[str, Any]] = deque(maxlen=KEEP)
        self._handlers: dict[type[BaseException], list[Handler]] = {}
        self._severities: Counter[str] = Counter()
        self._types: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self.redactor = Redactor(clock=clock)
        self.classifier = Classifier(redact=self.redactor.redact, wall=wall)
        self.breakers = BreakerRegistry(
            lambda: BreakerLimits.of(settings()),
            clock=clock,
            on_change=self._breaker_changed,
            classify=self.classifier.classify,
        )
        self.critical = CriticalState(clock=clock, wall=wall, memory_free=memory_free)

    def __repr__(self) -> str:
        return f"<RecoveryManager {sum(self._severities.values())} errors, {self.breakers!r}>"

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy by the settings of this moment."""
        return RetryPolicy.of(self._settings(), self._rng)

    def classify(self, error: BaseException) -> Classification:
        """What `error` is; see `Classifier.classify()`. Any thread; never raises."""
        return self.classifier.classify(error)

    def explain(self, verdict: Classification, **about: Any) -> str:
        """`explain()`, with the secrets that are known by value taken out too."""
        return self.redactor.redact(explain(verdict, **about))

    def register_rule(
        self,
        match: type[BaseException] | tuple[type[BaseException], ...] | Predicate,
        *,
        severity: Severity,
        kind: str = "unknown",
        retryable: bool | None = None,
        override: bool = False,
    ) -> Callable[[], None]:
        """Add a classification rule; see `Classifier.register_rule()`. Returns a function that removes it."""
        return self.classifier.register_rule(
            match, severity=severity, kind=kind, retryable=retryable, override=override
        )

    def register_handler(self, error_type: type[BaseException], handler: Handler) -> Callable[[], None]:
        """Let `handler(error, context)`, plain or async, decide about errors of a type in `handle_error()`.

        It returns True (make the call again), False (do not), or None (no opinion: the next handler, of the
        same type or of a base class, is asked). Returns a function that takes the handler off.
        """
        handlers = self._handlers.setdefault(error_type, [])
        handlers.append(handler)

        def remove() -> None:
            if handler in handlers:
                handlers.remove(handler)

        return remove

    async def handle_error(self, error: BaseException, context: ErrorContext | str) -> bool:
        """Judge, count and publish an error; True if the operation should be made again.

        The handlers of the error's type are asked first, the nearest type before its bases; a handler that
        raises is logged and has no say. Then the classification and the retry policy decide. This does not
        wait out the back-off: `context.delay` tells the seconds. LOW and CRITICAL errors are never retried, and
        no error beyond the policy's retries and waits, whatever a handler says. A cancel while an async handler
        runs goes through, and nothing was recorded.
        """
        about = ErrorContext(context) if isinstance(context, str) else context
        verdict = self.classify(error)
        delay = self.policy.next_delay(about.attempt, about.waited, verdict.retry_after)
        again = verdict.retryable and delay is not None
        if verdict.severity not in (Severity.LOW, Severity.CRITICAL):
            opinion = await self._ask_handlers(error, about)
            if opinion is not None:
                again = opinion and delay is not None
        about.classification = verdict
        about.delay = (delay or 0.0) if again else None
        outcome = "cancelled" if verdict.severity is Severity.LOW else "retrying" if again else "gave_up"
        about.error_id = self.record(
            verdict,
            where=about.where,
            outcome=outcome,
            attempt=about.attempt,
            chat_id=about.chat_id,
            model=about.model,
            host=about.host,
            wait=about.delay,
            error_id=about.error_id,
        )
        return again

    async def retry(self, fn: Callable[[], Awaitable[T]], *, where: str, host: str | None = None) -> T:
        """`retry()` with this manager's policy, clock and sleep; failures and outcome are recorded."""
        last: list[tuple[str, Classification]] = []

        def note(info: RetryInfo) -> None:
            known = last[0][0] if last else None
            ident = self.record(
                info.classification,
                where=where,
                outcome="retrying",
                attempt=info.attempt,
                host=host,
                wait=info.wait,
                error_id=known,
            )
            last[:] = [(ident, info.classification)]

        attempts = 0

        async def call() -> T:
            nonlocal attempts
            attempts += 1
            return await fn()

        try:
            result = await retry(
                call,
                policy=self.policy,
                classify=self.classify,
                sleep=self._sleep,
                clock=self._clock,
                on_retry=note,
            )
        except BaseException as error:
            verdict = self.classify(error)
            self.record(
                verdict,
                where=where,
                outcome="cancelled" if verdict.severity is Severity.LOW else "gave_up",
                attempt=attempts,
                host=host,
                error_id=last[0][0] if last else None,
            )
            raise
        if last:
            self.record(last[0][1], where=where, outcome="recovered", attempt=attempts, host=host, error_id=last[0][0])
        return result

    def record(
        self,
        error: BaseException | Classification,
        *,
        where: str,
        outcome: str,
        attempt: int = 1,
        chat_id: str | None = None,
        model: str | None = None,
        host: str | None = None,
        wait: float | None = None,
        error_id: str | None = None,
    ) -> str:
        """Count, remember and publish one error and what became of it; returns its id.

        `outcome` is retrying, recovered, gave_up, cancelled or ignored. Pass the id that the first failure
        got with the later ones of the same call and with its recovery. `attempt` is the call's number, from
        1; `wait` the seconds until the next. A recovery is no further error and does not count as one.
        """
        verdict = self.classify(error) if isinstance(error, BaseException) else error
        ident = error_id or f"{self._run}-{next(self._ids)}"
        clean = self.redactor.redact
        data: dict[str, Any] = {
            "error_id": ident,
            "severity": verdict.severity.value,
            "kind": verdict.kind,
            "type": verdict.type,
            "where": clean(where),
            "message": clean(verdict.message),
            "outcome": outcome,
            "attempt": attempt,
        }
        for key, value in (
            ("wait", None if wait is None else round(wait, 3)),
            ("status", verdict.status),
            ("chat_id", chat_id),
            ("model", model and clean(model)),
            ("host", host and clean(host)),
        ):
            if value is not None:
                data[key] = value
        self._count(verdict, outcome)
        self._recent.append({"time": self._wall(), **data})
        if verdict.severity is Severity.CRITICAL and outcome != "recovered":
            self.critical.note(verdict)
        self._publish("error", data)
        return ident

    def recent(self) -> list[dict[str, Any]]:
        """The last 200 records, the newest first: the data of their events, and `time` (wall clock)."""
        return [dict(row) for row in reversed(self._recent)]

    def totals(self) -> dict[str, Any]:
        """Counts since the start. `recovery_rate` is recovered / (recovered + gave up), None before any."""
        done = self._outcomes["recovered"] + self._outcomes["gave_up"]
        return {
            "total": sum(self._severities.values()),
            "by_severity": {s.value: self._severities[s.value] for s in Severity},
            "by_type": dict(self._types),
            "by_kind": dict(self._kinds),
            "retries": self._outcomes["retrying"],
            "recovered": self._outcomes["recovered"],
            "gave_up": self._outcomes["gave_up"],
            "cancelled": self._outcomes["cancelled"],
            "recovery_rate": self._outcomes["recovered"] / done if done else None,
        }

    def critical_active(self) -> dict[str, Any] | None:
        """The critical error that has not passed yet ({kind, type, message, time, count}), else None."""
        return self.critical.active()

    def clear_critical(self) -> None:
        """Forget the critical error."""
        self.critical.clear()

    async def _ask_handlers(self, error: BaseException, context: ErrorContext) -> bool | None:
        for cls in type(error).__mro__[:-1]:
            for handler in tuple(self._handlers.get(cls, ())):
                try:
                    said = handler(error, context)
                    if inspect.isawaitable(said):
                        said = await said
                except Exception as failed:
                    log.error("a handler for %s failed: %s", cls.__name__, _place(failed))
                    continue
                if said is not None:
                    return bool(said)
        return None

    def _count(self, verdict: Classification, outcome: str) -> None:
        self._outcomes[outcome] += 1
        if outcome == "recovered":
            return
        self._severities[verdict.severity.value] += 1
        self._kinds[verdict.kind] += 1
        known = verdict.type in self._types or len(self._types) < _MAX_TYPES
        self._types[verdict.type if known else "other"] += 1

    def _breaker_changed(self, change: BreakerChange) -> None:
        self._publish(
            "breaker.changed",
            {
                "name": change.name,
                "state": change.state,
                "was": change.was,
                "retry_in": change.retry_in,
                "failures": change.failures,
                "calls": change.calls,
            },
        )

    def _publish(self, type_: str, data: dict[str, Any]) -> None:
        try:
            self._publish_event(type_, data)
        except Exception as error:
            log.error("publishing %s failed: %s", type_, _place(error))


def _place(error: BaseException) -> str:
    """The type and place of an error, for a log. Its text, and that of the errors behind it, may hold a key."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f"{type(error).__name__} in {last.filename}:{last.lineno}" if last else type(error).__name__
