"""Watches one attempt of a model call, from the request to the last byte: is it alive, is it whole?

The watch sits at the border of the OpenAI client (`copilot/model/client.py`). So every chunk, and every byte below the
chunks (a heartbeat comment is a sign of life, too), passes here, with any version of the libraries.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol, TypeVar

from ...aio import fail_open
from ...error_handling import errors, host_of, wrong_body
from .shapes.finish_reasons import BROKEN, Finish, settled

T = TypeVar("T")
# A server that sends heartbeats and nothing of the answer is not waited for longer than this, in seconds.
HEARTBEAT_LIMIT: Final = 600.0
# After the finish reason only the figures of usage and the mark of the end may come: so long, in seconds.
AFTER_FINISH: Final = 2.0
# After the mark of the end nothing may come but the end of the body: so long, in seconds.
AFTER_DONE: Final = 0.25
# The loop gets a turn at least this often while a model is fast, in seconds.
TURN: Final = 0.005
# Of a body that is no stream so much is kept to tell what it is, in bytes.
HEAD: Final = 4096
# The user is told of a silence after so many seconds of nothing, and again each time that it has lasted as long.
TOLD_AFTER: Final = 10.0
# A timer that comes later than this, in seconds, tells of a blocked loop and not of a silent model.
LATE: Final = 0.05
# These statuses are good, and say that there is no body.
NO_BODY: Final = (204, 205)


class SilenceListener(Protocol):
    """Who is told that the model is silent, and that it is heard again. Called on the loop; must not raise."""

    def silent(self, seconds: float, left: float | None) -> None:
        """Nothing of an answer has come for `seconds`; it is cut off in `left` seconds, or never."""

    def heard(self) -> None:
        """The silence is over."""


class StreamWatch:
    """One attempt. Belongs to the task that runs the agent; nothing here may be called from elsewhere.

    `first_limit` and `stall_limit` are seconds of silence, 0 for no limit: before the first token, and
    between two bytes after it.
    """

    def __init__(
        self, *, base_url: str, first_limit: float, stall_limit: float, listener: SilenceListener | None = None
    ) -> None:
        self.base_url = base_url
        self.first_limit = first_limit
        self.stall_limit = stall_limit
        self._listener = listener
        self._told_at = 0.0
        self.finish: Finish | None = None
        self.finish_reason = ""
        self.done_seen = False
        self.reasoning = 0
        self.chunks = 0
        self.has_text = False
        self.has_reasoning = False
        self.has_tool_call = False
        # When the first and the last piece of the answer came.
        self._pieces: tuple[float, float] | None = None
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._began = self._loop.time()
        self._alive = self._began
        # When something of the answer last came; heartbeats are none of it.
        self._progress = self._began
        self._finished = self._went_on = self._ended = False
        self._turn = self._began
        self._waiting = False
        self._fired = False
        self._due = 0.0
        self._excused = -1.0
        self._timer: asyncio.TimerHandle | None = None
        self._stream: Any = None
        self._response: Any = None
        self._head = bytearray()
        self._arm()

    # -- silence ---------------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether the model has sent anything of an answer: text, reasoning or a tool call."""
        return self.has_text or self.has_reasoning or self.has_tool_call

    @property
    def finished(self) -> bool:
        """Whether the model has said that its answer is done, and the stream has not ended yet.

        Some servers give a finish reason with every chunk: an answer that went on after one is done when it ends.
        """
        return (self.done_seen or (self._finished and not self._went_on)) and not self._ended

    def _silent(self, now: float) -> bool:
        limit = self._limit()
        if limit <= 0:
            return False
        if self.finished:
            return now >= self._progress + limit
        return now >= self._alive + limit or now >= self._progress + max(HEARTBEAT_LIMIT, limit)

    def _limit(self) -> float:
        if self.finished:
            return AFTER_DONE if self.done_seen else AFTER_FINISH
        return self.stall_limit if self.answered else self.first_limit

    def _arm(self) -> None:
        # One timer that looks at a time stamp when it fires: moving a timer for each chunk would cost
        # more than all else we do for it.
        limit = self._limit()
        alive = self._progress if self.finished else self._alive
        self._due = alive + limit if limit > 0 else self._loop.time() + 1.0
        if self._listener is not None and not self.finished:
            self._due = min(self._due, max(self._progress, self._told_at) + TOLD_AFTER)
        self._timer = self._loop.call_at(self._due, self._check)

    @fail_open("the watch over a silent model")
    def _check(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = now - self._due
        excused = self._excused == self._alive
        if late > LATE:
            # The loop itself stood still, perhaps with the whole computer: that is no time in which the model was
            # silent. Not all of it was our waiting, so this ends also with a loop that is late for ever.
            self._alive += late
            self._progress += late
            if self._told_at:
                self._told_at += late
        if self._silent(now):
            if late > LATE and not excused:
                # What has arrived meanwhile is read before we judge; once for each sign of life.
                self._excused = self._alive
                self._due = now + min(late, 1.0)
                self._timer = self._loop.call_at(self._due, self._check)
                return
            if self._waiting and self._task is not None:
                self._fired = True
                self._task.cancel()
                return
            self.excuse()  # while the consumer works on an event the model is not to blame for the silence
        elif now >= max(self._progress, self._told_at) + TOLD_AFTER and not self.finished:
            self._tell(now)
        self._arm()

    def _tell(self, now: float) -> None:
        if self._listener is None:
            return
        if not self._waiting:
            self.excuse()
            return
        limit = self._limit()
        left = None
        if limit > 0:
            left = min(self._alive + limit, self._progress + max(HEARTBEAT_LIMIT, limit)) - now
        self._told_at = now
        self._listener.silent(now - self._progress, left)

    def _heard(self) -> None:
        """The silence that was told of is over."""
        if self._told_at:
            self._told_at = 0.0
            if self._listener is not None:
                self._listener.heard()

    def excuse(self) -> None:
        """The silence until now was ours: count it from here."""
        self._alive = self._progress = self._loop.time()

    def caught(self) -> bool:
        """Whether a cancel that has arrived is the watch's own; it is taken back then, and must not pass on."""
        if not self._fired:
            return False
        self._fired = False
        # False if somebody else has cancelled the task as well.
        return not (sys.version_info >= (3, 11) and self._task is not None and self._task.uncancel() > 0)

    async def next(self, source: AsyncIterator[T]) -> T:
        """The next event of `source`, which reads from the watched stream.

        Raises StreamStalled when the model falls silent for longer than its limit, StopAsyncIteration at
        the end, and whatever `source` raises. When the caller is cancelled, CancelledError passes.
        """
        self._waiting = True
        try:
            event = await source.__anext__()
        except asyncio.CancelledError:
            if not self.caught():
                raise
            raise errors.StreamStalled(round(self._loop.time() - self._alive), first=not self.answered) from None
        finally:
            self._waiting = False
        # A fast model's tokens lie ready in the buffers: reading them never waits, and nobody else
        # in ComfyUI would get a turn until the answer is through.
        if self._loop.time() - self._turn > TURN:
            await asyncio.sleep(0)
            self._turn = self._loop.time()
        return event

    # -- what passes -----------------------------------------------------------------------------

    def saw_bytes(self, data: bytes) -> None:
        """Called for every piece of the body, heartbeats included."""
        self._alive = self._loop.time()
        if not self.chunks and len(self._head) < HEAD:
            self._head += data[:HEAD]

    def saw_done(self) -> None:
        """Called for the mark of the end."""
        self.done_seen = True
        self._progress = self._loop.time()
        self._arm_again()

    def saw(self, *, text: bool, reasoning: int, tools: bool, finish: str, meaning: Finish | None) -> None:
        """Called for every chunk of the completion, with what it brought; `finish` is the server's own word."""
        self.chunks += 1
        limit = self._limit()
        if text:
            self.has_text = True
        if tools:
            self.has_tool_call = True
        if reasoning:
            self.has_reasoning = True
            self.reasoning += reasoning
        brought = text or tools or bool(reasoning)
        if brought or meaning is not None:
            self._progress = now = self._loop.time()
            if self._told_at:
                self._heard()
            if brought:
                self._pieces = (self._pieces[0] if self._pieces else now, now)
            self._went_on = self._went_on or (brought and self._finished)
        if meaning is not None and settled(self.finish, meaning) is not self.finish:
            self.finish, self.finish_reason = meaning, finish
            self._finished = meaning not in BROKEN
        if self._limit() != limit:
            self._arm_again()

    def _arm_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._arm()

    @property
    def first_after(self) -> float | None:
        """Seconds from the beginning of the attempt to the first piece of the answer; None while there is none."""
        return None if self._pieces is None else self._pieces[0] - self._began

    def stretch(self) -> float:
        """Seconds from the first piece of the answer to the last."""
        first, last = self._pieces or (0.0, 0.0)
        return last - first

    def ended(self) -> None:
        """The stream has ended; what is still done with it has the usual time."""
        self._ended = True
        self._alive = self._loop.time()

    def take(self, stream: Any, response: Any) -> None:
        """Watch an opened stream, which this closes in the end; `response` is the HTTP response below it, if any."""
        self._stream = stream
        if response is not None:
            self._alive = self._loop.time()
            self._response = response

    def broken_off(self) -> errors.PulseError | None:
        """What the server tells of its failure by the finish reason; None if the answer has not ended so."""
        if self.finish not in BROKEN:
            return None
        words = {"message": f"finish reason {self.finish_reason}"}
        return self.stream_error(words | ({"code": "overloaded"} if self.finish is Finish.OVERLOADED else {}))

    def stream_error(self, body: dict[str, Any]) -> errors.PulseError:
        """A failure that the server told inside its answer."""
        response = self._response
        url = str(response.url) if response is not None else ""
        headers = dict(response.headers) if response is not None else {}
        return errors.StreamError(host_of(url) or "the server", url, body, headers=headers)

    def other_interface(self) -> errors.PulseError:
        """What came are events of another interface."""
        url = str(self._response.url) if self._response is not None else ""
        return errors.UnexpectedBody(host_of(url) or "the server", url, content_type="events of another interface")

    def real_failure(self, error: Exception | None) -> errors.PulseError | None:
        """What the attempt really died of, where the library's `error` (or its silence) does not tell."""
        if self.finish is Finish.LENGTH and error is not None and not self.has_text:
            return errors.LengthLimit()  # all of it went into reasoning
        return self.wrong_body()

    def wrong_body(self) -> errors.PulseError | None:
        """What came instead of a stream (a web page, a JSON error with status 200), judged by its first bytes.

        None if chunks came, or nothing at all. The client reads such a body as an empty stream.
        """
        response = self._response
        if self.chunks or response is None or not (self._head or response.status_code in NO_BODY):
            return None
        url = str(response.url)
        return wrong_body(
            response.headers.get("content-type"),
            bytes(self._head),
            url=self.base_url if response.history else url,
            status=response.status_code,
            redirected_to=url if response.history else None,
        )

    @fail_open("the end of a watch")
    def stop(self) -> None:
        """Stop watching, at once."""
        self._heard()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @fail_open("the closing of a connection to the model")
    async def aclose(self) -> None:
        """Stop watching and close the connection; safe to call twice."""
        self.stop()
        stream, self._stream = self._stream, None
        if stream is not None:
            await close_stream(stream)


async def close_stream(stream: Any) -> None:
    """Close a stream of the client, whatever its version calls it."""
    close = getattr(stream, "close", None) or getattr(stream, "aclose", None)
    if close is not None:
        await close()
