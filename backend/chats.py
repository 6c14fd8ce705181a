"""The chats of this process: what each is doing, and how to stop one.

A `Chat` is the state that the seams of one conversation turn share. It travels in a ContextVar: the chat
seam sets it for the task that pumps Copilot's generator, and everything that this task starts (the agent's
run, tools, hand-offs) inherits it. All of it belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import secrets
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Literal, Protocol

from .aio import ends, fail_open, missed, wait_set

log = logging.getLogger("copilot_pulse.chats")

State = Literal["waiting", "streaming", "retrying", "tool", "done", "failed", "cancelled"]
ENDED: Final = frozenset({"done", "failed", "cancelled"})
KEPT_CHATS: Final = 50
_NEXT: Final = {"retry": "ask again", "give_up": "give up"}
_STOP_LIMIT: Final = 5.0
_numbers = itertools.count(1)

current_chat: contextvars.ContextVar[Chat | None] = contextvars.ContextVar("copilot_pulse_chat", default=None)


class Span:
    """A stretch of Copilot's cumulative text that one attempt of a model call wrote; offsets in characters.

    `same` is how much of it the attempt after it wrote again as it was; None while that is not known.
    """

    __slots__ = ("end", "same", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.same: int | None = None

    def __len__(self) -> int:
        return self.end - self.start


class AnswerText:
    """The text of an answer as Copilot has it, and the spans in it that broken attempts left behind."""

    def __init__(self) -> None:
        self.raw = ""
        self.cuts: list[Span] = []
        self.settled = 0  # the first so many cuts belong to calls that were given up: nothing takes their place
        self._length: int | None = None
        self._seams: list[int] | None = None

    def visible(self, raw: str | None = None) -> str:
        """`raw` (default: all that Copilot has written) without what broken attempts left behind."""
        text = self.raw if raw is None else raw
        if not self.cuts:
            return text
        parts: list[str] = []
        position = 0
        for cut in self.cuts:
            if cut.start >= len(text):
                break
            parts.append(text[position : cut.start])
            position = cut.end
        parts.append(text[position:])
        return "".join(parts)

    def standing(self, raw: str) -> str:
        """`raw` as a page shows it that takes nothing back: what is visible, but where the newest attempt has only
        begun to say what a broken one said, that one's text still stands.
        """
        text = self.visible(raw)
        for index, cut in enumerate(self.cuts[self.settled :], self.settled):
            if cut.start < len(raw) and self._written_again(index, raw) is None:
                text = max(text, self.visible(raw[: cut.start]) + raw[cut.start : cut.end], key=len)
        return text

    @property
    def length(self) -> int:
        """Characters of the answer that are shown; still known after `free()`."""
        return self._length if self._length is not None else len(self.raw) - sum(map(len, self.cuts))

    def cut(self, span: Span) -> None:
        """Take `span` out of what is shown. Spans come in order and do not overlap."""
        if len(span):
            self.cuts.append(span)

    def seams(self) -> list[int]:
        """Where in what is shown one attempt's text ended and another's goes on, in characters; still known after
        `free()`. A seam is known once the new attempt has written as much as the broken one, or something else.
        """
        if self._seams is not None:
            return self._seams
        found: list[int] = []
        removed = 0
        for index, cut in enumerate(self.cuts):
            if cut.same is None:
                cut.same = self._written_again(index, self.raw)
            if cut.same is not None and cut.start - removed + cut.same:
                found.append(cut.start - removed + cut.same)
            removed += len(cut)
        return found

    @property
    def mending(self) -> bool:
        """Whether the newest attempt has not yet written as much as the broken one that it takes the place of."""
        return bool(self.cuts) and self._seams is None and self._written_again(len(self.cuts) - 1, self.raw) is None

    def _written_again(self, index: int, raw: str) -> int | None:
        cut, after = self.cuts[index], self.cuts[index].end
        for later in self.cuts[index + 1 :]:
            if later.start == after:
                after = later.end
        old, new = raw[cut.start : cut.end], raw[after : after + len(cut)]
        if new == old:
            return len(old)
        if old.startswith(new):
            return None
        # The first difference, by halves: this is asked with each update, and a text may have megabytes.
        sizes = range(1, min(len(old), len(new)) + 1)
        return bisect_left(sizes, True, key=lambda size: old[:size] != new[:size])

    def free(self) -> None:
        """Let go of the text of an answer that is over. The cuts stay: its last item may not have been read yet."""
        self._seams = self.seams()
        self._length = self.length
        self.raw = ""


class Usage:
    """What one model of one host has cost in a chat, in tokens.

    `input`, `output`, `cached` (a part of the input) and `reasoning` (a part of the output) are the server's counts,
    None while it has told none. `estimated` is what was written beside those, `estimated_input` what was asked, by
    their characters.
    """

    __slots__ = ("cached", "calls", "estimated", "estimated_input", "input", "output", "reasoning")

    def __init__(self) -> None:
        self.calls = 0
        self.input: int | None = None
        self.output: int | None = None
        self.cached: int | None = None
        self.reasoning: int | None = None
        self.estimated = 0
        self.estimated_input = 0

    def told(self, asked: int | None, written: int | None, cached: int | None, reasoning: int | None) -> None:
        """Add the server's counts of one call; None for what it does not tell."""
        self.input = _sum(self.input, asked)
        self.output = _sum(self.output, written)
        self.cached = _sum(self.cached, cached)
        self.reasoning = _sum(self.reasoning, reasoning)


def _sum(*counts: int | None) -> int | None:
    """The sum of what is known; None if nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


class Estimate(Protocol):
    """What the model is writing now, as far as it has come."""

    @property
    def tokens(self) -> int: ...


MOST_BREAKS: Final = 20


class Figures:
    """What is counted in one chat; bytes are those that go to the page."""

    def __init__(self) -> None:
        self.retries = 0
        # By model and host, in the order in which they were asked.
        self.usage: dict[tuple[str, str], Usage] = {}
        self.writing: Estimate | None = None
        # Attempts that failed, and when the first of them did: seconds since the chat's start.
        self.failed_attempts = 0
        self.breaks: list[float] = []
        # Tokens and seconds, each model call's first token to its last: waits and tools are no streaming.
        self.stream_tokens = 0
        self.stream_seconds = 0.0
        # Seconds from the chat's start to the first token.
        self.first_token: float | None = None
        self.updates = 0
        self.bytes_sent = 0

    def of(self, model: str, host: str) -> Usage:
        """The usage of one model on one host, to be added to."""
        return self.usage.setdefault((model, host), Usage())

    def broke(self, seconds: float) -> None:
        """An attempt has failed, so long after the chat's start."""
        self.failed_attempts += 1
        if len(self.breaks) < MOST_BREAKS:
            self.breaks.append(round(seconds, 3))

    @property
    def attempts(self) -> int:
        """Calls of models so far, those that were made again included."""
        return sum(usage.calls for usage in self.usage.values())

    @property
    def estimated(self) -> int:
        """The tokens that no server has told, of all that were written."""
        writing = self.writing.tokens if self.writing is not None else 0
        return writing + sum(usage.estimated for usage in self.usage.values())

    @property
    def estimated_input(self) -> int:
        """The tokens of prompts that no server has told."""
        return sum(usage.estimated_input for usage in self.usage.values())

    @property
    def tokens(self) -> int:
        """Tokens that models have written: told, estimated, and what one is writing now."""
        return (self.told()["output_tokens"] or 0) + self.estimated

    def told(self) -> dict[str, int | None]:
        """The servers' counts of all calls; None for what nobody has told."""
        rows = self.usage.values()
        return {
            "input_tokens": _sum(*(row.input for row in rows)),
            "output_tokens": _sum(*(row.output for row in rows)),
            "cached_tokens": _sum(*(row.cached for row in rows)),
            "reasoning_tokens": _sum(*(row.reasoning for row in rows)),
        }

    def by_model(self) -> dict[str, Any]:
        """The usage of each model as plain data, under `by_model`, if there were several; else nothing: the figures
        of the chat are those of its model."""
        names = ("calls", "input", "output", "cached", "reasoning", "estimated", "estimated_input")
        rows = [
            {"model": model, "host": host, **{name: n for name in names if (n := getattr(usage, name))}}
            for (model, host), usage in self.usage.items()
        ]
        return {"by_model": rows} if len(rows) > 1 else {}


Label = Literal["fresh", "retry", "gave_up"]
# What the model's side says of an event that passes. The text that follows stands behind what is there; or it
# takes the place of a broken attempt's; or no attempt succeeded, and the longest is to be kept.
FRESH: Final = "fresh"
RETRY: Final = "retry"
GAVE_UP: Final = "gave_up"


class Handshake:
    """What the task that asks the model and the task that reads the run tell each other.

    The events between them pass through a queue of the agent library. A label on an event tells the reader,
    when the event comes by, what the text behind it stands for; the count of deltas tells the model's side when
    all that it has yielded has been read.
    """

    __slots__ = ("_marks", "_read", "_read_up", "_written", "watched")

    def __init__(self) -> None:
        # Whether somebody reads the run: only then can text of a broken attempt be taken back.
        self.watched = False
        self._marks: deque[tuple[Any, Label]] = deque(maxlen=64)
        self._written = 0
        self._read = 0
        self._read_up: asyncio.Event | None = None

    def mark(self, event: Any, label: Label) -> None:
        """The model's side: label an event that is about to be yielded."""
        if self.watched:
            self._marks.append((event, label))

    def wrote(self) -> None:
        """The model's side: a text delta is about to be yielded."""
        if self.watched:
            self._written += 1

    async def read_up(self, limit: float) -> bool:
        """The model's side: wait until every delta has been read, `limit` seconds at most; whether it has.

        A cancel leaves nothing behind.
        """
        if not self.watched or self._read >= self._written:
            return True
        self._read_up = asyncio.Event()
        return await wait_set(self._read_up, limit)

    def label_of(self, event: Any) -> Label | None:
        """The reader's side: the label of `event`, if it has one; labels of events before it are dropped."""
        marks = self._marks
        if not marks or not any(marked is event for marked, _ in marks):
            return None
        while True:
            marked, label = marks.popleft()
            if marked is event:
                return label

    def delta_read(self) -> None:
        """The reader's side: a text delta has gone through, and its text has been taken."""
        self._read += 1
        if self._read_up is not None and self._read >= self._written:
            self._read_up.set()

    @fail_open("the taking back of what broken attempts wrote")
    def begin(self) -> None:
        """The reader's side: the run is read from now on."""
        self.watched = True
        self._written = self._read = 0

    @fail_open("the end of a run")
    def end(self) -> None:
        """The reader's side: nobody reads the run any more. Nobody is left waiting, no event is held."""
        self.watched = False
        self._marks.clear()
        if self._read_up is not None:
            self._read_up.set()


class Silence:
    """While the model sends nothing of an answer: since when, until when that is allowed (None: for ever), what comes
    `then` ("retry" or "give_up"), and the notice that the page shows of it. Times are of the chat's clock."""

    __slots__ = ("notice", "since", "then", "until")

    def __init__(self) -> None:
        self.since: float | None = None
        self.until: float | None = None
        self.then = ""
        self.notice = ""

    def over(self) -> None:
        """The model has said something, or is not asked any more. The notice goes when another text is shown."""
        self.since = self.until = None

    def snapshot(self, now: float, *, started: float, started_wall: float) -> dict[str, Any] | None:
        """As plain data, in seconds; None if nobody is silent. `started` is when the chat began, by both clocks."""
        if self.since is None:
            return None
        left = None if self.until is None else max(0.0, round(self.until - now, 1))
        return {
            "since": round(now - self.since, 1),
            "at": round(started_wall + self.since - started, 3),
            "next": "" if left is None else _NEXT.get(self.then, ""),
            "next_in": left,
        }


class Chat:
    """One turn of a conversation, from the user's message to the last line of the answer."""

    def __init__(
        self,
        *,
        session: str | None,
        kind: Literal["chat", "debug"] = "chat",
        language: str = "en",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # The id names a stream that can be resumed, so it must not be guessable.
        self.id = f"{next(_numbers)}-{secrets.token_urlsafe(16)}"
        self.session = session
        self.kind: Literal["chat", "debug"] = kind
        self.language = language
        self.clock = clock
        self.started = clock()
        self.started_wall = time.time()
        self.ended: float | None = None
        self.state: State = "waiting"
        self.detail = ""
        self.model = self.host = self.agent = self.tool = ""
        self.handed_off = False
        # Whose chat it is, if several agents' seams run in this process; for those who set it.
        self.owner: Any = None
        # ComfyUI's name for the page that asked, so that it can be told; "" if it is not known. Never shown.
        self.page = ""
        self.attempt = self.turn = self.of = 0
        self.retry_at: float | None = None
        # The kind of failure for which the present call was made again; "" if it was not.
        self.repairing = ""
        # When asking again makes sense after a failure that names a time, on the chat's clock.
        self.again_at: float | None = None
        self.silence = Silence()
        # Shows the text anew, with what has changed around it; set by the pump.
        self.refresh: Callable[[], None] | None = None
        self.figures = Figures()
        self.text = AnswerText()
        self.handshake = Handshake()
        # What the user must be told beside the answer, in the order in which it came up.
        self.notices: list[str] = []
        # The kinds of failure among them: one failure may be noticed in two places.
        self.told: set[str] = set()
        self.failed = False
        # Kind and class of the last failure.
        self.error: dict[str, str] | None = None
        # Whether the model has written anything that was accepted (Copilot writes headings of its own).
        self.answered = False
        # How to stop what runs below the pump, in the order in which it began. Each ends it, once, and waits for it.
        self.stoppers: list[Callable[[], Awaitable[None]]] = []
        self.clients: list[Any] = []
        # Whether the page can come back for the answer: then it gets deltas (see tap.py).
        self.resumable = False
        # Set while no reader wants more: the model seam waits for it before it reads on.
        self.gate: asyncio.Event | None = None
        self.pump_task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._row: dict[str, Any] | None = None

    @property
    def active(self) -> bool:
        """Whether the chat has not ended yet."""
        return self.state not in ENDED

    @property
    def model_set_in(self) -> str:
        """Where the user chose the model that is asked now: "chat" (the model list) or "workflow" (its own setting)."""
        return "workflow" if self.kind == "debug" or self.handed_off else "chat"

    @property
    def repair(self) -> str:
        """The kind of failure that is being repaired now: until the new attempt has written what was lost. Else ""."""
        if not self.active or not (self.state in ("retrying", "waiting") or self.text.mending):
            return ""
        return self.repairing

    @fail_open("the state of a chat")
    def set_state(self, state: State, detail: str = "") -> None:
        """Change what the chat is doing; once it has ended nothing changes any more."""
        if self.active:
            self.state = state
            self.detail = detail

    @fail_open("the end of a chat")
    def end(self, state: State) -> None:
        """End the chat with `done`, `failed` or `cancelled`; the first end counts."""
        if self.active:
            self.state = state
            self.ended = self.clock()
            self.tool = ""
            self.retry_at = None
            self.silence.over()

    @property
    def saved(self) -> bool:
        """Whether the chat has its answer although an attempt had failed."""
        return self.state == "done" and self.figures.failed_attempts > 0

    @fail_open("the last failure of a chat")
    def note_error(self, kind: str, type_: str) -> None:
        """Something of the chat has failed: the last one is shown."""
        self.error = {"kind": kind, "type": type_}

    def show_while_silent(self, notice: str) -> None:
        """Show a notice under the text until another one, or "", takes its place. Never waits."""
        self.silence.notice = notice
        self.show_again()

    def show_again(self) -> None:
        """Show the text once more, for what has changed beside it. Never waits."""
        if self.refresh is not None and self.active:
            self.refresh()

    def hold(self, held: bool) -> None:
        """Hold the model back (what it has sent already still passes), or let it go on. Never waits."""
        if held and self.gate is None:
            self.gate = asyncio.Event()
        elif not held and self.gate is not None:
            self.gate.set()
            self.gate = None

    @fail_open("the freeing of an answer that is over")
    def free(self) -> None:
        """Let go of the text and the run of a chat that has ended; its figures stay."""
        self.text.free()
        self.refresh = None
        self.stoppers.clear()
        self._row = self.snapshot()

    def snapshot(self) -> dict[str, Any]:
        """Plain data for the panel; no text of the chat but its length."""
        if self._row is not None:
            return dict(self._row)  # nothing changes any more in a chat that is over
        now = self.ended if self.ended is not None else self.clock()
        return {
            "chat_id": self.id,
            "session_id": self.session,
            "kind": self.kind,
            "state": self.state,
            "detail": self.detail,
            "model": self.model,
            "host": self.host,
            "agent": self.agent,
            "started": round(self.started_wall, 3),
            "seconds": round(now - self.started, 3),
            "tokens": self.figures.tokens,
            "tokens_estimated": self.figures.estimated,
            **self.figures.told(),
            "input_estimated": self.figures.estimated_input,
            **self.figures.by_model(),
            "attempts": self.figures.attempts,
            "retries": self.figures.retries,
            "breaks": list(self.figures.breaks),
            "saved": self.saved,
            "error": self.error,
            "stream_tokens": self.figures.stream_tokens,
            "stream_seconds": round(self.figures.stream_seconds, 6),
            "length": self.text.length,
            "attempt": self.attempt,
            "of": self.of,
            "retry_in": None if self.retry_at is None else max(0.0, round(self.retry_at - self.clock(), 1)),
            "silent": self.silence.snapshot(now, started=self.started, started_wall=self.started_wall),
            "tool": self.tool,
            "first_token": self.figures.first_token,
            "notice": bool(self.notices),
        }

    async def stop(self) -> None:
        """Stop the chat: its stoppers first, one after the other, then cancel the pump and wait for it.

        The order matters: a second cancel while a run still closes its connection would leave the
        model's request running. May be called any number of times and by several tasks; if the caller
        is cancelled the stop goes on by itself. Returns when nothing of the chat runs any more.
        """
        await asyncio.shield(self.stop_soon())

    def stop_soon(self) -> asyncio.Task[None]:
        """Begin to stop the chat, from the loop, without waiting; the task ends when nothing runs any more."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(
                self._stop(), name=f"copilot-pulse stop {self.id.partition('-')[0]}"
            )
        return self._stopping

    async def _stop(self) -> None:
        self.end("cancelled")
        for stop in list(self.stoppers):
            try:
                await stop()
            except Exception as error:  # the others, and the pump, are ended all the same
                missed(error, "the orderly end of a run")
        task = self.pump_task
        if task is not None and not task.done():
            # A run that was cancelled ends the pump by itself; a chat that is still
            # connecting to its tools has no run yet.
            if not self.stoppers or not await ends(task, 0.25):
                task.cancel()
            if not await ends(task, _STOP_LIMIT):
                log.warning("a chat did not end %.0f s after it was cancelled", _STOP_LIMIT)

    def __repr__(self) -> str:
        return f"<Chat {self.id.partition('-')[0]} {self.kind} {self.state}, {self.figures.tokens} tokens>"


class ChatRegistry:
    """All chats that run, and the last 50 that ended."""

    def __init__(self) -> None:
        self._active: dict[str, Chat] = {}
        self._ended: deque[Chat] = deque(maxlen=KEPT_CHATS)
        self._by_request: dict[object, list[Chat]] = {}

    def add(self, chat: Chat, request: object | None = None) -> None:
        """Register a chat; `request` is the HTTP request that it belongs to."""
        self._active[chat.id] = chat
        if request is not None:
            self._by_request.setdefault(request, []).append(chat)

    @fail_open("a chat in the list of those that ended")
    def remove(self, chat: Chat) -> None:
        """Move a chat that has ended to the list of ended ones; its buffers are freed."""
        if self._active.pop(chat.id, None) is not None:
            chat.free()
            self._ended.append(chat)

    def get(self, chat_id: str) -> Chat | None:
        """The chat of this id, running or among the last that ended."""
        chat = self._active.get(chat_id)
        if chat is None:
            chat = next((c for c in self._ended if c.id == chat_id), None)
        return chat

    def __iter__(self) -> Iterator[Chat]:
        return iter(list(self._active.values()))

    def __len__(self) -> int:
        return len(self._active)

    def snapshot(self) -> list[dict[str, Any]]:
        """Running chats, oldest first, then those that ended, newest first."""
        return [c.snapshot() for c in self._active.values()] + [c.snapshot() for c in reversed(self._ended)]

    async def stop(self, chat_id: str) -> bool:
        """Stop one chat and wait until nothing of it runs. False if no such chat runs. A cancel ends the wait only."""
        chat = self._active.get(chat_id)
        if chat is None:
            return False
        await chat.stop()
        return True

    async def close_request(self, request: object) -> None:
        """Stop every chat of an HTTP request that has ended, and wait for them; safe to call for any request.

        A cancel lets the stop that is under way go on by itself; further chats of the request are not stopped.
        """
        for chat in self._by_request.pop(request, ()):
            if chat.active and chat.id in self._active:
                await chat.stop()

    async def aclose(self) -> None:
        """Stop all chats, side by side, and wait for them. A cancel lets the stops go on by themselves."""
        chats = list(self._active.values())
        if chats:
            await asyncio.gather(*(chat.stop() for chat in chats), return_exceptions=True)
