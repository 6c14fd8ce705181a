"""A TCP proxy on loopback that breaks connections on command: what Wi-Fi, sleep and proxies do to a chat.

    async with FaultProxy(host.port) as proxy:
        proxy.next(cut_after=5_000)            # the next connection is cut after 5,000 bytes to the client
        async with CopilotPage(proxy.url, llm.base_url) as page: ...

Faults hold per connection; `offline()` and `online()` switch the whole network.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal

from .net import PATIENCE, flushed, set_linger_zero, until

How = Literal["reset", "close", "half", "hole"]


@dataclass(frozen=True)
class Fault:
    """What happens to one connection.

    `cut_after` counts bytes towards the client, `cut_up_after` bytes towards the server; None never cuts.
    `how`: "reset" (RST to both sides), "close" (orderly end to both), "half" (orderly end of that one
    direction; the other goes on), "hole" (that direction is swallowed from there on, nobody is told). `delay`
    seconds lie before each piece towards the client, `up_delay` before each towards the server, whose size is at most
    `chunk` bytes. `refuse` resets at once.
    """

    cut_after: int | None = None
    cut_up_after: int | None = None
    how: How = "reset"
    delay: float = 0.0
    up_delay: float = 0.0
    chunk: int = 65536
    refuse: bool = False


@dataclass
class Link:
    """One connection through the proxy, with what it has carried."""

    fault: Fault
    down_bytes: int = 0
    up_bytes: int = 0
    cut: bool = False
    open: bool = True
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def reset(self) -> None:
        """Reset both sides now."""
        self.cut = True
        for writer in self._writers:
            set_linger_zero(writer.get_extra_info("socket"))
            writer.transport.abort()

    def close(self) -> None:
        """End both sides in order, now."""
        self.cut = True
        for writer in self._writers:
            writer.close()


class FaultProxy:
    """Listens on loopback and forwards to `target_port`; see the module's docstring."""

    def __init__(self, target_port: int, *, target_host: str = "127.0.0.1", port: int = 0) -> None:
        self.target_host, self.target_port, self.port = target_host, target_port, port
        self.default = Fault()
        self.links: list[Link] = []
        self.refused = 0
        self._queue: deque[Fault] = deque()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._down = False
        self._flow = asyncio.Event()
        self._flow.set()

    # -- what tests use --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_links(self) -> list[Link]:
        """Connections that are open now."""
        return [link for link in self.links if link.open]

    def next(self, *faults: Fault, **fault: object) -> None:
        """Faults for the next connections, in order; after them `default` holds."""
        if fault:
            faults = (*faults, replace(Fault(), **fault))  # type: ignore[arg-type]
        self._queue.extend(faults)

    def offline(self, *, how: Literal["reset", "close", "hole"] = "reset") -> None:
        """The network is gone: open connections break (or stall, "hole"), new ones are reset."""
        self._down = True
        self._flow.clear()
        if how != "hole":
            for link in self.open_links:
                link.reset() if how == "reset" else link.close()

    def online(self) -> None:
        """The network is back; what stalled goes on, with nothing lost."""
        self._down = False
        self._flow.set()

    def pause(self) -> None:
        """Hold back all bytes in both directions; connections stay."""
        self._flow.clear()

    def resume(self) -> None:
        """Let bytes through again."""
        self._flow.set()

    async def until_links(self, count: int, timeout: float = PATIENCE) -> None:
        """Wait until `count` connections have come in all."""
        await until(lambda: len(self.links) >= count, timeout, f"{count} connections")

    # -- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> FaultProxy:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; a `port` of 0 is replaced by the one taken."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and reset what is open; idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for link in self.open_links:
            link.reset()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._queue.popleft() if self._queue and not self._down else self.default
        if self._down or fault.refuse:
            self.refused += 1
            set_linger_zero(writer.get_extra_info("socket"))
            writer.transport.abort()
            return
        link = Link(fault, _writers=[writer])
        self.links.append(link)
        try:
            up_reader, up_writer = await asyncio.open_connection(self.target_host, self.target_port)
        except OSError:
            writer.transport.abort()
            link.open = False
            return
        link._writers.append(up_writer)
        pumps = (
            self._pump(link, up_reader, writer, down=True),
            self._pump(link, reader, up_writer, down=False),
        )
        link._tasks = [asyncio.create_task(pump) for pump in pumps]
        try:
            await asyncio.gather(*link._tasks)
        finally:
            for task in link._tasks:
                task.cancel()
            await asyncio.gather(*link._tasks, return_exceptions=True)
            for each in link._writers:
                each.close()
            link.open = False

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool
    ) -> None:
        fault = link.fault
        limit = fault.cut_after if down else fault.cut_up_after
        delay = fault.delay if down else fault.up_delay
        sent = 0
        with contextlib.suppress(ConnectionError):
            while limit is None or sent < limit:
                room = fault.chunk if limit is None else min(fault.chunk, limit - sent)
                data = await reader.read(room)
                if delay:
                    await asyncio.sleep(delay)
                await self._flow.wait()
                if not data:
                    with contextlib.suppress(OSError):  # the other side may be gone already
                        if writer.can_write_eof():
                            writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
                sent += len(data)
                if down:
                    link.down_bytes += len(data)
                else:
                    link.up_bytes += len(data)
            await flushed(writer.transport)
            await self._cut(link, reader, writer)
            return
        link.reset()  # one side broke: so does the other

    async def _cut(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        how = link.fault.how
        if how == "reset":
            link.reset()
        elif how == "close":
            link.close()
        elif how == "half":
            link.cut = True
            writer.write_eof()
        else:
            link.cut = True
            while await reader.read(65536):
                pass
