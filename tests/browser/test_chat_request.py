"""What our script adds to Copilot's chat requests in the page, and that it touches nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from .conftest import OpenPage
from .fake_pulse import FakePulse

# The browser's own fetch is replaced by one that only notes what it is given.
PREPARE = """async () => {
    window.seen = [];
    window.fetch = async (input, init) => {
        const headers = Object.fromEntries(new Headers(init?.headers).entries());
        window.seen.push({ url: String(input), method: init?.method ?? "GET", headers, body: init?.body ?? null });
        return new Response("{}");
    };
    window.noted = window.fetch;
    const module = await import("/web/streams/request.js");
    window.undo = module.completeChatRequests(window);
    localStorage.setItem("openaiBaseUrl", " http://127.0.0.1:1234/v1 ");
}"""
CHAT: dict[str, Any] = {"method": "POST", "headers": {"Openai-Api-Key": "k", "trace-id": "t"}, "body": "{}"}


@pytest.fixture
def page(fake: FakePulse, open_page: OpenPage) -> Page:
    """A page with our wrapper around a fetch that takes notes."""
    opened = open_page(fake.url)
    opened.evaluate(PREPARE)
    return opened


def sent(page: Page, url: str, init: dict[str, Any] | None) -> dict[str, Any]:
    """What reaches the browser's fetch."""
    seen: list[dict[str, Any]] = page.evaluate(
        "async ([url, init]) => { await fetch(url, init ?? undefined); return seen; }", [url, init]
    )
    return seen[-1]


def test_a_chat_gets_the_users_base_url(page: Page) -> None:
    """Copilot's page leaves it out since its hosted service is gone; the rest of the request stays as it is."""
    request = sent(page, "/api/chat/invoke", CHAT)

    headers = {"openai-api-key": "k", "trace-id": "t", "openai-base-url": "http://127.0.0.1:1234/v1"}
    assert {"url": "/api/chat/invoke", "method": "POST", "headers": headers, "body": "{}"} == request


@pytest.mark.parametrize(
    ("url", "init"),
    [
        ("/api/chat/invoke", {**CHAT, "headers": {"Openai-Api-Key": "k", "Openai-Base-Url": "http://own/v1"}}),
        ("/api/chat/invoke", {**CHAT, "headers": {"trace-id": "hosted"}}),
        ("/api/chat/invoke", None),
        ("/api/prompt", CHAT),
        ("https://elsewhere.invalid/api/chat/invoke", CHAT),
    ],
    ids=["has-one", "no-key", "not-a-post", "another-path", "another-host"],
)
def test_other_requests_pass_as_they_are(page: Page, url: str, init: dict[str, Any] | None) -> None:
    """A base URL that is there, the hosted model, and every other request are not touched."""
    request = sent(page, url, init)

    expected = {name.lower(): value for name, value in (init or {}).get("headers", {}).items()}
    assert expected == request["headers"]


def test_it_can_be_taken_off(page: Page) -> None:
    """Undone, the page has the very function that it had."""
    assert page.evaluate("() => { undo(); return window.fetch === window.noted; }")
