"""Copilot's other routes, timed and counted (its model list and key check block the loop when they hang)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..counters import BoundedCounter, BoundedLabels
from ..histogram import Buckets, LogHistogram

MAX_ROUTES: Final = 30
CLIENT_GONE: Final = "499"
"""What is reported where the client has left, by a Stop or a closed page: no failure of the route."""
BOUNDS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RouteFigures:
    """How long one route takes."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = LogHistogram(1e-5, 1e4)
        self.buckets = Buckets(BOUNDS)


class HttpLayer:
    """Digests `http.request` events. For the loop's thread."""

    def __init__(self) -> None:
        self.counts = BoundedCounter(width=3, cap=3 * MAX_ROUTES)  # method, route, status
        self.routes: BoundedLabels[RouteFigures] = BoundedLabels(RouteFigures, width=2, cap=MAX_ROUTES)

    def on_request(self, data: Mapping[str, Any]) -> None:
        """A route answered."""
        method, route = str(data.get("method", "GET")), str(data.get("route", "unknown"))
        self.counts.add(method, route, str(data.get("status", 0)))
        figures = self.routes.get(method, route)
        seconds = max(0.0, float(data.get("seconds", 0.0)))
        figures.seconds.record(seconds)
        figures.buckets.record(seconds)

    def snapshot(self) -> dict[str, Any]:
        """The `http` part of the metrics JSON."""
        failed: dict[tuple[str, str], int] = {}
        left: dict[tuple[str, str], int] = {}
        for (method, route, status), n in self.counts.items():
            if status == CLIENT_GONE:
                left[method, route] = left.get((method, route), 0) + n
            elif not status.startswith(("1", "2", "3")):
                failed[method, route] = failed.get((method, route), 0) + n
        return {
            "routes": [
                {
                    "method": labels[0],
                    "route": labels[1],
                    "count": figures.buckets.count,
                    "failed": failed.get((labels[0], labels[1]), 0),
                    "left": left.get((labels[0], labels[1]), 0),
                    "p50": figures.seconds.quantile(0.5),
                    "p99": figures.seconds.quantile(0.99),
                    "max": figures.seconds.peak,
                }
                for labels, figures in self.routes.items()
            ]
        }
