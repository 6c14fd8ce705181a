"""When may one come back? Every way in which servers tell it: headers, fields of the body, words.

A time is read as seconds from now, or as a date. What the clocks of this computer and of the server make of a date
is not trusted blindly: one that has passed already, or lies years ahead, is told to the user and not waited for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from .lazy import LazyPattern

_LONGEST: Final = 400 * 86_400.0
_PASSED: Final = 90.0
"""A date so many seconds ago is one that comes about now: two clocks differ."""
_MAX_TEXT: Final = 1_000
_MAX_DEPTH: Final = 5
_MAX_FIELDS: Final = 60


class Told(NamedTuple):
    """What a server told: `seconds` from now, if that makes sense, and the words or digits of a date, if it was one."""

    seconds: float | None = None
    until: str = ""

    @property
    def any(self) -> bool:
        """Whether a time was told at all."""
        return self.seconds is not None or bool(self.until)


NOTHING: Final = Told()

_UNITS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds", "毫秒"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "秒", "秒钟"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes", "分", "分钟"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "小时", "个小时"), 3_600.0),
    **dict.fromkeys(("d", "day", "days", "天", "日"), 86_400.0),
    **dict.fromkeys(("w", "week", "weeks", "周"), 604_800.0),
}
_UNIT: Final = (
    r"(?:ms(?:ecs?)?|millis(?:econds?)?|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?|w(?:eeks?)?"
    r"|毫秒|秒钟?|分钟?|个?小时|[天日周])"
)
_NUMBER: Final = r"\d{1,9}(?:\.\d{1,9})?"
_DURATION: Final = rf"(?:{_NUMBER}\s?{_UNIT}(?![a-z])|{_NUMBER}{_UNIT}(?=\d))"
_PARTS: Final = rf"{_DURATION}(?:(?:\s{{0,2}}(?:,|and)?\s{{0,2}}){_DURATION}){{0,4}}"
_WHOLE_DURATION: Final = LazyPattern(rf"^\s*{_PARTS}\s*$", re.IGNORECASE)
_DURATION_PART: Final = LazyPattern(rf"({_NUMBER})\s?({_UNIT})(?![a-z])", re.IGNORECASE)

# Words of a time span: "try again in 1m20.5s", "please wait 20 seconds", "resets in 6h", "请在 20 秒后重试".
_SPAN: Final = LazyPattern(
    rf"(?:again|retry(?:ing)?|retried|wait(?:ing)?|reset(?:s|ting)?|available|expires?|regain|"
    rf"cool(?:s|ing)?[- ]?down|eta|estimated[ _]time|retrydelay|backoff|come back|renews?)\b[^\d\n]{{0,40}}?({_PARTS})"
    rf"|({_PARTS})[^\d\n.]{{0,24}}(?:until|till|before)\b[^\n]{{0,30}}(?:reset|again|retry|available)"
    rf"|(?:\bafter|\bin)\s+({_PARTS})[^\d\n.]{{0,20}}(?:retry|again|reset)"
    rf"|({_PARTS})\s?(?:之?后|以后)|(?:等待|等)\s?({_PARTS})",
    re.IGNORECASE,
)
# "wait_seconds: 12", "retry after 12" without a unit.
_BARE_SPAN: Final = LazyPattern(
    r"(?:retry[ _-]?after|try again (?:in|after)|retry (?:in|after)|wait)\W{1,3}"
    r"(\d{1,6}(?:\.\d{1,3})?)(?![\d:/.-]|\s?[a-z%年月])",
    re.IGNORECASE,
)

# "try again in an hour", "come back tomorrow".
_ONE_SPAN: Final = LazyPattern(
    r"(?:again|retry|wait|resets?|back)\b[^.\n]{0,24}\b(?:an?|one) (second|minute|hour|day|week)\b", re.IGNORECASE
)
_SOME_DAY: Final = LazyPattern(
    r"(?:again|retry|wait|resets?|back|available|renews?)\b[^.\n]{0,24}\b"
    r"(tomorrow|next (?:day|week|month|billing \w{1,10}))\b"
    r"|(明天|次日|下个?月|下周)",
    re.IGNORECASE,
)

# "Quota will be replenished in 05:23:11": hours, minutes and seconds, and no time of the day.
_HOURS_SPAN: Final = LazyPattern(
    r"\b(?:in|after|for|wait|another)\s(\d{1,4}):([0-5]\d):([0-5]\d)(?:\.\d{1,7})?(?![\d:])"
)
_WHOLE_HOURS: Final = LazyPattern(r"^\s*(\d{1,4}):([0-5]\d):([0-5]\d)(?:\.\d{1,7})?\s*$")

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)"
)
_CLOCK: Final = r"\d{1,2}:\d{2}(?::\d{2})?(?:\.\d{1,9})?\s?(?:am|pm)?"
_ZONE: Final = r"(?:\s?(?:z|utc|gmt|cst|(?:utc|gmt)?\s?[+-]\d{1,2}(?::?\d{2})?)(?![a-z]))"
_DAY: Final = (
    r"(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{4}年\d{1,2}月\d{1,2}日?|\d{1,2}月\d{1,2}日"
    rf"|{_MONTH}\.?\s\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s\d{{4}})?|\d{{1,2}}(?:st|nd|rd|th)?\s{_MONTH}\.?(?:,?\s\d{{4}})?)"
)
_DATE: Final = rf"(?:{_DAY}(?:(?:,?\s?t?(?:at\s)?){_CLOCK})?{_ZONE}?)"
# A date that stands where a server tells when a limit ends, and a time of the day there.
_LEAD: Final = (
    r"(?:reset|renew|refresh|regain|again|available|retry|restor|replenish|until|till|expire|lift|unblock|resume|"
    r"重置|恢复|刷新|解除|解封|重试|之前)"
)
_TOLD_DATE: Final = LazyPattern(
    rf"{_LEAD}[^\n]{{0,60}}?(?<![\d.])({_DATE})|({_DATE})[^\n\d]{{0,16}}(?:{_LEAD})", re.IGNORECASE
)
_TOLD_CLOCK: Final = LazyPattern(
    rf"{_LEAD}\w{{0,6}}\s(?:\w{{1,12}}\s){{0,4}}?(?:at\s|on\s)?((?:{_CLOCK}|\d{{1,2}}\s?(?:am|pm)|midnight){_ZONE}?"
    r"(?:\s?\([a-z/_ ]{3,30}\))?)",
    re.IGNORECASE,
)
_EPOCH: Final = LazyPattern(
    r"(?:reset|retry|again|until|expire)[^\d\n]{0,40}(?<![\d.])(1\d{9}(?:\d{3})?)(?![\d.])", re.IGNORECASE
)
_ISO: Final = LazyPattern(
    r"(\d{4})[-/年](\d{1,2})[-/月](\d{1,2})日?"
    r"(?:[t\s,]{0,2}(?:at\s)?(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d{1,9})?\s?(am|pm)?)?",
    re.IGNORECASE,
)
_NAMED: Final = LazyPattern(
    rf"(?:(\d{{1,2}})(?:st|nd|rd|th)?\s)?({_MONTH})\.?(?:\s(\d{{1,2}})(?:st|nd|rd|th)?(?![\d:]))?(?:,?\s(\d{{4}}))?"
    r"(?:,?\s?(?:at\s)?(\d{1,2}):(\d{2})(?::(\d{2}))?\s?(am|pm)?)?",
    re.IGNORECASE,
)
_CHINESE_DAY: Final = LazyPattern(r"(\d{1,2})月(\d{1,2})日")
_OFFSET: Final = LazyPattern(r"(?:(z|utc|gmt)\s?)?([+-])(\d{1,2}):?(\d{2})?\s*$|(z|utc|gmt)\s*$", re.IGNORECASE)

# Names of fields and headers that tell a time, with the words in any order and spelling.
_FIELD: Final = LazyPattern(
    r"^(?:x[-_])?(?:retry|(?:rate[-_]?limits?|limit|quota|usage)?[-_]?resets?|estimated|wait|cool[-_]?down|available[-_]?at|"
    r"unlock|expires?[-_]?at|next[-_]?(?:try|request|available))[-_a-z]*$",
    re.IGNORECASE,
)
_NOT_A_TIME: Final = LazyPattern(r"count|attempt|max|num|able$|url|policy|strategy|reason|type|code|id$", re.IGNORECASE)
_RATE_HEADER: Final = LazyPattern(r"^(?:x-|anthropic-)?rate-?limit\b.{0,40}(?:reset|timeremaining)", re.IGNORECASE)
# One header for all: `limit=100, remaining=0, reset=50`, and `"default";r=0;t=50`.
_ALL_IN_ONE: Final = ("ratelimit", "x-ratelimit")
_RESET_OF: Final = LazyPattern(r"\b(?:reset|t)\s?=\s?(\d{1,9}(?:\.\d{1,6})?)", re.IGNORECASE)
_LEFT_OF: Final = LazyPattern(r"\b(?:remaining|r)\s?=\s?(\d{1,9})", re.IGNORECASE)


def duration(text: str) -> float | None:
    """Seconds of `6s`, `1m2s`, `250ms`, `2 hours 5 minutes`, `1h`, `05:23:11`; None if the text is anything else."""
    if (found := _WHOLE_HOURS.match(text)) is not None:
        return _hours(found)
    return _sum(text) if _WHOLE_DURATION.match(text) else None


def moment(value: Any, wall: Callable[[], float], *, zone: float = 0.0, milliseconds: bool = False) -> Told:
    """What one value tells: a number of seconds or an epoch, a duration, a date in any of the usual forms.

    `zone` is the hours that dates without one are ahead of UTC; `milliseconds` that a plain number counts these.
    """
    if isinstance(value, bool) or value is None:
        return NOTHING
    if isinstance(value, str):
        text = value.strip()
        try:
            number = float(text)
        except ValueError:
            span = duration(text)
            return Told(span) if span is not None else _date(text, wall, zone)
    elif isinstance(value, (int, float)):
        number = float(value)
    else:
        return NOTHING
    if not math.isfinite(number) or number < 0:
        return Told(0.0) if math.isfinite(number) else NOTHING
    if number >= 1e11:  # epoch in milliseconds
        return _from_epoch(number / 1_000, str(value), wall)
    if number >= 1e9:
        return _from_epoch(number, str(value), wall)
    return Told(number * (0.001 if milliseconds else 1.0))


def server_clock(headers: Mapping[str, str], wall: Callable[[], float]) -> Callable[[], float]:
    """The clock by which the server's dates are meant: the answer's own `Date`, else `wall`."""
    try:
        stamp = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return wall
    return lambda: stamp


def in_headers(headers: Mapping[str, str], wall: Callable[[], float], zone: float = 0.0) -> Told:
    """What `Retry-After` and its like say; `headers` have lower-case names."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms", "retry-after", "x-retry-after"):
        if (value := headers.get(name, "").strip()) and (
            told := moment(value, wall, zone=zone, milliseconds=name.endswith("-ms"))
        ).any:
            # A date that has passed says that the time is over.
            return told if told.seconds is not None else Told(0.0)
    return NOTHING


def of_rate_limits(headers: Mapping[str, str], wall: Callable[[], float], zone: float = 0.0) -> Told:
    """When the limit that is used up resets, by the `x-ratelimit-reset-*` headers and their like.

    Of several limits those count that have least left, as a part of the whole; if nobody says how much that is, the
    one that takes longest.
    """
    resets: dict[str, Told] = {}
    left: dict[str, float] = {}
    for name, value in headers.items():
        if name in _ALL_IN_ONE:
            _read_all_in_one(name, value, resets, left)
        elif _RATE_HEADER.search(name) and (told := moment(value, wall, zone=zone)).any:
            resets[name] = told
            if (part := _part_left(headers, name)) is not None:
                left[name] = part
    least = min(left.values(), default=None)
    found = [told for name, told in resets.items() if least is None or left.get(name) == least]
    return max(found, key=lambda told: told.seconds or 0.0, default=NOTHING)


def _read_all_in_one(name: str, value: str, resets: dict[str, Told], left: dict[str, float]) -> None:
    """The limits of a header that holds several, each as if it were a header of its own."""
    for number, one in enumerate(value.split(",") if ";" in value else [value]):
        if (found := _RESET_OF.search(one)) is not None:
            resets[f"{name} {number}"] = Told(float(found[1]))
            if (rest := _LEFT_OF.search(one)) is not None:
                left[f"{name} {number}"] = float(rest[1])


def _part_left(headers: Mapping[str, str], name: str) -> float | None:
    """How much is left of the limit whose reset a header tells, from 0 to 1; None if nobody says."""
    try:
        rest = float(headers[name.replace("reset", "remaining")])
        return rest / max(float(headers.get(name.replace("reset", "limit"), "1")), 1.0) if rest > 0 else 0.0
    except (KeyError, ValueError):
        return None


def in_body(body: Any, wall: Callable[[], float], zone: float = 0.0) -> Told:
    """What a field of the parsed body says, however deep: `retry_after`, `resets_in_seconds`, `estimated_time`..."""
    for count, (name, value) in enumerate(_fields(body, 0)):
        if count > _MAX_FIELDS:
            break
        if _FIELD.match(name) and not _NOT_A_TIME.search(name):
            told = moment(
                value, wall, zone=zone, milliseconds=name.lower().rstrip("s").endswith(("_ms", "-ms", "milli"))
            )
            if told.any:
                return told
    return NOTHING


def in_words(text: str, wall: Callable[[], float], zone: float = 0.0) -> Told:
    """What the words say: "try again in 20m30s", "will reset at 2026-08-25 07:41:44", "请在 20 秒后重试"."""
    text = text[:_MAX_TEXT]
    found = _SPAN.search(text)
    if found is not None:
        return Told(_sum(next(group for group in found.groups() if group)))
    found = _TOLD_DATE.search(text)
    if found is not None:
        told = _date(found[1] or found[2], wall, zone)
        if told.any:
            return told
    if (found := _EPOCH.search(text)) is not None:
        return moment(found[1], wall)
    if (found := _HOURS_SPAN.search(text)) is not None:
        return Told(_hours(found))
    if (found := _TOLD_CLOCK.search(text)) is not None:
        return Told(None, found[1].strip())
    if (found := _ONE_SPAN.search(text)) is not None:
        return Told(_UNITS[found[1].lower()])
    if (found := _SOME_DAY.search(text)) is not None:
        return Told(None, found[1] or found[2])
    if (found := _BARE_SPAN.search(text)) is not None:
        return Told(float(found[1]))
    return NOTHING


def _sum(text: str) -> float:
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in _DURATION_PART.compiled.findall(_spread(text)))


def _hours(found: re.Match[str]) -> float:
    """Seconds of hours, minutes and seconds, the first three groups of a match."""
    return int(found[1]) * 3_600.0 + int(found[2]) * 60.0 + int(found[3])


def _spread(text: str) -> str:
    """With a space between the parts of `1m2s`, so that each unit ends where its letters end."""
    return re.sub(r"(?<=[A-Za-z])(?=\d)", " ", text)


def _fields(body: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(body, Mapping):
        for name, value in list(body.items())[:_MAX_FIELDS]:
            if isinstance(value, (Mapping, list, tuple)):
                yield from _fields(value, depth + 1)
            else:
                yield str(name), value
    elif isinstance(body, (list, tuple)):
        for value in body[:20]:
            yield from _fields(value, depth + 1)


def _from_epoch(epoch: float, shown: str, wall: Callable[[], float]) -> Told:
    try:
        shown = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return NOTHING
    return _sane(epoch - wall(), shown)


def _sane(seconds: float, shown: str) -> Told:
    if -_PASSED <= seconds <= 0:
        return Told(0.0, shown)
    return Told(seconds if 0 < seconds <= _LONGEST else None, shown)


def _date(text: str, wall: Callable[[], float], zone: float) -> Told:
    """A date as servers write it; NOTHING if the text is none."""
    shown = text.strip(" .,")
    try:
        parsed = parsedate_to_datetime(shown)
        stamp = parsed.timestamp() if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc).timestamp()
        return _sane(stamp - wall(), shown)
    except (TypeError, ValueError, IndexError, OverflowError):
        pass
    try:
        moment_ = _calendar(shown, wall)
        if moment_ is None:
            return NOTHING
        offset = _offset(shown)
        shift = timedelta(hours=zone if offset is None else offset)
        stamp = (moment_.replace(tzinfo=timezone.utc) - shift).timestamp()
    except (ValueError, OverflowError):
        return NOTHING
    return _sane(stamp - wall(), shown)


def _calendar(text: str, wall: Callable[[], float]) -> datetime | None:
    if (found := _ISO.search(text)) is not None:
        year, month, day, hour, minute, second, half = found.groups()
        return datetime(int(year), int(month), int(day), *_time_of_day(hour, minute, second, half))
    now = datetime.fromtimestamp(wall(), timezone.utc)
    if (found := _CHINESE_DAY.search(text)) is not None:
        return datetime(now.year + (int(found[1]) < now.month), int(found[1]), int(found[2]))
    if (found := _NAMED.search(text)) is not None and (found[1] or found[3]):
        before, name, after, named_year, hour, minute, second, half = found.groups()
        month_number = _MONTHS.index(name.lower()[:3]) + 1
        year_number = int(named_year) if named_year else now.year + (month_number < now.month)
        return datetime(year_number, month_number, int(before or after), *_time_of_day(hour, minute, second, half))
    return None


def _time_of_day(hour: str | None, minute: str | None, second: str | None, half: str | None) -> tuple[int, int, int]:
    hours = int(hour or 0)
    if half:
        hours = hours % 12 + (12 if half.lower() == "pm" else 0)
    return hours, int(minute or 0), int(second or 0)


def _offset(text: str) -> float | None:
    """Hours ahead of UTC by the date's own end; None if it names no zone."""
    if ":" not in text and not re.search(r"(?:utc|gmt)", text, re.IGNORECASE):
        return None  # the end of a day's number is no zone
    found = _OFFSET.search(text)
    if found is None:
        return None
    if found[5]:
        return 0.0
    sign = -1.0 if found[2] == "-" else 1.0
    return sign * (int(found[3]) + int(found[4] or 0) / 60)
