"""Tells a URL of the user's when health changes and when a chat is given up; for Slack, Discord, ntfy and the like.

One POST of JSON, at most one a minute: what happens meanwhile is summed up in the next one. No word of a chat, no
words of a server and no secret is in it. Whatever becomes of it, no chat notices.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from ..aio import fail_open

log = logging.getLogger("copilot_pulse.webhook")

MESSAGE_PACE: Final = 60.0
"""Seconds between two messages."""
POST_SECONDS: Final = 10.0
"""Seconds that the other side may take."""
TEST_PACE: Final = 10.0
"""Seconds until the next test after one that arrived: whoever reaches the server may ask for it."""
MOST_NEWS: Final = 20
"""What is told in one message; the rest is a number."""
TRIES: Final = 3
_LENGTH: Final = 300
_NO_MARKUP: Final = str.maketrans(dict.fromkeys("<>&@`[]*~|\\\r\n", " "))
_SERVERS_WORDS: Final = " Last: "

Post = Callable[[str, Mapping[str, Any]], Awaitable[int]]


class WebhookSettings(NamedTuple):
    """What the user has set: `url` is a secret; `private`: neither models nor hosts are named."""

    url: str
    instance: str = ""
    private: bool = False


class _News(NamedTuple):
    text: str
    data: dict[str, Any]


async def post_json(url: str, body: Mapping[str, Any]) -> int:
    """POST it and return the status. Raises what aiohttp raises; follows no redirect, for the URL is a secret."""
    import aiohttp

    limit = aiohttp.ClientTimeout(total=POST_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=limit, trust_env=True) as session,
        session.post(url, json=body, allow_redirects=False) as response,
    ):
        return response.status


class Webhook:
    """The news and when they were sent. For the event loop's thread; there is a task only while there is news.

    `on_event` takes `health.changed` and `error`; it never waits and never raises. `clock` and `sleep` are for tests.
    """

    def __init__(
        self,
        settings: Callable[[], WebhookSettings],
        *,
        version: str = "",
        post: Post = post_json,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._version = version
        self._post = post
        self._clock = clock
        self._sleep = sleep
        self._news: deque[_News] = deque(maxlen=MOST_NEWS)
        self._more = 0
        self._chats: set[Any] = set()  # chats of which the next message tells
        self._last_sent: float | None = None
        self._last_test = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        # Why the last message did not arrive, in words without the URL; empty if it did.
        self.problem = ""
        self.sent = 0
        self.failed = 0

    def __repr__(self) -> str:
        return f"<Webhook {self.sent} sent, {self.failed} failed>"

    @property
    def on(self) -> bool:
        """Whether the user wants to be told."""
        return bool(self._settings().url)

    @fail_open("the webhook")
    def on_event(self, event: Any) -> None:
        """Take `health.changed` or `error`; others are passed over."""
        settings = self._settings()
        if not settings.url or self._closed:
            return
        make = {"health.changed": _of_health, "error": _of_error}.get(event.type)
        news = make(event.data, settings.private) if make is not None else None
        if news is not None:
            self._add(news)

    def _add(self, news: _News) -> None:
        chat = news.data.get("chat_id")
        if chat is not None and chat in self._chats:
            return  # one failure is met in several places
        self._chats.add(chat)
        if len(self._news) >= MOST_NEWS:
            self._more += 1
            return
        self._news.append(news)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="copilot-pulse webhook")

    @fail_open("the webhook")
    async def _run(self) -> None:
        tries = 0
        while self._news and not self._closed:
            if self._last_sent is not None:
                await self._sleep(max(0.0, self._last_sent + MESSAGE_PACE - self._clock()))
            news, more = list(self._news), self._more
            self._chats.clear()
            self._last_sent = self._clock()
            told = await self._send(_message([one.text for one in news], more), [_shown(one.data) for one in news])
            tries = 0 if told["ok"] else tries + 1
            if told["ok"] or tries >= TRIES:
                for _ in news:
                    self._news.popleft()
                self._more -= more
                tries = 0

    async def _send(self, text: str, news: list[dict[str, Any]]) -> dict[str, Any]:
        """Send one message; `{"ok", "status"}` or `{"ok", "error"}`. A cancel passes."""
        settings = self._settings()
        told = await self._posted(settings, text, news)
        if told["ok"]:
            self.sent += 1
            self.problem = ""
        else:
            self.failed += 1
            problem = told.get("error") or f"HTTP {told['status']}"
            if not self.problem:
                log.warning("the webhook does not take messages: %s", problem)
            self.problem = problem
        return told

    async def _posted(self, settings: WebhookSettings, text: str, news: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            parts = urlsplit(settings.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            return {"ok": False, "error": "COPILOT_PULSE_WEBHOOK is no http or https URL"}
        name = "" if settings.private else settings.instance or socket.gethostname()
        title = f"Copilot Pulse{f' on {name}' if name else ''}"
        whole = f"{title}: {text}"
        body = {
            # Slack reads `text`, Discord `content`; ntfy takes `title` and `message` by its template.
            "text": whole, "content": whole, "title": title, "message": text,
            "allowed_mentions": {"parse": []},
            "source": "copilot-pulse", "version": self._version, "news": news,
        }  # fmt: skip
        try:
            status = await self._post(settings.url, body)
        except (asyncio.TimeoutError, TimeoutError):
            return {"ok": False, "error": f"no answer within {POST_SECONDS:.0f} s"}
        except Exception as error:  # its text may hold the URL
            return {"ok": False, "error": f"it cannot be reached ({type(error).__name__})"}
        return {"ok": 200 <= status < 300, "status": status}

    async def test(self) -> dict[str, Any]:
        """Send a message now, whatever news was sent before: `{"ok", "status"}` or `{"ok", "error"}`. Waits 10 s at
        most.

        Raises LookupError if no URL is set. A cancel sends nothing more.
        """
        if not self.on:
            raise LookupError("COPILOT_PULSE_WEBHOOK is not set")
        now = self._clock()
        if now < self._last_test + TEST_PACE:
            return {"ok": False, "error": f"a test was sent less than {TEST_PACE:.0f} s ago"}
        self._last_test = now
        told = await self._send("this is a test; all is well.", [{"type": "test"}])
        if not told["ok"]:  # the user corrects the setting, and tries again at once
            self._last_test = float("-inf")
        return told

    async def aclose(self) -> None:
        """Send nothing more, and wait until the task is gone. Twice is fine. A cancel leaves it on its way there."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})


def _plain(text: Any) -> str:
    """A line without anything that Slack or Discord would read as markup, a link or a mention, or that nobody sees."""
    seen = "".join(
        char for char in str(text).replace("://", " ").translate(_NO_MARKUP) if char.isprintable() or char.isspace()
    )
    return " ".join(seen.split())[:_LENGTH]


def _of_health(data: Mapping[str, Any], private: bool) -> _News | None:
    """Of a change that somebody should know of; what nobody need act on is none."""
    check, status = str(data.get("check")), str(data.get("status"))
    if data.get("impact") == "none" or check.startswith("webhook:"):
        return None
    output = "" if private else str(data.get("output", ""))
    if check == "chat:failures":
        output = output.partition(_SERVERS_WORDS)[0]
    known = {"type": "health", "check": check, "status": status, "was": str(data.get("was"))}
    word = {"pass": "is well again", "warn": "warns", "fail": "fails"}.get(status, status)
    return _News(f"{_plain(check)} {word}{f': {_plain(output)}' if output and status != 'pass' else '.'}", known)


def _of_error(data: Mapping[str, Any], private: bool) -> _News | None:
    """Of a failure that stayed."""
    if data.get("outcome") != "gave_up" or data.get("severity") == "low":
        return None
    kind, type_ = _plain(data.get("kind", "unknown")), _plain(data.get("type", ""))
    known: dict[str, Any] = {"type": "gave_up", "kind": kind, "error": type_, "chat_id": data.get("chat_id")}
    where = ""
    if not private:
        known |= {name: _plain(data[name]) for name in ("model", "host") if data.get(name)}
        where = "".join(f", {name} {known[name]}" for name in ("model", "host") if name in known)
    return _News(f"a chat was given up: {kind} ({type_}){where}.", known)


def _shown(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "chat_id"}


def _message(lines: list[str], more: int) -> str:
    """All of it in one text that Discord takes (2,000 characters)."""
    text = "\n".join(lines)
    if len(text) > 1_500:
        text = text[:1_500].rstrip() + " …"
    return text + (f"\n… and {more} more" if more else "")
