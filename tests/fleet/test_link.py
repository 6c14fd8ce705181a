"""What is wrong with Redis is said in the words that help, is not hammered, and holds no secret; chats go on."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.fleet_redis import redis_link
from backend.settings import Settings
from backend.streams.registry import StreamRegistry
from tests.support.fleet_nodes import Node, nodes, wait_for
from tests.support.net import INVALID_HOST, PATIENCE, closed_port
from tests.support.proxy import FaultProxy
from tests.support.redis_server import RedisServer, need_redis

SECRET = "hush-7Kq"
CLUSTER = ("--cluster-enabled", "yes")


def two_addresses(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let the name redis.test have these."""
    resolve = socket.getaddrinfo

    def both(host: Any, *more: Any, **options: Any) -> Any:
        if host != "redis.test":
            return resolve(host, *more, **options)
        return [one for address in addresses for one in resolve(address, *more, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)


async def problem_of(url: str, role: str = "writer", limit: float = PATIENCE / 2) -> dict[str, Any]:
    """What a node says of this Redis. The limit is long enough for a machine that is slow to resolve a name."""
    node = Node("a", url, redis_timeout=limit)
    node.start()
    try:
        node.offer(1)

        def told() -> Any:
            return (node.fleet.figures() or {})["links"].get(role, {}).get("problem")

        assert await wait_for(told)
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


async def test_a_server_that_is_down_behind_a_name_of_two_addresses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As localhost is ::1 and 127.0.0.1, as a rule: nobody listens, and no server hung up."""
    two_addresses(monkeypatch, "127.0.0.2", "127.0.0.1")
    for scheme in ("redis", "rediss"):
        problem = await problem_of(f"{scheme}://redis.test:{closed_port()}/0")

        assert (problem["kind"], "connection refused." in problem["text"]) == ("address", True), problem


@pytest.mark.parametrize("host", ["a..b", "a" * 80, "ü" * 80 + ".test", "a..b:1/0?ssl_cert_reqs=none"])
async def test_a_name_that_cannot_be_is_told(host: str) -> None:
    """A label that is empty or too long never reaches the resolver."""
    problem = await problem_of(f"{'rediss' if '?' in host else 'redis'}://{host}")

    assert (problem["kind"], "the name is not known" in problem["text"]) == ("address", True), problem


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
async def test_a_wrong_password_is_told_and_not_hammered(redis: RedisServer, login: str) -> None:
    """One try of each connection, then a long wait: many servers lock out who tries again and again."""
    async with FaultProxy(redis.port) as proxy:
        node = Node("a", f"redis://{login}127.0.0.1:{proxy.port}/0", redis_timeout=PATIENCE)
        node.start()
        try:

            def problems() -> list[Any]:
                return [link["problem"] for link in (node.fleet.figures() or {})["links"].values()]

            assert await wait_for(lambda: all(problems()))
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
    async with nodes(
        f"redis://pulse:{SECRET}@127.0.0.1:{redis.port}/0", "abc", redis_answers=True, redis_timeout=60.0
    ) as (
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
            node.fleet._parts.groups.sweep = 0.2
            node.fleet._parts.groups.claim_idle = 0.1
            node.fleet.share("chaos", group="work", handler=once)
        registry = StreamRegistry(settings=Settings, publish=lambda *_: None, clock=time.monotonic)
        registry.elsewhere = [one.fleet.answers] if one.fleet.answers is not None else []
        stream = registry.claim("an-answer-of-twenty-two", "session", "chat")
        stream.relay.head(200, {})
        one.offer(10)
        assert await wait_for(lambda: other.settled(one) and len(done) == 10)
        assert other.fleet.answers is not None
        while isinstance(found := await other.fleet.answers.find(stream.id, stream.session), int | None):
            await asyncio.sleep(0.01)
        found.cancel()
        registry.finish(stream, "completed")
        await third.fleet.aclose()
        assert await wait_for(lambda: [row["state"] for row in one.fleet.instances()] == ["up", "up", "left"])
        assert await wait_for(lambda: (one.fleet.figures() or {})["answers"]["mirrored"] == 0)
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
            lambda: ((node.fleet.figures() or {})["links"]["writer"]["problem"] or {}).get("kind") == "keys"
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
            lambda: ((link() or {})["links"]["writer"]["problem"] or {}).get("kind") in ("readonly", "loading")
        )
        await replica.command("REPLICAOF", "NO", "ONE")
        assert await wait_for(lambda: (link() or {})["links"]["writer"]["up"])
        await node.fleet.aclose()


@asynccontextmanager
async def something_else(reply: bytes, *, closes: bool) -> AsyncIterator[int]:
    """A server that is no Redis, or one that says this whatever it is asked; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.read(100)
            writer.write(reply)
            await writer.drain()
            if not closes:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("reply", "closes", "kind", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", True, "address", "no Redis"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "address", "no Redis"),
        (b":of another protocol\r\n", False, "address", "no Redis"),
        (b"", False, "timeout", "something else than Redis"),
        (b"-DENIED Redis is running in protected mode.\r\n", False, "protected", "set a password"),
        (b"-ERR max number of clients reached\r\n", False, "busy", "maxclients"),
        (b"-ERR max number of clients + cluster connections reached\r\n", False, "busy", "maxclients"),
        (b"-ERR max concurrent connections exceeded\r\n", False, "busy", "no more connections"),
        (b"-ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.\r\n", False, "quota", "for today"),
        (b"-ERR max requests limit exceeded. Limit: 500000.\r\n", False, "quota", "for this month"),
        (b"-ERR max request size exceeded. Limit: 1048576 bytes\r\n", False, "refused", "larger"),
        (b"-ERR DB capacity quota exceeded\r\n", False, "full", "out of memory"),
        (b"-MOVED 866 10.0.0.7:6379\r\n", False, "cluster", "MOVED"),
        (b"-MASTERDOWN Link with MASTER is down.\r\n", False, "loading", "MASTERDOWN"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", False, "loading", "not ready"),
        (b"-NEWCODE of a later version\r\n", False, "refused", "NEWCODE"),
    ],
)
async def test_what_answers_at_the_address_is_told(reply: bytes, closes: bool, kind: str, said: str) -> None:
    """Another kind of server, a port that says nothing, and each way in which a Redis says no at once."""
    async with something_else(reply * 9, closes=closes) as port:
        problem = await problem_of(
            f"redis://:{SECRET}@127.0.0.1:{port}/0", limit=0.5 if kind == "timeout" else PATIENCE / 2
        )

    assert (problem["kind"], said in problem["text"]) == (kind, True), problem


async def test_what_a_redis_cannot_do_is_told_and_is_over_when_it_can() -> None:
    """Too few replicas, a disk that is full, a script that runs on, no connection left: each has its own words."""
    async with RedisServer("--dbfilename", "taken") as server:
        (server.folder / "taken").mkdir()
        (server.folder / "taken" / "so that it cannot be replaced").touch()
        node = Node("a", server.url)
        node.start()

        def told() -> str:
            link = (node.fleet.figures() or {})["links"]["writer"]
            return link["problem"]["text"] if link["problem"] else "up" if link["up"] else ""

        async def says(words: str) -> None:
            def said() -> bool:
                node.offer(1)
                return words in told()

            assert await wait_for(said), (words, told())

        await says("up")
        await server.command("CONFIG", "SET", "min-replicas-to-write", 1)
        await says("too few replicas")
        await server.command("CONFIG", "SET", "min-replicas-to-write", 0)
        await says("up")
        await server.command("CONFIG", "SET", "save", "3600 1")
        await server.command("BGSAVE")
        await says("cannot save its data")
        await server.command("CONFIG", "SET", "save", "")
        await says("up")
        await server.command("CONFIG", "SET", "busy-reply-threshold", 1)
        script = asyncio.ensure_future(server.command("EVAL", "while true do end", 0))
        await says("a script")
        await server.command("SCRIPT", "KILL")
        await asyncio.wait({script})
        script.exception()
        await says("up")
        await server.command("CONFIG", "SET", "maxmemory", 1)
        await says("out of memory")
        await server.command("CONFIG", "SET", "maxmemory", 0)
        await says("up")
        await node.fleet.aclose()
        await node.local.aclose()


@pytest.mark.parametrize(
    ("options", "path", "kind", "said"),
    [
        ((), "/99", "url", "no database of this number"),
        (CLUSTER, "/0", "loading", "CLUSTERDOWN"),
        (CLUSTER, "/1", "cluster", "database 0"),
        (("--requirepass", "another"), "/0", "password", "none was given"),
    ],
)
async def test_a_server_of_another_kind_is_told(options: tuple[str, ...], path: str, kind: str, said: str) -> None:
    """A database that it does not have, a node of a cluster, a password where the URL has none."""
    if options is CLUSTER:  # else it takes a port that may be too large a number
        options = (*options, "--cluster-port", str(closed_port()))
    server = RedisServer(*options)
    server.password = options[1] if "--requirepass" in options else ""
    async with server:
        problem = await problem_of(f"redis://127.0.0.1:{server.port}{path}")

    assert (problem["kind"], said in problem["text"]) == (kind, True), problem


async def test_a_password_that_nobody_asks_for_is_told() -> None:
    """The URL has one and the server none: it is refused, as a wrong one is."""
    async with RedisServer() as server:
        problem = await problem_of(server.url.replace("redis://", f"redis://:{SECRET}@"))

    assert (problem["kind"], "none is set there" in problem["text"]) == ("password", True), problem


async def test_a_sentinel_is_told(tmp_path: Path) -> None:
    """Its port is what many have at hand, and it has none of the commands."""
    port, config = closed_port(), tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\n", "utf-8")
    process = subprocess.Popen([need_redis(), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        problem: dict[str, Any] = {"kind": "address"}
        while problem["kind"] == "address":
            problem = await problem_of(f"redis://127.0.0.1:{port}/0")
    finally:
        process.kill()
        process.wait()

    assert (problem["kind"], "Sentinel" in problem["text"]) == ("version", True), problem


@pytest.mark.parametrize("lacks", ["+smembers", "+sadd", "+pexpire", "+time"])
async def test_each_right_that_is_lacking_is_told(redis: RedisServer, lacks: str) -> None:
    """Also one whose reply nobody waits for, such as that by which the instances find one another."""
    docs = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text("utf-8")
    (line,) = [one for one in docs.splitlines() if one.startswith("ACL SETUSER pulse ")]
    await redis.command(*[word for word in line.replace(">CHANGE-ME", ">p@:/?#").split() if word != lacks])
    problem = await problem_of(f"redis://pulse:p%40%3A%2F%3F%23@127.0.0.1:{redis.port}/0")

    assert (problem["kind"], lacks[1:].upper() in problem["text"]) == ("rights", True), problem


async def test_a_right_that_is_given_at_last_ends_the_complaint(redis: RedisServer) -> None:
    """Nobody has to restart anything; and it is told to the health check as long as it lacks."""
    full = ["ACL", "SETUSER", "few", "on", ">pw", "~*", "+@all"]
    await redis.command(*full, "-smembers")
    node = Node("a", f"redis://few:pw@127.0.0.1:{redis.port}/0")
    node.start()

    def link() -> dict[str, Any]:
        row: dict[str, Any] = (node.fleet.figures() or {})["links"]["writer"]
        return row

    assert await wait_for(lambda: link()["problem"] and link()["down_seconds"] > 3.5)
    await redis.command(*full, "+smembers")
    assert await wait_for(lambda: link()["up"] and link()["problem"] is None)
    await node.fleet.aclose()


async def test_the_set_of_members_of_somebody_else_is_told() -> None:
    """Writing events works, but no instance would ever find another."""
    async with RedisServer() as server:
        await server.command("SET", "{copilot-pulse}:m", "mine")
        problem = await problem_of(server.url)

        assert problem["kind"] == "keys"
        assert await server.command("GET", "{copilot-pulse}:m") == b"mine"


async def test_a_server_that_becomes_a_replica_leaves_nobody_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planned failover ends the reads that wait; when it is the master again they go on, as nobody has to help."""
    monkeypatch.setattr(redis_link, "PERMANENT_WAIT", 3600.0)
    async with RedisServer() as server, RedisServer() as new, nodes(server.url) as (one, other):
        one.offer(5)
        assert await wait_for(lambda: other.settled(one))
        await server.command("REPLICAOF", "127.0.0.1", new.port)
        await server.command("REPLICAOF", "NO", "ONE")
        one.offer(5)
        assert await wait_for(lambda: other.settled(one))


async def test_a_name_with_a_silent_address_is_reached_at_its_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address of a name may lead nowhere, as IPv6 often does."""
    async with RedisServer() as server:
        with socket.socket() as silent:
            silent.bind(("127.0.0.2", server.port))
            silent.listen(0)
            full = [socket.socket() for _ in range(8)]  # what comes after them is not answered
            for one in full:
                one.setblocking(False)
                one.connect_ex(("127.0.0.2", server.port))
            two_addresses(monkeypatch, "127.0.0.2", "127.0.0.1")
            node = Node("a", f"redis://redis.test:{server.port}/0", redis_timeout=5.0)
            node.start()
            assert await wait_for(lambda: (node.fleet.figures() or {})["links"]["writer"]["up"])
            await node.fleet.aclose()
            for one in full:
                one.close()


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
        assert await wait_for(lambda: other.settled(one))
    unknown = await problem_of(tls.url)
    missing = await problem_of(f"{tls.url}?ssl_ca_certs=/nowhere/{datetime.date.today()}.pem")
    no_file = await problem_of(f"{tls.url}?ssl_ca_certs={certificate}")
    no_key = await problem_of(
        f"{tls.url}?ssl_certfile={certificate / 'cert.pem'}&ssl_keyfile={certificate / 'cert.pem'}"
    )
    async with nodes(f"{tls.url}?ssl_cert_reqs=none", "a"):
        pass  # whoever asks for it gets encryption without a proof of whom it is with
    plain = await problem_of(tls.url.replace("rediss", "redis"))
    async with RedisServer() as server:
        eager = await problem_of(server.url.replace("redis:", "rediss:"), limit=0.5)  # it may be silent

    assert {one["kind"] for one in (unknown, missing, no_file, no_key, plain, eager)} == {"tls"}
    assert "TLS only" in plain["text"]
    assert "no certificate or not its key" in no_key["text"]
    assert "without TLS" in eager["text"]
    assert "self" in unknown["text"]
    assert "rediss://" in plain["text"]


async def test_a_server_that_asks_for_a_certificate_is_told(certificate: Path) -> None:
    """With the client's certificate it works; without, the options that name one are told."""
    mine = str(certificate / "cert.pem"), str(certificate / "key.pem")
    options = (
        "--tls-cert-file", mine[0], "--tls-key-file", mine[1], "--tls-ca-cert-file", mine[0],
        "--tls-auth-clients", "yes",
    )  # fmt: skip
    async with RedisServer(*options, tls=True) as server:
        url = f"{server.url}?ssl_ca_certs={mine[0]}"
        async with nodes(f"{url}&ssl_certfile={mine[0]}&ssl_keyfile={mine[1]}") as (one, other):
            one.offer(1)
            assert await wait_for(lambda: other.settled(one))
        problem = await problem_of(url)

    assert (problem["kind"], "ssl_certfile" in problem["text"]) == ("tls", True), problem


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
        problem = await problem_of(url, limit=0.5)
        assert SECRET not in str(problem)
    assert SECRET not in caplog.text


async def test_a_missing_library_is_told(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets the URL and has not installed the extra is told the command."""
    for name in [name for name in sys.modules if name.split(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    problem = await problem_of(redis.url)

    assert problem["kind"] == "library"
    assert "is missing" in problem["text"]
    assert "pip install" in problem["text"]


async def test_a_library_that_is_too_old_is_told(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another custom node may have brought it; the server is not to blame."""
    monkeypatch.setattr("redis.__version__", "4.6.0")
    problem = await problem_of(redis.url)

    assert problem["kind"] == "library"
    assert "too old (4.6.0)" in problem["text"]


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


async def test_who_asks_before_the_first_connection_is_told_when_it_fails(redis: RedisServer) -> None:
    """What waits for a Redis that is silent from the start may go on as without one."""
    async with FaultProxy(redis.port) as proxy:
        proxy.pause()
        node = Node("a", f"redis://:{SECRET}@127.0.0.1:{proxy.port}/0")
        node.start()
        try:
            asking = asyncio.ensure_future(node.fleet._parts.writer.errand(("TIME",)))  # type: ignore[union-attr]
            await asyncio.wait({asking}, timeout=PATIENCE)

            assert isinstance(asking.exception(), redis_link.LinkError)
        finally:
            proxy.resume()
            await node.fleet.aclose()
