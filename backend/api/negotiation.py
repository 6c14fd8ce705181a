"""Which representation a client wants: the `Accept` header with its q-values (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple


class Offer(NamedTuple):
    """One representation that we have. `key` names it, `version` is its `version` parameter or empty."""

    key: str
    type: str
    version: str
    content_type: str


JSON: Final = Offer("json", "application/json", "", "application/json; charset=utf-8")
TEXT: Final = Offer("prometheus", "text/plain", "0.0.4", "text/plain; version=0.0.4; charset=utf-8")
OPENMETRICS: Final = Offer(
    "openmetrics",
    "application/openmetrics-text",
    "1.0.0",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
)
OFFERS: Final = (JSON, TEXT, OPENMETRICS)


class _Range(NamedTuple):
    type: str
    version: str
    q: float

    def matches(self, offer: Offer) -> int:
        """How precisely this range names the offer; 0 if it does not."""
        if self.version and offer.version and self.version != offer.version:
            return 0
        if self.type == offer.type:
            return 4 if self.version else 3
        main = offer.type.partition("/")[0]
        if self.type == f"{main}/*":
            return 2
        return 1 if self.type == "*/*" else 0


def choose(accept: str | None, offers: Sequence[Offer] = OFFERS) -> Offer | None:
    """The offer that the client likes best, the earlier one on a tie, or None if it wants none of them.

    For each offer the most precise range that names it decides. A missing or empty header accepts
    everything; a range that cannot be read is left out.
    """
    if accept is None or not accept.strip():
        return offers[0]
    ranges = [found for part in accept.split(",") if (found := _parse(part)) is not None]
    if not ranges:
        return offers[0]
    best: Offer | None = None
    best_q = 0.0
    for offer in offers:
        q = _quality(offer, ranges)
        if q > best_q:
            best, best_q = offer, q
    return best


def _quality(offer: Offer, ranges: Sequence[_Range]) -> float:
    precision, q = 0, 0.0
    for found in ranges:
        matched = found.matches(offer)
        if matched > precision or (matched == precision and matched and found.q > q):
            precision, q = matched, found.q
    return q


def _parse(part: str) -> _Range | None:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    name = name.lower()
    if name == "*":
        name = "*/*"  # what some old clients send
    if name.count("/") != 1 or name.startswith("/") or name.endswith("/"):
        return None
    q, version = 1.0, ""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        key, value = key.strip().lower(), value.strip().strip('"')
        if key == "q":
            try:
                q = float(value)
            except ValueError:
                return None
            if not 0 <= q <= 1:
                return None
        elif key == "version":
            version = value
    return _Range(name, version, q)
