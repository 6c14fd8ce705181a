"""The chat layer: how many, how they ended, how fast the first token came, what was written, per model and host."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...events import usage_of
from ..counters import BoundedCounter, BoundedLabels
from ..histogram import Buckets, LogHistogram, WindowedHistogram, quantiles
from ..prices import Prices, estimated, is_free, rounded

WINDOW: Final = 3600.0
MAX_MODELS: Final = 20
KEPT_ENDS: Final = 200
FIRST_TOKEN_BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
DURATION_BOUNDS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LENGTH_BOUNDS: Final = (100.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 25000.0, 100000.0)
OUTCOMES: Final = ("completed", "failed", "cancelled")
COUNTS: Final = ("input", "output", "cached", "reasoning", "estimated", "estimated_input")
"""What a row of usage counts, in tokens; see `backend.events.ModelUsage`."""
TOLD: Final = ("input", "output", "cached", "reasoning")


class ModelFigures:
    """What is kept for one model on one host. A chat counts for the model that was asked last, tokens for the one
    that wrote them."""

    __slots__ = (
        "calls", "counts", "duration", "first_token", "first_token_buckets", "last_error", "outcomes", "rate",
        "retries", "saved", "streaming_seconds",
    )  # fmt: skip

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.saved = 0
        self.calls = dict.fromkeys(OUTCOMES, 0)
        self.retries = 0
        self.first_token = LogHistogram(1e-3, 1e4)
        self.first_token_buckets = Buckets(FIRST_TOKEN_BOUNDS)
        self.duration = Buckets(DURATION_BOUNDS)
        self.rate = LogHistogram(1e-2, 1e6)
        # A count is None until a server has told it.
        self.counts: dict[str, int | None] = {name: None if name in TOLD else 0 for name in COUNTS}
        self.streaming_seconds = 0.0
        self.last_error: dict[str, Any] | None = None

    @property
    def tokens(self) -> int:
        """What was written, told or estimated."""
        return (self.counts["output"] or 0) + (self.counts["estimated"] or 0)

    def snapshot(self, model: str, host: str, prices: Prices) -> dict[str, Any]:
        """A row of `chat.models`."""
        first50, first95 = quantiles(self.first_token, (0.5, 0.95))
        usage = self.usage(model, host)
        return {
            "model": model,
            "host": host,
            "local": is_free(host),
            "chats": sum(self.outcomes.values()),
            "failed": self.outcomes["failed"],
            "saved": self.saved,
            "retries": self.retries,
            "calls": sum(self.calls.values()),
            "calls_failed": self.calls["failed"],
            "first_token_p50": first50,
            "first_token_p95": first95,
            "tokens_per_second_p50": self.rate.quantile(0.5),
            **{f"{name}_tokens": self.counts[name] for name in TOLD},
            "tokens": self.tokens,
            "tokens_estimated": self.counts["estimated"] or 0,
            "cost": rounded(prices.cost(usage)),
            "cost_estimated": estimated(usage),
            "last_error": self.last_error,
        }

    def usage(self, model: str, host: str) -> dict[str, Any]:
        """What was used, as a row of usage."""
        return {"model": model, "host": host, **self.counts}


class ChatLayer:
    """Digests `chat.*` events, and the errors of models. For the loop's thread."""

    def __init__(self) -> None:
        self.models: BoundedLabels[ModelFigures] = BoundedLabels(ModelFigures, width=2, cap=MAX_MODELS)
        self.outcomes = BoundedCounter(width=2, cap=12)  # kind, outcome
        self.tools = BoundedCounter(cap=50)
        self.retries = 0
        self.saved = 0
        self.explained = 0
        self.failures = 0
        self.bytes_sent = 0
        self.bytes_saved = 0
        self.first_token = WindowedHistogram(WINDOW, low=1e-3, high=1e4)
        self.rate = WindowedHistogram(WINDOW, low=1e-2, high=1e6)
        self.length = WindowedHistogram(WINDOW, low=1.0, high=1e8)
        self.length_buckets = Buckets(LENGTH_BOUNDS)
        # (time, outcome) of the last chats, for health.
        self.ends: deque[tuple[float, str]] = deque(maxlen=KEPT_ENDS)
        self._second_first = LogHistogram(1e-3, 1e4)
        self._second_rate = LogHistogram(1e-2, 1e6)

    def on_first_token(self, data: Mapping[str, Any], now: float) -> None:
        """The first token of a chat came `seconds` after it began."""
        seconds = _positive(data.get("seconds"))
        self.first_token.record(seconds, now)
        self._second_first.record(seconds)
        figures = self._figures(data)
        figures.first_token.record(seconds)
        figures.first_token_buckets.record(seconds)

    def on_call_ended(self, data: Mapping[str, Any]) -> None:
        """A call of a model ended; its tokens come with the chat's end."""
        calls = self._figures(data).calls
        outcome = str(data.get("outcome", "completed"))
        calls[outcome] = calls.get(outcome, 0) + 1

    def on_retrying(self, data: Mapping[str, Any]) -> None:
        """A model call of a chat is made again."""
        self.retries += 1
        if data.get("model"):
            self._figures(data).retries += 1

    def on_error(self, data: Mapping[str, Any], wall: float) -> None:
        """Something failed; if a model did, its row shows it."""
        if data.get("model") and data.get("outcome") in ("retrying", "gave_up") and data.get("severity") != "low":
            error = {
                "kind": str(data.get("kind", "unknown")),
                "type": str(data.get("type", "")),
                "time": round(wall, 3),
            }
            self._figures(data).last_error = error

    def on_tool(self, data: Mapping[str, Any]) -> None:
        """The model called a tool."""
        self.tools.add(str(data.get("tool", "unknown")))

    def on_finished(self, data: Mapping[str, Any], now: float) -> None:
        """A chat ended; the event carries its figures."""
        outcome = str(data.get("outcome", "completed"))
        self.outcomes.add(str(data.get("kind", "chat")), outcome)
        self.ends.append((now, outcome))
        self.bytes_sent += int(_positive(data.get("bytes_sent")))
        self.bytes_saved += int(_positive(data.get("bytes_saved")))
        length = _positive(data.get("length"))
        if length:
            self.length.record(length, now)
            self.length_buckets.record(length)
        figures = self._figures(data)
        figures.outcomes[outcome] = figures.outcomes.get(outcome, 0) + 1
        saved = bool(data.get("saved")) and outcome == "completed"
        self.saved += saved
        figures.saved += saved
        self.explained += outcome == "failed" and bool(data.get("notice") or data.get("notice_length"))
        self.failures += saved or outcome == "failed"
        figures.duration.record(_positive(data.get("seconds")))
        self._used(data)
        streaming, streamed = _positive(data.get("stream_seconds")), _positive(data.get("stream_tokens"))
        if streaming and streamed:
            rate = streamed / streaming
            figures.streaming_seconds += streaming
            figures.rate.record(rate)
            self.rate.record(rate, now)
            self._second_rate.record(rate)

    def _used(self, data: Mapping[str, Any]) -> None:
        """Add the tokens to the models that they belong to."""
        for row in usage_of(data):
            counts = self._figures(row).counts
            for name in COUNTS:
                value = row.get(name)
                if isinstance(value, int):
                    counts[name] = (counts[name] or 0) + value

    def _figures(self, data: Mapping[str, Any]) -> ModelFigures:
        return self.models.get(str(data.get("model") or "unknown"), str(data.get("host") or "unknown"))

    def count(self, outcome: str) -> int:
        """Chats (of all kinds) that ended with `outcome` since the start."""
        return sum(n for labels, n in self.outcomes.items() if labels[1] == outcome)

    def ended_within(self, window: float, now: float) -> list[str]:
        """The outcomes of the chats of the last `window` seconds, oldest first."""
        return [outcome for when, outcome in self.ends if now - when <= window]

    def usage(self) -> list[dict[str, Any]]:
        """What every model has used since the start."""
        return [figures.usage(model, host) for (model, host), figures in self.models.items()]

    def tick(self, active: int) -> dict[str, float | None]:
        """Close the second: the values for the history."""
        values: dict[str, float | None] = {
            "first_token_p50": self._second_first.quantile(0.5),
            "tokens_per_second": self._second_rate.quantile(0.5),
            "chats_active": active,
        }
        self._second_first.clear()
        self._second_rate.clear()
        return values

    def snapshot(
        self,
        now: float,
        current: list[dict[str, Any]],
        active: int,
        prices: Prices = Prices(),  # noqa: B008
    ) -> dict[str, Any]:
        """The `chat` part of the metrics JSON; quantiles over the last hour, per model since the start."""
        first, rate, length = self.first_token.read(now), self.rate.read(now), self.length.read(now)
        p50, p90, p99 = quantiles(first, (0.5, 0.9, 0.99))
        usage = self.usage()
        return {
            "active": active,
            "completed": self.count("completed"),
            "failed": self.count("failed"),
            "cancelled": self.count("cancelled"),
            "retries": self.retries,
            "failures": self.failures,
            "saved": self.saved,
            "explained": self.explained,
            **tokens_of(usage),
            "cost": rounded(known_cost(usage, prices)),
            "cost_estimated": any(map(estimated, usage)),
            "currency": prices.sign,
            "first_token_seconds": {
                "p50": p50, "p90": p90, "p99": p99,
                "max": first.peak if first.count else None,
                "count": first.count,
                "exact": first.exact,
                "window_seconds": WINDOW,
            },
            "tokens_per_second": {"p50": rate.quantile(0.5), "count": rate.count, "window_seconds": WINDOW},
            "length_chars": {"p50": length.quantile(0.5), "count": length.count, "window_seconds": WINDOW},
            "bytes_sent_total": self.bytes_sent,
            "bytes_saved_total": self.bytes_saved,
            "models": [figures.snapshot(model, host, prices) for (model, host), figures in self.models.items()],
            "tools": self.tools.by(0),
            "current": [with_cost(row, prices) for row in current],
        }  # fmt: skip


def tokens_of(usage: Iterable[Mapping[str, Any]]) -> dict[str, int | None]:
    """The tokens of rows of usage together: `tokens`, `tokens_estimated`, and `input_tokens`, `output_tokens`,
    `cached_tokens`, `reasoning_tokens` (None: no server has told any)."""
    sums: dict[str, int | None] = dict.fromkeys(COUNTS)
    for row in usage:
        for name in COUNTS:
            value = row.get(name)
            if isinstance(value, int):
                sums[name] = (sums[name] or 0) + value
    guessed = sums["estimated"] or 0
    told = {f"{name}_tokens": sums[name] for name in TOLD}
    return {"tokens": (sums["output"] or 0) + guessed, "tokens_estimated": guessed, **told}


def known_cost(usage: Iterable[Mapping[str, Any]], prices: Prices) -> float | None:
    """What the models cost whose price is known; None if none is."""
    costs = [cost for row in usage if (cost := prices.cost(row)) is not None]
    return sum(costs) if costs else None


def with_cost(row: Mapping[str, Any], prices: Prices) -> dict[str, Any]:
    """A chat's row with `cost` (None: a model of it has no price) and `cost_estimated`."""
    usage = usage_of(row)
    shown = {name: value for name, value in row.items() if name not in ("by_model", "input_estimated")}
    shown["tokens_estimated"] = bool(row.get("tokens_estimated"))
    shown["cost"] = rounded(prices.sum(usage))
    shown["cost_estimated"] = any(map(estimated, usage))
    return shown


def _positive(value: Any) -> float:
    """`value` as a number that is not negative; anything else counts as 0."""
    if isinstance(value, (int, float)) and value > 0:
        return float(value)
    return 0.0
