"""The TCP proxy cuts where it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.net import until
from tests.support.proxy import Fault, FaultProxy

PAYLOAD = bytes(range(256)) * 400


class Source:
    """A server that sends PAYLOAD to whoever connects, and keeps what it is sent."""

    def __init__(self) -> None:
        self.received = b""
        self.closed = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send everything, then read until the other side ends."""
        try:
            writer.write(PAYLOAD)
            await writer.drain()
            while data := await reader.read(65536):
                self.received += data
        except ConnectionError:
            return
        finally:
            self.closed += 1
            writer.close()


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    """A running source."""
    made = Source()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def proxy(source: Source) -> AsyncIterator[FaultProxy]:
    """A proxy before the source."""
    async with FaultProxy(source.port) as made:
        yield made


async def read(port: int, size: int = len(PAYLOAD)) -> tuple[bytes, str]:
    """What came, and how it ended: enough, eof or reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        while len(got) < size:
            data = await reader.read(65536)
            if not data:
                return got, "eof"
            got += data
        return got, "enough"
    except ConnectionError:
        return got, "reset"
    finally:
        writer.close()


async def test_passes_everything(proxy: FaultProxy, source: Source) -> None:
    """Without a fault the bytes come through whole, and a closed client closes the server's side."""
    got, end = await read(proxy.port)

    assert got == PAYLOAD
    assert "enough" == end
    await until(lambda: source.closed == 1 and not proxy.open_links)
    assert len(PAYLOAD) == proxy.links[0].down_bytes


@pytest.mark.parametrize(("how", "end"), [("reset", "reset"), ("close", "eof"), ("half", "eof")])
async def test_cuts_after_bytes(proxy: FaultProxy, how: str, end: str) -> None:
    """Exactly the first N bytes arrive, then the connection ends in the wished way; the next one is whole."""
    proxy.next(cut_after=5_000, how=how)

    got, ended = await read(proxy.port)

    assert got == PAYLOAD[:5_000]
    assert end == ended
    assert "enough" == (await read(proxy.port))[1]


async def test_hole_swallows(proxy: FaultProxy) -> None:
    """After a black hole begins nothing comes, and nobody is told."""
    proxy.next(Fault(cut_after=5_000, how="hole"))
    task = asyncio.create_task(read(proxy.port))
    await until(lambda: proxy.links and proxy.links[0].cut)

    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_cut_towards_the_server(proxy: FaultProxy, source: Source) -> None:
    """The server gets only the first bytes of what the client sends."""
    proxy.next(cut_up_after=3, how="close")
    _reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"abcdef")
    await until(lambda: source.closed == 1)
    writer.close()

    assert b"abc" == source.received


async def test_offline_and_online(proxy: FaultProxy) -> None:
    """Offline breaks what is open and refuses what is new; online works again."""
    proxy.default = Fault(chunk=1000, delay=0.001)
    task = asyncio.create_task(read(proxy.port))
    await until(lambda: proxy.links and proxy.links[0].down_bytes >= 3000)

    proxy.offline()
    got, end = await task
    assert "reset" == end
    assert PAYLOAD.startswith(got)
    assert (b"", "reset") == await read(proxy.port)

    proxy.default = Fault()
    proxy.online()
    assert (PAYLOAD, "enough") == await read(proxy.port)


async def test_pause_loses_nothing(proxy: FaultProxy) -> None:
    """A paused network delivers every byte once it goes on."""
    proxy.pause()
    task = asyncio.create_task(read(proxy.port))
    await proxy.until_links(1)
    assert 0 == proxy.links[0].down_bytes

    proxy.resume()

    assert (PAYLOAD, "enough") == await task
