"""From an exception to a `Classification`: what kind it is, how grave, and whether to ask again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from .addresses import host_of
from .facts import Facts, beneath, children, gather, retry_after
from .kinds import KINDS, Severity
from .prompts import without_prompt
from .redact import one_line, redact
from .rules import FALLBACK, RULES, Rule
from .times import NOTHING

MESSAGE_LENGTH: Final = 500
_MAX_DEPTH: Final = 12
_MAX_MEMBERS: Final = 64

Predicate = Callable[[BaseException], bool]


class Classification(NamedTuple):
    """What an error is. `message` is at most 500 characters, without secrets and without the chat's prompt (see
    prompts.py); `retry_after` is seconds, and `until` the date that it comes from, as the server wrote it. A date that
    makes no sense by the clock of this computer leaves `retry_after` None.

    `type` is the error's qualified name, `status` the HTTP status, `code` the provider's code. `url` is the
    address that was asked and `redirected_to` where it led, both without credentials and query. `spoken` tells
    that the message is the server's own words.
    """

    severity: Severity
    kind: str
    retryable: bool
    type: str
    message: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    url: str | None = None
    redirected_to: str | None = None
    spoken: bool = False
    until: str = ""

    @property
    def patient(self) -> bool:
        """True if the failure takes its time to heal: waits between retries are long."""
        spec = KINDS.get(self.kind)
        return spec is not None and spec.patient

    @property
    def counts_against_upstream(self) -> bool:
        """True if a circuit breaker counts it as a failure of the server."""
        spec = KINDS.get(self.kind)
        return spec.upstream if spec is not None else self.severity is Severity.MEDIUM


class _Custom(NamedTuple):
    match: Predicate
    severity: Severity
    kind: str
    retryable: bool


class Classifier:
    """Judges exceptions by the table of `rules.py`, then by registered rules, then by the table's fallbacks.

    `classify()` may be called from any thread and never raises; rules are registered on the loop's thread.
    """

    def __init__(self, *, redact: Callable[[str], str] = redact, wall: Callable[[], float] = time.time) -> None:
        self._redact = redact
        self._wall = wall
        self._first: tuple[_Custom, ...] = ()
        self._later: tuple[_Custom, ...] = ()

    def register_rule(
        self,
        match: type[BaseException] | tuple[type[BaseException], ...] | Predicate,
        *,
        severity: Severity,
        kind: str = "unknown",
        retryable: bool | None = None,
        override: bool = False,
    ) -> Callable[[], None]:
        """Add a rule for an exception type, or for errors of which `match(error)` is true.

        It is asked after the table's specific rules and before its general ones (ValueError, OSError...);
        with `override` before the whole table. The newest rule is asked first. `retryable` defaults to what
        MEDIUM means. Returns a function that takes the rule out again. A predicate that raises counts as
        false.
        """
        predicate = _by_type(match) if isinstance(match, (type, tuple)) else match
        rule = _Custom(predicate, severity, kind, severity is Severity.MEDIUM if retryable is None else retryable)
        if override:
            self._first = (rule, *self._first)
        else:
            self._later = (rule, *self._later)

        def remove() -> None:
            self._first = tuple(r for r in self._first if r is not rule)
            self._later = tuple(r for r in self._later if r is not rule)

        return remove

    def classify(self, error: BaseException) -> Classification:
        """What `error` is. Looks through wrappers, causes and exception groups. Never raises."""
        try:
            return self._judge(error, 0)[0]
        except Exception as failure:  # a foreign exception may break any assumption; the chat must still end well
            return Classification(
                Severity.HIGH,
                "unknown",
                False,
                type(error).__name__,
                f"unreadable ({type(failure).__name__})",
            )

    def _judge(self, error: BaseException, depth: int) -> tuple[Classification, bool]:
        """The classification, and whether a specific rule made it (rather than a wrapper's or a fallback)."""
        if isinstance(error, RecursionError) and _reading(error):
            # Nested beyond reason is what somebody sent, and no fault of the program that read it.
            error = json.JSONDecodeError("nested too deeply", "", 0)
        members = children(error)
        if members and depth < _MAX_DEPTH:
            return self._judge_group(members, depth)
        facts = gather(error, self._wall)
        for custom in self._first:
            if _holds(custom, error):
                return self._custom(custom, facts), True
        rule = next((r for r in RULES if r.matches(facts)), None)
        if rule is not None and not rule.wrapper:
            return self._made(rule, facts), True
        for custom in self._later:
            if _holds(custom, error):
                return self._custom(custom, facts), True
        general = rule or next((r for r in FALLBACK if r.matches(facts)), None)
        deeper = beneath(error, carrier=rule is not None, known=general is not None)
        if deeper is not None and depth < _MAX_DEPTH:
            below, specific = self._judge(deeper, depth + 1)
            # A cancellation beneath another error counts only if that error was raised on purpose from it.
            if specific and (below.severity is not Severity.LOW or (general is None and error.__cause__ is deeper)):
                # The wrapper's address is kept: the inner error of a socket knows none.
                # The client's own error names the address that was asked, the transport's the one a redirect led to.
                led = below.url if facts.url and host_of(below.url) not in ("", host_of(facts.url)) else None
                return below._replace(
                    type=below.type if rule is None else facts.name,
                    url=facts.url if led else below.url or facts.url,
                    redirected_to=led or below.redirected_to or facts.redirected_to,
                    message=below.message or self._words(facts.message),
                    spoken=below.spoken if below.message else facts.spoken,
                ), True
        if general is None:
            return self._made(_UNKNOWN, facts), False
        return self._made(general, facts), rule is not None

    def _judge_group(self, members: tuple[BaseException, ...], depth: int) -> tuple[Classification, bool]:
        """The gravest member, known before unknown; cancellations count only if there is nothing else."""
        judged = [self._judge(member, depth + 1) for member in members[:_MAX_MEMBERS]]
        return max(judged, key=lambda j: (j[0].severity.rank, j[1]))

    def _made(self, rule: Rule, facts: Facts) -> Classification:
        spec = KINDS[rule.kind]
        return self._fill(facts, rule.kind, spec.severity, spec.retryable)

    def _custom(self, rule: _Custom, facts: Facts) -> Classification:
        return self._fill(facts, rule.kind, rule.severity, rule.retryable)

    def _fill(self, facts: Facts, kind: str, severity: Severity, retryable: bool) -> Classification:
        told = NOTHING
        if severity is Severity.MEDIUM or kind in ("quota", "circuit_open"):
            told = retry_after(facts, limited=kind == "rate_limited", wall=self._wall)
        return Classification(
            severity=severity,
            kind=kind,
            # A limit until a date that nobody can wait for by this clock is no limit of a short time.
            retryable=retryable
            and not (kind == "rate_limited" and told.until and told.seconds is None)
            and facts.headers.get("x-should-retry") != "false",
            type=facts.name,
            message=self._words(facts.message),
            status=facts.status,
            code=self._redact(one_line(facts.code)) if facts.code else None,
            retry_after=told.seconds,
            url=facts.url,
            redirected_to=facts.redirected_to,
            spoken=facts.spoken,
            until=one_line(told.until[:40]),
        )

    def _words(self, text: str) -> str:
        text = without_prompt(self._redact(one_line(text[:4_000])))
        return text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 1] + "…"


_UNKNOWN: Final = Rule("unknown", "An error that no rule knows", always=True)


def _reading(error: BaseException) -> bool:
    """Whether `error` was raised while JSON was read."""
    trace, file = error.__traceback__, ""
    while trace is not None:
        file, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return Path(file).parent.name == "json"


def _by_type(types: type[BaseException] | tuple[type[BaseException], ...]) -> Predicate:
    return lambda error: isinstance(error, types)


def _holds(rule: _Custom, error: BaseException) -> bool:
    try:
        return bool(rule.match(error))
    except Exception:
        return False
