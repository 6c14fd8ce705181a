"""A failure that a server tells inside an answer with a good status: where the words may stand, and what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_WORDS: Final = (
    "message", "msg", "detail", "details", "error_msg", "error_message", "errorMessage", "errMsg", "errmsg", "err_msg",
    "status_msg", "statusMessage", "error_description",
)  # fmt: skip
# These stand in harmless events as well: they count where something else says that it is a failure.
_WEAK_WORDS: Final = ("description", "reason", "title", "info")
_CODES: Final = (
    "code", "error_code", "errorCode", "errcode", "errCode", "err_code", "status_code", "statusCode", "status",
    "http_code", "err_no",
)  # fmt: skip
_TYPES: Final = ("type", "error_type", "errorType", "err_type")
_RESULTS: Final = ("base_resp", "baseResp", "BaseResp", "error_info", "fault", "err", "exception", "Error")
_FINE: Final = frozenset({"", "0", "200", "ok", "success", "none", "null", "true", "20000"})
_ALIVE: Final = frozenset(
    {"ping", "heartbeat", "keepalive", "keep-alive", "keep_alive", "processing", "queue", "status"}
)
_LENGTH: Final = 2000
_FAILING: Final = re.compile(
    r"error|limit|too many|quota|overload|unavailable|fail|time[d ]*out|insufficient|balance|credit|wait|again|denied|"
    r"错误|失败|超时|限|余额|稍后|繁忙|重试",
    re.IGNORECASE,
)


def failure_in(value: Mapping[str, Any], *, alone: bool) -> dict[str, Any] | None:
    """The failure that an object tells, as the body of an error with `message`, `code` and `type`; None if it does not.

    `alone` tells that there is no part of an answer in it: then plain words are a failure, too.
    """
    if error := value.get("error") or value.get("errors"):
        body = _body_of(error, value)
        if body is not None:
            return body
    for key in _RESULTS:
        inner = value.get(key)
        if isinstance(inner, dict) and (body := _body_of(inner, {})) is not None:
            return body
    if not alone:
        return None
    kind = str(value.get("type") or value.get("object") or value.get("event") or "").lower()
    if kind in _ALIVE:
        return None
    if kind == "error" or value.get("success") is False or _words(value) or _is_failing(value):
        return _body_of({key: value[key] for key in value if key != "data"}, value)
    return None


def failure_of_words(text: str) -> dict[str, Any]:
    """The failure that words, or JSON among them, tell; always one."""
    text = text.strip()
    begin = text.find("{")
    if begin >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(text, begin)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and (body := failure_in(value, alone=True)) is not None:
            return body
    return {"message": text[:_LENGTH] or "error"}


def sounds_like_failure(text: str) -> bool:
    """Whether a short text tells of a failure rather than answers; for a text whose finish reason says so, too."""
    return _FAILING.search(text) is not None


def _body_of(error: Any, around: Mapping[str, Any]) -> dict[str, Any] | None:
    if isinstance(error, list):
        error = next((one for one in error if one), None)
    if error is None:
        return None
    if isinstance(error, str) and error.lstrip()[:1] == "{":
        return failure_of_words(error)
    if not isinstance(error, dict):
        error = {"message": "" if error is True else str(error)}
    code = _first(error, _CODES)
    code = _first(around, _CODES) if code is None else code
    words = _words(error) or _words(around) or _words(error, _WEAK_WORDS)
    if words.strip().lower() in _FINE and code is None:
        return None
    if code is not None and str(code).lower() in _FINE and (str(code) or not words):
        return None
    body = dict(error)
    body["message"] = (words or json.dumps(error, ensure_ascii=False))[:_LENGTH]
    if code is not None:
        body["code"] = code
    kind = _first(error, _TYPES) or _first(around, _TYPES)
    if isinstance(kind, str) and kind != "error":
        body["type"] = kind
    return body


def _is_failing(value: Mapping[str, Any]) -> bool:
    code = str(_first(value, _CODES) or "")
    return len(code) == 3 and code.isascii() and code.isdigit() and 400 <= int(code) <= 599


def _first(value: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((found for key in keys if isinstance(found := value.get(key), (str, int)) and found is not True), None)


def _words(value: Mapping[str, Any], keys: tuple[str, ...] = _WORDS) -> str:
    for key in keys:
        found = value.get(key)
        if isinstance(found, list) and found:  # a list of what is wrong, as FastAPI gives it
            found = found[0]
        if isinstance(found, dict):
            found = _words(found)
        if isinstance(found, str) and found.strip():
            return found
    return ""
