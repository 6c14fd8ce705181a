"""What lies in Redis: the names of the keys, and events as entries of a stream.

Each process start has a stream of its own. Its entries' ids are `<last>-<count>`: the number of the batch's last
event since that start, and how many are inside. So an id says what a reader has missed, writing a batch again is
refused instead of done twice, and nothing depends on a clock. An entry holds one JSON array of
`[number, type, wall, source, session, data]`, where `wall` is in milliseconds.

What is read may have been written by anybody: it is checked, and what is no event is counted and left out.
"""

from __future__ import annotations

import json
import secrets
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from ..event_bus import Event
from ..events import TEXT_KEYS, figures_only, without_text

FORM: Final = 1
"""The version of an entry's form. Others are counted and skipped."""
UNREADABLE: Final = b"x"
"""The field that stands for an entry which is too large, to be written or to be read."""
MAX_ENTRY: Final = 4_000_000
MAX_NAME: Final = 200
MAX_WALL: Final = 10**15
"""Milliseconds since the epoch; whatever is beyond is no time."""
MOST_SHOWN: Final = 1_000
MOST_PARTS: Final = 50
OURS: Final = "fleet."
"""What the fleet itself tells, each instance to its own; such an event never travels."""
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_DUMPS: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class FleetEvent(Event):
    """An event of any machine. `instance` is where it comes from ("": here), `key` is unique in the fleet.

    `time` is when it arrived here (monotonic), `wall` when it was made there.
    """

    __slots__ = ("_made", "instance", "key")

    def __init__(
        self,
        type: str,
        data: Mapping[str, Any],
        source: str,
        session: str | None = None,
        *,
        instance: str = "",
        key: str = "",
        wall: float = 0.0,
    ) -> None:
        super().__init__(type, data, source, session)
        self.instance = instance
        self.key = key
        self._made = wall

    @property
    def wall(self) -> float:
        """When it was made, as seconds since the epoch, by this machine's clock."""
        return self._made or super().wall

    def cut(self) -> FleetEvent:
        """The same, with as much of its data as anybody may want to read."""
        data = shown(dict(self.data))
        return FleetEvent(
            self.type, data, self.source, shown(self.session), instance=self.instance, key=self.key, wall=self._made
        )


class Seconds:
    """Counts of durations under fixed bounds, as Prometheus wants them."""

    BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS) + 1)
        self.sum = 0.0

    def record(self, seconds: float) -> None:
        """Count one; what is no number of seconds counts as none."""
        if 0.0 <= seconds < 86_400:
            self.counts[bisect_left(self.BOUNDS, seconds)] += 1
            self.sum += seconds

    def snapshot(self) -> dict[str, Any]:
        """Plain data: the bounds, the counts (the last one is of those above all bounds), the sum."""
        return {"bounds": list(self.BOUNDS), "counts": list(self.counts), "sum": self.sum}


class Tally:
    """How often something was, and when last (monotonic; None: never)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = 0
        self.last: float | None = None
        self._clock = clock

    def note(self, number: int = 1) -> None:
        """It was once more."""
        self.number += number
        self.last = self._clock()


def new_boot() -> str:
    """A name for one start of a process: 12 random characters."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def is_boot(name: object) -> bool:
    """Whether it could be a name of `new_boot()`."""
    return isinstance(name, str) and len(name) == 12 and all(letter in _ALPHABET for letter in name)


class Keys:
    """The names of all keys. The braces keep them in one slot of a cluster."""

    def __init__(self, prefix: str) -> None:
        self.root = "{" + prefix + "}"
        self.members = f"{self.root}:m"

    def events(self, boot: str) -> str:
        """Stream: the events of one start."""
        return f"{self.root}:i:{boot}"

    def beat(self, boot: str) -> str:
        """String with a time to live: the heartbeat."""
        return f"{self.root}:h:{boot}"

    def inbox(self, boot: str) -> str:
        """Stream: what others tell one start."""
        return f"{self.root}:c:{boot}"

    def answer(self, name: str) -> str:
        """Stream: the frames of an answer."""
        return f"{self.root}:a:{name}"

    def owner(self, name: str) -> str:
        """String: the start that writes an answer."""
        return f"{self.root}:a:{name}:o"

    def dead(self, group: str) -> str:
        """Stream: what a group could not handle."""
        return f"{self.root}:dead:{group}"


class Batch(NamedTuple):
    """Encoded events in a row. `unsent`: events of this start up to here that were never sent."""

    last: int
    events: int
    unsent: int
    payload: bytes

    @property
    def id(self) -> str:
        """The entry's id."""
        return f"{self.last}-{self.events}"

    def fields(self) -> tuple[Any, ...]:
        """The entry's fields."""
        return ("v", FORM, "d", self.unsent, "b", self.payload)


Row = tuple[int, str, int, str, "str | None", Mapping[str, Any]]
"""One event as it is written: number, type, when it was made (milliseconds since the epoch), source, session, data."""


class Encoder:
    """Events to JSON. `replaced` counts values that JSON has no word for; they become their str().

    `private`: figures only, without sessions, models, hosts and words, whatever `expose_text` says.
    """

    def __init__(self, expose_text: bool, private: bool = False) -> None:
        self.private = private
        # Whether data may leave as they are. A call in C: it is made for each event.
        self.plain: Callable[[Mapping[str, Any]], bool] = (frozenset() if expose_text else TEXT_KEYS).isdisjoint
        if private:
            self.plain = lambda data: False
        self.replaced = 0
        self._encode = json.JSONEncoder(
            ensure_ascii=False, separators=(",", ":"), default=self._replace, check_circular=False
        ).encode

    def data_of(self, event: Event) -> Mapping[str, Any]:
        """The event's data as it may leave the process: a copy only if there is text to leave out."""
        data = event.data
        if self.private:
            return figures_only(event.type, data)
        return data if self.plain(data) else without_text(event.type, data)

    def encode(self, rows: list[Row]) -> bytes:
        """A JSON array. About 2 µs an event; one that cannot be encoded at all goes without its data."""
        try:
            return self._encode(rows).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, RecursionError, RuntimeError):
            return b"[" + b",".join(self._encode_one(row) for row in rows) + b"]"

    def _encode_one(self, row: Row) -> bytes:
        try:
            return self._encode(row).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, RecursionError, RuntimeError):
            self.replaced += 1
        plain = {str(name): self._replace(value) for name, value in dict(row[5]).items()}
        return self._encode((*row[:5], plain)).encode("utf-8", "surrogatepass")

    def _replace(self, value: Any) -> str:
        self.replaced += 1
        try:
            return str(value)[:1_000]
        except Exception:
            return type(value).__name__


def weigh(value: Any, depth: int = 3) -> int:
    """About how many bytes a value has as JSON; cheap, and never much too little."""
    kind = value.__class__
    if kind is str:
        return len(value) + 3
    if kind is dict or isinstance(value, Mapping):
        total = 2
        for one in value.values():
            kind = one.__class__
            total += 24 + (len(one) if kind is str else 0 if kind in _SMALL else weigh(one, depth - 1) if depth else 64)
        return total
    if kind is list or kind is tuple:
        return 2 + (sum(weigh(one, depth - 1) for one in value) if depth else 64 * len(value))
    return 12


_SMALL: Final = frozenset({int, float, bool, type(None)})


def parse_id(raw: bytes | str) -> tuple[int, int]:
    """(last, count) of an entry's id. ValueError if it is none."""
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
    last, _, count = text.partition("-")
    return int(last), int(count)


def parse_fields(raw: Iterable[Any]) -> dict[str, bytes]:
    """An entry's fields as a mapping."""
    found = list(raw)
    return {bytes(found[i]).decode("utf-8", "replace"): bytes(found[i + 1]) for i in range(0, len(found) - 1, 2)}


def decode(payload: bytes) -> list[Any]:
    """The rows of an entry, still unchecked. ValueError if it is no JSON array."""
    if len(payload) > MAX_ENTRY:
        raise ValueError("too large")
    try:
        rows = json.loads(payload)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(rows, list):
        raise ValueError("no array")
    return rows


def checked(row: Any, low: int, high: int) -> bool:
    """Whether a row is an event with a number in (low, high]."""
    if row.__class__ is not list or len(row) != 6:
        return False
    number, type_, wall, source, session, data = row
    return (
        number.__class__ is int
        and low < number <= high
        and type_.__class__ is str
        and 0 < len(type_) <= MAX_NAME
        and not type_.startswith(OURS)
        and wall.__class__ in (float, int)
        and -MAX_WALL < wall < MAX_WALL
        and source.__class__ is str
        and len(source) <= MAX_NAME
        and (session is None or session.__class__ is str)
        and data.__class__ is dict
    )


def shown(value: Any, depth: int = 4) -> Any:
    """A value of an event cut to what somebody may want to read of it: it may be a megabyte from anywhere."""
    if isinstance(value, str):
        return value[:MOST_SHOWN]
    if isinstance(value, (dict, list)) and not depth:
        return "…"
    if isinstance(value, dict):
        return {name[:MAX_NAME]: shown(one, depth - 1) for name, one in list(value.items())[:MOST_PARTS]}
    return [shown(one, depth - 1) for one in value[:MOST_PARTS]] if isinstance(value, list) else value


def dumps(value: Any) -> bytes:
    """Small JSON of our own making. Half an emoji, which a model's name or an event's data may have, stays one."""
    return _DUMPS(value).encode("utf-8", "surrogatepass")


def loads(raw: Any, most: int = 100_000) -> Any:
    """JSON from Redis, or None if it is missing, too long or no JSON."""
    if not isinstance(raw, (bytes, str)) or len(raw) > most:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
