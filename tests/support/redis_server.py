"""A real redis-server on a free port of loopback, with its faults: killed, stopped, full, wiped, slow, failed over.

async with RedisServer() as redis:
    fleet.start(Settings(redis_url=Secret(redis.url)))
    redis.kill()                 # as by kill -9; start() brings it up again on the same port
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from .net import PATIENCE, closed_port

PROGRAM = "redis-server"


def need_redis() -> str:
    """The program's path. Without it a test is skipped, or fails where CI has to have it."""
    found = shutil.which(PROGRAM)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing: apt-get install redis-server")
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    return found


class RedisServer:
    """One server; `options` are its configuration, `--save ""` among them unless told otherwise."""

    def __init__(self, *options: str, appendonly: bool = False, tls: bool = False) -> None:
        self.port = closed_port()
        self.folder = Path(tempfile.mkdtemp(prefix="copilot-pulse-redis-"))
        self.tls = tls
        self.options = [*options, "--appendonly", "yes" if appendonly else "no"]
        self.password = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address for COPILOT_PULSE_REDIS_URL."""
        login = f":{self.password}@" if self.password else ""
        return f"{'rediss' if self.tls else 'redis'}://{login}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it answers."""
        port = ("--port", "0", "--tls-port", str(self.port)) if self.tls else ("--port", str(self.port))
        command = [need_redis(), *port, "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", *self.options]
        # The log says why, if it does not come up.
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        ready, end = self._listens if self.tls else self._answers, time.monotonic() + PATIENCE
        while not await ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "log").read_text("utf-8", "replace"))
            await asyncio.sleep(0.01)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def _answers(self) -> bool:
        with contextlib.suppress(Exception):
            await self.command("PING")
            return True
        return False

    async def command(self, *words: Any) -> Any:
        """One command over a connection of its own."""
        from redis.asyncio import Redis

        async with Redis(
            host="127.0.0.1", port=self.port, password=self.password or None, protocol=2, socket_timeout=20
        ) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let the whole process stand still."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def forget(self) -> None:
        """Throw its files away; it must not run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(exist_ok=True)

    async def __aenter__(self) -> RedisServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
