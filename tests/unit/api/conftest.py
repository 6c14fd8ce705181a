"""What the tests of the routes share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from backend.api.routes import RoutesReport, add_routes
from tests.support.api_client import Client, Parts


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """The routes, added in `on_startup` as in ComfyUI, on a real socket."""
    parts = Parts()
    app = web.Application()
    reports: list[RoutesReport] = []

    async def start(app: web.Application) -> None:
        reports.append(add_routes(app, parts, parts.send))

    app.on_startup.append(start)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession() as session:
        yield Client(f"http://127.0.0.1:{runner.addresses[0][1]}", session, parts, reports[0])
    await reports[0].aclose()
    await runner.cleanup()
