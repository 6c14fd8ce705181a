"""`BusSettings`: what the parts of a bus go by, and who said so."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

from ..backpressure import OnZone, ThrottlePlan
from .event import Event

Essential = Callable[[Event], bool]
Conflate = Callable[[Event], "Hashable | None"]
OnError = Callable[[str, Event, BaseException], object]
OnThrottle = Callable[[str, "dict[str, Any]"], object]


_HOOKS: Final = ("essential", "conflate", "on_error", "on_zone", "on_throttle")


class Changes(TypedDict, total=False):
    """What `EventBus.configure()` takes. None takes back what this owner has set."""

    capacity: int | None
    put_timeout: float | None
    throttle: ThrottlePlan | str | None
    essential: Essential | None
    conflate: Conflate | None
    on_error: OnError | None
    on_zone: OnZone | None
    on_throttle: OnThrottle | None


@dataclass
class BusSettings:
    """One object that all parts of a bus hold, so that a change reaches all of them at once.

    Several owners may share a bus, and each can set everything. Of `capacity`, `put_timeout` and `throttle` the
    value that was set last counts; when its owner withdraws, the one before. Hooks add up: all owners' are asked
    and told, in the order in which they were set.
    """

    capacity: int = 1000
    put_timeout: float = 5.0
    throttle: ThrottlePlan | str | None = None
    slice_seconds: float = 0.005
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] | None = None
    essential: tuple[Essential, ...] = field(init=False, default=())
    conflate: tuple[Conflate, ...] = field(init=False, default=())
    on_error: tuple[OnError, ...] = field(init=False, default=())
    on_zone: tuple[OnZone, ...] = field(init=False, default=())
    on_throttle: tuple[OnThrottle, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        ThrottlePlan.of(self.throttle)
        self._default = {name: getattr(self, name) for name in Changes.__annotations__}
        self._set: dict[str, dict[Hashable, Any]] = {name: {} for name in self._default}

    def change(self, owner: Hashable, changes: Mapping[str, Any]) -> None:
        """An owner sets something, or, with None, takes it back; all of it, or nothing if this raises.

        Raises TypeError for an unknown name, ValueError for a capacity below 1 or a throttle of no known mode.
        """
        for name in changes:
            if name not in self._set:
                raise TypeError(f"an event bus has no setting {name!r}")
        if (capacity := changes.get("capacity")) is not None and capacity < 1:
            raise ValueError("capacity must be at least 1")
        ThrottlePlan.of(changes.get("throttle"))
        for name, value in changes.items():
            values = self._set[name]
            values.pop(owner, None)
            if value is not None:
                values[owner] = value
            if name in _HOOKS:
                setattr(self, name, tuple(values.values()))
            else:
                setattr(self, name, [self._default[name], *values.values()][-1])

    def withdraw(self, owner: Hashable) -> None:
        """Forget an owner and all that it has set."""
        self.change(owner, dict.fromkeys(self._set))
