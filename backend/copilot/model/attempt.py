"""One attempt of a model call: its events pass one by one, and those that close the call are held back.

The caller judges the attempt when it has ended, and only then lets the closing events pass.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any

from ...aio import missed
from ...chats import Chat, Label
from .report import CallReport
from .shapes.normalise import Normaliser
from .watch import StreamWatch


class Attempt:
    """One request to the model, read by `next()`; as an asynchronous context it closes the connection at its end.

    `open_stream()` starts the library's stream, `lease` is the breaker's leave to ask, and `label` is what the first
    event says to the run seam. `partial` is the text so far, `held` the events of finished tool calls, `final` the
    closing event; `began` tells that the first event has passed, `counted` that its tokens are in the chat's figures.
    """

    def __init__(
        self,
        open_stream: Callable[[], AsyncGenerator[Any, None]],
        watch: StreamWatch,
        normaliser: Normaliser,
        lease: Any,
        *,
        chat: Chat | None,
        report: CallReport,
        label: Label,
    ) -> None:
        self.watch = watch
        self.normaliser = normaliser
        self.lease = lease
        self.partial: list[str] = []
        self.held: list[Any] = []
        self.final: Any = None
        self.began = False
        self.counted = False
        self._open_stream = open_stream
        self._chat = chat
        self._report = report
        self._label = label
        self._source: AsyncGenerator[Any, None] | None = None

    async def __aenter__(self) -> Attempt:
        self._source = self._open_stream()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watch.stop()
        try:
            if self._source is not None:
                await self._source.aclose()
        finally:
            await self.watch.aclose()

    @property
    def length(self) -> int:
        """Characters of text that this attempt has brought."""
        return sum(map(len, self.partial))

    async def next(self) -> Any:
        """The next event that may pass, or None at the end.

        Raises StreamStalled when the model falls silent, and whatever the library raises; a cancel passes.
        """
        assert self._source is not None
        while True:
            if self._chat is not None and self._chat.gate is not None:
                await self._chat.gate.wait()
                self.watch.excuse()
            try:
                event = await self.watch.next(self._source)
            except StopAsyncIteration:
                return None
            try:
                if not self._may_pass(event):
                    continue
                if self.lease.probe and self.watch.answered:
                    self.lease.success()  # the other chats need not wait until a long answer has ended
            except Exception as error:
                missed(error, "the figures of an answer")
                if event.type == "response.completed":
                    self.final = event
                    continue
            return event

    def _may_pass(self, event: Any) -> bool:
        kind = event.type
        if kind == "response.output_text.delta":
            if event.delta:  # older versions pass the empty first one on
                self._saw_text(event.delta)
        elif kind == "response.completed":
            self.final = event  # held back until the answer has been judged
            return False
        elif kind == "response.output_item.done" and event.item.type == "function_call":
            # Older runners take this for the call itself, and it may never be made.
            self.held.append(event)
            return False
        elif kind == "response.created":
            self.began = True
            if self._chat is not None:
                self._chat.handshake.mark(event, self._label)
        elif self.watch.answered:
            self._report.first_token()
        return True

    def _saw_text(self, delta: str) -> None:
        self.partial.append(delta)
        chat = self._chat
        if chat is None:
            return
        if chat.figures.first_token is None:
            self._report.first_token()
        chat.handshake.wrote()
        if chat.state != "streaming":
            chat.set_state("streaming")
