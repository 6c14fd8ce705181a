"""What becomes of an error in a handler or a hook: counted, told, and logged once in a while."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from .event import Event
from .routes import CAUGHT, Call, Route
from .settings import BusSettings
from .subscribers import Subscription

LOG_EVERY: Final = 60.0

logger = logging.getLogger("copilot_pulse.event_bus")


class Errors:
    """Errors are counted, told to those who asked, and logged once in a while. Nothing here raises.

    A log line holds an error's type and place, not its text: that may hold a secret.

    Each handler and each hook gets a line for its first error, and then at most one in `LOG_EVERY` seconds,
    that says how many were left out.
    """

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._hooks: dict[str, tuple[float, int]] = {}
        self.total = 0
        self.cancelled = 0

    def call_failed(self, route: Route, call: Call, event: Event, error: BaseException) -> None:
        """A plain handler raised. Those behind it get the event all the same, here."""
        self._count(route, call, event, error)
        for later in route.behind(call):
            try:
                later(event)
            except CAUGHT as its_error:
                self._count(route, later, event, its_error)

    def _count(self, route: Route, call: Call, event: Event, error: BaseException) -> None:
        sub = route.owner_of(call)
        if isinstance(sub, Subscription):
            self.handler_failed(sub, event, error)
        else:
            self.total += 1  # it unsubscribed itself before it raised

    def handler_cancelled(self) -> None:
        """An async handler ended because its task was cancelled: no error."""
        self.cancelled += 1

    def handler_failed(self, sub: Subscription, event: Event, error: BaseException) -> None:
        """A subscription's handler raised, or ran into a cancelled future."""
        self.total += 1
        sub.errors += 1
        now = self._settings.clock()
        if now - sub.logged >= LOG_EVERY:
            self._log(f"event handler {sub.name} failed on {event.type}", error, sub.unlogged)
            sub.logged, sub.unlogged = now, 0
        else:
            sub.unlogged += 1
        for hook in self._settings.on_error:
            self.call_hook("on_error", hook, sub.name, event, error)

    def call_hook(self, name: str, hook: Callable[..., Any], *arguments: object) -> Any:
        """What a hook of the bus returns; None if it raises."""
        try:
            return hook(*arguments)
        except Exception as error:
            now = self._settings.clock()
            logged, unlogged = self._hooks.get(name, (float("-inf"), 0))
            if now - logged >= LOG_EVERY:
                self._log(f"{name} of the event bus failed", error, unlogged)
                self._hooks[name] = (now, 0)
            else:
                self._hooks[name] = (logged, unlogged + 1)
            return None

    def _log(self, what: str, error: BaseException, unlogged: int) -> None:
        more = f"; {unlogged} more since the last such line" if unlogged else ""
        logger.error("%s: %s at %s%s", what, type(error).__name__, place_of(error), more)


def place_of(error: BaseException) -> str:
    """Where an error was raised: file, line and function, without the path."""
    trace = error.__traceback__
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return f"{code.co_filename.replace(chr(92), '/').rsplit('/', 1)[-1]}:{trace.tb_lineno} in {code.co_name}"
