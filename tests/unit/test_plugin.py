"""What the plugin does for ComfyUI's pages: its folder may have any name that a file system takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from backend import plugin

NAMES = ("a%41b", "x}{y", "{name}", 'it\'s "so"', "模型", "a b", "a#b?c", "100%25", "[1]+(2)", "é")


@pytest.mark.parametrize("name", NAMES)
async def test_the_pages_files_are_served_below_any_folder_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a browser asks for them, and no file beside them."""
    root = tmp_path / name
    (root / "web").mkdir(parents=True)
    (root / "web" / "main.js").write_text("export {}")
    (root / "secret").write_text("no")
    monkeypatch.setattr(plugin, "ROOT", root)
    app = web.Application()
    plugin.Plugin._serve_web(cast(Any, None), app)
    async with TestClient(TestServer(app)) as client:
        for path, status in (("main.js", 200), ("none.js", 404), ("..%2fsecret", 404)):
            url = URL(f"/extensions/{quote(name, safe='')}/{path}", encoded=True)
            async with client.get(url) as response:
                assert (path, response.status) == (path, status)
