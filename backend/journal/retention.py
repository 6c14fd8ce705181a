"""When a file ends, and which files go: by age, by bytes, and when the disk is full. For the writer's thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from .folder import free_bytes
from .segments import ActiveFile, Segment, list_segments, newest_of, remove
from .slots import free_slots

log = logging.getLogger("copilot_pulse.store")

SHARE: Final = 8  # a segment may have this part of the bytes and of the time that are kept
LEAST_SEGMENT: Final = 64 * 1024
DISK_SHARE: Final = 0.8  # of what is free beside us: the last part of a disk is left to others
HOURLY: Final = 3600.0
_REFUSED: Final = 60.0  # seconds until the next try at a file that somebody reads
_JUMP: Final = 3600.0  # seconds by which a clock that is set moves at least
_BELIEVED: Final = 86_400.0  # seconds after which a clock that was set is believed


class Limits(NamedTuple):
    """How much is kept."""

    days: float
    bytes: int

    def room(self, folder: Path, own: int) -> int:
        """Bytes that the store may take: what is asked for, less where the disk has not got it."""
        return max(min(self.bytes, own + int(free_bytes(folder) * DISK_SHARE)), LEAST_SEGMENT)


class Retention:
    """How much there is, and what has to go. `due` is when to look again, by the clock.

    `bytes` and `segments` are all that is in the folder, as of the last `measure()` and commit.
    """

    def __init__(self, folder: Path, limits: Limits, *, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.due = 0.0
        self.bytes = 0
        self.segments = 0
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._wall = wall
        self._segment_bytes = LEAST_SEGMENT
        self._sealed_bytes = 0
        self._offset = wall() - clock()
        self._believed_at = 0.0  # by the clock

    def measure(self, active: ActiveFile | None) -> None:
        """Look at all files: what they take, and how large a segment may become on this disk."""
        segments = list_segments(self._folder)
        self.segments = len(segments)
        in_use = active.path if active is not None else None
        self._sealed_bytes = sum(one.bytes for one in segments if one.path != in_use)
        self.grown(active)
        self._segment_bytes = max(self._limits.room(self._folder, self.bytes) // SHARE, LEAST_SEGMENT)

    def grown(self, active: ActiveFile | None) -> None:
        """Something was committed."""
        self.bytes = self._sealed_bytes + (active.size if active is not None else 0)

    def ends(self, active: ActiveFile) -> bool:
        """Whether the file that is written to is large or old enough to be sealed."""
        if active.size >= self._segment_bytes and active.last_id:
            return True
        first = active.first_time
        return first is not None and self._wall() - first >= self._limits.days * 86_400 / SHARE

    def let_go(self, slot: int | None, active: ActiveFile | None) -> None:
        """Unlink the oldest sealed files until age and bytes hold: of our slot, and of those that no process has."""
        self.due = self._clock() + HOURLY
        in_use = active.path if active is not None else None
        try:
            with free_slots(self._folder, slot) as slots:
                self._thin_out([one for one in list_segments(self._folder) if one.slot in slots], in_use)
        except OSError as error:
            log.debug("nothing was let go: %s", error)
        self.measure(active)

    def _oldest(self) -> float:
        """The time before which nothing is kept. A clock that was just set decides nothing: it may be set back, and
        what went would be gone."""
        now, wall = self._clock(), self._wall()
        if abs(wall - now - self._offset) > _JUMP:
            self._offset, self._believed_at = wall - now, now + _BELIEVED
        return wall - self._limits.days * 86_400 if now >= self._believed_at else 0.0

    def _thin_out(self, segments: list[Segment], in_use: Path | None) -> None:
        sizes = {one.path: one.bytes for one in segments}
        total = sum(sizes.values())
        room = self._limits.room(self._folder, total)
        oldest = self._oldest()
        slots: dict[int, list[Segment]] = {}
        for one in reversed(segments):  # the oldest of a slot stands last, and is taken off there
            if one.path != in_use:
                slots.setdefault(one.slot, []).append(one)
        ages = {slot: _age(files[-1]) for slot, files in slots.items()}
        while ages:
            slot = min(ages, key=ages.__getitem__)
            if ages[slot] >= oldest and total <= room:
                break
            one = slots[slot].pop()
            if remove(one):
                total -= sizes[one.path]
            else:
                self.due = self._clock() + _REFUSED  # Windows refuses that while somebody reads the file
            if slots[slot]:
                ages[slot] = _age(slots[slot][-1])
            else:
                del ages[slot]


def _age(segment: Segment) -> float:
    """The time by which a file is too old or not."""
    newest = newest_of(segment)
    try:
        return newest[1] if newest is not None else segment.path.stat().st_mtime
    except OSError:
        return 0.0
