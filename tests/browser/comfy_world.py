"""A real ComfyUI with the stand-in Copilot, a model that misbehaves on command, and MCP servers that can die.

The servers live on a loop in a thread of their own, so that plain Playwright code can drive them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from playwright.sync_api import Page

from tests.comfyui.harness import ROOT, ComfyUI, Node
from tests.support.llm_server import FaultServer
from tests.support.mcp_server import McpServer, Tool
from tests.support.net import PATIENCE
from tests.support.page import Chat, CopilotPage

NEWEST_FRONTEND = "1.58.1"
STANDIN = ROOT / "tests" / "support" / "copilot_standin"
TAB = "copilot-pulse"
SEEN_BEFORE = {"Comfy.TutorialCompleted": True, "Comfy.InstalledVersion": NEWEST_FRONTEND}


class Servers:
    """All that a chat needs besides a ComfyUI. `close()` ends all of it."""

    def __init__(self, *, llm_port: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser-world", daemon=True)
        self._thread.start()
        self.llm = FaultServer(port=llm_port)
        self.mcp = McpServer()
        self.search = McpServer(tools={"bing_search": Tool("found on the web")})
        for server in (self.llm, self.mcp, self.search):
            self.run(server.start())

    def run(self, work: Coroutine[Any, Any, Any], timeout: float = 60.0) -> Any:
        """Run a coroutine on the servers' loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def lay_comfy(
        self,
        folder: Path,
        *,
        frontend: Path | None = None,
        copilot: bool = True,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> ComfyUI:
        """A ComfyUI with the plugin, laid down but not started; whoever starts it stops it."""
        nodes = [Node(ROOT, "copilot-pulse"), *([Node(STANDIN, "ComfyUI-Copilot")] if copilot else [])]
        environment = {
            "BACKEND_BASE_URL": self.mcp.root, "COPILOT_STANDIN_SEARCH_URL": self.search.url, **environment
        }  # fmt: skip
        comfy = ComfyUI(folder, nodes, environment, ["--front-end-root", str(frontend)] if frontend else [])
        comfy.install()
        # A first visit shows dialogs over everything.
        user = comfy.app / "user" / "default"
        user.mkdir(parents=True)
        (user / "comfy.settings.json").write_text(json.dumps(SEEN_BEFORE), "utf-8")
        return comfy

    def close(self) -> None:
        for server in (self.llm, self.mcp, self.search):
            self.run(server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


class World(Servers):
    """Everything that a chat needs, and a ComfyUI around it. `close()` ends all of it."""

    def __init__(self, folder: Path, *, frontend: Path | None = None, copilot: bool = True, llm_port: int = 0) -> None:
        super().__init__(llm_port=llm_port)
        self.comfy = self.lay_comfy(folder, frontend=frontend, copilot=copilot).start()

    @property
    def url(self) -> str:
        return self.comfy.url

    def chat(self, prompt: str = "hello", **options: Any) -> Chat:
        """One message, and wait for its whole answer."""
        return self.run(self._chat(prompt, **options))  # type: ignore[no-any-return]

    def begin(self, prompt: str = "hello", **options: Any) -> None:
        """One message; the answer goes on by itself."""
        asyncio.run_coroutine_threadsafe(self._chat(prompt, **options), self._loop)

    async def _chat(
        self, prompt: str, *, model: str = "fake-model", llm: str | None = None, session: str = "browser"
    ) -> Chat:
        async with CopilotPage(self.comfy.url, llm or self.llm.base_url, model=model) as page:
            return await page.chat(prompt, session=session, model=model)

    def metrics(self) -> Any:
        return self.comfy.get("/copilot-pulse/metrics").json()

    def panels(self) -> int:
        """Open panels, as the server counts them."""
        return int(self.metrics()["system"]["connections"]["panels"])

    def close(self) -> None:
        self.comfy.stop()
        super().close()


def newest_frontend() -> Path:
    """The static folder of the newest frontend that we know, fetched with pip once and kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copilot-pulse-ci"
    target = cache / f"frontend-{NEWEST_FRONTEND}"
    if not (target / ".complete").exists():
        target.mkdir(parents=True, exist_ok=True)
        wanted = f"comfyui-frontend-package=={NEWEST_FRONTEND}"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(target), wanted]
        subprocess.run(command, check=True)
        for wheel in target.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(target)
            wheel.unlink()
        (target / ".complete").touch()
    return target / "comfyui_frontend_package" / "static"


def enter(page: Page, url: str) -> None:
    """Load ComfyUI, whose frontend has hundreds of files, and wait until our tab is there."""
    page.set_default_timeout(1_000 * PATIENCE)
    page.goto(url, timeout=2_000 * PATIENCE)
    page.wait_for_function(
        "id => window.app?.extensionManager?.getSidebarTabs?.().some((tab) => tab.id === id)",
        arg=TAB, timeout=2_000 * PATIENCE,
    )  # fmt: skip
    page.wait_for_function("document.querySelector('.side-tool-bar-container, .side-tool-bar, nav')")


def toggle(page: Page, tab: str = TAB) -> None:
    """Open the tab, or close it if it is open."""
    page.evaluate("id => app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${id}`)", tab)


def setting(page: Page, name: str, value: Any) -> None:
    """Change a setting as the settings dialog does."""
    page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])
