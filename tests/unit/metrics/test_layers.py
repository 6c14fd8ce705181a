"""The layers: what each makes of the events it is told."""

from __future__ import annotations

from typing import Any

import pytest

from backend.metrics.layers.chat import MAX_MODELS, ChatLayer
from backend.metrics.layers.error import KEPT_ERRORS, SHOWN, ErrorLayer
from backend.metrics.layers.event import EventLayer
from backend.metrics.layers.http import HttpLayer
from backend.metrics.layers.system import ProcessSampler, SystemLayer
from tests.support.figures import bus_figures

NOW = 1000.0


def failure(outcome: str, **data: Any) -> dict[str, Any]:
    """The data of an `error` event."""
    return {"severity": "medium", "kind": "timeout", "type": "APITimeoutError", "outcome": outcome} | data


def test_bus_statistics_become_queues_and_counts() -> None:
    """Mailboxes are shown fullest first, and the bus's counts win over ours."""
    observed = {"mode": "observe", "state": "hold", "threshold": 6, "holds": 3, "zones_seconds": 1.5}
    throttle = {**observed, "threshold": 0.6, "seconds": 0.0}
    layer = EventLayer()
    layer.on_event("chat.finished")
    layer.on_bus(
        bus_figures(
            {"name": "panel", "size": 1, "capacity": 10, "peak": 4, "dropped": 2},
            {"name": "slow", "size": 8, "capacity": 10, "peak": 9, "conflated": 5, "throttle": observed},
            published={"chat.delta": 2000, "chat.finished": 1},
        )
    )
    shown = layer.snapshot(NOW)

    assert ["slow", "panel"] == [queue["name"] for queue in shown["queues"]]
    assert {"name": "slow", "size": 8, "capacity": 10, "fill": 0.8, "zone": "red", "peak": 9,
            "dropped": 0, "conflated": 5, "throttle": throttle} == shown["queues"][0]  # fmt: skip
    assert (shown["dropped_total"], shown["conflated_total"]) == (2, 5)
    assert shown["by_type"] == {"chat.finished": 1, "chat.delta": 2000}
    assert shown["published_total"] == 2001
    assert layer.worst_fill == 0.8


def test_latency_has_quantiles_and_a_peak() -> None:
    """The time from publish to handler is told as p50, p90, p99 and the largest."""
    layer = EventLayer()
    layer.on_latency([0.001] * 98 + [0.5, 1.0], NOW)
    latency = layer.snapshot(NOW)["latency_seconds"]

    assert latency["p50"] == pytest.approx(0.001, rel=0.03)
    assert latency["p99"] == pytest.approx(0.5, rel=0.03)
    assert (latency["max"], latency["count"]) == (1.0, 100)


def test_errors_count_failures_not_their_recovery() -> None:
    """Two tries that broke and one recovery are two failures, two retries, one recovered."""
    layer = ErrorLayer()
    layer.on_error(failure("retrying"), NOW, 1.0)
    layer.on_error(failure("retrying", type="APIConnectionError", kind="connection"), NOW, 2.0)
    layer.on_error(failure("recovered"), NOW, 3.0)
    shown = layer.snapshot(NOW, [])

    assert (shown["total"], shown["retries"], shown["recovered"], shown["gave_up"]) == (2, 2, 1, 0)
    assert shown["by_type"] == {"APITimeoutError": 1, "APIConnectionError": 1}
    assert shown["by_kind"] == {"timeout": 1, "connection": 1}
    assert shown["recovery_rate"] == 1.0


def test_a_failure_is_not_retried_beyond_its_chat() -> None:
    """A chat that is stopped while its call waits, or whose process ends, leaves no row that says "retrying"."""
    layer = ErrorLayer()
    for chat in ("one", "two"):
        layer.on_error({"error_id": chat, "chat_id": chat, "outcome": "retrying", "severity": "medium"}, 1.0, 1.0)
    layer.on_chat_ended({"chat_id": "one"})
    layer.on_chat_ended({})

    assert ["cancelled", "retrying"] == [row["outcome"] for row in layer.recent]

    after = ErrorLayer()
    after.restore(layer.recent)
    assert ["cancelled", "cancelled"] == [row["outcome"] for row in after.recent]
    assert (None, 0) == after.recovery(2.0)


def test_a_cancellation_is_no_error() -> None:
    """The user who hangs up shows as low, not in the total and not in the recovery rate."""
    layer = ErrorLayer()
    layer.on_error(failure("cancelled", severity="low", kind="cancelled"), NOW, 1.0)
    shown = layer.snapshot(NOW, [])

    assert (shown["total"], shown["by_severity"]["low"], shown["recovery_rate"]) == (0, 1, None)


def ended(layer: ErrorLayer, outcome: str, attempt: int = 2, at: float = NOW, **data: Any) -> None:
    """A failure that ended like this, `attempt` being the number of calls that were made."""
    layer.on_error(failure(outcome, attempt=attempt, **data), at, at)


def test_the_recovery_rate_counts_what_was_asked_again() -> None:
    """A refused key, a call that the breaker refused and a retry on its way say nothing of what retries are worth."""
    layer = ErrorLayer()
    for _ in range(3):
        ended(layer, "recovered")
    ended(layer, "gave_up", 4)
    ended(layer, "gave_up", 1, severity="high", kind="auth")
    ended(layer, "gave_up", 1, kind="circuit_open")
    ended(layer, "retrying")

    assert layer.recovery(NOW) == (0.75, 4)


def test_tile_chart_and_verdict_have_one_recovery_rate() -> None:
    """What the panel shows at one moment in three places is one number, that of the last five minutes."""
    layer = ErrorLayer()
    ended(layer, "gave_up", at=NOW - 301)
    ended(layer, "gave_up", at=NOW - 200)
    ended(layer, "recovered", at=NOW)

    assert layer.snapshot(NOW, [])["recovery_rate"] == 0.5
    assert layer.tick(NOW)["recovery_rate"] == 0.5
    assert layer.recovery(NOW) == (0.5, 2)
    assert layer.recovery(NOW + 301) == (None, 0)


def test_one_failure_is_one_row_however_many_steps_it_had() -> None:
    """Three tries and a recovery are one row with the last outcome; another failure keeps its own."""
    layer = ErrorLayer()
    for attempt, outcome in enumerate(("retrying", "retrying", "recovered"), start=1):
        ended(layer, outcome, attempt, NOW + attempt, error_id="a-1")
        ended(layer, "gave_up", 1, NOW + attempt, error_id=f"b-{attempt}")
    rows = layer.snapshot(NOW, [])["recent"]

    assert ["b-3", "a-1", "b-2", "b-1"] == [row["error_id"] for row in rows]
    assert ("recovered", 3, NOW + 3) == (rows[1]["outcome"], rows[1]["attempt"], rows[1]["time"])
    assert layer.snapshot(NOW, [])["retries"] == 2


def test_the_last_200_failures_are_kept_and_50_shown_newest_first() -> None:
    """Memory is bounded, and the newest is what one looks for."""
    layer = ErrorLayer()
    for n in range(500):
        layer.on_error(failure("gave_up", message=str(n), error_id=str(n)), NOW, float(n))
    recent = layer.snapshot(NOW, [])["recent"]

    assert (len(layer.recent), len(recent), recent[0]["message"]) == (KEPT_ERRORS, SHOWN, "499")


def test_history_counts_the_errors_of_its_second() -> None:
    """A bad morning does not colour the afternoon's chart."""
    layer = ErrorLayer()
    ended(layer, "gave_up")

    assert layer.tick(NOW) == {"errors": 1, "recovery_rate": 0.0}
    assert layer.tick(NOW + 301) == {"errors": 0, "recovery_rate": None}


def test_a_chat_from_start_to_end() -> None:
    """Counts, first token, tokens per second and bytes come from the events of the chat."""
    layer = ChatLayer()
    who = {"chat_id": "1", "model": "qwen3", "host": "127.0.0.1:1234"}
    layer.on_first_token({**who, "seconds": 0.5}, NOW)
    layer.on_finished(
        {**who, "kind": "chat", "outcome": "completed", "seconds": 9.5, "first_token": 0.5, "tokens": 131,
         "by_model": [{**who, "output": 100, "estimated": 31}],
         "stream_tokens": 100, "stream_seconds": 2.0, "length": 400, "bytes_sent": 10, "bytes_saved": 90}, NOW,
    )  # fmt: skip
    shown = layer.snapshot(NOW, [], 0)

    assert (shown["completed"], shown["failed"], shown["cancelled"]) == (1, 0, 0)
    assert shown["first_token_seconds"]["p50"] == pytest.approx(0.5, rel=0.03)
    assert shown["tokens_per_second"]["p50"] == pytest.approx(50, rel=0.03)
    assert shown["length_chars"]["p50"] == pytest.approx(400, rel=0.03)
    assert (shown["bytes_sent_total"], shown["bytes_saved_total"]) == (10, 90)
    (row,) = shown["models"]
    assert (row["model"], row["host"], row["chats"], row["tokens"]) == ("qwen3", "127.0.0.1:1234", 1, 131)


def test_a_chat_that_failed_before_its_first_token() -> None:
    """It is counted, and invents neither a first token nor a rate."""
    layer = ChatLayer()
    layer.on_finished(
        {"chat_id": "1", "kind": "chat", "outcome": "failed", "seconds": 3.0, "first_token": None},
        NOW,
    )
    shown = layer.snapshot(NOW, [], 0)

    assert shown["failed"] == 1
    assert shown["first_token_seconds"]["p50"] is None
    assert shown["tokens_per_second"]["p50"] is None


def test_models_are_bounded() -> None:
    """A user who tries a hundred models, or a hostile one, does not grow the memory."""
    layer = ChatLayer()
    for n in range(100):
        layer.on_first_token({"model": f"m{n}", "host": "h", "seconds": 0.1}, NOW)

    assert len(layer.models) == MAX_MODELS + 1
    assert layer.snapshot(NOW, [], 0)["models"][-1]["model"] == "other"


def test_routes_are_timed_and_failures_counted() -> None:
    """Copilot's model list that took 2 s and failed shows as such; who stops has not met a failure."""
    layer = HttpLayer()
    for status, seconds in ((200, 0.1), (500, 2.0), (499, 0.2)):
        request = {"method": "GET", "route": "/api/model_config", "status": status, "seconds": seconds}
        layer.on_request(request)
    (row,) = layer.snapshot()["routes"]

    assert (row["route"], row["count"], row["failed"], row["left"]) == ("/api/model_config", 3, 1, 1)
    assert row["max"] == 2.0


def test_this_process_is_measured() -> None:
    """The real sampler gives this process's memory, CPU time and threads."""
    sample = ProcessSampler().sample()

    assert (sample["rss_bytes"] or 0) > 1_000_000
    assert (sample["cpu_seconds"] or 0) > 0
    assert (sample["threads"] or 0) >= 1


def test_a_process_that_cannot_be_read_is_unknown() -> None:
    """In a sandbox without /proc the figures are null, and everything else works."""

    class Nothing:
        def sample(self) -> dict[str, float | None]:
            return {}

    layer = SystemLayer(Nothing())

    assert layer.tick()["rss_bytes"] is None
    assert layer.snapshot(NOW, {})["cpu_percent"] is None


def test_stalls_add_up_and_the_last_one_is_named() -> None:
    """How often, how long, and by whom."""
    layer = SystemLayer()
    layer.on_stall({"seconds": 1.5, "frame": "a"}, NOW, 1.0)
    layer.on_stall({"seconds": 0.5, "frame": "b"}, NOW, 2.0)
    shown = layer.snapshot(NOW, {})

    assert (shown["stalls"], layer.stalled_seconds, shown["last_stall"]["frame"]) == (2, 2.0, "b")
