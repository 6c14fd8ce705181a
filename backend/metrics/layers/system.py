"""The system layer: memory, CPU, threads of this process, and how late the event loop runs."""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

from ..histogram import Buckets, LogHistogram, WindowedHistogram, quantiles

log = logging.getLogger("copilot_pulse.monitoring")

LAG_WINDOW: Final = 60.0
LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Sampler(Protocol):
    """Where the process figures come from; a test gives its own."""

    def sample(self) -> dict[str, float | None]:
        """`rss_bytes`, `cpu_percent` (of one core, since the last call), `cpu_seconds`, `threads`,
        `memory_used_percent` (of the machine); None for what cannot be told."""


class ProcessSampler:
    """This process through psutil. About 0.1 ms a call; no waiting. What fails once is tried again."""

    def __init__(self) -> None:
        # It is imported here, because it takes 20 ms that ComfyUI's start need not wait for.
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()
        self._told = False

    def sample(self) -> dict[str, float | None]:
        """See `Sampler`."""
        try:
            with self._process.oneshot():
                times = self._process.cpu_times()
                return {
                    "rss_bytes": float(self._process.memory_info().rss),
                    "cpu_percent": float(self._process.cpu_percent(None)),
                    "cpu_seconds": float(times.user + times.system),
                    "threads": float(self._process.num_threads()),
                    "memory_used_percent": float(self._psutil.virtual_memory().percent),
                }
        except (self._psutil.Error, OSError) as error:
            if not self._told:
                self._told = True
                log.warning("the process's memory and CPU cannot be read here: %s", error)
            return {}


class SystemLayer:
    """Samples the process once a second and digests the loop's lag. For the loop's thread."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._sampler = sampler
        self.process: dict[str, float | None] = {}
        self.lag = WindowedHistogram(LAG_WINDOW)
        self.lag_buckets = Buckets(LAG_BOUNDS)
        self._second = LogHistogram()
        self.stalls = 0
        self.stalled_seconds = 0.0
        self.last_stall: dict[str, Any] | None = None
        self.last_stall_at = 0.0

    def on_lag(self, seconds: float, now: float) -> None:
        """The loop came `seconds` later to a timer than it had been asked to."""
        self.lag.record(seconds, now)
        self.lag_buckets.record(max(0.0, seconds))
        self._second.record(seconds)

    def on_stall(self, data: dict[str, Any], now: float, wall: float) -> None:
        """Take the data of a `loop.stalled` event."""
        self.stalls += 1
        self.stalled_seconds += float(data.get("seconds", 0.0))
        self.last_stall = {"time": wall, **data}
        self.last_stall_at = now

    def tick(self) -> dict[str, float | None]:
        """Sample the process and close the second: the values for the history."""
        if self._sampler is None:
            self._sampler = ProcessSampler()
        self.process = self._sampler.sample()
        lag = self._second.quantile(0.99)
        self._second.clear()
        return {
            "rss_bytes": self.process.get("rss_bytes"),
            "cpu_percent": self.process.get("cpu_percent"),
            "loop_lag_p99": lag,
        }

    def snapshot(self, now: float, connections: dict[str, int]) -> dict[str, Any]:
        """The `system` part of the metrics JSON."""
        lag = self.lag.read(now)
        p50, p99 = quantiles(lag, (0.5, 0.99))
        return {
            "rss_bytes": _whole(self.process.get("rss_bytes")),
            "cpu_percent": self.process.get("cpu_percent"),
            "cpu_seconds_total": self.process.get("cpu_seconds"),
            "memory_used_percent": self.process.get("memory_used_percent"),
            "threads": _whole(self.process.get("threads")),
            "connections": connections,
            "loop_lag_seconds": {
                "p50": p50, "p99": p99,
                "max": lag.peak if lag.count else None,
                "count": lag.count,
                "window_seconds": LAG_WINDOW,
            },
            "stalls": self.stalls,
            "last_stall": self.last_stall,
        }  # fmt: skip


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
