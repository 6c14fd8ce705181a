"""Back-pressure in four layers, with one front: `BoundedQueue` (queue.py).

| layer | part | what it does |
|---|---|---|
| 1 | `Buffer` (buffer.py) | holds at most `capacity` items |
| 2 | `WaitingLine` (line.py) | a producer waits for room, first come first served, at most `put_timeout` |
| 3 | `RoomMaker` (buffer.py) | then it makes room: conflates by key, else drops the oldest it may drop |
| 4 | `Throttle` (throttle.py), `ZoneMeter` (zones.py) | producers are slowed by fill, with hysteresis |

Each part stands alone and can be used alone. Everything here belongs to the event loop's thread.
"""

from __future__ import annotations

from .pressure.arrival import Arrival, wait_for_room
from .pressure.buffer import Buffer, Marked, RoomMaker
from .pressure.errors import QueueClosed, QueueEmpty, QueueFull
from .pressure.line import Bell, Ticket, WaitingLine, Wake
from .pressure.queue import DEFAULT_CAPACITY, DEFAULT_PUT_TIMEOUT, DEFAULT_SLICE, FAST_LANE, BoundedQueue, OnZone
from .pressure.statistics import QueueStatistics
from .pressure.throttle import Throttle, pause_in_all
from .pressure.timer import Sleep, Timer, make_timer
from .pressure.zones import UNTHROTTLED, ThrottlePlan, Zone, ZoneMeter

__all__ = [
    "DEFAULT_CAPACITY",
    "DEFAULT_PUT_TIMEOUT",
    "DEFAULT_SLICE",
    "FAST_LANE",
    "UNTHROTTLED",
    "Arrival",
    "Bell",
    "BoundedQueue",
    "Buffer",
    "Marked",
    "OnZone",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueStatistics",
    "RoomMaker",
    "Sleep",
    "Throttle",
    "ThrottlePlan",
    "Ticket",
    "Timer",
    "WaitingLine",
    "Wake",
    "Zone",
    "ZoneMeter",
    "make_timer",
    "pause_in_all",
    "wait_for_room",
]
