"""The event store: what the bus carried, kept on disk, through restarts and `kill -9`.

    store = EventStore(folder, redaction=Redaction(redactor.redact, secret_name))
    store.start()                                      # on the loop: the thread that writes
    bus.subscribe("*", store.on_event)
    ...
    page = await store.ask(store.query, Filter(types=("error",), since=time.time() - 3600))
    await store.aclose()

The loop only appends to a list. Every 0.25 s, at 256 events, and at once for errors and ends, the list goes to a
thread that writes it into SQLite files of bounded size (`journal/segments.py`); `journal/retention.py` decides which
files go, and when. What cannot be written is kept, tried again, and counted if it is lost; a `store.gap` row tells of
it in the history itself. Text of chats is not written unless the user wants it, secrets never are.
docs/event-store.md shows how to use it.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeVar

from .aio import wait_set
from .event_bus import Event
from .journal.answers import ANSWER, Answers
from .journal.chats import CHAT_EVENTS, UNDER_WAY, Chats, ChatSearch
from .journal.export import FORMATS, lines
from .journal.faults import FileFault, NotStored, fault_of
from .journal.reader import PAGE_ROWS, Cursor, Filter, Page, Reader, TooSlow, parse_filter
from .journal.redaction import DataRedactor, Redaction
from .journal.replay import Projection, Upcaster, Upcasters, replay
from .journal.retention import Limits
from .journal.rows import Stored, dumps
from .journal.segments import list_segments
from .journal.slots import SlotLock, free_slots
from .journal.stories import INTERRUPTED, STEPS, TOTALS, ChatStory, Totals
from .journal.waiting import MAX_WAITING, Loss
from .journal.writer import CHUNK, Batch, Command, Config, Stop, Writer

__all__ = [
    "FORMATS",
    "Cursor",
    "EventStore",
    "Filter",
    "NotStored",
    "Page",
    "Projection",
    "Redaction",
    "StoreProblem",
    "Stored",
    "TooSlow",
    "parse_filter",
]

log = logging.getLogger("copilot_pulse.store")

T = TypeVar("T")

FLUSH: Final = 0.25
CLOSING_SECONDS: Final = 2.0
"""Seconds that the end of the program waits for the last commit."""
MAX_DEATHS: Final = 3
REVIVE_AFTER: Final = 60.0
POLL: Final = 1.0
"""Seconds between two looks for events of other processes."""
# Deltas come by the thousand, and are text.
_NOT_TAKEN: Final = frozenset({"chat.delta"})
# These are written at once: somebody will look for them after a crash, and they are rare.
_AT_ONCE: Final = frozenset({"error", "chat.finished", "pulse.started"})


class StoreProblem(NamedTuple):
    """What is wrong with the store: a `code` for programs, a sentence, what to do, and the `values` in both."""

    code: str
    text: str
    advice: str
    values: dict[str, Any]


_PROBLEMS: Final[Mapping[str, tuple[str, str]]] = {
    "disk full": (
        "The disk is full: the event store in {folder} cannot write.",
        "Free some space; it goes on by itself. Or keep less with COPILOT_PULSE_STORE_BYTES.",
    ),
    "not writable": (
        "The event store cannot write to {folder}.",
        "Allow this user to write there, or name another folder with COPILOT_PULSE_STORE_DIR.",
    ),
    "locked": (
        "Another program holds a file of the event store in {folder}.",
        "A backup or a virus scanner may do so for a moment; if it stays, leave the folder out there.",
    ),
    "damaged": (
        "A file of the event store in {folder} is damaged and cannot be set aside.",
        "Stop {program}, move the folder away and start again.",
    ),
    "failed": (
        "The event store in {folder} cannot write: {error}.",
        "It is tried again every 30 s. `python -m backend events check` says more.",
    ),
    "stopped": (
        "The event store has stopped after {deaths} errors of its own; nothing is recorded.",
        "Please report it with the log; a restart of {program} starts the store again.",
    ),
    "set aside": (
        "A file of the event store was damaged and has been set aside as {file}; recording goes on.",
        "What can be read of it still is. Check the disk if it happens again; deleting the file is safe.",
    ),
    "lost": (
        "{lost} events of the last minutes were not stored ({reason}).",
        "The history says where they are missing: events of type store.gap.",
    ),
}


class EventStore:
    """Events on disk. Made anywhere; nothing is opened before `start()`, reading works without it.

    `keep_days` and `keep_bytes`: what is older or more goes, in whole files. `flush_seconds`: how much a crash
    may cost. `full_sync`: every commit waits for the disk, so that a power cut costs no more than a crash.
    `with_text`: the text of chats is written, too. `opened`: data of the row `store.opened` that every start
    writes. `clock` (monotonic) and `wall` are for tests.

    `on_event`, `start`, `statistics` and `problem` are for the loop's thread. Blocking calls (`query`,
    `story`, `chats`, `totals`, `replay`, `export`, `check`, `end`) are for any other thread: `await store.ask(...)`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        redaction: Redaction,
        keep_days: float = 7.0,
        keep_bytes: int = 64_000_000,
        flush_seconds: float = FLUSH,
        full_sync: bool = False,
        with_text: bool = False,
        opened: Mapping[str, Any] | None = None,
        upcasters: Mapping[tuple[str, int], Upcaster] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.with_text = with_text
        self._redaction = redaction
        self._flush_seconds = flush_seconds
        self._clock = clock
        self._wall = wall
        config = Config(Limits(keep_days, keep_bytes), full_sync)
        self._writer = Writer(
            folder, redaction, config, with_text=with_text, clock=clock, wall=wall, opened=dict(opened or {})
        )
        self._writer.committed = self._committed
        self._reader = Reader(folder, Upcasters(upcasters) or None)
        self.answers = Answers(
            take=self.on_event,
            read=self._read_answer,
            ask=self.ask,
            redaction=redaction,
            with_text=with_text,
            wall=wall,
        )  # fmt: skip
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Event | None = None
        self._stopping = False
        self._deaths = 0
        self._revive_at = 0.0
        self._death = ""
        self._batch: list[Event] = []
        self._armed = True  # until start() there is no timer to set
        self._timer: asyncio.Handle | None = None
        # Whether that is for the next turn of the loop: its class does not tell, for uvloop has classes of its own.
        self._soon = False
        self._handed = 0
        self._refused: Counter[str] = Counter()  # by type, since the last batch that got through
        self._refused_since = 0.0
        self._asked: set[asyncio.Future[Any]] = set()
        self._followers: set[asyncio.Event] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._lost_seen = (0, -1e9)

    def __repr__(self) -> str:
        return f"<EventStore {self.folder} {'runs' if self._thread is not None else 'does not run'}>"

    # Writing

    def start(self) -> None:
        """Start the thread that writes; on the running loop. Twice is fine, and so is again after `aclose()`."""
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._deaths = 0
        self._start_thread()
        self._armed = False
        atexit.register(self._at_exit)
        if self._batch:
            self._hurry(0.0)

    def _start_thread(self) -> None:
        assert self._loop is not None
        self._ended = asyncio.Event()
        body = partial(self._body, self._loop, self._ended)
        self._thread = threading.Thread(target=body, name="copilot-pulse store", daemon=True)
        self._thread.start()

    def on_event(self, event: Event) -> None:
        """Take an event of the bus. Plain: appends to a list. Never waits, never raises."""
        type_ = event.type
        if type_ in _NOT_TAKEN:
            return
        batch = self._batch
        batch.append(event)
        if not self._armed:
            self._hurry(0.0 if type_ in _AT_ONCE else self._flush_seconds)
        elif type_ in _AT_ONCE:
            self._hurry(0.0)
        elif len(batch) >= CHUNK:
            self._hand_over()

    def _hurry(self, seconds: float) -> None:
        """Let the list go to the thread after `seconds`; in the next turn of the loop for 0."""
        loop = self._loop
        if loop is None or loop.is_closed() or self._thread is None:
            if len(self._batch) > MAX_WAITING:
                self._refuse(self._batch.pop().type)
            return
        if self._timer is not None:
            if self._soon:
                return  # the list goes in this turn anyway
            self._timer.cancel()
        self._armed, self._soon = True, not seconds
        self._timer = loop.call_soon(self._hand_over) if self._soon else loop.call_later(seconds, self._hand_over)

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = self._thread is None
        batch = self._batch
        if not batch and not self._refused:
            return
        self._batch = []
        waiting = self._handed - self._writer.figures.taken
        if self._stopped or waiting + len(batch) > MAX_WAITING:
            for event in batch:
                self._refuse(event.type)
        else:
            loss = self._take_refused()
            self._handed += len(batch)
            self._writer.inbox.put(Batch(batch, loss))
        self._revive()

    def _refuse(self, type_: str) -> None:
        if not self._refused:
            self._refused_since = self._wall()
        self._refused[type_] += 1

    def _take_refused(self) -> Loss | None:
        if not self._refused:
            return None
        by_type, self._refused = dict(self._refused), Counter()
        reason = "writer stopped" if self._deaths else "too many waiting"
        return Loss(reason, sum(by_type.values()), by_type, self._refused_since, self._wall())

    # The thread's life

    @property
    def _stopped(self) -> bool:
        """Whether the thread has died too often to be started again."""
        return self._deaths >= MAX_DEATHS

    def _body(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        error: BaseException | None = None
        try:
            self._writer.run()
        except BaseException as raised:
            error = raised
            place = raised.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_name}, line {place.tb_lineno}" if place is not None else "nowhere"
            log.error("the event store's thread ended: %s in %s", type(raised).__name__, where)
        try:
            loop.call_soon_threadsafe(self._thread_ended, ended, error)
        except RuntimeError:  # the loop is closed
            return

    def _thread_ended(self, ended: asyncio.Event, error: BaseException | None) -> None:
        if ended.is_set():
            return
        ended.set()
        if error is not None:
            self._deaths += 1
            self._death = type(error).__name__
            self._revive_at = self._clock() + REVIVE_AFTER
            for future in list(self._asked):
                _settle(future, None, NotStored(f"the event store's thread ended: {self._death}"))

    def _revive(self) -> None:
        """Start a thread that died anew, once a minute, twice at most."""
        ended, thread = self._ended, self._thread
        if ended is None or thread is None or self._stopping or self._stopped:
            return
        if not thread.is_alive():
            self._thread_ended(ended, RuntimeError("it told nobody"))
        if not ended.is_set():
            return
        if self._clock() >= self._revive_at:
            log.warning("the event store's thread is started again")
            self._start_thread()

    async def flush(self) -> None:
        """Return when all events so far are committed: they survive `kill -9` then.

        Raises NotStored if they cannot be written now; they stay and are tried again. A cancel changes nothing.
        """
        self._hand_over()
        await self._command(self._writer.check_stored)

    async def forget(self, session: str | None = None) -> dict[str, int]:
        """Remove a session's events and those of its chats, or everything, so that no byte is left in the files.

        Returns how many went, by type. Raises NotStored if some could not be removed. A cancel does not stop it.
        """
        self._hand_over()
        return await self._command(partial(self._writer.forget, session))

    async def _command(self, run: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        self._revive()
        if self._thread is None or self._ended is None or self._ended.is_set():
            raise NotStored("the event store does not run" + (f": {self._death}" if self._death else ""))
        future: asyncio.Future[T] = loop.create_future()
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)

        def done(result: Any, error: BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # nobody waits any more
                return

        self._writer.inbox.put(Command(run, done))
        return await future

    async def aclose(self) -> None:
        """Commit what waits, end the thread and the followers; waits 2 s at most. Twice is fine.

        A cancel leaves the thread on its way to its end.
        """
        thread, ended = self._thread, self._ended
        if thread is None or ended is None:
            return
        self._hand_over()
        self._stopping = True
        self._thread = None
        self._armed = True
        atexit.unregister(self._at_exit)
        self._writer.inbox.put(Stop())
        for follower in list(self._followers):
            follower.set()
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)  # what is asked already is still answered
        if await wait_set(ended, CLOSING_SECONDS):
            thread.join(CLOSING_SECONDS)
        else:
            log.warning("the event store did not end within %g s; its last events may be missing", CLOSING_SECONDS)

    def _at_exit(self) -> None:
        """The program ends without `aclose()`: what waits is written, if that takes no longer than 2 s."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._batch:
            self._writer.inbox.put(Batch(self._batch))
            self._batch = []
        self._writer.inbox.put(Stop())
        thread.join(CLOSING_SECONDS)

    # Reading

    async def ask(self, function: Callable[..., T], *args: Any, **more: Any) -> T:
        """Run a blocking call of the store in one of its two reading threads.

        A cancel leaves that thread to finish by itself. Raises what the call raises.
        """
        call = partial(function, *args, **more)
        if self._thread is None:  # without aclose() nobody would end threads of ours
            return await asyncio.to_thread(call)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="copilot-pulse reader")
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def query(
        self,
        which: Filter = Filter(),  # noqa: B008
        *,
        after: Cursor = Cursor(),  # noqa: B008
        limit: int = PAGE_ROWS,
        newest_first: bool = False,
    ) -> Page:
        """One page of events; ask again with `after=page.cursor` while `page.more`. Blocks, 5 s at most.

        Raises TooSlow, or sqlite3.Error for a file that stays locked.
        """
        return self._reader.query(which, after=after, limit=limit, newest_first=newest_first)

    def catch_up(self, which: Filter, after: Cursor, *, limit: int = PAGE_ROWS) -> Page:
        """The next page for one who follows; what is gone for good comes as a `store.gap` first. Blocks, 5 s at most.

        Raises what `query()` raises.
        """
        return self._reader.catch_up(which, after, limit=limit)

    def end(self) -> Cursor:
        """Behind the newest event on disk. Blocks."""
        return self._reader.end()

    async def follow(
        self,
        which: Filter = Filter(),  # noqa: B008
        *,
        after: Cursor | None = None,
    ) -> AsyncGenerator[Page, None]:
        """Pages of events as they are committed, those after `after` first (None: from now on). Ends with the
        store. No event twice, none left out; what retention took meanwhile is told by a `store.gap`.

        For the loop's thread, which it never holds. A file that is locked is waited for; else it raises what
        `query()` raises. A cancel, or closing the generator, leaves nothing behind.
        """
        news = asyncio.Event()
        self._followers.add(news)
        try:
            cursor = after if after is not None else await self.ask(self.end)
            while not self._stopping:
                news.clear()
                try:
                    page = await self.ask(self.catch_up, which, cursor)
                except Exception as error:
                    if fault_of(error) is not FileFault.LOCKED:
                        raise
                    await wait_set(news, POLL)  # a backup, or the writer that closes its file on a slow disk
                    continue
                cursor = page.cursor
                if page.events:
                    yield page
                if not page.more and not self._stopping:
                    await wait_set(news, POLL)
        finally:
            self._followers.discard(news)

    def _committed(self) -> None:
        # In the writer's thread.
        if self._followers and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop is closed
                return

    def _wake(self) -> None:
        for follower in self._followers:
            follower.set()

    def story(self, chat_id: str) -> dict[str, Any] | None:
        """A chat's whole story for a waterfall (see `journal/stories.py`), or None if nothing is known. Blocks."""
        events = list(self._reader.scan(Filter(chat=chat_id)))
        if not events:
            return None
        # A restart belongs to it, too: it names no chat, and says that what was open has ended.
        begin = Cursor(((events[0].slot, events[0].id),))
        events += self._reader.scan(Filter(("store.opened",)), after=begin)
        events = sorted((event for event in events if event.slot == events[0].slot), key=lambda event: event.id)
        story = ChatStory(chat_id)
        replay(events, story)
        told = story.result()
        if told is not None and told["outcome"] is None and self._is_over(events[0].slot):
            story.interrupt()
            told = story.result()
        return told

    def chats(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        limit: int = 500,
        **search: Any,
    ) -> list[dict[str, Any]]:
        """The chats that ended in that time, or began and have not ended; the last first, the interrupted among them.

        `search`: `session`, `model`, `outcome`, `retried`, `slower` and `text`, see `ChatSearch`. On with `until=` the
        last row's `at`. Blocks: 0.1 s to look through 10,000 chats.
        """
        wanted, among = ChatSearch(**search), None
        if wanted.text:
            errors = self._reader.scan(Filter(("error",), since, until))
            among = {str(one.data.get("chat_id")) for one in errors if wanted.tells(one)}
            if not among:
                return []
        # Whether a chat of before `until` was interrupted is told by the next start, wherever that stands.
        later = self._reader.scan(Filter(("store.opened",), since=until)) if until is not None else ()
        restarted: dict[int, float] = {}
        for start in later:
            restarted.setdefault(start.slot, start.time)
        chats = Chats(wanted, limit, among, told=self._told, restarted=restarted, over=self._is_over)
        events = self._reader.scan(Filter(CHAT_EVENTS, since, until), newest_first=True, page=4 * limit)

        def until_full() -> Iterator[Stored]:
            for event in events:
                yield event
                if chats.full:
                    return

        replay(until_full(), chats)
        return chats.rows if until is None else [row for row in chats.rows if not self._went_on(row, until)]

    def _is_over(self, slot: int) -> bool:
        """Whether the program that writes this slot has ended, and none has taken it up since."""
        own = self._writer.figures.slot
        if slot == own or (own is None and self._thread is not None):  # this process is about to take a slot
            return False
        try:
            lock = SlotLock.take(self.folder, slot)
        except OSError:  # a folder that may be read only: nobody knows
            return False
        if lock is None:
            return False
        lock.release()
        return True

    def _told(self, chat_id: str, since: float, until: float | None) -> Iterator[Stored]:
        return self._reader.scan(Filter(UNDER_WAY, since, until, chat=chat_id))

    def _went_on(self, row: Mapping[str, Any], until: float) -> bool:
        """Whether a chat that seems to be under way at that time ended later: it stands before this page."""
        if row.get("outcome") not in (None, INTERRUPTED):
            return False
        return any(
            True for _ in self._reader.scan(Filter(("chat.finished",), since=until, chat=row["chat_id"]), page=1)
        )

    def totals(
        self, *, since: float | None = None, until: float | None = None, step: str = "hour", offset: float = 0.0
    ) -> list[dict[str, Any]]:
        """A row for each `hour` or `day` (which begins `offset` seconds before UTC's) in which something happened, the
        oldest first: its beginning `time`, chats by outcome, errors by kind, tokens and more.

        Raises ValueError for another step. Blocks.
        """
        if step not in STEPS:
            raise ValueError(f"step has to be one of {', '.join(STEPS)}")
        totals = Totals(STEPS[step], offset=offset)
        replay(self._reader.scan(Filter(TOTALS, since, until)), totals)
        return totals.result()

    def replay(
        self,
        projection: Projection,
        which: Filter = Filter(),  # noqa: B008
        *,
        after: Cursor = Cursor(),  # noqa: B008
    ) -> int:
        """Apply all events to a projection, the oldest first; how many. Blocks, with rests for other threads."""
        return replay(self._reader.scan(which, after=after), projection)

    def export(self, fmt: str = "ndjson", which: Filter = Filter()) -> Iterator[str]:  # noqa: B008
        """The events as lines of `ndjson` or `csv`; secrets learned since they were written are taken out.

        Raises ValueError for another format. Each step blocks: take it in a thread.
        """
        redactor = DataRedactor(self._redaction, bounded=False)

        def clean(row: dict[str, Any]) -> dict[str, Any]:
            redactor.refresh()
            return redactor.data(_leaving(row))

        return lines(self._reader.scan(which), fmt, clean)

    def export_to(self, file: IO[str], fmt: str = "ndjson", which: Filter = Filter()) -> int:  # noqa: B008
        """Write an export into an open text file (UTF-8, `newline=""`); how many lines. Blocks."""
        number = 0
        for line in self.export(fmt, which):
            file.write(line)
            number += 1
        return number

    def plain(self, events: Iterable[Stored]) -> list[dict[str, Any]]:
        """Events as plain data that may leave the process: redacted with what is known by now. Any thread."""
        redactor = DataRedactor(self._redaction, bounded=False)
        return [redactor.data(_leaving(event.as_dict())) for event in events]

    def clean(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of a story or of other plain data, redacted with what is known by now. Any thread."""
        return DataRedactor(self._redaction, bounded=False).data(data)

    @staticmethod
    def to_json(data: Any) -> str:
        """JSON that every program reads, whatever text an event holds."""
        return dumps(data)

    def in_use(self) -> bool:
        """Whether a program writes here now, this one included. Raises OSError where no lock can be made. Blocks."""
        slots = {segment.slot for segment in list_segments(self.folder)}
        if not slots:
            return False
        with free_slots(self.folder, None) as free:
            return not slots <= free

    def check(self) -> list[dict[str, Any]]:
        """Read every file and say what is in it and what is wrong: a row a file, see `Reader.check`. Blocks."""
        return self._reader.check()

    # How it is

    def statistics(self) -> dict[str, Any]:
        """Figures for the metrics: plain data, no waiting.

        `stored`, `lost` (by reason), `waiting`, `bytes`, `segments`, `commits`, `commit_seconds` (sum),
        `slowest_commit`, `slot`, `last_id`, `journal_mode` (`wal`, or `truncate` on a network), `fault`,
        `dropped_segments`, `with_text`.
        """
        figures = self._writer.figures
        lost = Counter(figures.lost)
        if self._refused:
            lost["writer stopped" if self._deaths else "too many waiting"] += sum(self._refused.values())
        return {
            "stored": figures.stored,
            "lost": dict(lost),
            "waiting": self._handed - figures.taken + len(self._batch),
            "bytes": figures.bytes,
            "segments": figures.segments,
            "commits": figures.commits,
            "commit_seconds": figures.commit_seconds,
            "slowest_commit": figures.slowest_commit,
            "slot": figures.slot,
            "last_id": figures.last_id,
            "journal_mode": figures.journal_mode,
            "fault": figures.fault.value if figures.fault is not None else None,
            "dropped_segments": figures.dropped_segments,
            "with_text": self.with_text,
        }

    def problem(self) -> StoreProblem | None:
        """What is wrong now, in words, or None. Also starts a thread that died anew when it is time."""
        self._revive()
        figures = self._writer.figures
        if self._stopped:
            return self._word("stopped", deaths=self._deaths)
        if figures.fault is not None:
            code = figures.fault.value if figures.fault.value in _PROBLEMS else "failed"
            return self._word(code, error=figures.fault_text)
        lost = {reason: n for reason, n in self.statistics()["lost"].items() if reason not in ("forgotten",)}
        total, now = sum(lost.values()), self._clock()
        if total != self._lost_seen[0]:
            self._lost_seen = (total, now)
        if total and now - self._lost_seen[1] < 600.0:
            return self._word("lost", lost=total, reason=", ".join(sorted(lost)))
        if figures.set_aside:
            return self._word("set aside", file=figures.set_aside)
        return None

    def _read_answer(self, type_: str, name: str, since: float) -> Iterator[Stored]:
        return self._reader.scan(Filter((type_,), since=since, session=name))

    def _word(self, code: str, **values: Any) -> StoreProblem:
        known = {"folder": str(self.folder), **values}
        text, advice = _PROBLEMS[code]
        return StoreProblem(code, text.format(**known), advice, known)


def _leaving(row: dict[str, Any]) -> dict[str, Any]:
    """An event that leaves the store: packed text of an answer, in which no secret could be found, stays behind."""
    if row["type"] == ANSWER:
        row["data"] = {name: value for name, value in row["data"].items() if name != "frames"}
    return row


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
