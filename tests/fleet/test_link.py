"""What is wrong with Redis is said in the words that help, is not hammered, and holds no secret; chats go on."""

from __future__ import annotations

import asyncio
import datetime
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backend.settings import Settings
from backend.streams.registry import StreamRegistry
from tests.support.fleet_nodes import Node, nodes, wait_for
from tests.support.net import INVALID_HOST, closed_port
from tests.support.proxy import FaultProxy
from tests.support.redis_server import RedisServer

SECRET = "hush-7Kq"
pytestmark = pytest.mark.timeout(120)


async def problem_of(url: str, role: str = "writer") -> dict[str, Any]:
    """What a node says of this Redis."""
    node = Node("a", url)
    node.start()
    try:
        node.offer(1)

        def told() -> Any:
            return (node.fleet.figures() or {})["links"].get(role, {}).get("problem")

        assert await wait_for(told, 20)
        problem: dict[str, Any] = told()
        return problem
    finally:
        await node.fleet.aclose()
        await node.local.aclose()


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A server with a password and a user of few rights."""
    server = RedisServer("--requirepass", SECRET)
    server.password = SECRET
    async with server:
        yield server


async def test_a_wrong_address_is_told() -> None:
    """Nobody listens, and a name that nobody has."""
    refused = await problem_of(f"redis://:{SECRET}@127.0.0.1:{closed_port()}/0")
    unknown = await problem_of(f"redis://:{SECRET}@{INVALID_HOST}/0")

    assert (refused["kind"], unknown["kind"]) == ("address", "address")
    assert "refused" in refused["text"]
    assert SECRET not in str((refused, unknown))


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
async def test_a_wrong_password_is_told_and_not_hammered(redis: RedisServer, login: str) -> None:
    """One try of each connection, then a long wait: many servers lock out who tries again and again."""
    async with FaultProxy(redis.port) as proxy:
        node = Node("a", f"redis://{login}127.0.0.1:{proxy.port}/0")
        node.start()
        try:

            def problems() -> list[Any]:
                return [link["problem"] for link in (node.fleet.figures() or {})["links"].values()]

            assert await wait_for(lambda: all(problems()), 20)
            tries = len(proxy.links)
            node.offer(1_000)
            await wait_for(lambda: len(proxy.links) > tries, 1.5)

            assert {problem["kind"] for problem in problems()} == {"password"}
            assert len(proxy.links) == tries == 2
        finally:
            await node.fleet.aclose()


async def test_missing_rights_are_told(redis: RedisServer) -> None:
    """A user who may not touch our keys, and one who may not write."""
    await redis.command("ACL", "SETUSER", "keys", "on", ">pw", "~other:*", "+@all")
    await redis.command("ACL", "SETUSER", "reads", "on", ">pw", "~*", "-@all", "+xread", "+xrevrange", "+select")
    for user in ("keys", "reads"):
        problem = await problem_of(f"redis://{user}:pw@127.0.0.1:{redis.port}/0")
        assert problem["kind"] == "rights", problem


async def test_the_line_of_the_docs_is_enough(redis: RedisServer) -> None:
    """The ACL that docs/fleet.md names lets everything work: events, shared work, answers, a goodbye."""
    docs = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text("utf-8")
    (line,) = [one for one in docs.splitlines() if one.startswith("ACL SETUSER pulse ")]
    await redis.command(*line.replace(">CHANGE-ME", f">{SECRET}").split())
    async with nodes(f"redis://pulse:{SECRET}@127.0.0.1:{redis.port}/0", "abc", redis_answers=True) as (
        one,
        other,
        third,
    ):
        done: set[str] = set()

        def once(event: Any) -> None:
            if event.data["i"] == 3 and event.key not in done:
                done.add(event.key)
                raise ValueError("again, please")
            done.add(event.key)

        for node in (one, other):
            assert node.fleet._parts is not None
            node.fleet._parts.groups._sweep_every = 0.2
            node.fleet._parts.groups._claim_idle = 0.1
            node.fleet.share("chaos", group="work", handler=once)
        registry = StreamRegistry(settings=Settings, publish=lambda *_: None, clock=time.monotonic)
        registry.elsewhere = [one.fleet.answers] if one.fleet.answers is not None else []
        stream = registry.claim("an-answer-of-twenty-two", "session", "chat")
        stream.relay.head(200, {})
        one.offer(10)
        assert await wait_for(lambda: other.settled(one) and len(done) == 10, 30)
        assert other.fleet.answers is not None
        while (found := await other.fleet.answers.find(stream.id, stream.session)) is None:
            await asyncio.sleep(0.01)
        found.cancel()
        registry.finish(stream, "completed")
        await third.fleet.aclose()
        assert await wait_for(lambda: [row["state"] for row in one.fleet.instances()] == ["up", "up", "left"], 30)
        assert await wait_for(lambda: (one.fleet.figures() or {})["answers"]["mirrored"] == 0, 30)
        for node in (one, other):
            links = (node.fleet.figures() or {})["links"]
            assert sorted(links) == ["groups", "reader", "writer"]
            assert not [link["errors"] for link in links.values() if link["errors"]]
    assert not [entry for entry in await redis.command("ACL", "LOG") if b"client" not in str(entry).encode()]


async def test_a_server_without_streams_is_told() -> None:
    """A Redis too old or too different names the command that it lacks."""
    async with RedisServer("--rename-command", "XADD", "") as server:
        problem = await problem_of(server.url)
    assert (problem["kind"], "XADD" in problem["text"]) == ("version", True), problem


async def test_a_key_of_somebody_else_is_told() -> None:
    """Another program's key under our prefix is left alone."""
    async with RedisServer() as server:
        node = Node("a", server.url)
        await server.command("SET", f"{{copilot-pulse}}:i:{node.fleet.boot}", "mine")
        node.start()
        node.offer(1)
        assert await wait_for(
            lambda: ((node.fleet.figures() or {})["links"]["writer"]["problem"] or {}).get("kind") == "keys", 20
        )
        await node.fleet.aclose()


async def test_a_replica_is_told() -> None:
    """Writes are refused; whoever promotes it need not restart us."""
    async with RedisServer() as main, RedisServer("--replicaof", "127.0.0.1", str(main.port)) as replica:
        node = Node("a", replica.url)
        node.start()
        node.offer(5)
        link = node.fleet.figures
        assert await wait_for(
            lambda: ((link() or {})["links"]["writer"]["problem"] or {}).get("kind") in ("readonly", "loading"), 20
        )
        await replica.command("REPLICAOF", "NO", "ONE")
        assert await wait_for(lambda: (link() or {})["links"]["writer"]["up"], 30)
        await node.fleet.aclose()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA that nobody knows, and a certificate for 127.0.0.1 by it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=pulse-test",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
async def tls(certificate: Path) -> AsyncIterator[RedisServer]:
    """A server that speaks TLS only."""
    options = (
        "--tls-cert-file", str(certificate / "cert.pem"), "--tls-key-file", str(certificate / "key.pem"),
        "--tls-auth-clients", "no",
    )  # fmt: skip
    async with RedisServer(*options, tls=True) as server:
        yield server


async def test_tls_works_with_its_ca_and_is_refused_without(tls: RedisServer, certificate: Path) -> None:
    """A certificate is verified; what is wrong with it is told, as is TLS on one side only."""
    async with nodes(f"{tls.url}?ssl_ca_certs={certificate / 'cert.pem'}") as (one, other):
        one.offer(5)
        assert await wait_for(lambda: other.settled(one), 20)
    unknown = await problem_of(tls.url)
    missing = await problem_of(f"{tls.url}?ssl_ca_certs=/nowhere/{datetime.date.today()}.pem")
    plain = await problem_of(tls.url.replace("rediss", "redis"))
    async with RedisServer() as server:
        eager = await problem_of(server.url.replace("redis:", "rediss:"))

    assert (unknown["kind"], missing["kind"]) == ("tls", "tls")
    assert "without TLS" in eager["text"]
    assert "self" in unknown["text"]
    assert "rediss://" in plain["text"]


async def test_no_secret_is_shown_anywhere(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever fails, the password is in no log and no figure."""
    caplog.set_level(logging.DEBUG)
    for url in (
        f"redis://:{SECRET}@127.0.0.1:{closed_port()}/0",
        f"redis://:{SECRET}x@127.0.0.1:{redis.port}/0",
        f"rediss://:{SECRET}@127.0.0.1:{redis.port}/0",
        f"redis://:{SECRET}@127.0.0.1:{redis.port}/99",
        f"redis://:{SECRET}/1@127.0.0.1:{redis.port}/0",
        f"redis+sentinel://:{SECRET}@127.0.0.1:{redis.port}/0",
    ):
        problem = await problem_of(url)
        assert SECRET not in str(problem)
    assert SECRET not in caplog.text


async def test_a_missing_library_is_told(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets the URL and has not installed the extra is told the command."""
    for name in [name for name in sys.modules if name.split(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    problem = await problem_of(redis.url)

    assert problem["kind"] == "library"
    assert "pip install" in problem["text"]


async def test_a_black_hole_costs_the_publisher_nothing(redis: RedisServer) -> None:
    """Publishing is a plain call: it returns with the event offered, however Redis is."""
    async with FaultProxy(redis.port) as proxy:
        proxy.pause()
        node = Node("a", f"redis://:{SECRET}@127.0.0.1:{proxy.port}/0")
        node.start()
        await asyncio.sleep(0)
        node.offer(20_000)  # no turn of the loop in between

        assert len(node.fleet._parts.outbox) == 10_000  # type: ignore[union-attr]
        proxy.resume()
        await node.fleet.aclose()
