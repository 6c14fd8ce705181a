"""The chat layer: how many, how they ended, how fast the first token came, per model and host."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from ..counters import BoundedCounter, BoundedLabels
from ..histogram import Buckets, LogHistogram, WindowedHistogram, quantiles

WINDOW: Final = 3600.0
MAX_MODELS: Final = 20
KEPT_ENDS: Final = 200
FIRST_TOKEN_BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
DURATION_BOUNDS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LENGTH_BOUNDS: Final = (100.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 25000.0, 100000.0)
OUTCOMES: Final = ("completed", "failed", "cancelled")


class ModelFigures:
    """What is kept for one model on one host."""

    __slots__ = (
        "duration", "first_token", "first_token_buckets", "outcomes", "rate", "streaming_seconds", "tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.first_token = LogHistogram(1e-3, 1e4)
        self.first_token_buckets = Buckets(FIRST_TOKEN_BOUNDS)
        self.duration = Buckets(DURATION_BOUNDS)
        self.rate = LogHistogram(1e-2, 1e6)
        self.tokens = 0
        self.streaming_seconds = 0.0


class ChatLayer:
    """Digests `chat.*` events. For the loop's thread."""

    def __init__(self) -> None:
        self.models: BoundedLabels[ModelFigures] = BoundedLabels(ModelFigures, width=2, cap=MAX_MODELS)
        self.outcomes = BoundedCounter(width=2, cap=12)  # kind, outcome
        self.tools = BoundedCounter(cap=50)
        self.retries = 0
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

    def on_retrying(self) -> None:
        """A model call of a chat is made again."""
        self.retries += 1

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
        seconds = _positive(data.get("seconds"))
        figures.duration.record(seconds)
        tokens = int(_positive(data.get("tokens")))
        figures.tokens += tokens
        streaming, streamed = _positive(data.get("stream_seconds")), _positive(data.get("stream_tokens"))
        if streaming and streamed:
            rate = streamed / streaming
            figures.streaming_seconds += streaming
            figures.rate.record(rate)
            self.rate.record(rate, now)
            self._second_rate.record(rate)

    def _figures(self, data: Mapping[str, Any]) -> ModelFigures:
        return self.models.get(str(data.get("model") or "unknown"), str(data.get("host") or "unknown"))

    def count(self, outcome: str) -> int:
        """Chats (of all kinds) that ended with `outcome` since the start."""
        return sum(n for labels, n in self.outcomes.items() if labels[1] == outcome)

    def ended_within(self, window: float, now: float) -> list[str]:
        """The outcomes of the chats of the last `window` seconds, oldest first."""
        return [outcome for when, outcome in self.ends if now - when <= window]

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

    def snapshot(self, now: float, current: list[dict[str, Any]], active: int) -> dict[str, Any]:
        """The `chat` part of the metrics JSON; quantiles over the last hour, per model since the start."""
        first, rate, length = self.first_token.read(now), self.rate.read(now), self.length.read(now)
        p50, p90, p99 = quantiles(first, (0.5, 0.9, 0.99))
        return {
            "active": active,
            "completed": self.count("completed"),
            "failed": self.count("failed"),
            "cancelled": self.count("cancelled"),
            "retries": self.retries,
            "first_token_seconds": {
                "p50": p50, "p90": p90, "p99": p99,
                "max": first.peak if first.count else None,
                "count": first.count,
                "window_seconds": WINDOW,
            },
            "tokens_per_second": {"p50": rate.quantile(0.5), "count": rate.count, "window_seconds": WINDOW},
            "length_chars": {"p50": length.quantile(0.5), "count": length.count, "window_seconds": WINDOW},
            "bytes_sent_total": self.bytes_sent,
            "bytes_saved_total": self.bytes_saved,
            "models": [
                {
                    "model": model,
                    "host": host,
                    "chats": sum(figures.outcomes.values()),
                    "failed": figures.outcomes["failed"],
                    "tokens": figures.tokens,
                    "first_token_p50": figures.first_token.quantile(0.5),
                    "tokens_per_second_p50": figures.rate.quantile(0.5),
                }
                for (model, host), figures in self.models.items()
            ],
            "tools": self.tools.by(0),
            "current": current,
        }  # fmt: skip


def _positive(value: Any) -> float:
    """`value` as a number that is not negative; anything else counts as 0."""
    if isinstance(value, (int, float)) and value > 0:
        return float(value)
    return 0.0
