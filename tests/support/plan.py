"""A Redis of a plan with a limit on the size of a request and of its answer: in front of a real one.

async with Plan(redis.port, most=100_000) as plan:
    fleet.start(Settings(redis_url=Secret(plan.url)))
"""

from __future__ import annotations

import asyncio

REFUSAL = "-ERR max request size exceeded. Limit: {most} bytes, Actual: {size} bytes. See the docs for details\r\n"


async def _value(reader: asyncio.StreamReader) -> bytes:
    """One value of the protocol, as it came."""
    raw = await reader.readuntil(b"\r\n")
    number = int(raw[1:]) if raw[:1] in b"*$" else -1
    if raw[:1] == b"$" and number >= 0:
        return raw + await reader.readexactly(number + 2)
    if raw[:1] == b"*":
        return raw + b"".join([await _value(reader) for _ in range(number)])
    return raw


class Plan:
    """Passes commands on one by one. One of more than `most` bytes, or with such an answer, is refused."""

    def __init__(self, port: int, most: int) -> None:
        self.most = most
        self.refused = 0
        self._port = port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its address for COPILOT_PULSE_REDIS_URL."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())  # type: ignore[arg-type]
        behind = None
        try:
            from_redis, behind = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
            while True:
                answer = command = await _value(reader)
                if len(command) <= self.most:
                    behind.write(command)
                    answer = await _value(from_redis)
                if len(answer) > self.most:
                    self.refused += 1
                    answer = REFUSAL.format(most=self.most, size=len(answer)).encode()
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            for one in (writer, behind):
                if one is not None:
                    one.transport.abort()

    async def __aenter__(self) -> Plan:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
