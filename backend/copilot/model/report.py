"""What others learn of one model call: the chat's state, the events, the errors, what the user is told."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from ...aio import fail_open
from ...chats import Chat
from ...error_handling import Classification, ErrorContext, RecoveryManager
from ...event_bus import Event, EventBus
from ...events import ErrorOutcome, Outcome
from .answers import text_event
from .endpoint import Endpoint
from .silence import Then, silence_notice
from .tokens import Counts, Written

# A finish reason is a word; what else stands in its place may quote the user.
_WORD: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,60}")


class CallSettings(Protocol):
    """The settings that a model call reads, anew each time; `backend.settings.Settings` has them."""

    @property
    def max_retries(self) -> int: ...
    @property
    def first_token_timeout(self) -> float: ...
    @property
    def first_token_per_1000_chars(self) -> float: ...
    @property
    def stall_timeout(self) -> float: ...


class CallReport:
    """The reports of one model call; `chat` is None where no chat seam serves it. For the loop's thread; never waits.

    `host` and `model` are safe to publish: whatever is told of the call takes the names from here.
    """

    def __init__(
        self,
        recovery: RecoveryManager,
        settings: Callable[[], CallSettings],
        bus: EventBus,
        chat: Chat | None,
        endpoint: Endpoint,
        model: str,
    ) -> None:
        self._recovery = recovery
        self._settings = settings
        self._bus = bus
        self._chat = chat
        self._endpoint = endpoint
        self.host = recovery.redactor.redact(endpoint.host)
        self.model = recovery.redactor.name(model)
        self._error_id: str | None = None
        self._number = 1
        self._asked_at: float | None = None  # on the chat's clock, while an attempt is under way

    @fail_open("the figures of a model call")
    def entered(self) -> None:
        """The runner makes the call."""
        chat = self._chat
        if chat is None:
            return
        chat.turn += 1
        chat.model, chat.host = self.model, self.host
        chat.tool = ""
        chat.attempt = 1
        chat.repairing = ""
        chat.set_state("waiting")
        self._asked(chat, 1)

    @fail_open("the figures of a model call")
    def first_token(self) -> None:
        """The first text or reasoning has come; only a chat's very first counts."""
        chat = self._chat
        if chat is None or chat.figures.first_token is not None:
            return
        chat.figures.first_token = chat.clock() - chat.started
        chat.set_state("streaming")
        self._publish(
            "chat.first_token",
            {"chat_id": chat.id, "model": self.model, "host": self.host, "seconds": chat.figures.first_token},
        )

    @fail_open("what is told of a silent model")
    def silent(self, seconds: float, left: float | None) -> None:
        """The model is silent; see `SilenceListener`. Shown in the chat while it lasts."""
        chat = self._chat
        if chat is None:
            return
        then: Then = "retry" if self._number <= self._settings().max_retries else "give_up"
        chat.silence.since, chat.silence.then = chat.clock() - seconds, then
        chat.silence.until = None if left is None else chat.clock() + left
        chat.show_while_silent(silence_notice(self.model, seconds, left, then, chat.language))
        data = {"chat_id": chat.id, "model": self.model, "host": self.host, "seconds": round(seconds, 1), "then": then}
        self._publish("chat.silent", data if left is None else {**data, "left": round(left, 1)})

    @fail_open("what is told of a silent model")
    def heard(self) -> None:
        """The silence is over."""
        chat = self._chat
        if chat is None or chat.silence.since is None:
            return
        seconds = chat.clock() - chat.silence.since
        chat.silence.over()
        chat.show_while_silent("")
        self._publish(
            "chat.heard", {"chat_id": chat.id, "model": self.model, "host": self.host, "seconds": round(seconds, 1)}
        )

    @fail_open("the figures of a model call")
    def retrying(self, cause: Classification, attempt: int, delay: float, cut: int) -> None:
        """Attempt number `attempt` has failed; in `delay` seconds the call is made again."""
        chat = self._chat
        if chat is None:
            return
        of = self._settings().max_retries
        chat.figures.retries += 1
        chat.attempt, chat.of = attempt, of
        chat.retry_at = chat.clock() + delay
        chat.repairing = cause.kind
        chat.set_state("retrying", cause.kind)
        chat.show_again()
        self._publish(
            "chat.retrying",
            {
                "chat_id": chat.id, "model": self.model, "host": self.host, "attempt": attempt, "of": of,
                "wait": delay, "error": cause.kind, "cut": cut,
            },
        )  # fmt: skip

    @fail_open("the figures of a model call")
    def asked_again(self, attempt: int) -> None:
        """The wait is over, and attempt number `attempt` begins."""
        self._number = attempt
        chat = self._chat
        if chat is None:
            return
        chat.retry_at = None
        chat.set_state("waiting")
        self._asked(chat, attempt)

    def ended(
        self,
        outcome: Outcome,
        *,
        first: float | None = None,
        finish: str = "",
        counts: Counts | None = None,
        written: Written | None = None,
    ) -> None:
        """The attempt has ended. `first`: seconds to its first token; `counts`: the server's, if it told any;
        `written`: what came, by our own estimate."""
        chat, began = self._chat, self._asked_at
        if chat is None or began is None:
            return
        self._asked_at = None
        if outcome == "failed":
            chat.figures.broke(chat.clock() - chat.started)
        data = {
            "chat_id": chat.id, "model": self.model, "host": self.host, "turn": chat.turn, "attempt": self._number,
            "outcome": outcome, "seconds": chat.clock() - began, "first_token": first,
            "finish": self._recovery.redactor.name(finish) if _WORD.fullmatch(finish) else "",
        }  # fmt: skip
        told = {f"{name}_tokens": count for name, count in counts._asdict().items() if count} if counts else {}
        if (counts is None or counts.output is None) and written is not None and written.tokens:
            told["tokens_estimated"] = written.tokens
        self._publish("chat.model_ended", {**data, **told})

    def context(self, attempt: int, waited: float) -> ErrorContext:
        """A failure of this call, for `handle_error()`; give it back to `handled()`."""
        chat_id = self._chat.id if self._chat is not None else None
        return ErrorContext(
            "model", attempt, waited, chat_id=chat_id, model=self.model, host=self.host, error_id=self._error_id
        )

    @fail_open("the figures of a model call")
    def handled(self, context: ErrorContext) -> None:
        """Take over the id under which the failure was recorded."""
        self._error_id = context.error_id

    @fail_open("the figures of a model call")
    def record(self, cause: Classification, outcome: ErrorOutcome, attempt: int, wait: float | None = None) -> None:
        """Count and publish a failure, or its recovery, under the call's id."""
        if self._chat is not None and outcome == "gave_up":
            self._chat.note_error(cause.kind, cause.type)
        self._error_id = self._recovery.record(
            cause,
            where="model",
            outcome=outcome,
            attempt=attempt,
            chat_id=self._chat.id if self._chat is not None else None,
            model=self.model,
            host=self.host,
            wait=wait,
            error_id=self._error_id,
        )

    @fail_open("what the user is told of a model call", default=())
    def tell(
        self,
        cause: Classification,
        *,
        attempts: int,
        waited: float,
        partial: bool,
        because: Classification | None = None,
    ) -> Sequence[Any]:
        """Leave a notice with the chat; returns events that say it where there is no chat seam to do so.

        `because` is the failure that led to `cause`, if that was another call's.
        """
        chat = self._chat
        explain = functools.partial(
            self._recovery.explain,
            host=self._endpoint.known,
            model=self.model,
            base_url=self._endpoint.shown,
            language=chat.language if chat is not None else "en",
            where_set=chat.model_set_in if chat is not None else None,
        )
        notices = [explain(cause, attempts=attempts, waited=waited, partial=partial)]
        if because is not None:
            notices.append(explain(because))
        if chat is not None and chat.pump_task is not None:
            chat.told.add(cause.kind)
            if cause.retry_after is not None:
                chat.again_at = chat.clock() + cause.retry_after
            chat.notices.extend(notices)
            return []
        return [text_event("\n\n" + notice) for notice in notices]

    @fail_open("the count of tokens")
    def writing(self, written: Written | None) -> None:
        """What an attempt that runs now writes into, or None as soon as that is counted."""
        if self._chat is not None:
            self._chat.figures.writing = written

    def _asked(self, chat: Chat, attempt: int) -> None:
        self._asked_at = chat.clock()
        chat.figures.of(self.model, self.host).calls += 1
        self._publish(
            "chat.model",
            {"chat_id": chat.id, "model": self.model, "host": self.host, "attempt": attempt, "turn": chat.turn},
        )

    @fail_open("events")
    def _publish(self, type_: str, data: Mapping[str, Any]) -> None:
        session = self._chat.session if self._chat is not None else None
        self._bus.publish_nowait(Event(type=type_, data=dict(data), source="copilot", session=session))
