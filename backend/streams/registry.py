"""The streams of this process: answers that a page can come back to, by an id that only the page knows.

A stream is running until its answer has ended, and readable for `stream_keep` seconds after that, as far as
`stream_keep_bytes` reach. While nobody reads a running one it lives on for `resume_grace` seconds; then the chat is
stopped as if the page had hung up. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from ..aio import fail_open, in_front
from .relay import Outcome, Relay, RelayReader

MAX_RUNNING: Final = 1_000
MAX_PER_SESSION: Final = 8
MAX_READERS: Final = 8
MAX_GONE: Final = 1_000
# 128 random bits are 22 characters of base64url.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{22,64}")
_LONGEST_SESSION: Final = 200
AHEAD: Final = 1.0
UNREAD: Final = 30.0
"""Seconds after which an answer of another machine that nobody has begun to read is let go."""
MACHINE_GONE: Final = (
    "\n\n---\nThe machine that wrote this answer has stopped. Above is what it had written; send the message again "
    "to have all of it."
)
MACHINE_GONE_EARLY: Final = (
    "The machine that was to write this answer has stopped before it had written anything; send the message again."
)
# A line of Copilot's answers, for one that has ended before it had any.
_LINE: Final[Mapping[str, Any]] = {"type": "message", "format": "markdown", "text": "", "finished": False, "ext": None}


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> Any: ...


class Limits(Protocol):
    """The settings that streams depend on."""

    @property
    def resume_grace(self) -> float: ...
    @property
    def stream_keep(self) -> float: ...
    @property
    def stream_keep_bytes(self) -> int: ...


class StreamRefused(Exception):
    """Raised when a stream cannot be begun or read. `status` is the HTTP status that says the same; `after` the seconds
    after which to ask again, if it is not known yet."""

    def __init__(self, status: int, reason: str, after: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.after = after


class Lost(Protocol):
    """Called when whoever wrote an answer is gone; `sentence` says so to the user, `early` where there is no text."""

    def __call__(self, sentence: str = MACHINE_GONE, early: str = MACHINE_GONE_EARLY, /) -> None: ...


class RemoteAnswer(Protocol):
    """An answer that another process writes, or has written."""

    def follow(self, relay: Relay, lost: Lost, /) -> None:
        """Apply all its frames to `relay`; call `lost()` if whoever wrote it has died."""

    def leave(self) -> None:
        """Follow it no longer."""

    def cancel(self) -> None:
        """Ask its machine to stop it, without waiting."""


class Elsewhere(Protocol):
    """Other processes, as far as answers go: those of before (backend/store.py), and the other machines of a fleet
    (backend/fleet.py). None of it raises."""

    def begin(self, stream: Stream, /) -> None:
        """This answer is written here: copy it, so that it can be read by others."""

    def finish(self, stream: Stream, /) -> None:
        """It has ended."""

    def discard(self, stream: Stream, /) -> None:
        """It has never been."""

    async def claimed(self, stream_id: str, session: str, /) -> bool:
        """Whether another process writes it now; says no rather than wait."""

    async def find(self, stream_id: str, session: str, /) -> RemoteAnswer | str | int | None:
        """The answer of another process, or None; a sentence if it is known that it is no longer kept; the seconds
        after which to ask again, if that is not known yet. Does not wait for long."""


class Stream:
    """A relay with its name, its session, and how to stop what writes to it."""

    def __init__(self, stream_id: str, session: str, kind: str) -> None:
        self.id = stream_id
        self.session = session
        self.kind = kind
        self.relay = Relay()
        self.claimed = False
        self.chat_id = ""
        self.language = "en"  # of the page
        # Cancels what writes, without waiting; set by who writes.
        self.stop: Callable[[], None] | None = None
        # Told whether the model should be held back.
        self.hold: Callable[[bool], None] | None = None
        self.cancelled = False
        self.forgotten = False  # it has ended, and can no longer be read
        # What this process asks itself for it, as bytes and as what they say, so that these are not parsed again.
        self.asks: tuple[bytes, Any] | None = None
        self.timer: Timer | None = None
        self.ended = 0.0
        # Lets it live on for some seconds without a reader here; set by the registry.
        self.lease: Callable[[float], None] = lambda seconds: None

    @property
    def state(self) -> Literal["running", "finished"]:
        """Whether more may come."""
        return "finished" if self.relay.finished else "running"

    @property
    def held(self) -> bool:
        """Whether there are readers and all of them have paused."""
        readers = self.relay.readers
        return bool(readers) and all(reader.paused for reader in readers)

    def cancel(self) -> None:
        """Stop the chat at once, without waiting for it; no effect on one that has ended."""
        if not self.relay.finished:
            self.cancelled = True
            if self.stop is not None:
                self.stop()


class StreamRegistry:
    """All streams. `publish(type, data)` tells of readers that come and go."""

    def __init__(
        self,
        *,
        settings: Callable[[], Limits],
        publish: Callable[[str, Mapping[str, Any]], None],
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Timer] | None = None,
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._clock = clock
        self._call_later = call_later
        self._running: dict[str, Stream] = {}
        self._kept: OrderedDict[str, Stream] = OrderedDict()
        self._kept_bytes = 0
        self._gone: OrderedDict[str, str] = OrderedDict()
        self._readers: Counter[str] = Counter()
        self.refused = 0
        self.resumed = 0
        # Other processes whose answers can be read here, and ours there; set by who ties it together.
        self.elsewhere: Sequence[Elsewhere] = ()
        self._followed: dict[str, Stream] = {}
        self._leases: dict[str, float] = {}

    # -- beginning -------------------------------------------------------------------------------

    def reserve(self, stream_id: str, session: str, kind: str = "chat") -> Stream:
        """A new stream that nobody writes to yet. Raises StreamRefused: 400, 409 or 429."""
        if not _ID.fullmatch(stream_id):
            raise self._refuse(400, "a stream id is 22 to 64 characters of base64url, at least 128 random bits")
        if not 0 < len(session) <= _LONGEST_SESSION:
            raise self._refuse(400, "a stream needs a session_id of 1 to 200 characters")
        self.sweep()
        if any(stream_id in known for known in (self._running, self._kept, self._gone, self._followed)):
            raise self._refuse(409, "this stream id is in use")
        if len(self._running) >= MAX_RUNNING:
            raise self._refuse(429, f"{MAX_RUNNING} streams are running")
        if sum(stream.session == session for stream in self._running.values()) >= MAX_PER_SESSION:
            raise self._refuse(429, f"{MAX_PER_SESSION} streams of this session are running")
        stream = Stream(stream_id, session, kind)
        stream.relay.on_readers = lambda: self._readers_changed(stream)
        self._running[stream_id] = stream
        return stream

    def claim(self, stream_id: str, session: str, kind: str) -> Stream:
        """The stream that a request will write to: reserved for it, or new. Raises StreamRefused.

        Its grace period runs until somebody reads it.
        """
        stream = self._running.get(stream_id)
        if stream is not None and not stream.claimed and stream.session == session:
            stream.kind = kind
        else:
            stream = self.reserve(stream_id, session, kind)
        stream.claimed = True
        self._readers_changed(stream)
        claimed = stream
        stream.lease = lambda seconds: self._lease(claimed, seconds)
        for other in self.elsewhere:
            other.begin(stream)
        return stream

    def asked(self, stream_id: str, body: bytes) -> Any:
        """What the bytes of a request say, if they are those that this process sent for that stream; else None."""
        stream = self._running.get(stream_id)
        asks = stream.asks if stream is not None else None
        return asks[1] if asks is not None and asks[0] == body else None

    def unclaim(self, stream_id: str) -> None:
        """A request that has claimed this stream cannot write to it: it may be claimed anew."""
        stream = self._running.get(stream_id)
        if stream is not None:
            stream.claimed = False

    async def check(self, stream_id: str, session: str) -> None:
        """Raise StreamRefused (409) if another machine writes this answer. Waits for at most a quarter second."""
        if stream_id in self._running or not _ID.fullmatch(stream_id):
            return
        for other in self.elsewhere:
            if await other.claimed(stream_id, session):
                raise self._refuse(409, "this stream id is in use")

    def finish(self, stream: Stream, outcome: Outcome) -> None:
        """Nobody writes to `stream` any more; from now on it can be read, or it is forgotten. Idempotent."""
        if stream.id not in self._running:
            return
        stream.relay.end(outcome)  # first: readers wait for it, and whoever calls calls again where it breaks
        del self._running[stream.id]
        self._disarm(stream)
        stream.stop = stream.hold = None
        stream.ended = self._clock()
        self._kept[stream.id] = stream
        self._kept_bytes += stream.relay.size
        self._leases.pop(stream.id, None)
        for other in self.elsewhere:
            other.finish(stream)
        self.sweep()

    def discard(self, stream: Stream) -> None:
        """Forget a stream for which nothing was done, as if it had never been."""
        if self._running.pop(stream.id, None) is not None:
            self._leases.pop(stream.id, None)
            self._disarm(stream)
            stream.stop = stream.hold = None
            if not stream.relay.finished:
                stream.relay.end("failed")
            for other in self.elsewhere:
                other.discard(stream)

    # -- reading ---------------------------------------------------------------------------------

    def find(self, stream_id: str, session: str) -> Stream:
        """The stream of this id and session.

        Raises StreamRefused: 404 if it is not known (or belongs to another session), 410 if it was.
        """
        self.sweep()
        stream = self._running.get(stream_id) or self._kept.get(stream_id) or self._followed.get(stream_id)
        if stream is not None and stream.session == session:
            return stream
        if self._gone.get(stream_id) == session:
            raise self._refuse(410, "this answer is no longer kept")
        raise self._refuse(404, "no such stream")

    async def find_anywhere(self, stream_id: str, session: str, after: int = 0) -> Stream:
        """As `find()`, but also an answer that another process writes or has written; waits for it for about a second.

        410 with a sentence if it is known that the process ended which wrote it; 503 if that cannot be said now, and
        may soon. A cancel leaves nothing behind that does not end by itself.
        """
        try:
            return self.find(stream_id, session)
        except StreamRefused as refused:
            if refused.status != 404 or not _ID.fullmatch(stream_id):
                raise
            answer = await self._find_elsewhere(stream_id, session)
            if answer is None or (isinstance(answer, str) and not after):  # a page that has none of it may ask anew
                raise
            self.refused -= 1
            if isinstance(answer, str):
                raise self._refuse(410, answer) from None
            if isinstance(answer, int):
                raise self._refuse(503, "whether another machine has this answer is not known yet", answer) from None
        stream = self._followed.get(stream_id)
        if stream is None or stream.session != session:
            stream = self._follow(stream_id, session, answer)
        # A page may have had more of it than has come here by now.
        end = self._clock() + AHEAD
        while stream.relay.seq < after and not stream.relay.finished and self._clock() < end:
            await asyncio.sleep(0.02)
        return stream

    async def _find_elsewhere(self, stream_id: str, session: str) -> RemoteAnswer | str | int | None:
        """The answer, or when to ask again if somebody may have it, or why it is gone if anybody knows."""
        sentence: str | None = None
        again = 0
        for other in self.elsewhere:
            found = await other.find(stream_id, session)
            if isinstance(found, str):
                sentence = found
            elif isinstance(found, int):
                again = max(again, found)
            elif found is not None:
                return found
        return again or sentence

    def _follow(self, stream_id: str, session: str, answer: RemoteAnswer) -> Stream:
        """A stream fed by another process, for as long as somebody reads it here."""
        stream = Stream(stream_id, session, "chat")
        stream.stop = answer.cancel

        def readers_changed() -> None:
            if not stream.relay.readers and self._followed.get(stream_id) is stream:
                del self._followed[stream_id]
                answer.leave()

        stream.relay.on_readers = readers_changed

        def lost(sentence: str = MACHINE_GONE, early: str = MACHINE_GONE_EARLY, /) -> None:
            stream.relay.abandon(sentence if stream.relay.text else early, {**_LINE, "session_id": session})

        answer.follow(stream.relay, lost)
        # Not before: whoever comes again would wait for a stream that nobody feeds, if that broke.
        self._followed[stream_id] = stream
        later = self._call_later or asyncio.get_running_loop().call_later
        later(UNREAD, readers_changed)
        return stream

    def _lease(self, stream: Stream, seconds: float) -> None:
        """Somebody at another machine reads it."""
        if stream.id in self._running:
            self._leases[stream.id] = self._clock() + seconds

    def read(
        self, stream: Stream, after: int, transport: str, *, resumed: bool = True, pieces: bool = True
    ) -> RelayReader:
        """A new reader of `stream`; see `Relay.read`.

        If it has too many, the oldest over HTTP is closed: a connection that died without a word may count for
        long. Raises StreamRefused (429) if all are sockets, whose pings tell.
        """
        readers = stream.relay.readers
        if len(readers) >= MAX_READERS:
            oldest = next((reader for reader in readers if reader.transport == "http"), None)
            if oldest is None:
                raise self._refuse(429, f"{MAX_READERS} readers read this stream")
            self.leave(stream, oldest)
        reader = stream.relay.read(after, transport=transport, pieces=pieces)
        self._readers[reader.transport] += 1
        self.resumed += resumed
        self._tell("stream.opened", stream, reader)
        return reader

    read = in_front(read, read, "a reader of an answer, at the first try")

    def leave(self, stream: Stream, reader: RelayReader) -> None:
        """Close a reader. Idempotent."""
        if reader in stream.relay.readers:
            reader.close()
            self._readers[reader.transport] -= 1
            self._tell("stream.closed", stream, reader)

    @fail_open("events")
    def _tell(self, type_: str, stream: Stream, reader: RelayReader) -> None:
        self._publish(
            type_,
            {
                "chat_id": stream.chat_id,
                "transport": reader.transport,
                "readers": len(stream.relay.readers),
                "after": reader.after if type_ == "stream.opened" else reader.seq,
            },
        )

    @fail_open("the grace period of an answer")
    def _readers_changed(self, stream: Stream) -> None:
        if stream.id not in self._running:
            return
        if stream.hold is not None:
            stream.hold(stream.held)
        if stream.relay.readers:
            self._disarm(stream)
        elif stream.timer is None:
            later = self._call_later or asyncio.get_running_loop().call_later
            stream.timer = later(self._settings().resume_grace, lambda: self._given_up(stream))

    def _given_up(self, stream: Stream) -> None:
        stream.timer = None
        rest = self._leases.pop(stream.id, 0.0) - self._clock()
        if rest > 0 and not stream.relay.readers:
            later = self._call_later or asyncio.get_running_loop().call_later
            self._leases[stream.id] = self._clock() + rest
            stream.timer = later(rest + 0.05, lambda: self._given_up(stream))
        elif not stream.relay.readers:
            stream.cancel()

    @staticmethod
    def _disarm(stream: Stream) -> None:
        if stream.timer is not None:
            stream.timer.cancel()
            stream.timer = None

    # -- keeping ---------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Forget finished streams that are too old, or too many for the memory they may take."""
        settings = self._settings()
        oldest = self._clock() - settings.stream_keep
        while self._kept:
            stream = next(iter(self._kept.values()))
            if stream.ended >= oldest and self._kept_bytes <= settings.stream_keep_bytes:
                break
            del self._kept[stream.id]
            stream.forgotten = True
            self._kept_bytes -= stream.relay.size
            self._gone[stream.id] = stream.session
            if len(self._gone) > MAX_GONE:
                self._gone.popitem(last=False)

    def snapshot(self) -> dict[str, Any]:
        """Figures for metrics: counts and bytes, no ids and no text."""
        self.sweep()
        return {
            "running": len(self._running),
            "kept": len(self._kept),
            "kept_bytes": self._kept_bytes,
            # Also those of answers that have ended: they hold memory, too.
            "readers": {name: self._readers[name] for name in ("http", "websocket")},
            "unread": sum(not s.relay.readers for s in self._running.values()),
            "resumed_total": self.resumed,
            "refused_total": self.refused,
        }

    def close(self) -> None:
        """Stop what runs, without waiting, and forget all."""
        for stream in list(self._running.values()):
            self._disarm(stream)
            stream.cancel()
        self._kept.clear()
        self._kept_bytes = 0

    def _refuse(self, status: int, reason: str, after: int = 0) -> StreamRefused:
        self.refused += 1
        return StreamRefused(status, reason, after)

    def __repr__(self) -> str:
        return f"<StreamRegistry {len(self._running)} running, {len(self._kept)} kept>"
