"""One model call with its attempts: ask, watch, judge, and ask again or give up.

The order of the work in one attempt: take a lease from the breaker of this base URL; stream under a watch;
hold the closing event back; judge whether the answer is whole; only then let the closing event pass.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from ...aio import fail_open, missed, our_fault
from ...chats import FRESH, GAVE_UP, RETRY, Chat, current_chat
from ...error_handling import Classification, RecoveryManager, errors, secret_name
from ...event_bus import EventBus
from ...events import Outcome
from .answers import (
    answer_text,
    completed_event,
    function_calls,
    names_of,
    prompt_texts,
    with_unknown_calls_answered,
)
from .attempt import Attempt
from .client import WatchedClient, without_retries
from .endpoint import Endpoint
from .judge import HostMemory, shortfall, truncation
from .report import CallReport, CallSettings
from .shapes.normalise import Normaliser
from .shapes.tool_calls import ToolCalls, call_ids
from .tokens import Asking, Counts, UsageMemory, counts_of, estimate_prompt
from .tool_history import Replay, ReplayMemory
from .watch import StreamWatch, close_stream

log = logging.getLogger("copilot_pulse.model")

UNKNOWN_TOOL_LIMIT: Final = 2
ASKED_ONCE_MORE: Final = frozenset({"truncated", "empty_answer", "reasoning_only"})
# After a stall the next attempt may be silent for this share of the last one's limit, and at least so many seconds.
SHORTER: Final = 0.25
SHORTEST: Final = 20.0
_DRAIN_LIMIT: Final = 5.0
OpenStream = Callable[[Any, inspect.BoundArguments, Any], AsyncGenerator[Any, None]]


class CallParts(NamedTuple):
    """What every model call uses of the running plugin."""

    recovery: RecoveryManager
    settings: Callable[[], CallSettings]
    bus: EventBus
    hosts: HostMemory
    thoughts: ReplayMemory
    usage: UsageMemory


@fail_open("the keys of a client, for the redactor")
def _tell_keys(recovery: RecoveryManager, client: Any) -> None:
    """Tell the redactor what the client sends: its key, wherever it comes from (the page, the environment, Copilot's
    own file), and what a fork has put into headers, the query or the base URL."""
    redactor = recovery.redactor
    redactor.hold(getattr(client, "api_key", None))
    redactor.add_url(str(client.base_url))
    for name, value in (getattr(client, "_custom_headers", None) or {}).items():
        if secret_name(name):
            redactor.hold(value)
    if query := getattr(client, "_custom_query", None):
        redactor.add_url(f"http://model.invalid/?{urlencode(query)}")


class _NoLease:
    """What an attempt holds where the breaker itself is broken."""

    probe = False

    def success(self, *_: object) -> None:
        """Nothing is counted."""

    cancelled = settle = success


_NO_LEASE: Final = _NoLease()


class ModelCall:
    """One call of the model by the runner. Used once, by one task."""

    def __init__(
        self,
        parts: CallParts,
        model: Any,
        arguments: inspect.BoundArguments,
        open_stream: OpenStream,
    ) -> None:
        self._recovery = parts.recovery
        self._settings = parts.settings
        self._hosts = parts.hosts
        self._thoughts = parts.thoughts
        self._usage = parts.usage
        self._model = model
        self._arguments = arguments
        self._open_stream = open_stream
        self._client = model._client
        self._chat: Chat | None = current_chat.get()
        _tell_keys(parts.recovery, self._client)
        self._endpoint = Endpoint.of(self._client.base_url)
        self._report = CallReport(
            parts.recovery, parts.settings, parts.bus, self._chat, self._endpoint, str(model.model)
        )
        # A router serves many models, and one that is down says nothing about the others.
        self._breaker = parts.recovery.breakers.get(f"llm:{self._report.host} {self._report.model}".rstrip())
        self._attempt: Attempt | None = None
        self._replay = Replay(parts.thoughts, f"{self._report.host} {self._report.model}", self._owner)
        self._number = 0
        self._requests = 0
        self._waited = 0.0
        self._once_more: Counter[str] = Counter()
        self._unknown_tools = 0
        self._stalls = 0
        self._retried: Classification | None = None
        # Whether an attempt has shown anything that the next one takes the place of.
        self._shown = False
        self._kept = ""
        # Every attempt and every wait is to be ours, counted and visible.
        self._calling = without_retries(self._client)

    @property
    def _owner(self) -> Any:
        """Whose thoughts the model's are: the chat's, or the model's own where there is none."""
        return self._chat if self._chat is not None else self._model

    # -- streaming -------------------------------------------------------------------------------

    async def stream(self) -> AsyncGenerator[Any, None]:
        """The events of the call, those of broken attempts included; ends with one `response.completed`.

        Raises only CancelledError. A cancel closes the connection to the model before it passes on.
        """
        self._report.entered()
        closing: list[Any] | None = None
        while closing is None:
            self._number += 1
            self._attempt = attempt = None
            failure: BaseException | None = None
            try:
                self._attempt = attempt = self._new_attempt()
                async with attempt:
                    while (event := await attempt.next()) is not None:
                        yield event
                closing = self._judged(attempt)
                self._settle(attempt, "success")
                self._report_end("completed")
                if closing is None:
                    self._report.asked_again(self._number + 1)
            except (asyncio.CancelledError, GeneratorExit):
                self._settle(attempt, "cancelled")
                self._report_end("cancelled")
                raise
            except Exception as error:
                failure = error
            # Outside the handler above: what goes wrong in here must not carry the failure, whose
            # text may hold a key, into a log.
            if failure is not None:
                try:
                    closing = await self._recover(failure)
                except Exception as error:
                    failure = error
                if our_fault(failure):
                    missed(failure, "recovery for this model call")
                    break
        if closing is None:
            async for event in self._plain():
                yield event
            return
        await self._drain()
        for event in closing:
            yield event

    def _new_attempt(self) -> Attempt:
        """The next attempt; nothing is asked yet. Raises CircuitOpen if the server is left alone."""
        lease = self._lease()
        self._requests += 1
        watch = self._watch()
        known = frozenset(self._known_tools())
        tools = ToolCalls(known, call_ids(self._arguments.arguments.get("input")))
        normaliser = Normaliser(tools, known, watch)
        asking = Asking(self._usage, self._report.host)
        client = WatchedClient(self._calling, watch, normaliser, self._replay, asking)
        self._report.writing(normaliser.written)
        return Attempt(
            lambda: self._open_stream(self._model, self._arguments, client),
            watch,
            normaliser,
            lease,
            chat=self._chat,
            report=self._report,
            label=RETRY if self._shown else FRESH,
        )

    async def _recover(self, failure: BaseException) -> list[Any] | None:
        """Wait for the next attempt and return None, or return the events that close the call in vain."""
        attempt = self._attempt
        self._report_end("failed")
        if attempt is not None:
            self._shown = self._shown or attempt.began
            failure = attempt.watch.real_failure(failure) or failure if isinstance(failure, Exception) else failure
        if our_fault(failure):
            raise failure
        cause = self._recovery.classify(failure)
        self._stalls += cause.kind == "stalled"
        self._settle(attempt, "settle", cause)
        if await self._wait_for_retry(failure, cause):
            return None
        if attempt is not None:
            self._count(attempt)
        return self._give_up(cause)

    def _lease(self) -> Any:
        try:
            return self._breaker.acquire()
        except errors.CircuitOpen:
            raise
        except Exception as error:
            missed(error, "the breaker of a model server")
            return _NO_LEASE

    @fail_open("the breaker of a model server")
    def _settle(self, attempt: Attempt | None, outcome: str, *cause: Classification) -> None:
        """Tell the breaker how an attempt has ended: success, cancelled, or settle with the cause."""
        if attempt is None:
            return
        getattr(attempt.lease, outcome)(*cause)
        if outcome == "cancelled":
            self._count(attempt)

    async def _plain(self) -> AsyncGenerator[Any, None]:
        """The call as without us, in the place of all that was shown: something of ours broke, and not the model."""
        source = self._open_stream(self._model, self._arguments, self._client)
        first = True
        try:
            async for event in source:
                if first and self._shown and self._chat is not None:
                    self._chat.handshake.mark(event, RETRY)
                first = False
                yield event
        finally:
            await close_stream(source)

    def _judged(self, attempt: Attempt) -> list[Any] | None:
        """As `_accept()`, but an answer passes where the judging itself breaks."""
        try:
            return self._accept(attempt)
        except Exception as error:
            if not our_fault(error) or attempt.final is None:
                raise
            missed(error, "the check whether an answer is whole")
            return [*attempt.held, attempt.final]

    @fail_open("the figures of a model call")
    def _report_end(self, outcome: Outcome) -> None:
        """Tell how the attempt has ended; of one that has been told of, nothing."""
        attempt = self._attempt
        if attempt is None:
            self._report.ended(outcome)
            return
        watch, normaliser = attempt.watch, attempt.normaliser
        self._report.ended(
            outcome,
            first=watch.first_after,
            finish=watch.finish_reason,
            counts=normaliser.counts,
            written=normaliser.written,
        )

    def _accept(self, attempt: Attempt) -> list[Any] | None:
        """The events that close the call, if the answer may pass; None to ask again, for another answer.

        Those of finished tool calls that are kept go out before the end. Raises what is wrong with the answer.
        """
        watch, final = attempt.watch, attempt.final
        self._shown = self._shown or attempt.began
        if wrong := watch.real_failure(None):
            raise wrong
        response = final.response if final is not None else None
        remark = truncation(
            watch,
            response,
            self._hosts,
            length=attempt.length,
            longest=len(self._kept),
            asked_again=self._once_more["truncated"] > 0,
        )
        if self._ask_again_without_unknown_tools(final):
            self._count(attempt)
            return None
        answered = self._chat is not None and self._chat.answered
        asked_again = self._once_more["empty_answer"] + self._once_more["reasoning_only"] > 0
        remark = remark or shortfall(
            watch,
            response,
            length=attempt.length,
            answered=answered,
            asked_again=asked_again,
            unparsed=attempt.normaliser.unparsed,
        )
        if self._chat is not None and answer_text(final.response).strip():
            self._chat.answered = True
        self._count(attempt)
        self._thoughts.keep(self._owner, attempt.normaliser.thoughts, attempt.normaliser.calls)
        kept = {call.call_id for call in function_calls(final.response)}
        calls = [event for event in attempt.held if event.item.call_id in kept]
        return [*self._remarked(remark), *calls, final]

    def _remarked(self, remark: errors.PulseError | None) -> list[Any]:
        """Record how the call has ended, and tell the user what is missing of its answer."""
        if remark is None:
            if self._retried is not None:
                self._report.record(self._retried, "recovered", self._number)
            return []
        cause = self._recovery.classify(remark)
        if isinstance(remark, errors.EmptyAnswer):  # the chat has an answer, and the model nothing to add to it
            self._report.record(cause, "ignored", self._number)
            return []
        self._report.record(cause, "gave_up", self._number)
        return [*self._tell(cause)]

    def _watch(self) -> StreamWatch:
        settings = self._settings()
        first, stall = settings.first_token_timeout, settings.stall_timeout
        if first > 0:
            first += settings.first_token_per_1000_chars * sum(map(len, self._prompt_texts())) / 1000
        # A user who has waited once in vain need not wait as long again.
        shorter = SHORTER**self._stalls
        return StreamWatch(
            base_url=self._endpoint.shown,
            first_limit=min(first, max(first * shorter, SHORTEST)),
            stall_limit=min(stall, max(stall * shorter, SHORTEST)),
            listener=self._report,
        )

    def _prompt_texts(self) -> Iterator[str]:
        """All text that is sent: instructions, history, tools."""
        arguments = self._arguments.arguments
        tools = [
            (tool.name, getattr(tool, "description", ""), getattr(tool, "params_json_schema", {}))
            for tool in arguments.get("tools") or ()
        ]
        return prompt_texts(arguments.get("system_instructions"), arguments.get("input"), tools)

    # -- an answer that has come -----------------------------------------------------------------

    def _ask_again_without_unknown_tools(self, final: Any) -> bool:
        """Answer calls of tools that do not exist, so that the run does not end with an error.

        True if the model must be asked again, with those answers in its input. A response that also
        calls known tools keeps these; past the limit the text is kept, without the calls.
        """
        calls = function_calls(final.response) if final is not None else []
        if not calls:
            return False
        arguments = self._arguments.arguments
        known = self._known_tools()
        unknown = [call for call in calls if call.name not in known]
        if not unknown:
            return False
        self._unknown_tools += 1
        cause = self._recovery.classify(errors.UnknownTool(unknown[0].name))
        if len(unknown) == len(calls) and self._unknown_tools <= UNKNOWN_TOOL_LIMIT:
            self._report.record(cause, "retrying", self._number, 0.0)
            self._retried = cause
            arguments["input"] = with_unknown_calls_answered(arguments["input"], final.response, known)
            self._shown = False  # what came before the calls stays
            return True
        final.response.output = [item for item in final.response.output if item not in unknown]
        if not function_calls(final.response) and not answer_text(final.response).strip():
            raise errors.UnknownTool(unknown[0].name)
        self._report.record(cause, "gave_up", self._number)
        if self._retried is not None and self._retried.kind == cause.kind:
            self._retried = None
        return False

    def _known_tools(self) -> set[str]:
        arguments = self._arguments.arguments
        return names_of(arguments.get("tools") or (), arguments.get("handoffs") or ())

    @fail_open("the count of tokens")
    def _count(self, attempt: Attempt, *, kept: bool = True) -> None:
        """Add what an attempt has cost to the chat's figures: what the server tells of it, else an estimate.

        Of an attempt that another one takes the place of (not `kept`) only what the server tells counts.
        """
        chat, counts = self._chat, attempt.normaliser.counts
        if chat is None or attempt.counted:
            return
        attempt.counted = True
        self._report.writing(None)
        usage = chat.figures.of(self._report.model, self._report.host)
        if counts is not None:
            usage.told(*counts)
        tokens = counts.output if counts is not None else None
        if not kept:
            return
        if tokens is None:
            tokens = attempt.normaliser.written.tokens
            usage.estimated += tokens
        if (counts is None or counts.input is None) and attempt.watch.answered:
            usage.estimated_input += estimate_prompt(self._prompt_texts())
        self._count_stretch(attempt, tokens, counts)

    def _count_stretch(self, attempt: Attempt, tokens: int, counts: Counts | None) -> None:
        """Add the attempt's time of streaming to the chat's."""
        assert self._chat is not None
        if counts is not None and not attempt.watch.has_reasoning:
            # The server keeps these thoughts to itself: none of the stream's time was needed for them.
            tokens -= counts.reasoning or 0
        seconds = attempt.watch.stretch()
        # The first token begins the stretch, so no part of its time was needed for it.
        if seconds > 0 and tokens > 1:
            self._chat.figures.stream_tokens += tokens - 1
            self._chat.figures.stream_seconds += seconds

    # -- after a failure -------------------------------------------------------------------------

    async def _wait_for_retry(self, error: BaseException, cause: Classification) -> bool:
        """Decide whether the call is made again, and wait until then. Cancel-safe: nothing is left."""
        chat = self._chat
        if chat is not None:
            chat.note_error(cause.kind, cause.type)
        self._once_more[cause.kind] += 1
        often = cause.kind in ASKED_ONCE_MORE and self._once_more[cause.kind] > 1
        if often or (self._length() and (chat is None or not chat.handshake.watched)):
            # A model that has nothing to say, or a server that never says it is done: each try costs a call.
            # And text that nobody can take back must not be followed by the same text again.
            self._report.record(cause, "gave_up", self._number)
            return False
        about = self._report.context(self._number, self._waited)
        again = await self._recovery.handle_error(error, about)
        self._report.handled(about)
        if not again:
            return False
        delay = about.delay or 0.0
        self._retried = cause
        if self._attempt is not None:
            self._count(self._attempt, kept=False)
        self._report.retrying(cause, self._number, delay, self._length())
        self._keep_partial()
        self._waited += delay
        await asyncio.sleep(delay)
        self._report.asked_again(self._number + 1)
        return True

    def _give_up(self, cause: Classification) -> list[Any]:
        """Tell the user; returns the events that close the call with the longest text that came."""
        self._keep_partial()
        if self._chat is not None:
            self._chat.failed = True
        told = self._tell(cause)
        closing = completed_event(self._kept)
        if self._shown and self._chat is not None:
            self._chat.handshake.mark(closing, GAVE_UP)
        return [*told, closing]

    def _keep_partial(self) -> None:
        if self._length() > len(self._kept):
            self._kept = "".join(self._partial)

    @property
    def _partial(self) -> list[str]:
        """The pieces of text of the attempt that has just ended."""
        return self._attempt.partial if self._attempt is not None else []

    def _length(self) -> int:
        return sum(map(len, self._partial))

    def _tell(self, cause: Classification) -> Sequence[Any]:
        partial = bool(self._kept or self._length())
        because = None
        if cause.kind == "circuit_open":
            # The failure that this call has met tells more than that a breaker is open.
            cause, because = (self._retried, None) if self._retried is not None else (cause, self._breaker.cause)
        return self._report.tell(cause, attempts=self._requests, waited=self._waited, partial=partial, because=because)

    # -- the consumer ----------------------------------------------------------------------------

    @fail_open("the wait for the reader")
    async def _drain(self) -> None:
        """Wait until the reader has seen every delta, before the runner can raise an error.

        openai-agents throws away what is still queued when a run fails, so a fast model's last words
        would be lost. Waits 5 s at most; a cancel leaves nothing behind.
        """
        if self._chat is not None and not await self._chat.handshake.read_up(_DRAIN_LIMIT):
            log.warning("the reader of a chat is more than %.0f s behind the model", _DRAIN_LIMIT)

    # -- not streaming ---------------------------------------------------------------------------

    async def respond(self, get_response: Callable[..., Any]) -> Any:
        """The call without streaming: made again after a failure; raises the last error on give-up."""
        model = copy.copy(self._model)
        model._client = self._calling
        self._arguments.arguments["self"] = model
        while True:
            self._number += 1
            lease = self._lease()
            self._requests += 1
            try:
                answer = await get_response(*self._arguments.args, **self._arguments.kwargs)
            except asyncio.CancelledError:
                lease.cancelled()
                raise
            except Exception as error:
                failure = error
            else:
                lease.success()
                self._count_whole(answer)
                if self._retried is not None:
                    self._report.record(self._retried, "recovered", self._number)
                return answer
            cause = self._recovery.classify(failure)
            lease.settle(cause)
            if not await self._wait_for_retry(failure, cause):
                raise failure

    @fail_open("the count of tokens")
    def _count_whole(self, answer: Any) -> None:
        """Count an answer that came in one piece, by the library's words for what the server told."""
        usage, chat = getattr(answer, "usage", None), self._chat
        if chat is None or usage is None:
            return
        figures = chat.figures.of(self._report.model, self._report.host)
        figures.calls += 1
        told = {
            "input_tokens": getattr(usage, "input_tokens", None),
            "output_tokens": getattr(usage, "output_tokens", None),
            "input_tokens_details": {
                "cached_tokens": getattr(getattr(usage, "input_tokens_details", None), "cached_tokens", None)
            },
            "output_tokens_details": {
                "reasoning_tokens": getattr(getattr(usage, "output_tokens_details", None), "reasoning_tokens", None)
            },
        }
        if (counts := counts_of(told)) is not None:
            figures.told(*counts)
