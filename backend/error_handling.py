"""Error recovery: what an error is, whether to ask again, what the user is told.

    recovery_manager = RecoveryManager(publish, settings=lambda: settings)
    try:
        ...
    except Exception as error:
        should_retry = await recovery_manager.handle_error(error, "some_operation")

Everything here stands alone: it knows neither ComfyUI nor Copilot, and foreign exceptions are known by
the names of their types. The parts are in `backend/recovery/`; docs/errors.md holds the tables.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .recovery import errors
from .recovery.addresses import host_of
from .recovery.advice import explain, language_of, own_words
from .recovery.bodies import wrong_body
from .recovery.breaker import BreakerChange, BreakerLimits, BreakerRegistry, BreakerSettings
from .recovery.classify import Classification, Classifier, Predicate
from .recovery.kinds import KINDS, Severity
from .recovery.lazy import compile_all
from .recovery.prompts import hold_prompt
from .recovery.redact import Redactor, one_line, secret_name
from .recovery.retry import RetryPolicy, RetrySettings

__all__ = [
    "Classification",
    "ErrorContext",
    "RecoveryManager",
    "Redactor",
    "Severity",
    "errors",
    "hold_prompt",
    "host_of",
    "language_of",
    "one_line",
    "secret_name",
    "wrong_body",
]

log = logging.getLogger("copilot_pulse.recovery")


class RecoverySettings(RetrySettings, BreakerSettings, Protocol):
    """The settings that the manager reads; `backend.settings.Settings` has them."""


@dataclass(slots=True)
class ErrorContext:
    """Where an error happened, for `handle_error()`, which fills in `classification`, `delay` and `error_id`.

    `attempt` counts the failures of this operation so far, from 1; `waited` the seconds waited between them.
    `delay` is the seconds to wait before the next attempt, None if there should be none.
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


class RecoveryManager:
    """Classifier, retry policy, breakers and redactor, tied together.

    `publish(type, data)` gets "error" and "breaker.changed" events; who wants to remember errors subscribes to
    them. An exception of `publish` is logged and goes no further. `settings()` is read each time, so that changes
    take effect at once. For the loop's thread, apart from `classify()` and the redactor, which any thread may use.
    """

    def __init__(
        self,
        publish: Callable[[str, dict[str, Any]], object],
        *,
        settings: Callable[[], RecoverySettings],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._publish_event = publish
        self._settings = settings
        self._rng = rng
        self._prepared = False
        # A host other than Copilot in ComfyUI puts its own names of places here, by language; see `explain()`.
        self.host_words: Mapping[str, Mapping[str, str]] = {}
        self._ids = itertools.count(1)
        # It makes the ids of two runs of the program differ; the number behind it tells the order within one.
        self._run = f"{int(wall() * 1000) & 0xFFFFFF:06x}"
        self.redactor = Redactor(clock=clock)
        self.redactor.spare(lambda: (*KINDS, *own_words()))
        self.classifier = Classifier(redact=self.redactor.redact, wall=wall)
        self.breakers = BreakerRegistry(
            lambda: BreakerLimits.of(settings()), clock=clock, on_change=self._breaker_changed
        )

    def __repr__(self) -> str:
        return f"<RecoveryManager {self.breakers!r}>"

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy by the settings of this moment."""
        return RetryPolicy.of(self._settings(), self._rng)

    def classify(self, error: BaseException) -> Classification:
        """What `error` is; see `Classifier.classify()`. Any thread; never raises."""
        return self.classifier.classify(error)

    def explain(self, cause: Classification, **about: Any) -> str:
        """One paragraph for the user about a failure, without a line break and without a secret. Any thread.

        `about` holds what is known of the call: `host` (name:port), `model`, `base_url`, `attempts` made, seconds
        `waited`, `language` (Chinese or else English), `where_set` (where the model was chosen), and `partial` if a
        part of the answer stands above. Raises TypeError for another name.
        """
        return self.redactor.redact(explain(cause, host_words=self.host_words, **about))

    def register_rule(
        self,
        match: type[BaseException] | tuple[type[BaseException], ...] | Predicate,
        *,
        severity: Severity,
        kind: str = "unknown",
        retryable: bool | None = None,
        override: bool = False,
    ) -> Callable[[], None]:
        """Say what errors of a type, or those of which `match(error)` is true, are. Returns what takes the rule away.

        It is asked after the specific rules of the table in docs/errors.md and before the general ones, with
        `override` before all of them, the newest first. `retryable` defaults to what MEDIUM means. A predicate that
        raises counts as false. For the loop's thread; an error that is being judged elsewhere keeps its old rules.
        """
        return self.classifier.register_rule(
            match, severity=severity, kind=kind, retryable=retryable, override=override
        )

    async def prepare(self) -> None:
        """Compile in a thread what judging a failure takes, so that the first failure does not hold the loop for it.

        Waits for that the first time, some 100 ms; afterwards for nothing. A cancel leaves the thread to finish.
        """
        if not self._prepared:
            self._prepared = True
            await asyncio.to_thread(compile_all)

    async def handle_error(self, error: BaseException, context: ErrorContext | str) -> bool:
        """Judge, count and publish an error; True if the operation should be made again.

            should_retry = await recovery_manager.handle_error(error, "some_operation")

        The classification and the retry policy decide: LOW and CRITICAL errors are never retried, and none beyond
        the policy's retries and waits. This waits for nothing: an `ErrorContext` that the caller gives tells
        afterwards in `delay` how many seconds to wait, and carries the count of attempts from one failure to the
        next. For the loop's thread; raises nothing.
        """
        about = ErrorContext(context) if isinstance(context, str) else context
        cause = self.classify(error)
        delay = None
        if cause.retryable:
            delay = self.policy.next_delay(about.attempt, about.waited, cause.retry_after, patient=cause.patient)
        about.classification, about.delay = cause, delay
        about.error_id = self.record(
            cause,
            where=about.where,
            outcome="cancelled" if cause.severity is Severity.LOW else "gave_up" if delay is None else "retrying",
            attempt=about.attempt,
            chat_id=about.chat_id,
            model=about.model,
            host=about.host,
            wait=delay,
            error_id=about.error_id,
        )
        return delay is not None

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
        """Publish one error and what became of it; returns its id.

        `outcome` is retrying, recovered, gave_up, cancelled or ignored. Pass the id that the first failure
        got with the later ones of the same call and with its recovery. `attempt` is the call's number, from
        1; `wait` the seconds until the next. A recovery is no further error and does not count as one.
        """
        cause = self.classify(error) if isinstance(error, BaseException) else error
        ident = error_id or f"{self._run}-{next(self._ids)}"
        clean = self.redactor.redact
        data: dict[str, Any] = {
            "error_id": ident,
            "severity": cause.severity.value,
            "kind": cause.kind,
            "type": cause.type,
            "where": clean(where),
            "message": clean(cause.message),
            "outcome": outcome,
            "attempt": attempt,
        }
        for key, value in (
            ("wait", None if wait is None else round(wait, 3)),
            ("status", cause.status),
            ("chat_id", chat_id),
            ("model", model and clean(model)),
            ("host", host and clean(host)),
        ):
            if value is not None:
                data[key] = value
        self._publish("error", data)
        return ident

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
