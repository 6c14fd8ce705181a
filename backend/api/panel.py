"""The panel's live data: one message a refresh to each client whose panel is open, and nothing else.

A client says that its panel is open and says so again every 20 s; the lease ends when it says that the panel
is closed, or by itself. While nobody holds a lease there is no task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

log = logging.getLogger("copilot_pulse.panel")

MESSAGE: Final = "copilot-pulse.update"
LEASE_SECONDS: Final = 60.0
MAX_PANELS: Final = 64
MAX_CLIENT_ID: Final = 128

Send = Callable[[str, Any, str], object]


class Source(Protocol):
    """What the feed reads; the monitor has it."""

    def snapshot(self) -> dict[str, Any]: ...
    def events_since(self, seq: int) -> tuple[int, list[dict[str, Any]]]: ...


class _Lease:
    __slots__ = ("expires", "seq")

    def __init__(self, expires: float) -> None:
        self.expires = expires
        self.seq = 0


class PanelFeed:
    """Sends `copilot-pulse.update` to the clients that hold a lease. For the event loop's thread.

    `send(name, data, client_id)` must not wait; it is ComfyUI's `send_sync` or the like. `refresh()` gives
    the seconds between two messages and is asked each time. A new client gets the last events at once.
    """

    def __init__(
        self,
        source: Source,
        send: Send,
        *,
        refresh: Callable[[], float] = lambda: 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._send = send
        self._refresh = refresh
        self._clock = clock
        self._sleep = sleep
        self._leases: dict[str, _Lease] = {}
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()

    @property
    def running(self) -> bool:
        """Whether there is a task: somebody watches."""
        return self._task is not None and not self._task.done()

    def __len__(self) -> int:
        return len(self._leases)

    def open(self, client_id: str) -> float:
        """Begin or renew a client's lease; the first one starts the task. Returns the seconds it lasts.

        Raises ValueError for an id that is empty or longer than 128 characters. Over 64 panels, the one
        whose lease ends first goes.
        """
        if not 0 < len(client_id) <= MAX_CLIENT_ID:
            raise ValueError(f"client_id has to be 1 to {MAX_CLIENT_ID} characters")
        expires = self._clock() + LEASE_SECONDS
        lease = self._leases.get(client_id)
        if lease is not None:
            lease.expires = expires
        else:
            while len(self._leases) >= MAX_PANELS:
                del self._leases[min(self._leases, key=lambda name: self._leases[name].expires)]
            self._leases[client_id] = _Lease(expires)
        if not self.running:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="copilot-pulse panel feed")
        return LEASE_SECONDS

    def close(self, client_id: str) -> bool:
        """End a client's lease; the task goes with the last one. False if there was none."""
        if self._leases.pop(client_id, None) is None:
            return False
        if not self._leases:
            self._end()
        return True

    def _end(self) -> None:
        """Cancel the task. It is let go at once, so that a panel which opens meanwhile starts a new one."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()

    async def aclose(self) -> None:
        """End all leases and wait until the task is gone. Twice is fine. A cancel leaves it on its way to its end."""
        self._leases.clear()
        self._end()
        if self._ending:
            await asyncio.wait(set(self._ending))

    async def _run(self) -> None:
        while self._leases:
            self.push()
            await self._sleep(self._refresh())
            self._expire()

    def _expire(self) -> None:
        now = self._clock()
        for client_id, lease in list(self._leases.items()):
            if lease.expires <= now:
                del self._leases[client_id]

    def push(self) -> None:
        """Send one message to each client that holds a lease, now. Never raises because of a client."""
        snapshot = self._source.snapshot()
        batches: dict[int, tuple[int, list[dict[str, Any]]]] = {}
        for client_id, lease in list(self._leases.items()):
            batch = batches.get(lease.seq)
            if batch is None:
                batch = batches[lease.seq] = self._source.events_since(lease.seq)
            lease.seq, events = batch
            try:
                self._send(MESSAGE, {"snapshot": snapshot, "events": events}, client_id)
            except Exception as error:
                if type(error).__name__ not in self._told:
                    self._told.add(type(error).__name__)
                    log.warning("the panel cannot be sent its data", exc_info=True)

    def __repr__(self) -> str:
        return f"<PanelFeed of {len(self._leases)} panels, {'running' if self.running else 'idle'}>"
