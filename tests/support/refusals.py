"""Refusals as openai's client raises them, and what the classifier makes of them, at a moment that stands still."""

from __future__ import annotations

import functools
import sys
from typing import Any, Final

import openai

from backend.recovery.classify import Classification, Classifier
from backend.recovery.errors import UnexpectedBody

# Newer clients bring an HTTP library of another name.
httpx: Any = sys.modules[openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]]


NOW: Final = 1_767_225_600.0  # 2026-01-01 00:00 UTC
LOCAL: Final = "http://127.0.0.1:8080/v1"
HOSTED: Final = "https://api.example.com/v1"
ZHIPU: Final = "https://open.bigmodel.cn/api/paas/v4"
MINIMAX: Final = "https://api.minimax.io/v1"


def told(
    status: int, body: Any, *, base: str = HOSTED, headers: dict[str, str] | None = None, history: str = ""
) -> Classification:
    """What the client's own error about such an answer is judged to be; with a good status, what its body is.

    `history` is an address that led here.
    """
    if status == 200:
        return judged(UnexpectedBody(base, base, body, status=200))
    request = httpx.Request("POST", f"{base}/chat/completions")
    how: dict[str, Any] = {"text": body} if isinstance(body, str) else {"json": body}
    response = httpx.Response(status, request=request, headers=headers, **how)
    if history:
        response.history = [httpx.Response(307, request=httpx.Request("POST", f"{history}/chat/completions"))]
    return judged(_client()._make_status_error_from_response(response))


@functools.cache
def _client() -> Any:
    """One for all rows: it is only asked what it makes of an answer, and takes its time to be made."""
    return openai.AsyncOpenAI(api_key="k", base_url=HOSTED)


def judged(error: BaseException) -> Classification:
    """By a clock that stands at the beginning of 2026."""
    return Classifier(wall=lambda: NOW).classify(error)


def said(message: str, code: Any = None, type_: str | None = None) -> dict[str, Any]:
    """The most common shape of an error body."""
    return {"error": {"message": message, "code": code, "type": type_}}
