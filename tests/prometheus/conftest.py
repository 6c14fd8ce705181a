"""A real Prometheus that scrapes our real routes, and promtool. Debian: `apt-get install prometheus`.

Without the programs these tests are skipped on a user's machine and fail in CI.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientSession, ContentTypeError, web

from backend.api.routes import add_routes
from backend.fleet_redis.layout import Seconds
from backend.monitoring import Monitor
from backend.settings import LiveSettings
from tests.support.figures import bus_figures, fleet_figures
from tests.support.net import PATIENCE, closed_port

CONFIG = """
global:
  scrape_interval: 500ms
  scrape_timeout: 500ms
scrape_configs:
  - job_name: openmetrics
    metrics_path: /metrics
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
  - job_name: text
    metrics_path: /api/metrics
    params: {{format: [prometheus]}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def program(name: str) -> str:
    """The path of a program; skip, or fail in CI, if there is none."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI must not skip this")
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture
def promtool() -> Callable[..., tuple[int, str]]:
    """Run promtool with arguments and input: (exit code, all it printed)."""
    path = program("promtool")

    def run(*arguments: str, text: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [path, *arguments], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


class Happened:
    """An event as far as the monitor looks at it."""

    def __init__(self, event_type: str, /, **data: Any) -> None:
        self.type, self.data = event_type, data


class App:
    """A plugin whose monitor is real and whose life is made up: `live()` is one moment of it."""

    def __init__(self) -> None:
        self.monitor = Monitor()
        self.settings = LiveSettings()
        self.chats: Any = None
        self.recovery: Any = None
        self.probe_mcp: Any = None
        self.dismiss_mcp: Any = None
        self.fleet: Any = None
        self.store: Any = None
        self.webhook: Any = None
        self.asked: list[str] = []
        self.port = 0
        self._n = 0
        monitor = self.monitor
        monitor.add_source("bus", self._bus)
        servers = [{"host": "a", "state": "up", "tools": 4}, {"host": "b", "state": "down"}]
        seams = [{"name": "chat", "attached": True}, {"name": "mcp", "attached": False}]
        breakers = [{"name": "127.0.0.1:1234", "state": "open", "retry_in": 3}]
        monitor.add_source("mcp", lambda: servers)
        monitor.add_source("seams", lambda: seams)
        monitor.add_source("breakers", lambda: breakers)
        self._seconds = Seconds()
        monitor.add_source("fleet", self._fleet)

    def _bus(self) -> dict[str, Any]:
        queue = {"name": "panel", "size": 30, "capacity": 100, "dropped": self._n, "conflated": self._n}
        return bus_figures(queue, published={"chat.delta": 100 * self._n})

    def _fleet(self) -> dict[str, Any]:
        """As `Fleet.figures()` gives it, with everything in use."""
        return fleet_figures(self._n, self._seconds.snapshot())

    def live(self) -> None:
        """A chat with a retry, one that failed, a model list, some latency."""
        self._n += 1
        tell = self.monitor.on_event
        who = {"chat_id": str(self._n), "kind": "chat", "model": "qwen3", "host": "127.0.0.1:1234"}
        mishap = {"severity": "medium", "kind": "timeout", "type": "APITimeoutError", "where": "model"}
        tell(Happened("chat.started", **who))
        tell(Happened("error", **mishap, outcome="retrying", message="slow"))
        tell(Happened("chat.retrying", **who, attempt=1, of=3))
        tell(Happened("error", **mishap, outcome="recovered", message="slow"))
        tell(Happened("chat.first_token", **who, seconds=0.4))
        tell(Happened("chat.tool_called", **who, tool="search"))
        tell(Happened("chat.finished", **who, outcome="completed", seconds=2.4, first_token=0.4, tokens=101,
                      stream_tokens=100, stream_seconds=2.0, length=400, bytes_sent=500, bytes_saved=9500))  # fmt: skip
        tell(Happened("error", **mishap, outcome="gave_up", message="gone"))
        tell(Happened("chat.finished", **who, outcome="failed", seconds=1.0, first_token=None, tokens=0))
        tell(Happened("http.request", method="GET", route="/api/model_config", status=200, seconds=0.3))
        self._seconds.record(0.004)
        self.monitor.on_latency([0.0004, 0.002])
        self.monitor.system.on_lag(0.003, self.monitor.clock())


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """The routes on a socket, and life going on behind them."""
    plugin = App()

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        plugin.asked.append(f"{request.path} {response.headers['Content-Type']}")
        return response

    application = web.Application(middlewares=[note])
    report = add_routes(application, plugin, send=lambda *message: None)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    plugin.port = runner.addresses[0][1]
    plugin.monitor.start()

    async def go_on() -> None:
        while True:
            plugin.live()
            await asyncio.sleep(0.05)

    life = asyncio.create_task(go_on())
    yield plugin
    life.cancel()
    await asyncio.wait({life})
    await plugin.monitor.aclose()
    await report.aclose()
    await runner.cleanup()


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, base: str, session: ClientSession) -> None:
        self._base = base
        self._session = session

    async def api(self, path: str, **query: str) -> dict[str, Any]:
        """The whole JSON of an answer, errors included."""
        async with self._session.get(f"{self._base}/api/v1/{path}", params=query) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; an expression that does not parse fails the test."""
        answer = await self.api("query", query=expression)
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: Any = answer["data"]["result"]
        return [{"metric": {}, "value": result}] if answer["data"]["resultType"] == "scalar" else list(result)

    async def targets(self) -> dict[str, dict[str, Any]]:
        """The scraped targets by job."""
        answer = await self.api("targets")
        return {target["labels"]["job"]: target for target in answer["data"]["activeTargets"]}

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until an awaited condition holds."""
        end = time.monotonic() + PATIENCE
        while not await condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {PATIENCE:.0f} s: {what}; {await self.targets()}")
            await asyncio.sleep(0.1)


@pytest.fixture
async def prometheus(app: App, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A real Prometheus with both formats scraped and up."""
    path = program("prometheus")
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(port=app.port))
    port = closed_port()
    with (tmp_path / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            path, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with ClientSession() as session:
            server = Prometheus(f"http://127.0.0.1:{port}", session)

            async def up() -> bool:
                # While it starts it refuses, then answers 503 in plain text.
                with contextlib.suppress(ClientConnectionError, ContentTypeError):
                    found = await server.targets()
                    return len(found) == 2 and all(target["health"] == "up" for target in found.values())
                return False

            end = time.monotonic() + PATIENCE
            while not await up():
                text = (tmp_path / "log").read_text()
                assert process.returncode is None, text
                assert time.monotonic() < end, f"the targets did not come up: {text}"
                await asyncio.sleep(0.1)
            yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
