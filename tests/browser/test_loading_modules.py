"""ComfyUI imports every `.js` below web/ by itself: only our door may do anything when it is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route

from .conftest import OpenPage
from .fake_pulse import FakePulse

WEB = Path(__file__).parents[2] / "web"
DOOR = "copilot-pulse.js"
MODULES = sorted(file.relative_to(WEB).as_posix() for file in WEB.rglob("*.js") if file.name != DOOR)
LOAD = """async (path) => {
    const done = [];
    const note = (name) => new Proxy(window[name], {
        construct(target, args) { done.push(name); return Reflect.construct(target, args); },
    });
    for (const name of ["WebSocket", "BroadcastChannel", "MutationObserver", "ResizeObserver", "XMLHttpRequest"])
        window[name] = note(name);
    const listen = EventTarget.prototype.addEventListener;
    EventTarget.prototype.addEventListener = function (...args) {
        done.push("listener " + args[0]);
        listen.apply(this, args);
    };
    for (const name of ["setTimeout", "setInterval", "requestAnimationFrame"]) {
        const real = window[name];
        window[name] = (...args) => { done.push(name); return real(...args); };
    }
    window.fetch = async () => { done.push("fetch"); return new Response("{}"); };
    const { fetch } = window;
    const [names, html] = [Object.keys(window).join(), document.documentElement.outerHTML];
    await import(path);
    if (window.fetch !== fetch) done.push("fetch was wrapped");
    if (Object.keys(window).join() !== names) done.push("window has new names");
    if (document.documentElement.outerHTML !== html) done.push("the document has changed");
    if (localStorage.length + sessionStorage.length) done.push("something was stored");
    return done;
}"""


@pytest.fixture
def page(fake: FakePulse, open_page: OpenPage) -> Page:
    """A page without a panel."""
    return open_page(fake.url)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_alone_does_nothing(page: Page, module: str) -> None:
    """No request, no listener, no timer, no global, no element."""
    assert page.evaluate(LOAD, f"/web/{module}") == []


def test_only_the_door_knows_where_comfyui_has_its_scripts() -> None:
    """Whatever else imports them could not be loaded by the standalone host."""
    asks = {m: re.findall(r"[\"'](?:\.\./)*scripts/", (WEB / m).read_text("utf-8")) for m in MODULES}

    assert [module for module, found in asks.items() if found] == []


COMFYUI = {
    "api": """export const api = Object.assign(new EventTarget(), {
        api_base: "", clientId: "c", getCustomNodesI18n: async () => ({}), fetchApi: async () => new Response("{}"),
    });""",
    "app": """export const app = {
        registered: [],
        registerExtension(extension) { this.registered.push(extension); },
        extensionManager: { setting: { get: () => undefined }, toast: { add: (toast) => (window.toast = toast) } },
    };""",
}


def test_a_second_copy_does_nothing_and_says_so(page: Page) -> None:
    """Two folders in custom_nodes hold this plugin (git and Manager): one works, and every chat is wrapped once."""

    def answer(route: Route) -> None:
        """ComfyUI's scripts are ours; both folders hold the same files."""
        path = urlsplit(route.request.url).path
        if path.startswith("/scripts/"):
            script = COMFYUI[Path(path).stem]
        else:
            script = (WEB / path.split("/", 3)[3]).read_text("utf-8")
        route.fulfill(body=script, content_type="text/javascript")

    page.route(re.compile("/scripts/|/extensions/"), answer)
    found = page.evaluate("""async () => {
        const plain = window.fetch;
        await import("/extensions/copilot-pulse/copilot-pulse.js");
        const { fetch } = window;
        await import("/extensions/ComfyUI-Copilot-Pulse/copilot-pulse.js");
        const { app } = await import("/scripts/app.js");
        app.registered.at(-1).setup();
        return [app.registered.map(({ name }) => name), fetch !== plain, window.fetch === fetch, toast.detail];
    }""")

    assert found[:3] == [["CopilotPulse", "CopilotPulse.SecondCopy"], True, True]
    assert "installed twice. copilot-pulse is used, ComfyUI-Copilot-Pulse does nothing" in found[3]
