"""Is an answer whole? The rules by which the model seam judges what a model call has brought.

Nothing here waits or changes anything but `HostMemory`: what is wrong is raised, and what may pass but should be
told is returned, as the errors that recovery knows.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ...error_handling import errors
from .answers import answer_text, function_calls
from .shapes.finish_reasons import Finish
from .shapes.tool_calls import is_object
from .watch import StreamWatch


class HostMemory:
    """Which base URLs have ever sent a finish reason. Bounded: the oldest of 256 is forgotten."""

    _SIZE: Final = 256

    def __init__(self) -> None:
        self._finishes: dict[str, bool] = {}

    def saw_finish(self, base_url: str) -> None:
        """A stream of this server ended with a finish reason."""
        self._note(base_url, True)

    def saw_no_finish(self, base_url: str) -> None:
        """Two streams in a row of this server ended without one."""
        if base_url not in self._finishes:
            self._note(base_url, False)

    def never_finishes(self, base_url: str) -> bool:
        """Whether this server is known to leave finish reasons out."""
        return self._finishes.get(base_url) is False

    def _note(self, base_url: str, finishes: bool) -> None:
        if base_url not in self._finishes and len(self._finishes) >= self._SIZE:
            del self._finishes[next(iter(self._finishes))]
        self._finishes[base_url] = finishes


def truncation(
    watch: StreamWatch, response: Any, hosts: HostMemory, *, length: int, longest: int, asked_again: bool
) -> errors.PulseError | None:
    """What the user should be told of a stream that did not end as it should, or None.

    `length` is how many characters this attempt brought, `longest` the most that an earlier one did;
    `asked_again` tells that the model has been asked once more already. Raises EmptyAnswer if nothing came,
    StreamTruncated if the model should be asked again, or if an earlier attempt brought more, and what the
    server says of its own failure.
    """
    if watch.finish is not None:
        hosts.saw_finish(watch.base_url)
        if failure := watch.broken_off():
            raise failure
        if response is None:
            raise errors.EmptyAnswer()
        return None
    if not watch.answered:
        raise errors.EmptyAnswer()
    if response is None:
        raise errors.StreamTruncated(length)
    if watch.done_seen and _calls_came_whole(response):
        return None
    known = watch.done_seen and hosts.never_finishes(watch.base_url)
    best = bool(function_calls(response)) or length >= longest
    if not _calls_are_whole(response, watch.done_seen) or not best or not (known or asked_again):
        raise errors.StreamTruncated(length)
    # Some servers never send a finish reason: after the second time what came is kept, and marked
    # unless this server is known for it and said that it was done.
    hosts.saw_no_finish(watch.base_url)
    return None if known else errors.StreamTruncated(length)


def shortfall(
    watch: StreamWatch, response: Any, *, length: int, answered: bool, asked_again: bool, unparsed: bool = False
) -> errors.PulseError | None:
    """What is missing of an answer that ended as it should, or None.

    `answered` tells that the chat has an answer already: from before a tool call, or from another agent; then an
    EmptyAnswer is returned, once the model was `asked_again`: it may have nothing to add. `unparsed` tells that the
    marks of a tool call stand in the text. Raises EmptyAnswer, ReasoningOnly, ContentFiltered, LengthLimit or
    StoppedEarly if there is no answer.
    """
    if function_calls(response):
        return None
    text = answer_text(response)
    early = _ended_early(watch, length if text.strip() else 0)
    # A template that opens the thoughts itself leaves the closing mark alone in the text.
    if text.rpartition("</think>")[2].strip():
        return early or (errors.UnparsedToolCall() if unparsed else None)
    if early is not None:
        raise early
    thought = watch.has_reasoning or bool(text.strip())
    nothing = errors.ReasoningOnly(watch.reasoning or length) if thought else errors.EmptyAnswer()
    if answered and asked_again:
        return nothing
    raise nothing


def _ended_early(watch: StreamWatch, length: int) -> errors.PulseError | None:
    """What the finish reason says, if it is no good end."""
    if watch.finish is Finish.LENGTH:
        return errors.LengthLimit(length)
    if watch.finish is Finish.FILTERED:
        return errors.ContentFiltered(watch.finish_reason)
    return errors.StoppedEarly(watch.finish_reason, length) if watch.finish is Finish.OTHER else None


def _calls_came_whole(response: Any) -> bool:
    """Whether there are calls, each with all of its arguments: nothing of them can be missing, whatever else is."""
    calls = function_calls(response)
    return bool(calls) and all(is_object(call.arguments) and call.arguments.strip("{ }") for call in calls)


def _calls_are_whole(response: Any, done_seen: bool) -> bool:
    for call in function_calls(response):
        try:
            # No arguments at all: either the call has none, or the stream ended before they came.
            json.loads(call.arguments or ("{}" if done_seen else ""))
        except (ValueError, RecursionError):
            return False
    return True
