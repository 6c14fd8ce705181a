"""What the bus's owner has to say about its queues: which events are essential, their keys, zone changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ..backpressure import OnZone, Zone
from .errors import Failures
from .event import Event


class Hooks:
    """The owner's functions, all optional and changeable at any time. An error in one never gets further."""

    __slots__ = ("_failures", "conflate", "dropped", "essential", "on_zone")

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self.essential: Callable[[Event], bool] | None = None
        self.conflate: Callable[[Event], Hashable | None] | None = None
        self.on_zone: OnZone | None = None
        self.dropped = 0

    def is_essential(self, event: Event) -> bool:
        """Whether no mailbox may drop the event."""
        if self.essential is None:
            return False
        return bool(self._failures.guard("essential", self.essential, event))

    def key(self, event: Event) -> Hashable | None:
        """The key under which a newer event may replace this one."""
        if self.conflate is None:
            return None
        key: Hashable | None = self._failures.guard("conflate", self._checked_key, event)
        return key

    def _checked_key(self, event: Event) -> Hashable | None:
        key = None if self.conflate is None else self.conflate(event)
        hash(key)  # what cannot be looked up is an error of the hook, here and not in the queue
        return key

    def zone_changed(self, name: str, zone: Zone, was: Zone, fill: float) -> None:
        """A mailbox changed its zone."""
        if self.on_zone is not None:
            self._failures.guard("on_zone", self.on_zone, name, zone, was, fill)

    def drop(self, event: Event) -> str:
        """A mailbox drops the event. Returns the word under which it counts that."""
        self.dropped += 1
        return event.type
