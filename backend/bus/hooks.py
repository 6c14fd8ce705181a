"""The hooks of the bus's owners (see `EventBus.configure()`): asked and told about the queues of the bus."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..backpressure import Zone
from .errors import Errors
from .event import Event
from .settings import BusSettings, Conflate


class Hooks:
    """What the owners of the bus have to say about its queues. An error in a hook of theirs never gets further.

    In the loop's thread, except `is_essential()`, which is also called in threads that publish.
    """

    __slots__ = ("_errors", "_settings")

    def __init__(self, settings: BusSettings, errors: Errors) -> None:
        self._settings = settings
        self._errors = errors

    def is_essential(self, event: Event) -> bool:
        """Whether no mailbox may drop the event: one owner is enough to say so."""
        return any(self._errors.call_hook("essential", hook, event) for hook in self._settings.essential)

    def key(self, event: Event) -> Hashable | None:
        """The key under which a newer event may replace this one: of the first owner that has one."""
        for hook in self._settings.conflate:
            key: Hashable | None = self._errors.call_hook("conflate", _checked_key, hook, event)
            if key is not None:
                # Two owners may well use the same key for different things.
                return key if len(self._settings.conflate) == 1 else (id(hook), key)
        return None

    def zone_changed(self, name: str, zone: Zone, was: Zone, fill: float) -> None:
        """A mailbox changed its zone."""
        for hook in self._settings.on_zone:
            self._errors.call_hook("on_zone", hook, name, zone, was, fill)

    def throttle_changed(self, name: str, change: dict[str, Any]) -> None:
        """The model of a mailbox's throttle has come to another decision."""
        for hook in self._settings.on_throttle:
            self._errors.call_hook("on_throttle", hook, name, change)


def _checked_key(hook: Conflate, event: Event) -> Hashable | None:
    key = hook(event)
    hash(key)  # what cannot be looked up is an error of the hook, here and not in the queue
    return key
