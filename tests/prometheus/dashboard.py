"""The Grafana dashboard, from one table; `python -m tests.prometheus.dashboard` writes docs/grafana-dashboard.json.

Every query in it is run against a real Prometheus by test_prometheus.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[2] / "docs" / "grafana-dashboard.json"
I = 'instance=~"$instance"'  # noqa: E741
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel: queries as (legend, PromQL)."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    text: str = ""
    width: int = 8
    thresholds: tuple[tuple[float, str], ...] = ()
    mappings: tuple[tuple[str, str, str], ...] = ()
    maximum: float | None = None


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """p50, p90 and p99 of a histogram."""
    rate = f"sum by (le) (rate({P}{metric}_bucket{{{I}}}{RATE}))"
    return tuple((f"p{share}", f"histogram_quantile({share / 100:g}, {rate})") for share in (50, 90, 99))


def rate(counter: str, by: str = "") -> str:
    """What a counter gains per second, summed, by a label if one is given."""
    return f"sum {f'by ({by}) ' if by else ''}(rate({P}{counter}_total{{{I}}}{RATE}))"


def per_second(title: str, counter: str, by: str) -> Panel:
    """A panel of a counter by one of its labels."""
    return Panel(title, ((f"{{{{{by}}}}}", rate(counter, by)),), "ops")


def number(title: str, legend: str, query: str, *, warn: bool = True) -> Panel:
    """One big number; above zero it is a reason to look, unless `warn` is off."""
    return Panel(title, ((legend, query),), kind="stat", width=4, thresholds=((1, "orange"),) if warn else ())


P = "copilot_pulse_"
FAIL = f'max({P}health_check_status{{{I},status="fail"}})'
WARN = f'max({P}health_check_status{{{I},status="warn"}})'
WELL = (("0", "well", "green"), ("1", "look here", "orange"), ("2", "failing", "red"))
FILL_LINES = ((0.3, "yellow"), (0.7, "orange"), (0.9, "red"))
ENDED = f"({rate('errors_recovered')} + {rate('errors_gave_up')})"
TOKEN_RATE = f"{rate('chat_tokens', 'model, host')} / {rate('chat_streaming_seconds', 'model, host')}"
ROUTES = f"sum by (le, route) (rate({P}http_request_duration_seconds_bucket{{{I}}}{RATE}))"

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Is it well?", (
        Panel("Health", (("status", f"max(2 * {FAIL} > 0 or {WARN})"),), kind="stat", width=4, mappings=WELL),
        number("Chats running", "chats", f"sum({P}chats_active{{{I}}})", warn=False),
        number("Chats that failed, last hour", "failed",
               f'sum(increase({P}chats_total{{{I},outcome="failed"}}[1h]))'),
        number("Breakers open", "open", f'sum({P}breaker_state{{{I},state="open"}}) or vector(0)'),
        number("MCP servers down", "down", f"count({P}mcp_server_up{{{I}}} == 0) or vector(0)"),
        number("Seams missing", "missing", f"count({P}seam_attached{{{I}}} == 0) or vector(0)"),
        Panel("Checks that do not pass",
              (("{{check}} {{status}}", f'{P}health_check_status{{{I},status=~"warn|fail"}}'),), width=24,
              maximum=1, text="1 while a check is in that status. /health says what to do."),
    )),
    ("Chats", (
        Panel("Time to first token", quantiles("chat_first_token_seconds"), "s"),
        Panel("Tokens per second", (("{{model}} @ {{host}}", TOKEN_RATE),),
              text="Of one answer that streams, from its first to its last token."),
        per_second("Chats by outcome", "chats", "outcome"),
        Panel("Time of a whole chat", quantiles("chat_duration_seconds"), "s"),
        Panel("Bytes to the sidebar",
              (("sent", rate("chat_sent_bytes")), ("saved", rate("chat_saved_bytes"))),
              "Bps"),
        per_second("Tools called", "chat_tool_calls", "tool"),
        Panel("Tokens",
              (("in {{model}}", rate("chat_input_tokens", "model")), ("out {{model}}", rate("chat_tokens", "model"))),
              "ops", text="In as servers told them; out told or estimated."),
        Panel("Chats saved", (("saved", rate("chats_saved")), ("explained", rate("chats_explained"))), "ops"),
        Panel("Cost since the start", (("{{model}}", f"sum by (model) ({P}chat_cost{{{I}}})"),)),
    )),
    ("Errors", (
        per_second("Failures by type", "errors", "type"),
        per_second("Failures by class", "errors", "severity"),
        Panel("Recovery rate", (("recovered", f"{rate('errors_recovered')} / {ENDED}"),), "percentunit",
              maximum=1),
        Panel("Retries", (("retries", rate("error_retries")),), "ops"),
        Panel("Breakers", (("{{breaker}} {{state}}", f"{P}breaker_state{{{I}}} > 0"),)),
        Panel("MCP servers", (("{{server}}", f"{P}mcp_server_up{{{I}}}"),), maximum=1),
    )),
    ("Events", (
        per_second("Events per second", "events_published", "type"),
        Panel("Publish to delivery", quantiles("event_delivery_seconds"), "s"),
        Panel("Queue fill", (("{{queue}}", f"max by (queue) ({P}queue_fill_ratio{{{I}}})"),), "percentunit",
              maximum=1, thresholds=FILL_LINES),
        Panel("Dropped and merged",
              (("dropped", rate("events_dropped")), ("merged", rate("events_conflated"))), "ops"),
    )),
    ("System", (
        Panel("Event loop lag", quantiles("loop_lag_seconds"), "s"),
        Panel("Time the loop stood still", (("share", rate("loop_stalled_seconds")),), "percentunit"),
        Panel("Memory", (("resident", f"{P}process_resident_memory_bytes{{{I}}}"),), "bytes"),
        Panel("CPU", (("of one core", rate("process_cpu_seconds")),), "percentunit"),
        Panel("Connections", (("{{kind}}", f"sum by (kind) ({P}connections{{{I}}})"),)),
        Panel("Copilot's other routes, p90", (("{{route}}", f"histogram_quantile(0.9, {ROUTES})"),), "s"),
    )),
    ("Several machines (only where a Redis is set)", (
        Panel("Machines", (("{{status}}", f"max by (status) ({P}fleet_instances{{{I}}})"),),
              text="As the machine that knows most of them sees it, itself included."),
        Panel("Redis within reach", (("{{instance}} {{role}}", f"{P}redis_up{{{I}}}"),), maximum=1,
              text="0 while Redis does not do what the connection needs. Chats go on."),
        Panel("Errors and reconnects",
              (("{{kind}}", rate("redis_errors", "kind")),
               ("reconnect: {{reason}}", rate("redis_reconnects", "reason"))),
              "ops"),
        Panel("Events sent and received",
              (("sent", rate("redis_sent_events")), ("received", rate("redis_received_events")),
               ("sent again", rate("redis_healed_events"))), "ops"),
        Panel("Events lost",
              (("never sent", rate("redis_outbox_dropped")), ("{{reason}}", rate("redis_gap_events", "reason")),
               ("unreadable", rate("redis_bad_entries"))), "ops",
              text="What readers were told is missing, by reason, and what never got to Redis."),
        Panel("Outbox fill",
              (("{{instance}}", f"{P}redis_outbox_size{{{I}}} / {P}redis_outbox_capacity{{{I}}}"),), "percentunit",
              maximum=1, thresholds=FILL_LINES),
        Panel("Redis' time for a batch", quantiles("redis_write_seconds"), "s"),
        Panel("An event's age on arrival", quantiles("redis_delivery_seconds"), "s"),
        Panel("Unread events", (("{{instance}}", f"{P}redis_lag_events{{{I}}}"),),
              text="Of the machine that is furthest ahead of this reader."),
        Panel("Answers that move",
              (("{{state}}", f"sum by (state) ({P}redis_answers{{{I}}})"),
               ("read elsewhere", f"sum({P}redis_remote_readers{{{I}}})"))),
        Panel("Answers behind", (("{{instance}}", f"{P}redis_answer_behind_seconds{{{I}}}"),), "s",
              text="Age of the oldest text that only its own machine has."),
        Panel("Shared work",
              (("{{group}} in hand", f"sum by (group) ({P}redis_group_pending{{{I}}})"),
               ("{{group}} again", rate("redis_group_redelivered", "group")),
               ("{{group}} given up", rate("redis_group_dead", "group")),
               ("{{group}} lost", rate("redis_group_lost", "group")))),
    )),
)  # fmt: skip
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panels() -> Iterator[dict[str, Any]]:
    """Grafana's panels, laid out in rows of 24 columns."""
    count, y = 0, 0
    for title, row in ROWS:
        count += 1
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        yield {"id": count, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        y, x, height = y + 1, 0, 0
        for panel in row:
            if x + panel.width > 24:
                y, x, height = y + height, 0, 0
            count += 1
            h = 4 if panel.kind == "stat" else 8
            yield {"id": count, **one(panel), "gridPos": {"h": h, "w": panel.width, "x": x, "y": y}}
            x, height = x + panel.width, max(height, h)
        y += height


def one(panel: Panel) -> dict[str, Any]:
    """A panel without its place."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value} for value, color in panel.thresholds]
    thresholds = {"mode": "absolute", "steps": steps}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": thresholds}
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.thresholds and panel.kind == "timeseries":
        defaults["custom"] = {"thresholdsStyle": {"mode": "dashed"}}
    if panel.mappings:
        options = {value: {"text": text, "color": color} for value, text, color in panel.mappings}
        defaults["mappings"] = [{"type": "value", "options": options}]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"colorMode": "background"} if panel.kind == "stat" else {"tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + n), "expr": expr, "legendFormat": legend, "datasource": DATASOURCE}
            for n, (legend, expr) in enumerate(panel.queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports it."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    instance = {
        "name": "instance", "type": "query", "label": "ComfyUI", "datasource": DATASOURCE, "refresh": 2,
        "query": f"label_values({P}build_info, instance)", "multi": True, "includeAll": True,
        "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip
    return {
        "title": "Copilot Pulse",
        "uid": "copilot-pulse",
        "description": "ComfyUI-Copilot as Copilot Pulse sees it: chats, errors, events, the event loop.",
        "tags": ["comfyui", "copilot"],
        "schemaVersion": 38,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, instance]},
        "panels": list(panels()),
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{TARGET.name}: {len(list(panels()))} panels\n")
