"""Back-pressure in four layers, with one front: `BoundedQueue` (bp_queue.py).

| layer | part | what it does |
|---|---|---|
| 1 | `Buffer` (bp_buffer.py) | holds at most `capacity` items |
| 2 | `WaitingLine` (bp_line.py) | a producer waits for room, first come first served, at most `put_timeout` |
| 3 | `RoomMaker` (bp_buffer.py) | then it makes room: conflates by key, else drops the oldest it may drop |
| 4 | `Throttle` (bp_throttle.py), `ZoneMeter` (bp_zones.py) | producers are slowed by fill, with hysteresis |

Each part stands alone and can be used alone. Everything here belongs to the event loop's thread.
"""

from __future__ import annotations

from .bp_buffer import Buffer, Marked, RoomMaker
from .bp_errors import QueueClosed, QueueEmpty, QueueFull
from .bp_line import Bell, Ticket, WaitingLine, Wake
from .bp_queue import DEFAULT_CAPACITY, DEFAULT_PUT_TIMEOUT, DEFAULT_SLICE, FAST_LANE, BoundedQueue, OnZone
from .bp_statistics import QueueStatistics
from .bp_throttle import Throttle, pause_in_all
from .bp_timer import Sleep, Timer, make_timer
from .bp_waiting import Arrival, wait_for_room
from .bp_zones import UNTHROTTLED, ThrottlePlan, Zone, ZoneMeter

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
