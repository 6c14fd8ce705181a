"""Error recovery, the public front: what an error is, whether to ask again, what the user is told.

Everything here stands alone: it knows neither ComfyUI nor Copilot, and foreign exceptions are known by
the names of their types. The parts are in `backend/recovery/`; docs/errors.md holds the tables.
"""

from __future__ import annotations

from .recovery.advice import explain, language_of
from .recovery.bodies import wrong_body
from .recovery.breaker import BreakerChange, BreakerLimits, BreakerRegistry, CircuitBreaker, Lease
from .recovery.classify import Classification, Classifier
from .recovery.errors import (
    CircuitOpen,
    ClientGone,
    ContentFiltered,
    EmptyAnswer,
    HtmlBody,
    LengthLimit,
    PulseError,
    ReasoningOnly,
    StreamStalled,
    StreamTruncated,
    UnexpectedBody,
    UnknownTool,
)
from .recovery.kinds import KINDS, KindSpec, Severity
from .recovery.manager import ErrorContext, RecoveryManager
from .recovery.prompts import hold_prompt
from .recovery.redact import Redactor, redact, redact_value, secret_name
from .recovery.retry import RetryInfo, RetryPolicy, retry

__all__ = [
    "KINDS",
    "BreakerChange",
    "BreakerLimits",
    "BreakerRegistry",
    "CircuitBreaker",
    "CircuitOpen",
    "Classification",
    "Classifier",
    "ClientGone",
    "ContentFiltered",
    "EmptyAnswer",
    "ErrorContext",
    "HtmlBody",
    "KindSpec",
    "Lease",
    "LengthLimit",
    "PulseError",
    "ReasoningOnly",
    "RecoveryManager",
    "Redactor",
    "RetryInfo",
    "RetryPolicy",
    "Severity",
    "StreamStalled",
    "StreamTruncated",
    "UnexpectedBody",
    "UnknownTool",
    "explain",
    "hold_prompt",
    "language_of",
    "redact",
    "redact_value",
    "retry",
    "secret_name",
    "wrong_body",
]
