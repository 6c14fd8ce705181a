"""Accept: who asks for what gets it, by the q-values and the most precise range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.negotiation import JSON, OFFERS, OPENMETRICS, TEXT, Offer, choose

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("*", JSON),
        (CHROMIUM, JSON),
        ("application/json", JSON),
        ("application/*", JSON),
        ("text/plain", TEXT),
        ("text/*", TEXT),
        ("text/plain; version=0.0.4", TEXT),
        ("TEXT/PLAIN;VERSION=0.0.4", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        ("application/openmetrics-text;q=0.4, text/plain;q=0.5", TEXT),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.4", OPENMETRICS),
        ("application/json;q=0, */*", TEXT),
        ("*/*;q=0.1, text/plain;q=0.2", TEXT),
        ("application/openmetrics-text;version=0.0.1, text/plain;q=0.1", TEXT),
        ("application/json;q=0.000", None),
        ("image/png", None),
        ("text/plain;q=oops, application/openmetrics-text;q=0.1", OPENMETRICS),
        ("text/plain;q=2, application/json", JSON),
        ("nonsense", JSON),
        (",,;;,", JSON),
    ],
)
def test_accept(accept: str | None, expected: Offer | None) -> None:
    """Real headers of real scrapers and browsers, and the corners of the grammar."""
    assert expected == choose(accept)


@given(st.text(max_size=200))
def test_no_header_makes_it_raise(accept: str) -> None:
    """Whatever a client sends, there is an answer or a clear no."""
    assert choose(accept) in (*OFFERS, None)
