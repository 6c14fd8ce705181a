"""What is asked of the store most: the story of one chat, and totals by the hour or the day.

All are projections: they know nothing but the events.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from ..events import usage_of
from .answers import ANSWER
from .rows import Stored

TOTALS: Final = ("chat.started", "chat.finished", "store.opened", "error")
STEPS: Final = {"hour": 3600.0, "day": 86_400.0}
INTERRUPTED: Final = "interrupted"
_MAX_SPANS: Final = 2_000
_USAGE: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
FIGURES: Final = (
    ("first_token", "tokens", "tokens_estimated", "stream_tokens", "stream_seconds", "length", "updates")
    + ("bytes_sent", "bytes_saved", "retries", "notice", "notice_length")
    + ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "input_estimated", "by_model")
    + ("attempts", "failed_attempts", "saved")
)  # fmt: skip


class ChatStory:
    """One chat from its events, for a waterfall. Times of spans are seconds since the chat began.

    Spans have `kind`, `start`, `end` (None while it is open) and more by kind: `attempt` (turn, attempt, model,
    host, outcome, first_token, finish, and the provider's counts of tokens), `wait` (turn, attempt, of, error, cut),
    `tool` (turn, tool, call_id, length), `agent` (agent), `reader` (transport). `usage` sums the provider's counts up.
    """

    def __init__(self, chat_id: str) -> None:
        self._chat = chat_id
        self._story: dict[str, Any] = {
            "chat_id": chat_id, "session": None, "kind": None, "outcome": None, "model": None, "host": None,
            "started": None, "seconds": None, "usage": dict.fromkeys(_USAGE),
        }  # fmt: skip
        self._turn: int | None = None
        self._spans: list[dict[str, Any]] = []
        self._errors: list[dict[str, Any]] = []
        self._events = 0
        self._last = 0.0
        self._slot: int | None = None
        self._digest = {
            "chat.started": self._started,
            "chat.model": self._attempt,
            "chat.model_ended": self._attempt_ended,
            "chat.first_token": self._first_token,
            "chat.retrying": self._retrying,
            "chat.tool_called": self._tool_called,
            "chat.tool_output": self._tool_output,
            "chat.agent_changed": self._agent,
            "chat.finished": self._finished,
            "stream.opened": self._reader,
            "stream.closed": self._reader_left,
            "error": self._error,
        }

    def apply(self, event: Stored) -> None:
        """Take one event; those of other chats are passed over."""
        if event.type == "store.opened":
            self._restarted(event)
            return
        if event.data.get("chat_id") != self._chat or event.type == ANSWER:
            return
        self._events += 1
        story = self._story
        if story["started"] is None:
            story["started"] = event.time
        self._slot = event.slot
        if event.session is not None:
            story["session"] = event.session
        self._last = max(event.time - story["started"], 0.0)
        digest = self._digest.get(event.type)
        if digest is not None and len(self._spans) < _MAX_SPANS:
            digest(event.data, self._last)

    def result(self) -> dict[str, Any] | None:
        """The story, or None if there is no event of this chat. `outcome` is "interrupted" if the process ended
        in the middle of it, and None if it still runs."""
        if not self._events:
            return None
        return {**self._story, "events": self._events, "spans": self._spans, "errors": self._errors}

    def _open(self, kind: str, start: float, **more: Any) -> None:
        self._spans.append({"kind": kind, "start": start, "end": None, **more})

    def _end(self, kinds: tuple[str, ...], at: float, outcome: str | None = None) -> None:
        for span in self._spans:
            if span["kind"] in kinds and span["end"] is None:
                span["end"] = at
                if outcome is not None and span.get("outcome", "") is None:
                    span["outcome"] = outcome

    def _started(self, data: dict[str, Any], at: float) -> None:
        self._story["kind"] = data.get("kind")

    def _attempt(self, data: dict[str, Any], at: float) -> None:
        self._end(("wait",), at)
        self._end(("attempt",), at, "completed")
        self._story["model"], self._story["host"] = data.get("model"), data.get("host")
        known = {name: data.get(name) for name in ("turn", "attempt", "model", "host")}
        self._turn = known["turn"]
        self._open("attempt", at, **known, outcome=None, first_token=None, finish=None, **dict.fromkeys(_USAGE))

    def _attempt_ended(self, data: dict[str, Any], at: float) -> None:
        call = (data.get("turn"), data.get("attempt"))
        for span in reversed(self._spans):
            if span["kind"] == "attempt" and (span["turn"], span["attempt"]) == call:
                break
        else:
            return
        first = data.get("first_token")
        span |= {"end": at, "outcome": data.get("outcome"), "finish": data.get("finish")}
        if isinstance(first, (int, float)):
            span["first_token"] = span["start"] + first
        span["tokens_estimated"] = data.get("tokens_estimated")
        for name in _USAGE:
            count = data.get(name)
            if isinstance(count, int):
                span[name] = count
                self._story["usage"][name] = (self._story["usage"][name] or 0) + count

    def _first_token(self, data: dict[str, Any], at: float) -> None:
        for span in reversed(self._spans):
            if span["kind"] == "attempt":
                span["first_token"] = at
                return

    def _retrying(self, data: dict[str, Any], at: float) -> None:
        self._end(("attempt",), at, "failed")
        known = {name: data.get(name) for name in ("attempt", "of", "error", "cut")}
        self._open("wait", at, turn=self._turn, **known, seconds=data.get("wait"))

    def _tool_called(self, data: dict[str, Any], at: float) -> None:
        self._end(("attempt",), at, "completed")
        self._open("tool", at, turn=self._turn, tool=data.get("tool"), call_id=data.get("call_id"), length=None)

    def _tool_output(self, data: dict[str, Any], at: float) -> None:
        for span in self._spans:
            if span["kind"] == "tool" and span["call_id"] == data.get("call_id") and span["end"] is None:
                span["end"], span["length"] = at, data.get("length")
                return

    def _agent(self, data: dict[str, Any], at: float) -> None:
        self._end(("agent",), at)
        self._open("agent", at, agent=data.get("agent"))

    def _reader(self, data: dict[str, Any], at: float) -> None:
        self._open("reader", at, transport=data.get("transport"))

    def _reader_left(self, data: dict[str, Any], at: float) -> None:
        for span in self._spans:
            if span["kind"] == "reader" and span["transport"] == data.get("transport") and span["end"] is None:
                span["end"] = at
                return

    def _error(self, data: dict[str, Any], at: float) -> None:
        known = ("error_id", "severity", "kind", "type", "where", "message", "outcome", "attempt", "wait", "status")
        if len(self._errors) < _MAX_SPANS:
            self._errors.append({"at": at, **{name: data[name] for name in known if name in data}})

    def _finished(self, data: dict[str, Any], at: float) -> None:
        story = self._story
        outcome = data.get("outcome")
        story["outcome"], story["seconds"] = outcome, data.get("seconds", at)
        for name in ("kind", "model", "host"):
            story[name] = data.get(name) or story[name]
        story |= {name: data[name] for name in FIGURES if name in data}
        self._end(("attempt",), at, str(outcome))
        self._end(("wait", "tool", "agent"), at)

    def _restarted(self, event: Stored) -> None:
        if event.slot == self._slot:
            self.interrupt()

    def interrupt(self) -> None:
        """The program has ended: so has the chat, if it had not."""
        story = self._story
        if self._events and story["outcome"] is None:
            story["outcome"], story["seconds"] = INTERRUPTED, self._last
            self._end(("attempt",), self._last, INTERRUPTED)
            self._end(("wait", "tool", "agent", "reader"), self._last)


class Totals:
    """Sums by the hour or the day: a row for each step in which something happened."""

    def __init__(self, step: float, *, offset: float = 0.0) -> None:
        """`offset`: seconds east of UTC, so that a day begins at the reader's midnight."""
        self._step = step
        self._offset = offset
        self._rows: dict[float, dict[str, Any]] = {}
        self._open: dict[str, tuple[int, float]] = {}

    def apply(self, event: Stored) -> None:
        """Take one event."""
        data = event.data
        chat_id = str(data.get("chat_id"))
        if event.type == "chat.started":
            self._open[chat_id] = (event.slot, event.time)
        elif event.type == "chat.finished":
            self._open.pop(chat_id, None)
            self._finished(self._row(event.time), data)
        elif event.type == "error":
            self._error(self._row(event.time), data)
        elif event.type == "store.opened":
            for chat, (slot, at) in list(self._open.items()):
                if slot == event.slot:
                    del self._open[chat]
                    self._row(at)["chats"][INTERRUPTED] += 1

    def _row(self, time: float) -> dict[str, Any]:
        start = (time + self._offset) // self._step * self._step - self._offset
        row = self._rows.get(start)
        if row is None:
            row = self._rows[start] = {
                "time": start, "chats": Counter(), "errors": 0, "errors_by_kind": Counter(), "recovered": 0,
                "tokens": 0, "retries": 0, "bytes_saved": 0, "saved": 0, "models": Counter(), "by_model": {},
            }  # fmt: skip
        return row

    def _finished(self, row: dict[str, Any], data: dict[str, Any]) -> None:
        row["chats"][str(data.get("outcome"))] += 1
        row["models"][str(data.get("model"))] += 1
        for name in ("tokens", "retries", "bytes_saved"):
            value = data.get(name)
            row[name] += value if isinstance(value, (int, float)) else 0
        row["saved"] += data.get("saved") is True
        for used in usage_of(data):
            key = (str(used.get("model")), str(used.get("host")))
            sums: Counter[str] = row["by_model"].setdefault(key, Counter())
            sums.update({name: value for name, value in used.items() if isinstance(value, int)})

    def _error(self, row: dict[str, Any], data: dict[str, Any]) -> None:
        if data.get("outcome") == "recovered":
            row["recovered"] += 1
        elif data.get("severity") != "low":
            row["errors"] += 1
            row["errors_by_kind"][str(data.get("kind"))] += 1

    def result(self) -> list[dict[str, Any]]:
        """The rows, the oldest first; counters as plain dicts."""
        return [self._plain(self._rows[start]) for start in sorted(self._rows)]

    @staticmethod
    def _plain(row: dict[str, Any]) -> dict[str, Any]:
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in row.items()}
        plain["by_model"] = [{"model": model, "host": host, **sums} for (model, host), sums in row["by_model"].items()]
        return plain
