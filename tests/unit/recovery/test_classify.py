"""What an exception is judged to be: builtins, chains, groups, and rules that others register."""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import itertools
import json
import ssl
import sys
from collections.abc import Callable
from typing import Any

import pytest

from backend.recovery import facts
from backend.recovery.classify import Classifier
from backend.recovery.errors import (
    CircuitOpen,
    EmptyAnswer,
    HtmlBody,
    LengthLimit,
    ReasoningOnly,
    StreamStalled,
    StreamTruncated,
    UnexpectedBody,
    UnknownTool,
)
from backend.recovery.kinds import KINDS, Severity
from backend.recovery.rules import FALLBACK, RULES

if sys.version_info < (3, 11):
    from exceptiongroup import (  # type: ignore[import-not-found, unused-ignore]
        BaseExceptionGroup,
        ExceptionGroup,
    )


def kind_of(error: BaseException) -> str:
    """The kind by the built-in table."""
    return Classifier().classify(error).kind


def chained(*errors: BaseException) -> BaseException:
    """The errors, each raised from the next one."""
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def during(outer: BaseException, inner: BaseException) -> BaseException:
    """`outer`, raised while `inner` was being handled."""
    outer.__context__ = inner
    return outer


TYPES: list[tuple[BaseException, str, Severity]] = [
    (asyncio.CancelledError(), "cancelled", Severity.LOW),
    (concurrent.futures.CancelledError(), "cancelled", Severity.LOW),
    (GeneratorExit(), "cancelled", Severity.LOW),
    (KeyboardInterrupt(), "cancelled", Severity.LOW),
    (TimeoutError(), "timeout", Severity.MEDIUM),
    (asyncio.TimeoutError(), "timeout", Severity.MEDIUM),
    (concurrent.futures.TimeoutError(), "timeout", Severity.MEDIUM),
    (ConnectionResetError(), "connection", Severity.MEDIUM),
    (BrokenPipeError(), "connection", Severity.MEDIUM),
    (asyncio.IncompleteReadError(b"", 4), "connection", Severity.MEDIUM),
    (OSError(errno.EHOSTUNREACH, "no route"), "connection", Severity.MEDIUM),
    (ConnectionRefusedError(), "connection_refused", Severity.MEDIUM),
    (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "connection", Severity.MEDIUM),
    (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "tls", Severity.HIGH),
    (ssl.SSLCertVerificationError(1, "certificate verify failed"), "tls", Severity.HIGH),
    (json.JSONDecodeError("Expecting value", "secret", 0), "malformed", Severity.MEDIUM),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "malformed", Severity.MEDIUM),
    (StreamStalled(30), "stalled", Severity.MEDIUM),
    (StreamTruncated(12), "truncated", Severity.MEDIUM),
    (EmptyAnswer(), "empty_answer", Severity.MEDIUM),
    (ReasoningOnly(9), "reasoning_only", Severity.MEDIUM),
    (CircuitOpen("llm:x", 4), "circuit_open", Severity.MEDIUM),
    (LengthLimit(4), "length_limit", Severity.HIGH),
    (UnknownTool("frobnicate"), "unknown_tool", Severity.HIGH),
    (HtmlBody("x.org", "https://x.org/v1/chat/completions"), "html_body", Severity.HIGH),
    (HtmlBody("x.org", "https://x.org/chat/completions", status=404), "missing_v1", Severity.HIGH),
    (HtmlBody("x.org", "https://x.org/chat/completions", "https://x.org/login", status=404), "html_body", Severity.HIGH),
    (UnexpectedBody("x", "http://x/v1/chat/completions", {"foo": 1}, status=200), "malformed", Severity.MEDIUM),
    (UnexpectedBody("x", "http://x/v1/c", {"error": "model 'a' not found"}, status=200), "model_not_found", Severity.HIGH),
    (UnexpectedBody("x", "http://x/v1/c", {"error": "Unexpected endpoint or method."}, status=200), "not_found", Severity.HIGH),
    (ValueError("x"), "internal", Severity.HIGH),
    (KeyError("x"), "internal", Severity.HIGH),
    (TypeError("x"), "internal", Severity.HIGH),
    (FileNotFoundError(errno.ENOENT, "x"), "internal", Severity.HIGH),
    (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "internal", Severity.HIGH),
    (UnicodeEncodeError("ascii", "\xe9", 0, 1, "ordinal not in range(128)"), "auth", Severity.HIGH),
    (RuntimeError("x"), "unknown", Severity.HIGH),
    (Exception("x"), "unknown", Severity.HIGH),
    (MemoryError(), "memory", Severity.CRITICAL),
    (OSError(errno.ENOMEM, "x"), "memory", Severity.CRITICAL),
    (RecursionError(), "recursion", Severity.HIGH),
    (SystemError(), "system", Severity.CRITICAL),
    (OSError(errno.EMFILE, "Too many open files"), "system", Severity.CRITICAL),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "severity"), TYPES, ids=[f"{type(t[0]).__name__}-{t[1]}" for t in TYPES])
def test_type_decides(error: BaseException, kind: str, severity: Severity) -> None:
    """Each builtin and each error of ours has its kind and its class; an unknown one is HIGH."""
    cause = Classifier().classify(error)

    assert (kind, severity, KINDS[kind].retryable) == (cause.kind, cause.severity, cause.retryable)


CHAINS: list[tuple[str, BaseException, str]] = [
    ("an unknown error raised from a known one", chained(RuntimeError("x"), ConnectionResetError()), "connection"),
    ("three deep", chained(Exception("a"), RuntimeError("b"), MemoryError()), "memory"),
    ("a fault in code raised from a failure on purpose", chained(ValueError("x"), TimeoutError()), "timeout"),
    ("a fault in code while a failure was handled", during(KeyError("x"), TimeoutError()), "internal"),
    ("an unknown error while a failure was handled", during(RuntimeError("x"), TimeoutError()), "timeout"),
    ("a time-out made from a cancellation", chained(TimeoutError(), asyncio.CancelledError()), "timeout"),
    ("an error raised from a cancellation", chained(RuntimeError("x"), asyncio.CancelledError()), "cancelled"),
    ("an error while a cancellation was handled", during(RuntimeError("x"), asyncio.CancelledError()), "unknown"),
    ("a known error keeps its own kind", chained(EmptyAnswer(), MemoryError()), "empty_answer"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind"), [c[1:] for c in CHAINS], ids=[c[0] for c in CHAINS])
def test_chain(error: BaseException, kind: str) -> None:
    """A cause counts where the error itself tells nothing; an accident in an except clause does not."""
    assert kind == kind_of(error)


def test_suppressed_context_counts_for_a_carrier_only() -> None:
    """Connection pools raise "from None", which hides the refused connection that the user must hear of."""

    class ConnectError(Exception):
        pass

    class TransportError(Exception):
        pass

    ConnectError.__module__ = TransportError.__module__ = "httpx2._exceptions"
    carrier = type("ConnectError", (TransportError,), {"__module__": "httpx2"})("all attempts failed")
    plain = RuntimeError("x")
    for error in (carrier, plain):
        error.__context__ = ConnectionRefusedError()
        error.__suppress_context__ = True

    assert ["connection_refused", "unknown"] == [kind_of(carrier), kind_of(plain)]


def test_carrier_keeps_its_type_and_takes_the_kind_of_what_it_carries() -> None:
    """The event names the error that was raised; the kind tells why."""
    carrier = type("TransportError", (Exception,), {"__module__": "httpx"})("connection failed")
    cause = Classifier().classify(chained(carrier, MemoryError("no")))

    assert ("httpx.TransportError", "memory", "no") == (cause.type, cause.kind, cause.message)


GROUPS: list[tuple[str, BaseException, str]] = [
    ("one member", ExceptionGroup("g", [TimeoutError()]), "timeout"),
    ("cancellations beside an error", BaseExceptionGroup("g", [asyncio.CancelledError(), TimeoutError()]), "timeout"),
    ("cancellations alone", BaseExceptionGroup("g", [asyncio.CancelledError()]), "cancelled"),
    ("the gravest counts", ExceptionGroup("g", [TimeoutError(), ValueError("x")]), "internal"),
    ("critical above all", ExceptionGroup("g", [ValueError("x"), ExceptionGroup("h", [MemoryError()])]), "memory"),
    ("known before unknown", ExceptionGroup("g", [RuntimeError("x"), UnknownTool("t")]), "unknown_tool"),
    ("a group as a cause", chained(OSError("all attempts failed"), ExceptionGroup("g", [ConnectionRefusedError()])),
     "connection_refused"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind"), [g[1:] for g in GROUPS], ids=[g[0] for g in GROUPS])
def test_group(error: BaseException, kind: str) -> None:
    """A task group's error is what is in it."""
    assert kind == kind_of(error)


def test_cycles_and_depth_end() -> None:
    """A chain that bites its tail, and one of a thousand links, are judged like any other."""
    a, b = RuntimeError("a"), RuntimeError("b")
    a.__cause__, b.__cause__ = b, a
    deep = chained(*[RuntimeError(str(i)) for i in range(1000)])

    assert ["unknown", "unknown"] == [kind_of(a), kind_of(deep)]


class Hostile(Exception):
    """Every property raises."""

    def __str__(self) -> str:
        raise ValueError("no text")

    @property
    def status_code(self) -> int:
        raise RuntimeError("no status")

    @property
    def response(self) -> Any:
        raise RuntimeError("no response")


def test_hostile_exception_is_still_judged() -> None:
    """A foreign exception whose text and properties raise ends the chat no worse than another."""
    assert "unknown" == kind_of(Hostile())


def test_message_is_short_redacted_and_one_line() -> None:
    """At most 500 characters, no key, no line break."""
    cause = Classifier().classify(RuntimeError("bad\nkey sk-abcdef1234567890abcdef " + "x" * 9_000))

    assert 500 == len(cause.message)
    assert cause.message.startswith("bad key [redacted] xxx")


def test_pydantic_error_does_not_quote_its_input() -> None:
    """A validation error's text holds the data that was validated: perhaps the prompt."""
    error = type("ValidationError", (ValueError,), {"__module__": "pydantic_core._pydantic_core"})(
        "input_value='THE PROMPT'"
    )
    cause = Classifier().classify(error)

    assert ("malformed", False) == (cause.kind, "PROMPT" in cause.message)


class Busy(Exception):
    """An error of a plugin."""


class BusyValue(ValueError):
    """An error of a plugin with a builtin base."""


@pytest.mark.parametrize(
    "match", [Busy, (Busy, KeyError), lambda error: "busy" in str(error)], ids=["type", "types", "predicate"]
)
def test_registered_rule(match: Any) -> None:
    """A plugin's own error becomes retryable by a rule, until the rule is taken out."""
    classifier = Classifier()
    remove = classifier.register_rule(match, severity=Severity.MEDIUM, kind="overloaded")
    cause = classifier.classify(Busy("busy"))
    remove()

    assert ("overloaded", Severity.MEDIUM, True) == (cause.kind, cause.severity, cause.retryable)
    assert "unknown" == classifier.classify(Busy("busy")).kind


def test_registered_rule_stands_between_the_specific_and_the_general() -> None:
    """It beats "any ValueError", not "a refused connection"; with `override` it beats all."""
    classifier = Classifier()
    classifier.register_rule((BusyValue, ConnectionRefusedError), severity=Severity.LOW, kind="mine")
    before = [classifier.classify(BusyValue()).kind, classifier.classify(ConnectionRefusedError()).kind]
    classifier.register_rule(ConnectionRefusedError, severity=Severity.LOW, kind="mine", override=True)

    assert ["mine", "connection_refused"] == before
    assert "mine" == classifier.classify(ConnectionRefusedError()).kind


def test_registered_rule_sees_what_a_wrapper_carries() -> None:
    """The plugin's error is found beneath an unknown one."""
    classifier = Classifier()
    classifier.register_rule(Busy, severity=Severity.MEDIUM, kind="mine")

    assert "mine" == classifier.classify(chained(RuntimeError("x"), Busy())).kind


def test_newest_rule_is_asked_first_and_retryable_can_be_set() -> None:
    """A later rule corrects an earlier one."""
    classifier = Classifier()
    classifier.register_rule(Busy, severity=Severity.MEDIUM, kind="old")
    classifier.register_rule(Busy, severity=Severity.MEDIUM, kind="new", retryable=False)
    cause = classifier.classify(Busy())

    assert ("new", False) == (cause.kind, cause.retryable)


def test_rule_that_raises_counts_as_false() -> None:
    """A broken predicate of a plugin does not break the chat."""

    def broken(_error: BaseException) -> bool:
        raise RuntimeError("bug")

    classifier = Classifier()
    classifier.register_rule(broken, severity=Severity.LOW, override=True)

    assert "timeout" == classifier.classify(TimeoutError()).kind


def test_every_rule_has_a_known_kind_and_a_condition() -> None:
    """The table names no kind that does not exist, and no rule takes everything."""
    conditions: Callable[[Any], list[Any]] = lambda r: [r.types, r.status, r.codes, r.words, r.when]  # noqa: E731

    assert [] == [r for r in (*RULES, *FALLBACK) if r.kind not in KINDS or not any(conditions(r)) or r.always]
    assert set() == set(KINDS) - {r.kind for r in (*RULES, *FALLBACK)} - {
        "unknown",
        "fault",
    }  # the last one is a rule of pulse.py


def test_only_failures_of_the_server_count_against_it() -> None:
    """401, 400 and 404 are the caller's own; a truncated answer may be the server's normal way to end."""
    counted = {kind for kind, spec in KINDS.items() if spec.upstream}

    assert {
        "timeout", "stalled", "connection", "connection_refused", "dns", "server_error", "overloaded",
    } == counted  # fmt: skip


def test_back_ported_groups_are_known_by_name() -> None:
    """Python 3.10 has no groups of its own; the back-port's are another class of the same name."""
    fake = type("ExceptionGroup", (Exception,), {"__module__": "exceptiongroup"})("g")
    fake.exceptions = (MemoryError(),)

    assert "memory" == kind_of(fake)
    assert (MemoryError,) == tuple(type(e) for e in facts.children(fake))


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("\x1b[31mred\x1b[0m \x9b1mbold\x07", "red bold"),
        (
            "\x1b]0;title\x07named \x1b]8;;http://h\x1b\\link\x1b]8;;\x1b\\ \x1b(B\x1b[mplain \x1b]open",
            "named link plain ]open",
        ),
        ("빈\u3164칸 \u115f\u1160 ⚠\ufe0f a\u034fb\u2800c\U000e0101 \u180bd\uffa0", "빈칸  ⚠ abc d"),
        ("file \u202egnp.exe\u202c \u2066x\u2069 \u200fy", "file gnp.exe x y"),
        ("one\r\ntwo\x85three\u2028four\x00five", "one two three fourfive"),
        ("half \ud83d an emoji 🎉 \ufeff\U000e0041.", "half  an emoji 🎉 ."),
    ],
)
def test_what_cannot_be_seen_is_not_in_what_is_told(said: str, read: str) -> None:
    """Neither a terminal nor a reader takes a server's words for something else."""
    error = UnexpectedBody("h", "http://h/v1", {"error": {"message": said, "code": f"a{said}b"}}, status=400)
    found = Classifier().classify(error)

    assert read == found.message
    assert (found.code or "").isprintable()


@pytest.mark.parametrize(
    "between",
    [*"\u200b\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u2800\u3164\uffa0\ufe00\ufe0f\U000e0100\U000e01ef"]
    + ["\x1b[0m", "\x1b[38;5;1m", "\x9b1m", "\x1b]0;t\x07", "\x1b]8;;http://h\x1b\\", "\x9d0;t\x9c", "\x1b(B\x1b[m"],
    ids=ascii,
)
def test_a_key_with_signs_of_no_width_in_it_is_known(between: str) -> None:
    """What a reader would see is a key."""
    key = between.join("sk-proj-abcdefghijklmnop0123456789")
    error = UnexpectedBody("h", "http://h/v1", {"error": {"message": f"bad key: {key}"}}, status=401)

    assert "bad key: [redacted]" == Classifier().classify(error).message
