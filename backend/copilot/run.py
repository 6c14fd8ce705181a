"""The run seam: sees every event of an agent's run pass, cuts out what broken attempts wrote.

Replaces the classmethod `agents.run.Runner.run_streamed` (Copilot imports the class under two names; it is one
class). Only runs that a pump task of ours starts are touched; every other plugin's runs pass as they are. The
wrapped `stream_events` runs in the pump's task and context.

Guarantees: a run that fails ends normally for Copilot, with a notice for the user, so that Copilot's own retry
loop, which repeats text and tools, never runs; traces with prompts are not uploaded; the position of each
attempt's text is exact, because the chain from here to the pump is pulled: when the next event is asked for,
the pump has seen the text of the one before.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import dataclasses
import inspect
import json
import logging
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ..aio import ends, in_front, missed
from ..chats import FRESH, GAVE_UP, RETRY, Chat, Label, Span, current_chat
from .seam import CopilotModules, Replacements, SeamMissing, is_wrapper, mark_wrapper

if TYPE_CHECKING:
    from ..pulse import Pulse

log = logging.getLogger("copilot_pulse.run")

_TEXT_DELTA: Final = "response.output_text.delta"
_CANCEL_LIMIT: Final = 5.0
_ID: Final = re.compile(r"[A-Za-z0-9_.:|+/=-]{0,200}")
_CANCELLED: Final = "_copilot_pulse_cancelled"


class RunReader:
    """Reads one streamed run on behalf of the chat that started it."""

    def __init__(self, pulse: Pulse, chat: Chat, run: Any) -> None:
        self._pulse = pulse
        self._chat = chat
        self._run = run
        self._stream_events: Callable[[], AsyncGenerator[Any, None]] = run.stream_events
        self._start = 0
        self._dead: list[Span] = []
        self._tools: dict[str, tuple[str, float]] = {}
        chat.handshake.begin()

    async def events(self) -> AsyncIterator[Any]:
        """What `stream_events()` yields. Ends normally when the run fails; CancelledError passes on.

        When it is closed early, the run is cancelled and its task awaited first: closing the library's
        generator alone would wait until the model has finished.
        """
        chat = self._chat
        handshake = chat.handshake
        source = self._stream_events()
        complete = False
        try:
            while True:
                try:
                    event = await source.__anext__()
                except StopAsyncIteration:
                    complete = True
                    return
                except Exception as error:
                    complete = True
                    if chat.active:
                        self._failed(error)
                    return
                seen, delta = event, False
                try:
                    if event.type != "raw_response_event":
                        seen = self._saw(event)
                    else:
                        delta = event.data.type == _TEXT_DELTA and bool(event.data.delta)
                        self._saw_raw(event.data)
                except Exception as error:
                    missed(error, "the figures of a run")
                yield seen
                if delta:
                    try:
                        handshake.delta_read()
                    except Exception as error:
                        missed(error, "the wait for the reader")
        finally:
            handshake.end()
            if not complete:
                await cancel_run(self._run)
            await source.aclose()

    def _saw_raw(self, data: Any) -> None:
        """Note an event of the model. Runs for each token: whoever calls catches what fails, without a guard more."""
        chat = self._chat
        if label := chat.handshake.label_of(data):
            self._observe(self._passed, label)
        if data.type == _TEXT_DELTA and data.delta:
            self._pulse.publish_now("chat.delta", {"chat_id": chat.id, "text": data.delta}, chat)
        elif data.type in _REASONING_DELTAS:
            self._pulse.publish_now("chat.delta", {"chat_id": chat.id, "text": data.delta, "reasoning": True}, chat)

    def _saw(self, event: Any) -> Any:
        """Note an event of the run; returns it as Copilot is to see it."""
        if event.type == "run_item_stream_event":
            self._observe(self._saw_item, event.item)
            if event.item.type == "tool_call_output_item":
                return with_text_output(event)
        elif event.type == "agent_updated_stream_event":
            self._observe(self._saw_agent, event.new_agent)
        return event

    def _observe(self, look: Callable[[Any], None], what: Any) -> None:
        """Take note of something; a bug of ours in it must not look like a failure of the run."""
        try:
            look(what)
        except Exception as error:
            missed(error, "an event of a run")

    def _passed(self, label: Label) -> None:
        position = len(self._chat.text.raw)
        if label == FRESH:
            self._start = position
            self._dead.clear()
        elif label == RETRY:
            # An attempt that broke before its first event left no text and has no mark of its own.
            span = Span(self._start, position)
            self._start = position
            self._dead.append(span)
            self._chat.text.cut(span)
        elif label == GAVE_UP:
            self._keep_the_longest(Span(self._start, position))

    def _keep_the_longest(self, last: Span) -> None:
        spans = [*self._dead, last]
        best = max(spans, key=len)
        text = self._chat.text
        text.cuts = [cut for cut in text.cuts if cut not in self._dead]
        for span in spans:
            if span is not best:
                text.cut(span)
        text.settled = len(text.cuts)

    def _failed(self, error: Exception) -> None:
        """The run itself failed, outside any model call: too many turns, a tool's error, a bad answer."""
        chat = self._chat
        recovery = self._pulse.recovery
        cause = recovery.classify(error)
        recovery.record(
            cause, where="run", outcome="gave_up", attempt=1, chat_id=chat.id, model=chat.model, host=chat.host
        )
        chat.failed = True
        chat.note_error(cause.kind, cause.type)
        if cause.kind in chat.told:
            return  # the model call that met the failure has told of it
        chat.notices.append(
            recovery.explain(
                cause,
                host=chat.host,
                model=chat.model,
                attempts=1,
                language=chat.language,
                where_set=chat.model_set_in,
                partial=bool(chat.text.raw),
            )
        )

    def _saw_item(self, item: Any) -> None:
        chat, name = self._chat, self._pulse.recovery.redactor.name
        if item.type == "tool_call_item":
            call_id, tool = _call_id(item), name(str(getattr(item.raw_item, "name", None) or "tool"))
            self._tools[call_id] = (tool, chat.clock())
            chat.tool = tool
            chat.set_state("tool", tool)
            self._publish("chat.tool_called", {"chat_id": chat.id, "tool": tool, "call_id": name(_shown(call_id))})
        elif item.type == "tool_call_output_item":
            call_id = _call_id(item)
            now = chat.clock()
            tool, began = self._tools.pop(call_id, (chat.tool or "tool", now))
            if not self._tools:
                chat.tool = ""
                chat.set_state("waiting")
            self._publish(
                "chat.tool_output",
                {
                    "chat_id": chat.id,
                    "tool": tool,
                    "call_id": name(_shown(call_id)),
                    "seconds": now - began,
                    "length": len(str(item.output)),
                },
            )

    def _saw_agent(self, agent: Any) -> None:
        name = agent.name
        # The first one is the agent that the run began with.
        self._chat.handed_off = bool(self._chat.agent)
        self._chat.agent = name
        self._publish("chat.agent_changed", {"chat_id": self._chat.id, "agent": name})

    def _publish(self, type_: str, data: dict[str, Any]) -> None:
        self._pulse.publish(type_, data, self._chat)


_REASONING_DELTAS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})


def _call_id(item: Any) -> str:
    raw = item.raw_item
    value = raw.get("call_id") if isinstance(raw, dict) else getattr(raw, "call_id", None)
    return str(value or "")


def _shown(call_id: str) -> str:
    """The id as it is told: a server may give any text for one, the user's own too."""
    return call_id if _ID.fullmatch(call_id) else sha256(call_id.encode("utf-8", "replace")).hexdigest()[:16]


def with_text_output(event: Any) -> Any:
    """A tool's output as JSON text, where it is data.

    Newer versions of openai-agents give an MCP tool's output as a dict. Copilot takes `str()` of it for JSON,
    fails to read it, and the user gets no workflow cards. The run itself keeps its own item.
    """
    output = event.item.output
    if not isinstance(output, (dict, list)):
        return event
    try:
        text = json.dumps(output, ensure_ascii=False)
    except (TypeError, ValueError):
        return event
    item = copy.copy(event.item)
    item.output = text
    return dataclasses.replace(event, item=item)


def read_run(pulse: Pulse, chat: Chat, run: Any) -> Any:
    """Let `run.stream_events()` pass through a `RunReader`; returns the run."""
    reader = RunReader(pulse, chat, run)
    chat.stoppers.append(partial(cancel_run, run))
    run.stream_events = reader.events
    return run


def run_task(run: Any) -> asyncio.Task[Any] | None:
    """The task in which a streamed run of openai-agents lives (its name changed between versions)."""
    task = getattr(run, "run_loop_task", None) or getattr(run, "_run_impl_task", None)
    return task if isinstance(task, asyncio.Task) else None


async def cancel_run(run: Any) -> None:
    """Cancel a streamed run exactly once and wait until its task has ended, 5 s at most."""
    task = run_task(run)
    if task is None or task.done():
        return
    if not getattr(run, _CANCELLED, False):
        setattr(run, _CANCELLED, True)
        # Somebody else's cancel is on its way, perhaps (Task.cancelling() came with Python 3.11).
        if not getattr(task, "cancelling", int)():
            run.cancel()
    if not await ends(task, _CANCEL_LIMIT):
        log.warning("the agent's run did not end %.0f s after it was cancelled", _CANCEL_LIMIT)


class RunSeam:
    """Wraps the runs that a chat's pump starts."""

    name = "run"

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._replaced = Replacements()

    def attach(self, copilot: CopilotModules) -> None:
        """Replace `Runner.run_streamed`; see `Seam.attach`."""
        module = sys.modules.get("agents.run")
        runner = getattr(module, "Runner", None)
        original = vars(runner).get("run_streamed") if inspect.isclass(runner) else None
        if not isinstance(original, classmethod):
            raise SeamMissing("openai-agents has no Runner.run_streamed; pip install -U openai-agents")
        if is_wrapper(original.__func__):
            return
        self._replaced.replace(runner, "run_streamed", self._wrapped(original))

    def _wrapped(self, original: Any) -> Any:
        pulse = self._pulse
        plain = original.__func__

        def run_streamed(cls: Any, *args: Any, **kwargs: Any) -> Any:
            chat = current_chat.get()
            if chat is None or chat.pump_task is None:
                return plain(cls, *args, **kwargs)
            kwargs["run_config"] = without_tracing(kwargs.get("run_config"))
            if asyncio.current_task() is not chat.pump_task:
                # A run that a tool starts is no part of what the user reads, so it must not have the chat.
                context = contextvars.copy_context()
                context.run(current_chat.set, None)
                return context.run(plain, cls, *args, **kwargs)
            run = plain(cls, *args, **kwargs)
            try:
                return read_run(pulse, chat, run)
            except Exception:
                log.exception("a run is not watched; the chat goes on without recovery")
                return run

        guarded = in_front(run_streamed, plain, "recovery for a run")
        return classmethod(mark_wrapper(guarded, original))

    def detach(self) -> None:
        """Put `Runner.run_streamed` back."""
        self._replaced.restore()

    async def aclose(self) -> None:
        """Nothing runs outside the chats."""


def without_tracing(config: Any) -> Any:
    """The run's configuration with the upload of traces, which hold prompts, switched off."""
    try:
        from agents.run import RunConfig

        return dataclasses.replace(config or RunConfig(), tracing_disabled=True)
    except (ImportError, TypeError) as error:
        log.warning("tracing could not be switched off: %s", type(error).__name__)
        return config
