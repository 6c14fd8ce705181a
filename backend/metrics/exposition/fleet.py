"""The fleet's figures for Prometheus; see `collector.py`. Nothing of it is there unless a Redis is set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric


def families(prefix: str, figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Prometheus' view of it; every label set is bounded."""
    up = GaugeMetricFamily(prefix + "redis_up", "1 if Redis does what this connection needs.", labels=["role"])
    reconnects = CounterMetricFamily(prefix + "redis_reconnects", "Connections lost.", labels=["role", "reason"])
    errors = CounterMetricFamily(prefix + "redis_errors", "What went wrong with Redis.", labels=["kind"])
    kinds: dict[str, int] = {}
    for role, link in figures["links"].items():
        up.add_metric([role], link["up"])
        for reason, number in link.get("reconnects", {}).items():
            reconnects.add_metric([role, reason], number)
        for kind, number in link.get("errors", {}).items():
            kinds[kind] = kinds.get(kind, 0) + number
    for kind, number in kinds.items():
        errors.add_metric([kind], number)
    yield from (up, reconnects, errors)
    if "outbox" not in figures:
        return
    outbox = figures["outbox"]
    yield GaugeMetricFamily(prefix + "redis_outbox_size", "Events that wait to be written.", outbox["size"])
    yield GaugeMetricFamily(prefix + "redis_outbox_capacity", "Events that can wait.", outbox["capacity"])
    yield GaugeMetricFamily(prefix + "redis_outbox_peak", "Most events that waited.", outbox["peak"])
    yield CounterMetricFamily(prefix + "redis_outbox_dropped", "Events dropped by a full outbox.", outbox["dropped"])
    for name, key, text in (
        ("redis_sent_events", "sent_events", "Events that Redis took."),
        ("redis_sent_batches", "sent_batches", "Entries that Redis took."),
        ("redis_healed_events", "healed_events", "Events sent again because Redis had lost them."),
        ("redis_received_events", "received_events", "Events read from other instances."),
        ("redis_bad_entries", "bad_entries", "Entries that were no events of ours."),
    ):
        yield CounterMetricFamily(prefix + name, text, figures[key])
    gaps = CounterMetricFamily(prefix + "redis_gap_events", "Events of others that were lost.", labels=["reason"])
    for reason, number in figures["gaps"].items():
        gaps.add_metric([reason], number)
    yield gaps
    yield GaugeMetricFamily(prefix + "redis_lag_events", "Unread events of the worst instance.", figures["lag"])
    yield _histogram(prefix + "redis_write_seconds", "Time that Redis took for a batch.", figures["write_seconds"])
    yield _histogram(
        prefix + "redis_delivery_seconds", "Age of an event when it arrived here.", figures["delivery_seconds"]
    )
    instances = GaugeMetricFamily(prefix + "fleet_instances", "Instances known, this one too.", labels=["status"])
    for status, number in figures["instances"].items():
        instances.add_metric([status], number)
    yield instances
    yield from _work(prefix, figures)


def _work(prefix: str, figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Shared work and answers that move, where they are used."""
    groups = figures.get("groups") or {}
    if groups:
        pending = GaugeMetricFamily(prefix + "redis_group_pending", "Events being handled here.", labels=["group"])
        again = CounterMetricFamily(prefix + "redis_group_redelivered", "Events taken over.", labels=["group"])
        dead = CounterMetricFamily(prefix + "redis_group_dead", "Events given up.", labels=["group"])
        for group, row in groups.items():
            pending.add_metric([group], row["pending"])
            again.add_metric([group], row["redelivered"])
            dead.add_metric([group], row["dead"])
        yield from (pending, again, dead)
    answers = figures.get("answers")
    if answers:
        states = GaugeMetricFamily(prefix + "redis_answers", "Answers here that Redis has too.", labels=["state"])
        states.add_metric(["mirrored"], answers["mirrored"])
        states.add_metric(["followed"], answers["followed"])
        yield states
        yield GaugeMetricFamily(
            prefix + "redis_answer_behind_seconds", "Age of the oldest frame not yet written.", answers["behind"]
        )
        yield GaugeMetricFamily(
            prefix + "redis_remote_readers", "Readers at other instances.", answers["remote_readers"]
        )


def _histogram(name: str, text: str, row: Mapping[str, Any]) -> Metric:
    family = HistogramMetricFamily(name, text)
    total, buckets = 0, []
    for bound, count in zip([*row["bounds"], "+Inf"], row["counts"], strict=True):
        total += count
        buckets.append((bound if isinstance(bound, str) else repr(float(bound)), float(total)))
    family.add_metric([], buckets=buckets, sum_value=row["sum"])
    return family
