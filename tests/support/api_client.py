"""The routes' client, and what a running plugin gives the routes."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import ClientSession

from backend.api.routes import RoutesReport
from backend.event_bus import EventBus
from backend.fleet import Fleet
from backend.monitoring import Monitor, Webhook, WebhookSettings
from backend.settings import LiveSettings

SECRET = "sk-proj-Zx81qPwLm0aVt5yHn3Ke9RbUc7Dg"  # no key of anybody


class Breaker:
    """A breaker that notes that it was asked to probe."""

    def __init__(self) -> None:
        self.probed = 0

    def probe_now(self) -> bool:
        self.probed += 1
        return True


class Parts:
    """What a running plugin gives the routes."""

    def __init__(self) -> None:
        self.monitor = Monitor()
        self.settings = LiveSettings()
        self.chats = self
        self.recovery = self
        self.fleet = Fleet(EventBus())
        self.store = None
        self.webhook = Webhook(lambda: WebhookSettings(self.hook), post=self.hooked)
        self.hook = ""
        self.breakers = self
        self.redactor = self
        self.breaker = Breaker()
        self.stopped: list[str] = []
        self.probed: list[str] = []
        self.sent: list[tuple[str, Any, str]] = []

    def send(self, name: str, data: Any, client_id: str) -> None:
        self.sent.append((name, data, client_id))

    async def hooked(self, url: str, body: Any) -> int:
        self.told = (url, body)
        return 204

    async def stop(self, chat_id: str) -> bool:
        self.stopped.append(chat_id)
        return chat_id == "7-abc"

    def dismiss_mcp(self, server: str, dismissed: bool) -> None:
        self.dismissed = {"http://a/sse": dismissed, "http://down/sse": dismissed}[server]

    async def probe_mcp(self, server: str) -> bool:
        self.probed.append(server)
        return {"http://a/sse": True, "http://down/sse": False}[server]

    def snapshot(self) -> list[dict[str, Any]]:
        return [{"name": "127.0.0.1:1234", "state": "open"}]

    def get(self, name: str) -> Breaker:
        return self.breaker

    def redact_value(self, value: Any) -> Any:
        return json.loads(json.dumps(value, default=str).replace(SECRET, "[redacted]"))


class Client:
    """A session against the running application."""

    def __init__(self, base: str, session: ClientSession, parts: Parts, report: RoutesReport) -> None:
        self.base = base
        self.session = session
        self.parts = parts
        self.report = report

    async def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        """(status, content type, body)."""
        async with self.session.get(self.base + path, headers=headers) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.text()

    async def post(self, path: str, data: Any = None, **headers: str) -> tuple[int, Any]:
        """(status, JSON of the answer) of a JSON POST."""
        async with self.session.post(self.base + path, json=data or {}, headers=headers) as response:
            return response.status, await response.json()


READING = ["metrics", "health", "history", "settings", "diagnostics"]


class Happened:
    """An event as far as the monitor looks at it."""

    def __init__(self, event_type: str, /, **data: Any) -> None:
        self.type, self.data = event_type, data
