"""What the bus's owner has to say about its queues: which events are essential, their keys, zone changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from .backpressure import OnZone, Zone
from .bus_event import Event
from .bus_failures import Failures


class Hooks:
    """The owner's functions, all optional and changeable at any time. An error in one never gets further."""

    __slots__ = ("_failures", "conflate", "essential", "on_zone")

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self.essential: Callable[[Event], bool] | None = None
        self.conflate: Callable[[Event], Hashable | None] | None = None
        self.on_zone: OnZone | None = None

    def is_essential(self, event: Event) -> bool:
        """Whether no mailbox may drop the event."""
        return self.essential is not None and bool(
            self._failures.guard("essential", self.essential, event)
        )

    def key(self, event: Event) -> Hashable | None:
        """The key under which a newer event may replace this one."""
        if self.conflate is None:
            return None
        key: Hashable | None = self._failures.guard("conflate", self.conflate, event)
        return key

    def zone_changed(self, name: str, zone: Zone, was: Zone, fill: float) -> None:
        """A mailbox changed its zone."""
        if self.on_zone is not None:
            self._failures.guard("on_zone", self.on_zone, name, zone, was, fill)


def label(event: Event) -> str:
    """The word under which a dropped event is counted."""
    return event.type
