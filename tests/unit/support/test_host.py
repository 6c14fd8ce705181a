"""The host behaves as ComfyUI does towards custom nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.host import STANDIN, Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import words
from tests.support.mcp_server import McpServer

NODE = """
import sys

from aiohttp import web
from server import PromptServer

from . import inner

sys.modules["my_alias"] = sys.modules[__name__]
WEB_DIRECTORY = "web"
NODE_CLASS_MAPPINGS = {}
server = PromptServer.instance
seen = []


@server.routes.get("/my/route")
async def route(request):
    return web.json_response({"name": __name__, "inner": inner.NAME})


async def started(app):
    seen.append([resource.canonical for resource in app.router.resources()])
    app.router.add_get("/late", route)


server.app.on_startup.append(started)
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A small custom node with a route, a start-up hook and a web folder."""
    folder = tmp_path / "my node v1.0"
    (folder / "web").mkdir(parents=True)
    (folder / "__init__.py").write_text(NODE)
    (folder / "inner.py").write_text("NAME = __name__\n")
    (folder / "web" / "my.js").write_text("export {};\n")
    return folder


async def test_routes_are_mirrored(node: Path) -> None:
    """A route answers on its path and under /api; start-up hooks run after all routes are there."""
    async with Host([node]) as host:
        mangled = str(node).replace(".", "_x_")
        expected = {"name": mangled, "inner": f"{mangled}.inner"}

        assert {} == host.failed
        assert expected == await host.page.json("/my/route")
        assert expected == await host.page.json("/api/my/route")
        assert expected == await host.page.json("/late")
        assert "/api/my/route" in host.loaded[node].seen[0]
        assert ["/extensions/my node v1.0/my.js"] == await host.page.json("/extensions")


async def test_everything_is_undone(node: Path) -> None:
    """After the host nothing of it is left in the list of modules."""
    async with Host([node, STANDIN]) as host:
        root = host.root

    assert not [name for name in sys.modules if name.startswith((root, str(node).replace(".", "_x_")))]
    assert "my_alias" not in sys.modules
    assert "server" not in sys.modules


async def test_broken_node_harms_nobody(tmp_path: Path, node: Path) -> None:
    """A custom node that cannot be imported is noted and the others load."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("import no_such_module_at_all\n")
    async with Host([tmp_path / "broken", node]) as host:
        assert [ModuleNotFoundError] == [type(error) for error in host.failed.values()]
        assert "name" in await host.page.json("/my/route")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["ComfyUI Copilot", "copilot-v2.1", "副驾驶"])
async def test_loads_under_any_name_in_any_order(
    node: Path, name: str, first: bool, llm: FaultServer, mcp: McpServer, search_mcp: McpServer
) -> None:
    """The stand-in loads under odd folder names, before or after another node, and chats."""
    nodes = [STANDIN, node] if first else [node, STANDIN]
    async with Host(nodes, llm=llm, mcp=(mcp.root, search_mcp.url), names={STANDIN: name}) as host:
        answer = await host.chat()

        assert words(40) == answer.text
        assert host.root.endswith(name.replace(".", "_x_"))


async def test_messages_to_pages(node: Path) -> None:
    """`send_sync` reaches the page it names, in ComfyUI's shape."""
    async with (
        Host([node]) as host,
        host.page.session.ws_connect(f"{host.url}/ws?clientId=one") as one,
        host.page.session.ws_connect(f"{host.url}/ws?clientId=two") as two,
    ):
        greetings: list[Any] = [await one.receive_json(), await two.receive_json()]
        host.server.send_sync("only.one", {"x": 1}, "one")
        host.server.send_sync("all", None)

        assert ["one", "two"] == [greeting["data"]["sid"] for greeting in greetings]
        assert {"type": "only.one", "data": {"x": 1}} == await one.receive_json()
        assert {"type": "all", "data": None} == await one.receive_json()
        assert {"type": "all", "data": None} == await two.receive_json()


async def test_other_sites_are_refused(node: Path) -> None:
    """A request with the origin of another site gets a 403, as in ComfyUI."""
    async with Host([node]) as host, aiohttp.ClientSession() as session:
        for headers, expected in (
            ({"Origin": "http://evil.example"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Origin": host.url}, 200),
        ):
            async with session.get(f"{host.url}/my/route", headers=headers) as response:
                assert expected == response.status
