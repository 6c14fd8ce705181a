"""Small network helpers for tests: ports that refuse, names that do not resolve, a loop in a thread."""

from __future__ import annotations

import array
import asyncio
import contextlib
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

if sys.platform != "win32":
    import fcntl
    import termios

INVALID_HOST = "no-such-host.invalid"
"""A name that can never resolve (RFC 6761), for DNS failures without a network."""


class Server(Protocol):
    """What `in_thread` can run: a thing that is started and stopped on a loop."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


S = TypeVar("S", bound=Server)

# Not the module's generator: processes of tests that seed it alike would choose the same ports.
_CHANCE = random.SystemRandom()


def _own_ports() -> range:
    """The ports that no system gives away by itself, neither to who binds port 0 nor to who connects."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except OSError:
        first = 32768
    return range(12_000, first) if first > 20_000 else range(first - 10_000, first)


def closed_port() -> int:
    """A loopback port that refuses connections, and that a server of the test may take, leave and take again.

    Nothing holds it. But no other program gets it by chance: thousands of connections are made while a server
    boots or is down, each of which takes a port of the system's choice, even that to which it connects.
    """
    ports = _own_ports()
    while True:
        port = _CHANCE.choice(ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def refused_url(path: str = "") -> str:
    """A URL on loopback whose port refuses connections."""
    return f"http://127.0.0.1:{closed_port()}{path}"


def dns_failure_url(path: str = "") -> str:
    """A URL whose host name does not resolve."""
    return f"http://{INVALID_HOST}{path}"


def tls_to_plain(url: str) -> str:
    """The same URL with `https`, so that a client speaks TLS to a plain port."""
    return "https" + url[len("http") :]


def set_linger_zero(sock: Any) -> None:
    """Make the next close of `sock` send a TCP reset instead of an orderly end."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def unacknowledged(sock: Any) -> int:
    """Bytes written to `sock` that the peer's kernel has not taken yet; 0 where that is unknown."""
    if sys.platform == "win32":  # a reset may then overtake the bytes written before it
        return 0
    size = array.array("i", [0])
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, size)
    except OSError:
        return 0
    return size[0]


async def flushed(transport: asyncio.WriteTransport, looks: int = 2_000) -> None:
    """Wait until the peer's kernel has every byte written, so that a reset cannot overtake them.

    Gives up silently after so many looks, some seconds: a peer that does not read keeps its bytes for ever. They are
    counted, because a process that stood still has not looked meanwhile.
    """
    sock = transport.get_extra_info("socket")
    for _ in range(looks):
        if transport.is_closing() or (transport.get_write_buffer_size() == 0 and unacknowledged(sock) == 0):
            return
        await asyncio.sleep(0.001)


# How long a test waits for what comes in milliseconds on an idle machine.
PATIENCE = 60.0


async def until(condition: Callable[[], object], timeout: float = PATIENCE, what: str = "") -> None:
    """Wait until `condition()` is true; AssertionError after `timeout` seconds.

    It polls, so it also sees what another thread or process changes.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        await asyncio.sleep(0.002)


async def fresh_metrics(read: Callable[[], Awaitable[Any]], timeout: float = PATIENCE) -> Any:
    """The body of /api/metrics as it is now: `read` is called until what it gives was made after this call.

    The page is served from a copy that is up to a second old, so that heavy scraping costs the chats nothing.
    """
    began, end = round(time.time(), 3), time.monotonic() + timeout
    while (metrics := await read())["time"] <= began:
        if time.monotonic() > end:
            raise AssertionError(f"no metrics newer than {began} within {timeout} s: {metrics['time']}")
        await asyncio.sleep(0.02)
    return metrics


class Gate:
    """A door in a script that the test opens; usable from any thread and several loops.

    `waiting` counts who stands before it now, `passed` who has gone through.
    """

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.waiting = 0
        self.passed = 0

    def open(self) -> None:
        """Let through everybody who waits and everybody who comes until `close`. Any thread."""
        with self._lock:
            self._open.set()
            waiters, self._waiters = self._waiters, []
        for loop, event in waiters:
            with contextlib.suppress(RuntimeError):  # that loop has closed meanwhile
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """Hold up whoever comes from now on. Any thread."""
        self._open.clear()

    async def wait(self) -> None:
        """Wait for the door; a cancelled wait leaves nothing behind."""
        with self._lock:
            if self._open.is_set():
                self.passed += 1
                return
            entry = (asyncio.get_running_loop(), asyncio.Event())
            self._waiters.append(entry)
            self.waiting += 1
        try:
            await entry[1].wait()
            self.passed += 1
        finally:
            with self._lock:
                self.waiting -= 1
                if entry in self._waiters:
                    self._waiters.remove(entry)


@contextlib.asynccontextmanager
async def in_thread(server: S) -> AsyncIterator[S]:
    """Run `server` on a loop of its own in a thread, so that it answers while the test's loop is blocked."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-server", daemon=True)
    thread.start()

    async def call(coroutine: Any) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    try:
        await call(server.start())
        try:
            yield server
        finally:
            await call(server.stop())
            await call(loop.shutdown_asyncgens())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join, PATIENCE)
        loop.close()
