"""The webhook: what is told to whom, how often, and that nothing comes of it for anybody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from aiohttp import ClientConnectionError, web
from aiohttp.test_utils import TestServer

from backend.metrics.webhook import MESSAGE_PACE, MOST_NEWS, TEST_PACE, TRIES, Webhook, WebhookSettings, post_json
from tests.support.clock import FakeClock
from tests.support.net import until

URL = "https://hooks.example.com/services/T0/B0/sEcReTsEcReT"


class Happened:
    """An event as far as the webhook looks at it."""

    def __init__(self, type_: str, **data: Any) -> None:
        self.type, self.data = type_, data


def changed(check: str = "loop:lag", status: str = "warn", **more: Any) -> Happened:
    """A change of health."""
    return Happened("health.changed", check=check, status=status, was="pass", output="Slow. Act.", impact="", **more)


def gave_up(chat: str = "1", **more: Any) -> Happened:
    """A model call that stays broken."""
    data = {
        "severity": "high", "kind": "auth", "type": "AuthenticationError", "message": "no key sk-123456 for my dog",
        "outcome": "gave_up", "model": "gpt", "host": "api.example.com",
    }  # fmt: skip
    return Happened("error", **{**data, "chat_id": chat, **more})


class World:
    """A webhook whose other side and time are the test's."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.settings = WebhookSettings(URL, "studio")
        self.sent: list[dict[str, Any]] = []
        self.answers: list[int | Exception] = []
        self.slept: list[float] = []
        self.go_on = asyncio.Event()
        self.hook = Webhook(lambda: self.settings, version="1", post=self.post, clock=self.clock, sleep=self.sleep)

    async def post(self, url: str, body: Mapping[str, Any]) -> int:
        """The other side."""
        assert url == URL
        self.sent.append(dict(body))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        """Time passes when the test says so."""
        self.slept.append(seconds)
        await self.go_on.wait()
        self.go_on.clear()
        self.clock.advance(seconds)

    def has_slept(self, number: int) -> bool:
        """Whether it waits for that time."""
        return len(self.slept) == number


@pytest.fixture
async def world() -> Any:
    """A webhook that is closed in the end."""
    made = World()
    yield made
    await made.hook.aclose()


async def test_one_message_fits_slack_discord_and_ntfy(world: World) -> None:
    """`text`, `content`, `title` and `message`; nobody is mentioned, and no word of a server is in it."""
    world.hook.on_event(gave_up(model="<!channel> @everyone `x`\u202e **[a](http://b)** https://b.org"))
    await until(lambda: world.sent)
    (body,) = world.sent

    assert body["text"] == body["content"] == f"{body['title']}: {body['message']}"
    assert "Copilot Pulse on studio" == body["title"]
    assert (
        "auth (AuthenticationError), model !channel everyone x a (http b) https b.org, host api.example.com."
        in body["message"]
    )
    assert {"parse": []} == body["allowed_mentions"]
    assert [("gave_up", "auth")] == [(one["type"], one["kind"]) for one in body["news"]]
    assert not [word for word in ("dog", "sk-123456", "chat_id") if word in str(body)]


async def test_at_most_one_a_minute_and_the_rest_in_the_next(world: World) -> None:
    """A burst is two messages: the first at once, all else a minute later, with a number for what is too much."""
    world.hook.on_event(changed())
    await until(lambda: world.sent)
    for n in range(MOST_NEWS + 5):
        world.hook.on_event(gave_up(str(n)))
        world.hook.on_event(gave_up(str(n)))  # one failure, met in two places
    await until(lambda: world.slept)
    assert (1, [MESSAGE_PACE]) == (len(world.sent), world.slept)
    world.go_on.set()
    await until(lambda: len(world.sent) == 2)

    assert "loop:lag warns: Slow. Act." in world.sent[0]["text"]
    assert MOST_NEWS == len(world.sent[1]["news"])
    assert "and 5 more" in world.sent[1]["text"]
    assert len(world.sent[1]["content"]) < 2_000


async def test_what_nobody_need_act_on_is_not_told(world: World) -> None:
    """Nor a cancel, a retry, the webhook's own trouble, or anything where no URL is set."""
    for event in (
        Happened("health.changed", check="mcp:connections", status="warn", was="pass", output="x", impact="none"),
        changed("webhook:delivered"),
        gave_up(outcome="retrying"),
        gave_up(severity="low"),
        Happened("chat.finished", outcome="failed"),
    ):
        world.hook.on_event(event)
    world.settings = WebhookSettings("")
    world.hook.on_event(changed())

    assert world.hook._task is None
    assert not world.hook.on


async def test_private_names_nobody(world: World) -> None:
    """Neither model nor host nor this machine, and no sentence that may hold one of them."""
    world.settings = WebhookSettings(URL, "studio", private=True)
    world.hook.on_event(gave_up())
    await until(lambda: world.sent)

    assert "Copilot Pulse: a chat was given up: auth (AuthenticationError)." == world.sent[0]["text"]


async def test_the_servers_words_in_a_change_of_health_stay_here(world: World) -> None:
    """The check of chats quotes the last failure."""
    data = {"check": "chat:failures", "status": "fail", "was": "warn", "impact": ""}
    world.hook.on_event(
        Happened("health.changed", output="All of the last 3 chats failed. Last: my cat. Check.", **data)
    )
    await until(lambda: world.sent)

    assert "chat:failures fails: All of the last 3 chats failed." == world.sent[0]["message"]


async def test_a_hook_that_fails_is_one_line_and_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The news are kept for the next minute, three times; the log and the words of the check know no URL."""
    world.answers = [404, ClientConnectionError(URL), 500]
    with caplog.at_level(logging.WARNING):
        world.hook.on_event(changed())
        for number in range(1, TRIES):
            await until(partial(world.has_slept, number))
            world.go_on.set()
        await until(lambda: world.hook._task is not None and world.hook._task.done())
    assert (3, 0, 3) == (len(world.sent), world.hook.sent, world.hook.failed)
    assert "HTTP 500" == world.hook.problem
    assert 1 == len(caplog.records)
    assert "sEcReT" not in caplog.text

    world.go_on.set()
    world.hook.on_event(changed(status="fail"))
    await until(lambda: world.hook.sent == 1)
    assert "" == world.hook.problem
    assert 1 == len(world.sent[-1]["news"])


async def test_a_test_is_sent_at_once_and_tells_what_came_of_it(world: World) -> None:
    """Also in the minute after a message."""
    world.hook.on_event(changed())
    await until(lambda: world.sent)
    world.answers = [200, 403, ClientConnectionError(URL), asyncio.TimeoutError()]

    assert {"ok": True, "status": 200} == await world.hook.test()
    world.clock.advance(TEST_PACE)
    assert {"ok": False, "status": 403} == await world.hook.test()
    assert {"ok": False, "error": "it cannot be reached (ClientConnectionError)"} == await world.hook.test()
    assert {"ok": False, "error": "no answer within 10 s"} == await world.hook.test()
    world.settings = WebhookSettings("ftp://example.com")
    assert {"ok": False, "error": "COPILOT_PULSE_WEBHOOK is no http or https URL"} == await world.hook.test()
    world.settings = WebhookSettings("")
    with pytest.raises(LookupError, match="not set"):
        await world.hook.test()


async def test_nobody_floods_the_other_side_with_tests(world: World) -> None:
    """Whoever reaches the server may ask for one, as often as they like."""
    first, *others = await asyncio.gather(*(world.hook.test() for _ in range(20)))

    assert first["ok"]
    assert {"a test was sent less than 10 s ago"} == {told["error"] for told in others}
    assert 1 == len(world.sent)
    world.clock.advance(TEST_PACE)
    assert (await world.hook.test())["ok"]


async def test_an_end_in_the_middle_leaves_nothing(world: World) -> None:
    """Whether it waits for its minute or for the other side."""
    world.hook.on_event(changed())
    await until(lambda: world.sent)
    world.hook.on_event(gave_up())
    await until(lambda: world.slept)
    await world.hook.aclose()
    world.hook.on_event(changed())

    assert (1, None) == (len(world.sent), world.hook._task)

    asked = asyncio.Event()

    async def never(url: str, body: Any) -> int:
        asked.set()
        await asyncio.Event().wait()
        return 200

    hook = Webhook(lambda: world.settings, post=never)
    hook.on_event(changed())
    await asked.wait()
    await hook.aclose()
    assert [] == [task for task in asyncio.all_tasks() if task.get_name() == "copilot-pulse webhook"]


async def test_a_post_is_json_and_follows_nobody() -> None:
    """Over a real socket: a redirect would take the news, and the secret in the path, somewhere else."""
    seen: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        seen.append((request.path, request.content_type, await request.json()))
        if request.path == "/moved":
            raise web.HTTPFound("/elsewhere")
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{path}", take)
    async with TestServer(app) as server:
        assert 204 == await post_json(str(server.make_url("/hook")), {"text": "ä"})
        assert 302 == await post_json(str(server.make_url("/moved")), {"text": "x"})

    assert [("/hook", "application/json", {"text": "ä"}), ("/moved", "application/json", {"text": "x"})] == seen
