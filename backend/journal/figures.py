"""What the thread that writes has done, for metrics and health."""

from __future__ import annotations

from collections import Counter

from .faults import FileFault


class Figures:
    """What the thread has done. It writes them, others only read."""

    def __init__(self) -> None:
        self.stored = 0
        self.taken = 0  # events that came in and are stored or lost by now
        self.lost: Counter[str] = Counter()  # by reason
        self.commits = 0
        self.commit_seconds = 0.0
        self.slowest_commit = 0.0
        self.bytes = 0
        self.segments = 0
        self.dropped_segments = 0  # because the disk was full
        self.fault: FileFault | None = None
        self.fault_text = ""
        self.set_aside = ""  # the name of the last file that was found broken
        self.slot: int | None = None
        self.last_id = 0
        self.journal_mode = ""

    def count_commit(self, seconds: float) -> None:
        """A transaction was committed."""
        self.commits += 1
        self.commit_seconds += seconds
        self.slowest_commit = max(self.slowest_commit, seconds)
