"""The fleet's figures for Prometheus; see `collector.py`. Nothing of it is there unless a Redis is set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import HistogramMetricFamily, Metric

from .families import PREFIX, counter, counters, gauge, gauges


def families(figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Prometheus' view of it; every label set is bounded."""
    links = figures["links"].items()
    up = ((role, link["up"]) for role, link in links)
    yield gauges("redis_up", "1 if Redis does what this connection needs.", ["role"], up)
    lost = (((role, reason), n) for role, link in links for reason, n in link.get("reconnects", {}).items())
    yield counters("redis_reconnects", "Connections lost.", ["role", "reason"], lost)
    kinds: Counter[str] = Counter()
    for _, link in links:
        kinds.update(link.get("errors", {}))
    yield counters("redis_errors", "What went wrong with Redis.", ["kind"], kinds.items())
    if "outbox" not in figures:
        return
    outbox = figures["outbox"]
    yield gauge("redis_outbox_size", "Events that wait to be written.", outbox["size"])
    yield gauge("redis_outbox_capacity", "Events that can wait.", outbox["capacity"])
    yield gauge("redis_outbox_peak", "Most events that waited.", outbox["peak"])
    yield counter("redis_outbox_dropped", "Events dropped: no room, or too large for Redis.", outbox["dropped"])
    yield counter("redis_sent_events", "Events that Redis took.", figures["sent_events"])
    yield counter("redis_sent_batches", "Entries that Redis took.", figures["sent_batches"])
    yield counter("redis_healed_events", "Events sent again because Redis had lost them.", figures["healed_events"])
    yield counter("redis_received_events", "Events read from other instances.", figures["received_events"])
    yield counter("redis_bad_entries", "Entries in Redis that were not ours, or unreadable.", figures["bad_entries"])
    yield counters("redis_gap_events", "Events of others that were lost.", ["reason"], figures["gaps"].items())
    yield gauge("redis_lag_events", "Unread events of the worst instance.", figures["lag"])
    yield _histogram("redis_write_seconds", "Time that Redis took for a batch.", figures["write_seconds"])
    yield _histogram("redis_delivery_seconds", "Age of an event when it arrived here.", figures["delivery_seconds"])
    instances = figures["instances"].items()
    yield gauges("fleet_instances", "Instances known, this one too.", ["status"], instances)
    yield from _work(figures)


def _work(figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Shared work and answers that move, where they are used."""
    groups = (figures.get("groups") or {}).items()
    if groups:
        for make, name, text, key in (
            (gauges, "redis_group_pending", "Events being handled here.", "pending"),
            (counters, "redis_group_redelivered", "Events taken over.", "redelivered"),
            (counters, "redis_group_dead", "Events given up.", "dead"),
            (counters, "redis_group_lost", "Events that were gone, or too large to be read.", "lost"),
        ):
            yield make(name, text, ["group"], [(group, row[key]) for group, row in groups])
    answers = figures.get("answers")
    if answers:
        states = [(state, answers[state]) for state in ("mirrored", "followed")]
        yield gauges("redis_answers", "Answers here that Redis has too.", ["state"], states)
        yield gauge("redis_answer_behind_seconds", "Age of the oldest frame not yet written.", answers["behind"])
        cut = answers["cut"].items()
        yield counters("redis_answers_cut", "Answers that could not be copied whole.", ["reason"], cut)
        yield gauge("redis_remote_readers", "Readers at other instances.", answers["remote_readers"])


def _histogram(name: str, text: str, row: Mapping[str, Any]) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text)
    total, buckets = 0, []
    for bound, count in zip([*row["bounds"], "+Inf"], row["counts"], strict=True):
        total += count
        buckets.append((bound if isinstance(bound, str) else repr(float(bound)), float(total)))
    family.add_metric([], buckets=buckets, sum_value=row["sum"])
    return family
