"""`python -m backend events`: the events on disk, also while ComfyUI runs. Needs neither ComfyUI nor a model."""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from ..pulse import new_store
from ..settings import Settings, from_environment
from ..store import FORMATS, Cursor, EventStore, Filter, NotStored, Stored, TooSlow, parse_filter
from .folders import candidates

FINE: Final = 0
FOUND_WRONG: Final = 1
USAGE: Final = 2
_POLL: Final = 0.5
# What stands first on a line, because it says the most.
_FIRST: Final = ("chat_id", "outcome", "kind", "model", "tool", "state", "seconds", "status", "reason", "lost")
_SHOWN: Final = 7
_WIDE: Final = 60
_BAR: Final = 40


class _Fault(Exception):
    """Raised to end with a line on stderr."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Fault(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Run a command; returns the exit code: 0, 1 if something is wrong with the events, 2 if it cannot run."""
    try:
        given = _parser().parse_args(arguments)
        settings, _ = from_environment(environ)
        store = _open(given, settings, environ)
        command: Callable[[EventStore, argparse.Namespace], int] = given.run
        return command(store, given)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except KeyboardInterrupt:
        return FINE
    except (_Fault, NotStored, TooSlow, sqlite3.Error, OSError) as error:
        sys.stderr.write(f"copilot-pulse: {' '.join(str(error).split())}\n")
        return USAGE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m backend events",
        description="The events that Copilot Pulse keeps on disk. Reading works while ComfyUI runs.",
    )
    parser.add_argument("--dir", metavar="FOLDER", help="the folder of the events (default: where ComfyUI keeps them)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[..., int], text: str, *, filters: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        if filters:
            _add_filters(command)
        return command

    listing = add("list", _list, "the newest events")
    listing.add_argument("--limit", type=int, default=30, metavar="N", help="how many at most (default: 30; 0: all)")
    listing.add_argument("--json", action="store_true", help="as NDJSON")
    following = add("follow", _follow, "events as they come, until Ctrl-C")
    following.add_argument("--json", action="store_true", help="as NDJSON")
    export = add("export", _export, "all events as a file")
    export.add_argument("--format", choices=sorted(FORMATS), default="ndjson", help="(default: ndjson)")
    export.add_argument("--output", metavar="FILE", default="-", help="where to (default: to the screen)")
    add("stat", _stat, "what is there: by type, by outcome, by file")
    story = add("story", _story, "one chat, step by step", filters=False)
    story.add_argument("chat", metavar="CHAT", help="the chat's id, as `list` shows it")
    add("check", _check, "read every file and say what is wrong", filters=False)
    forget = add("forget", _forget, "remove a session's events, or all, from the disk", filters=False)
    which = forget.add_mutually_exclusive_group(required=True)
    which.add_argument("--session", metavar="ID", help="a session and its chats")
    which.add_argument("--all", action="store_true", help="everything")
    forget.add_argument("--yes", action="store_true", help="don't ask")
    return parser


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--type", metavar="TYPE", help="such as error or chat.*; several with commas")
    parser.add_argument("--since", metavar="TIME", help="such as 2h, 3d, 2026-11-25 or 2026-11-25T14:30")
    parser.add_argument("--until", metavar="TIME")
    for name in ("session", "chat", "model", "outcome"):
        parser.add_argument(f"--{name}", metavar="NAME" if name != "session" else "ID")


def _open(given: argparse.Namespace, settings: Settings, environ: Mapping[str, str]) -> EventStore:
    places = [Path(given.dir)] if given.dir else candidates(settings, environ)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        looked = " nor ".join(str(place) for place in places)
        raise _Fault(f"no events{f' at {looked}' if looked else ''}: name their folder by --dir")
    return new_store(folder, settings, by="command line")


def _filter(given: argparse.Namespace) -> Filter:
    try:
        return parse_filter(vars(given), time.time())
    except ValueError as error:
        raise _Fault(str(error)) from None


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def _writable(character: str, instead: str) -> str:
    try:
        character.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return instead
    return character


# Commands


def _list(store: EventStore, given: argparse.Namespace) -> int:
    which, left = _filter(given), given.limit or sys.maxsize
    found: list[Stored] = []
    damaged: list[str] = []
    cursor, more = Cursor(), True
    while more and left > 0:
        page = store.query(which, after=cursor, limit=min(left, 1_000), newest_first=True)
        found += page.events
        damaged += page.damaged
        cursor, more, left = page.cursor, page.more, left - len(page.events)
    _show(store, list(reversed(found)), given.json)
    return _tell(damaged)


def _tell(damaged: list[str]) -> int:
    for words in dict.fromkeys(damaged):
        sys.stderr.write(f"copilot-pulse: {words}\n")
    return FOUND_WRONG if damaged else FINE


def _show(store: EventStore, events: list[Stored], as_json: bool) -> None:
    for row in store.plain(events):
        _say(store.to_json(row) if as_json else _line(row))


def _line(row: Mapping[str, Any]) -> str:
    data = row["data"]
    names = sorted(data, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    said = " ".join(f"{name}={_short(data[name])}" for name in names[:_SHOWN])
    more = f" (+{len(names) - _SHOWN})" if len(names) > _SHOWN else ""
    return f"{_when(row['time'])}  {row['id']:>8}  {row['type']:<16}  {said}{more}".rstrip()


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = value if isinstance(value, str) else EventStore.to_json(value)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def _when(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment).isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{moment:.3f}"


def _follow(store: EventStore, given: argparse.Namespace) -> int:
    which = _filter(given)
    cursor = Cursor() if which.since is not None else store.end()
    while True:
        page = store.catch_up(which, cursor)
        _show(store, page.events, given.json)
        sys.stdout.flush()
        cursor = page.cursor
        if not page.more:
            time.sleep(_POLL)


def _export(store: EventStore, given: argparse.Namespace) -> int:
    which = _filter(given)
    if given.output == "-":
        for line in store.export(given.format, which):
            sys.stdout.buffer.write(line.encode())
        sys.stdout.buffer.flush()
        return FINE
    target = Path(given.output)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8", newline="") as file:
        lines = store.export_to(file, given.format, which)
    events = lines - (given.format == "csv")
    sys.stderr.write(f"{events:,} events in {target}\n")
    return FINE


class _Counts:
    """What `stat` shows, from the events."""

    def __init__(self) -> None:
        self.types: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.first: float | None = None
        self.last = 0.0

    def apply(self, event: Stored) -> None:
        """Count one event."""
        self.types[event.type] += 1
        self.first = event.time if self.first is None else min(self.first, event.time)
        self.last = max(self.last, event.time)
        if event.type == "chat.finished":
            self.outcomes[str(event.data.get("outcome"))] += 1
        elif event.type == "store.gap":
            self.lost[str(event.data.get("reason"))] += int(event.data.get("lost") or 0)


def _stat(store: EventStore, given: argparse.Namespace) -> int:
    counts = _Counts()
    store.replay(counts, _filter(given))
    files = [path for path in store.folder.iterdir() if path.name.startswith("events-")]
    size = sum(path.stat().st_size for path in files)
    number = sum(not path.name.endswith(("-wal", "-shm", "-journal")) for path in files)
    noun = "file" if number == 1 else "files"
    _say(f"{store.folder}: {size / 1e6:.2f} MB in {number} {noun}{', in use' if store.in_use() else ''}")
    total = sum(counts.types.values())
    if counts.first is None:
        _say("no events")
        return FINE
    _say(f"{total:,} events from {_when(counts.first)} to {_when(counts.last)}")
    for type_, number in counts.types.most_common():
        _say(f"{number:>10,}  {type_}")
    if counts.outcomes:
        _say("chats: " + ", ".join(f"{number:,} {name}" for name, number in counts.outcomes.most_common()))
    for reason, number in counts.lost.most_common():
        _say(f"missing: {number:,} ({reason})")
    return FINE


def _story(store: EventStore, given: argparse.Namespace) -> int:
    story = store.story(given.chat)
    if story is None:
        raise _Fault(f"nothing is known of a chat {given.chat!r}")
    story = store.clean(story)
    seconds = story["seconds"] or max((span["end"] or 0.0 for span in story["spans"]), default=0.0) or 1.0
    figures = ", ".join(f"{name}={_short(story[name])}" for name in ("tokens", "retries", "length") if name in story)
    _say(f"chat {story['chat_id']}  {_when(story['started'])}  {story['model'] or ''}  {story['outcome'] or 'runs'}")
    _say(f"{seconds:.3f} s  {figures}".rstrip())
    solid = _writable("█", "#")
    for span in story["spans"]:
        end = seconds if span["end"] is None else span["end"]
        left = min(int(span["start"] / seconds * _BAR), _BAR - 1)
        bar = " " * left + solid * max(round((end - span["start"]) / seconds * _BAR), 1)
        known = (f"{name}={_short(value)}" for name, value in span.items() if name not in ("kind", "start", "end"))
        told = " ".join(one for one in known if not one.endswith("=null"))
        _say(f"{span['start']:>9.3f} {bar[:_BAR]:<{_BAR}} {end - span['start']:>8.3f} s  {span['kind']:<7} {told}")
    for error in story["errors"]:
        _say(f"{error['at']:>9.3f} error: {_short(error.get('kind'))} {_short(error.get('message', ''))}")
    return FINE


def _check(store: EventStore, given: argparse.Namespace) -> int:
    wrong = False
    for row in store.check():
        what = f"{row['events']:,} events" + (f", ids {row['first']} to {row['last']}" if row["events"] else "")
        missing = f", {row['missing']:,} of them forgotten" if row["missing"] else ""
        _say(f"{row['file']}  {row['bytes'] / 1e6:.2f} MB  {what}{missing}  {row['problem'] or 'sound'}")
        wrong = wrong or bool(row["problem"])
    return FOUND_WRONG if wrong else FINE


def _forget(store: EventStore, given: argparse.Namespace) -> int:
    if store.in_use():
        raise _Fault(
            "ComfyUI is writing to these events: stop it first, or let it forget them itself "
            "(POST /copilot-pulse/events/forget)"
        )
    what = "all events" if given.all else f"all events of the session {given.session!r} and its chats"
    if not given.yes and not _confirmed(f"Remove {what} in {store.folder}?"):
        return FINE
    gone = asyncio.run(_forget_now(store, None if given.all else given.session))
    _say(f"{sum(gone.values()):,} events are gone")
    return FINE


async def _forget_now(store: EventStore, session: str | None) -> dict[str, int]:
    store.start()
    try:
        return await store.forget(session)
    finally:
        await store.aclose()


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise _Fault("say --yes: nobody can be asked here")
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return next(_answers(), "").strip().lower() in ("y", "yes")


def _answers() -> Iterator[str]:
    yield from sys.stdin
