"""What our hand on `fetch` adds to Copilot's requests in the page, and that it touches nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page

from .conftest import OpenPage
from .fake_pulse import FakePulse

# The browser's own fetch is replaced by one that only notes what it is given.
PREPARE = """async () => {
    window.seen = [];
    window.fetch = async (input, init) => {
        const headers = Object.fromEntries(new Headers(init?.headers ?? input.headers).entries());
        const body = init?.body ?? (input instanceof Request ? await input.text() : null);
        const method = init?.method ?? input.method ?? "GET";
        window.seen.push({ url: input.url ?? String(input), method, headers, body });
        return new Response("{}");
    };
    window.noted = window.fetch;
    const { wrapFetch } = await import("/web/streams/fetch.js");
    window.folder = "";
    const kept = { remember() {}, forget() {} };
    window.pageName = "";
    window.undo = wrapFetch(window, {
        transport: () => "http", kept, folder: () => window.folder, page: () => window.pageName,
    });
    localStorage.setItem("openaiBaseUrl", " http://127.0.0.1:1234/v1 ");
}"""
OURS = {"x-copilot-pulse", "x-copilot-pulse-stream", "x-copilot-pulse-mode"}
CHAT: dict[str, Any] = {"method": "POST", "headers": {"Openai-Api-Key": "k", "trace-id": "t"}, "body": "{}"}
RESUMABLE = {**CHAT, "body": json.dumps({"session_id": "s", "messages": [], "ext": []})}


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


@pytest.mark.parametrize("path", ["/api/chat/invoke", "/api/debug-agent"])
@pytest.mark.parametrize(
    "key", [{"Openai-Api-Key": "k"}, {"Openai-Api-Key": ""}, {}], ids=["key", "empty-key", "no-key"]
)
def test_a_chat_gets_the_users_base_url(page: Page, path: str, key: dict[str, str]) -> None:
    """Copilot's page leaves it out without a key, and since its hosted service is gone; the rest stays as it is."""
    request = sent(page, path, {**CHAT, "headers": {**key, "trace-id": "t"}})

    headers = {**{k.lower(): v for k, v in key.items()}, "trace-id": "t", "openai-base-url": "http://127.0.0.1:1234/v1"}
    assert {"method": "POST", "headers": headers, "body": "{}"} == {
        k: request[k] for k in ("method", "headers", "body")
    }
    assert request["url"].endswith(path)


def test_without_a_base_url_the_hosted_model_is_meant(page: Page) -> None:
    """Who has entered none gets what Copilot does by itself."""
    page.evaluate("localStorage.removeItem('openaiBaseUrl')")

    assert sent(page, "/api/chat/invoke", CHAT)["headers"] == {"openai-api-key": "k", "trace-id": "t"}


@pytest.mark.parametrize(
    ("url", "init"),
    [
        ("/api/chat/invoke", {**CHAT, "headers": {"Openai-Api-Key": "k", "Openai-Base-Url": "http://own/v1"}}),
        ("/api/chat/invoke", None),
        ("/api/model_config", {"method": "GET", "headers": {"Openai-Api-Key": "k"}}),
        ("/api/prompt", CHAT),
        ("https://elsewhere.invalid/api/chat/invoke", CHAT),
    ],
    ids=["has-one", "not-a-post", "model-list", "another-path", "another-host"],
)
def test_other_requests_pass_as_they_are(page: Page, url: str, init: dict[str, Any] | None) -> None:
    """A base URL that is there, and every other request, are not touched."""
    request = sent(page, url, init)

    expected = {name.lower(): value for name, value in (init or {}).get("headers", {}).items()}
    assert (url, expected) == (request["url"], request["headers"])


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/chat/invoke", RESUMABLE["body"]), ("/api/chat/invoke", "{}"), ("/api/debug-agent", "{}")],
    ids=["resumable", "plain", "debug"],
)
def test_a_question_names_its_page(page: Page, path: str, body: str) -> None:
    """So that the page whose chat fails can be told, and no other; nothing else is told who asks."""
    page.evaluate("window.pageName = 'page-1'")
    page.evaluate("(init) => fetch('/api/prompt', init)", CHAT)
    page.evaluate("([url, init]) => void fetch(url, init).catch(() => undefined)", [path, {**CHAT, "body": body}])
    page.wait_for_function("seen.length >= 2 && seen[1].method === 'POST'")

    named = page.evaluate("seen.slice(0, 2).map(({ headers }) => headers['x-copilot-pulse-page'] ?? null)")
    assert named == [None, "page-1"]


def test_a_request_object_of_another_plugin(page: Page) -> None:
    """A plugin that wraps fetch hands on a Request: it is completed and can be come back to all the same."""
    request = page.evaluate(
        """async (init) => {
            await fetch(new Request("/api/chat/invoke", init)).catch(() => undefined);
            return seen.find(({ method }) => method === "POST");
        }""",
        RESUMABLE,
    )

    assert request["headers"]["openai-base-url"] == "http://127.0.0.1:1234/v1"
    assert request["headers"].keys() >= OURS
    assert json.loads(request["body"])["session_id"] == "s"


def test_a_request_object_that_is_not_ours(page: Page) -> None:
    """It reaches the browser unread."""
    request = page.evaluate(
        "async (init) => { await fetch(new Request('/api/prompt', init)); return seen[0]; }", RESUMABLE
    )

    assert (request["body"], OURS & request["headers"].keys()) == (RESUMABLE["body"], set())


@pytest.mark.parametrize("path", ["/api/chat/invoke", "/api/model_config", "/api/download-progress/7"])
def test_comfyui_in_a_folder(page: Page, path: str) -> None:
    """Behind a proxy with a path of its own Copilot asks at the root, where ComfyUI is not."""
    page.evaluate("window.folder = '/proxy/8188'")

    method = "POST" if path.endswith("invoke") else "GET"
    request = sent(page, f"{path}?a=1", {"method": method, **({"body": "{}"} if method == "POST" else {})})
    again = sent(page, f"/proxy/8188{path}", {"method": "GET"})

    assert request["url"].endswith(f"/proxy/8188{path}?a=1")
    assert again["url"].endswith(f"/proxy/8188{path}")
    assert again["url"].count("/proxy/8188") == 1


def test_it_can_be_taken_off(page: Page) -> None:
    """Undone, the page has the very function that it had."""
    assert page.evaluate("() => { undo(); return window.fetch === window.noted; }")
