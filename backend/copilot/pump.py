"""The pump of one chat: a task that reads Copilot's generator to its end, and a paced reader beside it.

Copilot yields `(text, ext)`: the text is cumulative, `ext` is None or a dict with `data` and `finished`. Items
with text only are conflated in the queue (the newest holds all the older ones); items with `ext` are essential
and keep their place. The item that ends the answer is held back until the generator has ended, because only
then is it known what else the user must be told.

Copilot's protocol sends the whole text with every update. At a fixed rate the bytes would grow with the square
of the text's length; here the interval grows with the text, so that bytes grow with time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..aio import ends, fail_open, in_front, missed, our_fault, wait_set
from ..backpressure import BoundedQueue, QueueClosed
from ..chats import Chat
from ..error_handling import Severity, errors
from .notices import NO_WIDTH, with_notices, without_marks

if TYPE_CHECKING:
    from ..pulse import Pulse

log = logging.getLogger("copilot_pulse.chat")

# What Copilot writes around the text of one update: the JSON's keys, quotes, the line's end.
ENVELOPE: Final = 117
# What a frame has around a piece of text (docs/protocol.md).
FRAME: Final = 60
# How often a reader without a queue looks for something new, in seconds.
PLAIN_LOOK: Final = 0.05
Item = tuple[str, Any]


class ChatRefused(Exception):
    """Raised by what prepares a chat when it cannot be answered; the text tells the user why, and is the answer."""


class ChatPump:
    """Pumps one chat. Made in the handler's task; `start()` begins, `updates()` reads, once each."""

    def __init__(self, pulse: Pulse, chat: Chat, source: Callable[[], Any]) -> None:
        self._pulse = pulse
        self.chat = self._chat = chat
        self._source = source
        settings = pulse.settings.current
        self._queue: BoundedQueue[Any] = BoundedQueue(
            settings.queue_size,
            name=f"chat {chat.id.partition('-')[0]}",
            put_timeout=settings.put_timeout,
            throttle=settings.throttle,
            conflate="always",
            on_zone=self._zone_changed,
            on_throttle=self._throttle_changed,
        )
        self._hurry = asyncio.Event()
        self._group = 0
        self._unpatched_bytes = 0
        self._last: Item | None = None
        self._messages: Any = None
        # While a notice on a silence is shown, or made up for: the length of the text with it.
        self._longest_shown = 0
        # If the queue itself breaks, the items go this way, without bound or pace.
        self._plain: asyncio.Queue[Any] | None = None
        self._plain_only = False
        self._last_size = 0

    def start(self, messages: Any = None) -> None:
        """Start the pump's task in the current context; `messages` is the history, if there is one."""
        self._messages = messages
        chat = self._chat
        count = len(messages) if isinstance(messages, list) else 0
        self._pulse.publish("chat.started", {"chat_id": chat.id, "kind": chat.kind, "messages": count}, chat)
        chat.refresh = self._refresh
        name = f"copilot-pulse {chat!r}"
        # Last: if anything here fails, the chat goes on without us, and must not run twice.
        run = in_front(self._run, self._run, "the task of a chat, at the first try")
        chat.pump_task = asyncio.get_running_loop().create_task(run(), name=name)

    # -- the pump's task -------------------------------------------------------------------------

    async def _run(self) -> None:
        chat = self._chat
        chat.pump_task = asyncio.current_task()  # known here first if the loop starts tasks eagerly
        try:
            if await self._prepared():
                source = self._source()
                try:
                    async for item in source:
                        try:
                            await self._take(item)
                        except Exception as error:
                            if not our_fault(error) and self._plain is None:
                                raise
                            missed(error, "the pace of an answer")
                            self._go_plain(item)
                finally:
                    await source.aclose()
            if chat.active:
                await in_front(self._finish, self._finish_plain, "the notices of an answer")()
                chat.end("failed" if chat.failed else "done")  # once more where it broke: it counts once
        except asyncio.CancelledError:
            chat.end("cancelled")
            raise
        except Exception as error:
            await self._broke(error)
        finally:
            close = self._queue.close  # once more where it breaks: somebody may be left waiting
            fail_open("the end of a queue")(in_front(close, close, "the end of a queue, at the first try"))()
            self._hurry.set()
            chat.end("failed")  # has no effect on a chat that has ended
            self._publish_finished()
            self._pulse.chats.remove(chat)
            await self._close_clients()

    @fail_open("what prepares a chat: Copilot does it", default=True)
    async def _prepared(self) -> bool:
        """Get everything ready for Copilot's generator; whether it is to run."""
        chat = self._chat
        for prepare in self._pulse.before_chat:
            try:
                await prepare(chat, self._messages)
            except ChatRefused as refused:
                chat.failed = True
                chat.notices.append(str(refused))
                cause = self._pulse.recovery.classify(refused)
                chat.note_error(cause.kind, cause.type)
                self._pulse.recovery.record(cause, where="chat", outcome="gave_up", attempt=1, chat_id=chat.id)
                return False
            except Exception as error:
                missed(error, "what prepares a chat: Copilot does it")
        return True

    def _go_plain(self, item: Any = None) -> None:
        """Hand `item` and all that follow it on without the queue; what is in that is read before them."""
        if self._plain is None:
            self._plain = asyncio.Queue()
            close = self._queue.close
            fail_open("the end of a queue")(in_front(close, close, "the end of a queue, at the first try"))()
        if item is not None:
            self._plain.put_nowait(item)

    async def _put(self, item: Any, **how: Any) -> None:
        if self._plain is not None:
            self._plain.put_nowait(item)
        else:
            await self._queue.put(item, **how)

    async def _take(self, item: Any) -> None:
        chat = self._chat
        if not isinstance(item, tuple) or len(item) != 2:
            await self._put(item, essential=True)
            return
        text, ext = item
        if not ext:
            if text:
                chat.text.raw = text
                self._unpatched_bytes += len(text) + ENVELOPE
                # Two texts may be conflated only if no item with data came between them.
                await self._put_text(text)
            return
        if not isinstance(ext, dict):
            ext = {"data": ext, "finished": False}
        if text and not _continues(text, chat.text.raw):
            self._replaced(text)
        elif text:
            chat.text.raw = text
        if ext.get("finished", True) or "data" not in ext:
            self._last = (chat.text.raw, ext)
            return
        self._last = None
        self._group += 1
        self._hurry.set()
        await self._put((chat.text.raw, ext), essential=True)

    @fail_open("what is told of a silent model")
    def _refresh(self) -> None:
        """Show the text once more, for what has changed around it. A full queue has newer things to show."""
        with contextlib.suppress(asyncio.QueueFull, QueueClosed):
            self._queue.put_nowait((self._chat.text.raw, None), key=("text", self._group))

    async def _put_text(self, text: str) -> None:
        key = ("text", self._group)
        try:
            if self._plain is not None:
                self._plain.put_nowait((text, None))
                return
            self._queue.put_nowait((text, None), key=key)
        except asyncio.QueueFull:
            await self._queue.put((text, None), key=key)

    def _replaced(self, text: str) -> None:
        """Copilot threw its text away for an error message of its own: keep both, and redact the message."""
        chat = self._chat
        message = self._pulse.recovery.redactor.redact(text.strip())
        cause = self._pulse.recovery.classify(RuntimeError(message))
        self._pulse.recovery.record(
            cause, where="copilot", outcome="gave_up", attempt=1, chat_id=chat.id, model=chat.model, host=chat.host
        )
        chat.failed = True
        chat.note_error(cause.kind, cause.type)
        if not chat.notices:
            chat.notices.append(message)

    async def _finish_plain(self) -> None:
        self._chat.end("done")
        data = self._last[1].get("data") if self._last is not None else None
        self._go_plain((self._chat.text.raw, {"data": data, "finished": True}))

    async def _finish(self) -> None:
        """The generator has ended: the last item goes out, with everything that the user must be told."""
        chat = self._chat
        data = None
        if self._last is not None:
            data = self._last[1].get("data")
        for notice in self._pulse.chat_notices:
            try:
                text = notice(chat)
            except Exception as error:
                missed(error, "a notice")
                continue
            if text:
                chat.notices.append(text)
        if not chat.text.visible().strip() and not chat.notices and not data:
            # There is no answer, and no seam has noticed why: the user is told at least that.
            chat.failed = True
            empty = errors.EmptyAnswer()
            chat.note_error("empty_answer", type(empty).__name__)
            chat.notices.append(self._explain(empty))
        chat.end("failed" if chat.failed else "done")
        self._hurry.set()
        # A page that is told `finished: false` at the end of the stream would wait for ever.
        with contextlib.suppress(QueueClosed):
            await self._put((chat.text.raw, {"data": data, "finished": True}), essential=True)

    async def _broke(self, error: Exception) -> None:
        """Copilot's generator raised, or something of ours did: the user gets what there is, and why."""
        chat = self._chat
        recovery = self._pulse.recovery
        cause = recovery.classify(error)
        log.error("a chat ended with an error: %s", cause.message)
        recovery.record(cause, where="chat", outcome="gave_up", attempt=1, chat_id=chat.id)
        chat.failed = True
        chat.note_error(cause.kind, cause.type)
        chat.notices.append(self._explain(error))
        if cause.severity is Severity.CRITICAL:
            self._messages = None
        chat.end("failed")
        self._hurry.set()
        with contextlib.suppress(QueueClosed):
            await self._put((chat.text.raw, {"data": None, "finished": True}), essential=True)

    def _explain(self, error: Exception) -> str:
        chat = self._chat
        cause = self._pulse.recovery.classify(error)
        return self._pulse.recovery.explain(
            cause, host=chat.host, model=chat.model, language=chat.language, partial=bool(chat.text.visible())
        )

    @fail_open("the closing of model clients")
    async def _close_clients(self) -> None:
        # Copilot makes a client for each agent and never closes it; its connections would stay open
        # until the garbage collector comes by.
        clients, self._chat.clients = self._chat.clients, []
        for client in clients:
            try:
                await client.close()
            except Exception as error:
                log.debug("closing a model client failed: %s", type(error).__name__)

    @fail_open("the figures of a chat")
    def _publish_finished(self) -> None:
        chat = self._chat
        outcome = {"done": "completed", "failed": "failed"}.get(chat.state, "cancelled")
        data: dict[str, Any] = {
            "chat_id": chat.id,
            "kind": chat.kind,
            "outcome": outcome,
            "model": chat.model,
            "host": chat.host,
            "seconds": (chat.ended or chat.clock()) - chat.started,
            "first_token": chat.figures.first_token,
            "tokens": chat.figures.tokens,
            "tokens_estimated": chat.figures.estimated,
            **{name: count for name, count in chat.figures.told().items() if count is not None},
            "input_estimated": chat.figures.estimated_input,
            **chat.figures.by_model(),
            "attempts": chat.figures.attempts,
            "failed_attempts": chat.figures.failed_attempts,
            "saved": chat.saved,
            "stream_tokens": chat.figures.stream_tokens,
            "stream_seconds": chat.figures.stream_seconds,
            "length": chat.text.length,
            "updates": chat.figures.updates,
            "bytes_sent": chat.figures.bytes_sent,
            "bytes_saved": max(0, self._unpatched_bytes - chat.figures.bytes_sent),
            "retries": chat.figures.retries,
        }
        if chat.error is not None:
            data |= {"error_kind": chat.error["kind"], "error_type": chat.error["type"]}
        if chat.notices:
            data["notice"] = "\n\n".join(chat.notices)
        self._pulse.publish("chat.finished", data, chat)

    @fail_open("events")
    def _zone_changed(self, name: str, zone: Any, was: Any, fill: float) -> None:
        data = {"queue": name, "zone": zone.value, "was": was.value, "fill": fill}
        self._pulse.publish("queue.zone", data, self._chat)

    def _throttle_changed(self, name: str, change: Mapping[str, Any]) -> None:
        self._pulse.publish("queue.throttle", {"queue": name, **change}, self._chat)

    # -- the reader's side -----------------------------------------------------------------------

    async def updates(self) -> AsyncIterator[Any]:
        """Items for Copilot's handler: at most 30 a second, fewer as the text grows, the last one whole.

        Ends when the chat has ended. A cancel leaves the queue as it is.
        """
        chat = self._chat
        loop = asyncio.get_running_loop()
        next_update = 0.0
        while True:
            if loop.time() < next_update and not self._hurry.is_set():
                await self._pause(next_update - loop.time())
            try:
                item = await self._next()
            except QueueClosed:
                return
            except Exception as error:
                missed(error, "the pace of an answer")
                if self._plain_only:
                    return
                self._plain_only = self._plain is not None
                self._go_plain()
                continue
            if not isinstance(item, tuple) or len(item) != 2:
                yield item
                continue
            if self._hurry.is_set() and chat.active:
                self._hurry.clear()
            try:
                item = (self._shown(*item), item[1])
            except Exception as error:
                missed(error, "the notices of an answer")
            try:
                next_update = loop.time() + self._count_update(item[0])
            except Exception as error:
                missed(error, "the pace of an answer")
            yield item

    async def _next(self) -> Any:
        """The next item. Raises QueueClosed after the last one; a cancel leaves it where it is."""
        if not self._plain_only:
            try:
                return await self._queue.get()
            except QueueClosed:
                if self._plain is None:
                    raise
        assert self._plain is not None
        while self._plain.empty() and self._chat.pump_task is not None and not self._chat.pump_task.done():
            await ends(self._chat.pump_task, PLAIN_LOOK)
        if self._plain.empty():
            raise QueueClosed("chat")
        return self._plain.get_nowait()

    def _shown(self, raw: str, ext: Any) -> str:
        if ext is not None and ext.get("finished"):
            return with_notices(without_marks(self._chat.text.visible(raw)), self._chat.notices)
        if self._chat.silence.notice or self._longest_shown:
            return self._with_silence(without_marks(self._chat.text.standing(raw)))
        return without_marks(self._chat.text.visible(raw))

    def _with_silence(self, text: str) -> str:
        """`text` with the notice on a silence that lasts.

        Copilot's page shows no text that is not longer than the one before. So it keeps what a broken attempt has
        written until the next one has come as far; with the notice the text is longer, and has to keep that itself.
        Once the silence is over, characters without width fill up what the notice took.
        """
        if self._chat.silence.notice:
            text = with_notices(text, [self._chat.silence.notice])
            self._longest_shown = len(text)
        else:
            missing = self._longest_shown + 1 - len(text)
            self._longest_shown = len(text) + missing if missing > 0 else 0
            text += NO_WIDTH * missing
        return text

    def _count_update(self, text: str) -> float:
        """Count an update; seconds until the next one."""
        figures, settings = self._chat.figures, self._pulse.settings.current
        size = cost(text)
        figures.updates += 1
        if self._chat.resumable:
            # Only what is new goes out; the whole text costs time, but no bytes.
            figures.bytes_sent += abs(size - self._last_size) + FRAME
            self._last_size, size = size, size // 8
        else:
            figures.bytes_sent += size + ENVELOPE
        return interval(size, settings.updates_per_second, settings.update_bytes_per_second)

    @fail_open("the pace of an answer")
    async def _pause(self, seconds: float) -> None:
        await wait_set(self._hurry, seconds)

    @fail_open("the end of a chat whose reader has left")
    def release(self) -> None:
        """The reader has left. A chat that still runs is stopped, without waiting for it."""
        chat = self._chat
        if chat.pump_task is None or chat.pump_task.done():
            return
        if chat.active:
            chat.stop_soon()
        else:
            self._queue.close(discard=True)  # the writer only waits for room for its last items


def _continues(text: str, raw: str) -> bool:
    return text.startswith(raw) or raw.startswith(text)


def cost(text: str) -> int:
    """About how many bytes `text` takes as JSON: six for a character outside ASCII, one for the others."""
    if text.isascii():
        return len(text)
    ascii_length = len(text.encode("ascii", "ignore"))
    return ascii_length + 6 * (len(text) - ascii_length)


def interval(size: int, updates_per_second: float, bytes_per_second: float) -> float:
    """Seconds until the next update after one of `size` bytes."""
    return max(1.0 / updates_per_second, size / bytes_per_second)
