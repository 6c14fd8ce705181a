"""Answers that survive the network: whole chats through the plugin, with a proxy that breaks connections."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import Host
from tests.support.leaks import no_leaks
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Plan, Wait, Words, answer, reset_at, words
from tests.support.net import Gate, until
from tests.support.plugged import NODES, metrics_of, pulse_of
from tests.support.proxy import Fault, FaultProxy
from tests.support.stream_client import StreamClient, until_text

ENV = {**ENVIRONMENT, "COPILOT_PULSE_STALL_TIMEOUT": "30", "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "30"}


@pytest.fixture
async def host(llm: FaultServer) -> AsyncIterator[Host]:
    """The plugin and the stand-in, with both MCP servers dead."""
    async with Host(NODES, llm=llm, env=ENV) as running:
        assert not running.failed
        await running.chat(session="session-1")  # what is told once only has been told
        llm.reset_counts()
        yield running


@pytest.fixture
async def proxy(host: Host) -> AsyncIterator[FaultProxy]:
    """The network between page and host."""
    async with FaultProxy(host.port) as between:
        yield between


async def ask(client: StreamClient, transport: str, prompt: str = "hello") -> None:
    """A whole chat over `transport`."""
    await (client.chat_http(prompt) if transport == "http" else client.chat_ws(prompt))


# -- the same chat over each way ---------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["http", "websocket"])
async def test_an_undisturbed_answer(host: Host, llm: FaultServer, transport: str) -> None:
    """Over either way the page gets the text, the end and Copilot's own fields; the model was asked once."""
    plain = await host.chat(session="session-1")
    llm.reset_counts()
    async with StreamClient(host.url, llm.base_url) as client:
        await ask(client, transport)

    assert plain.text == client.page.text
    assert plain.lines[-1] == client.page.lines[-1]
    assert "completed" == client.page.outcome
    assert client.page.in_order
    assert 1 == len(llm.chats)


async def test_the_default_mode_is_copilot_s_own_format(host: Host, llm: FaultServer) -> None:
    """A client that names a stream and no mode gets the same lines as one that names none."""
    plain = await host.chat(session="session-1")
    named = await host.chat(session="session-1", headers={"X-Copilot-Pulse-Stream": "A" * 22})

    assert plain.lines[-1] == named.lines[-1]
    assert plain.raw.splitlines()[-1] == named.raw.splitlines()[-1]


@pytest.mark.parametrize("transport", ["http", "websocket"])
async def test_data_and_tools(host: Host, llm: FaultServer, transport: str) -> None:
    """A chat with a tool and a retry is the same over the streams: text, ext, one tool run."""
    llm.plan(reset_at(20), answer())
    async with StreamClient(host.url, llm.base_url) as client:
        await ask(client, transport)

    assert words(40) == client.page.text
    assert client.page.lines[-1]["finished"]
    assert 2 == len(llm.chats)


async def test_the_debug_agent_over_websocket(host: Host, llm: FaultServer) -> None:
    """The other kind of chat runs through the same pipe, with the data that its handler adds."""
    canvas = {"1": {"class_type": "VAELoader", "inputs": {}}}
    plain = await host.debug(canvas, session="session-1")
    async with StreamClient(host.url, llm.base_url) as client, client.socket() as socket:
        body = {"session_id": client.session_id, "workflow_data": canvas}
        await socket.invoke(path="/api/debug-agent", body=body)
        await socket.read_to_end()

    assert plain.text == client.page.text
    assert [item["type"] for item in plain.ext] == [item["type"] for item in client.page.lines[-1]["ext"]]


async def test_an_error_is_the_same_error(host: Host, llm: FaultServer) -> None:
    """What Copilot's route refuses comes with its status and its body over the socket, too."""
    async with StreamClient(host.url, llm.base_url) as client, client.socket() as socket:
        await socket.invoke(body={"session_id": client.session_id, "messages": [], "ext": "no list"})
        await socket.read_to_end()

    assert 400 == client.page.status
    assert "ext" in client.page.text
    assert "failed" == client.page.outcome


# -- cuts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["http", "websocket"])
@pytest.mark.parametrize("seed", range(6))
async def test_random_cuts(host: Host, llm: FaultServer, proxy: FaultProxy, transport: str, seed: int) -> None:
    """Wherever and however the connection breaks, the page's text is byte for byte that of the model."""
    rng = random.Random(f"{transport} {seed}")
    llm.plan(Plan(Words(250, pace=0.002)))
    for _ in range(rng.randint(2, 9)):
        proxy.next(
            Fault(
                cut_after=rng.choice([0, rng.randint(1, 400), rng.randint(100, 3000)]),
                how=rng.choice(["reset", "close", "half"]),
                chunk=rng.choice([1, 7, 1000, 65536]),
            )
        )
    async with StreamClient(proxy.url, llm.base_url) as client:
        await ask(client, transport)

    assert words(250) == client.page.text
    assert client.page.in_order
    assert client.page.outcome == "completed"
    assert 1 == len(llm.chats)


@pytest.mark.parametrize("cut", [0, 40, 200])
async def test_a_request_cut_on_its_way_up(host: Host, llm: FaultServer, proxy: FaultProxy, cut: int) -> None:
    """A request that arrives in part asks nothing; asked again, it asks once."""
    proxy.next(cut_up_after=cut)
    async with StreamClient(proxy.url, llm.base_url) as client:
        await client.chat_http()

    assert words(40) == client.page.text
    assert 1 == len(llm.chats)


async def test_a_black_hole_does_not_hold_up_the_chat(host: Host, llm: FaultServer, proxy: FaultProxy) -> None:
    """A connection that takes nothing any more, and does not say so, neither stops nor delays the answer."""
    llm.plan(answer(2000))
    proxy.next(Fault(cut_after=2_000, how="hole"))
    streams = pulse_of(host).streams
    async with StreamClient(proxy.url, llm.base_url) as client:
        asking = asyncio.create_task(client.ask_http())
        await until(lambda: streams.snapshot()["kept"] == 1)
        assert not client.page.outcome
        await client.resume_http()
        asking.cancel()

        assert words(2000) == client.page.text


# -- the grace period --------------------------------------------------------------------------------


async def test_a_chat_without_a_reader_is_stopped_after_its_grace(host: Host, llm: FaultServer) -> None:
    """When the page does not come back, the model's request ends and the stream says so."""
    pulse = pulse_of(host)
    pulse.settings.update({"resume_grace": 0.2})
    hold = Gate()
    llm.plan(Plan(Words(5), Wait(hold), Words(5, start=5)))
    async with StreamClient(host.url, llm.base_url) as client:
        async with client.socket() as socket:
            await socket.invoke()
            while words(5).strip() not in client.page.text:
                await socket.next()
        await until(lambda: llm.active == 0)
        await client.resume_http()

    assert "cancelled" == client.page.outcome
    assert llm.chats[0].aborted_at is not None


async def test_zero_grace_stops_at_once(host: Host, llm: FaultServer) -> None:
    """With a grace of 0 a page that leaves stops the chat as a hang-up does without a stream."""
    pulse_of(host).settings.update({"resume_grace": 0})
    llm.plan(Plan(Words(5), Wait(Gate()), Words(5)))
    async with StreamClient(host.url, llm.base_url) as client:
        asking = asyncio.create_task(client.ask_http())
        await until_text(client.page, words(5).strip())
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: llm.active == 0, 20)  # sooner than with the grace that users have


async def test_without_a_stream_a_hang_up_stops_the_chat(host: Host, llm: FaultServer) -> None:
    """A page that cannot come back is treated as before, whatever the grace is."""
    pulse_of(host).settings.update({"resume_grace": 600})
    llm.plan(Plan(Words(5), Wait(Gate()), Words(5)))
    chat = await host.begin(session="session-1")
    await chat.until_text(words(5).strip())
    await chat.hang_up()

    await until(lambda: llm.active == 0)


@pytest.mark.parametrize("transport", ["http", "websocket"])
async def test_cancel_stops_the_model_at_once(host: Host, llm: FaultServer, transport: str) -> None:
    """An explicit cancel needs no grace, closes the model's connection and leaves nothing behind."""
    pulse_of(host).settings.update({"resume_grace": 600})
    async with StreamClient(host.url, llm.base_url) as client, no_leaks(sockets=4):
        llm.plan(Plan(Words(5), Wait(Gate()), Words(5)))
        if transport == "http":
            asking = asyncio.create_task(client.ask_http())
            await until_text(client.page, words(5).strip())
            assert 200 == await client.cancel_http()
            await asking
        else:
            async with client.socket() as socket:
                await socket.invoke()
                while words(5).strip() not in client.page.text:
                    await socket.next()
                await socket.send("cancel")
                await socket.read_to_end()
        await until(lambda: llm.active == 0)

    assert "cancelled" == client.page.outcome


# -- three answers -----------------------------------------------------------------------------------


async def test_unknown_running_finished_and_gone(host: Host, llm: FaultServer) -> None:
    """A stream is not known, runs, has ended, or is no longer kept: four different answers."""
    pulse = pulse_of(host)
    hold = Gate()
    llm.plan(Plan(Words(5), Wait(hold), Words(5, start=5)))
    async with StreamClient(host.url, llm.base_url) as client:
        url = f"{host.url}/copilot-pulse/streams/{client.id}?session={client.session_id}"

        async def look(where: str = url) -> tuple[int, str | None]:
            async with client.http.get(where) as response:
                return response.status, response.headers.get("X-Copilot-Pulse-State")

        assert (404, None) == await look()
        asking = asyncio.create_task(client.ask_http())
        await until_text(client.page, words(5).strip())
        assert (200, "running") == await look()
        assert (404, None) == await look(url + "-another-session")
        hold.open()
        await asking
        assert (200, "finished") == await look()
        assert (200, "finished") == await look(url.replace("/copilot-pulse", "/api/copilot-pulse"))
        pulse.settings.update({"stream_keep": 0})
        await until(lambda: pulse.streams.snapshot()["kept"] == 0)
        assert (410, None) == await look()


@pytest.mark.parametrize(("asked", "counted"), [(1, 1), (10**6, 0)])
async def test_the_first_frame_says_from_where_it_goes_on(
    host: Host, llm: FaultServer, asked: int, counted: int
) -> None:
    """A page that had more of the answer than there is here, as after a crash, knows that it gets all of it again."""
    llm.plan(Plan(Words(5)))
    async with StreamClient(host.url, llm.base_url) as client:
        await client.ask_http()
        url = f"{host.url}/copilot-pulse/streams/{client.id}?session={client.session_id}&after={asked}"
        async with client.http.get(url) as response:
            over_http = json.loads(await response.content.readline())
        async with client.socket() as socket:
            await socket.send("read", after=asked)
            while not any(frame["type"] == "state" for frame in socket.others):
                await socket.next()

    assert counted == over_http["after"]
    assert counted == socket.others[-1]["after"]


async def test_a_second_chat_under_the_same_id_is_refused(host: Host, llm: FaultServer) -> None:
    """Asked twice by a page that lost its connection, the model is asked once."""
    async with StreamClient(host.url, llm.base_url) as client:
        await client.ask_http()
        headers = {**client.headers, "X-Copilot-Pulse-Stream": client.id, "X-Copilot-Pulse-Mode": "frames"}
        from tests.support.stream_client import chat_body

        async with client.http.post(
            f"{host.url}/api/chat/invoke", json=chat_body(client.session_id), headers=headers
        ) as response:
            assert 409 == response.status

    assert 1 == len(llm.chats)


# -- readers -----------------------------------------------------------------------------------------


async def test_two_readers_read_the_same(host: Host, llm: FaultServer) -> None:
    """A second page may follow; one that leaves does not disturb the other."""
    hold = Gate()
    llm.plan(Plan(Words(20), Wait(hold), Words(20, start=20)))
    async with StreamClient(host.url, llm.base_url) as first, StreamClient(host.url, llm.base_url) as second:
        second.id = first.id
        asking = asyncio.create_task(first.ask_http())
        await until_text(first.page, words(20).strip())
        async with second.socket() as socket:
            await socket.send("read", after=0)
            while words(20).strip() not in second.page.text:
                await socket.next()
            asking.cancel()
            hold.open()
            await socket.read_to_end()

    assert words(40) == second.page.text
    assert 1 == len(llm.chats)


async def test_pause_holds_the_model_back(host: Host, llm: FaultServer) -> None:
    """While the only reader has paused, the model is not read; afterwards nothing is missing."""
    count = 60_000
    llm.plan(answer(count))
    pulse = pulse_of(host)
    async with StreamClient(host.url, llm.base_url) as client, client.socket() as socket:
        await socket.invoke()
        while "w5 " not in client.page.text and words(5).strip() not in client.page.text:
            await socket.next()
        await socket.send("pause")
        (chat,) = list(pulse.chats)
        await until(lambda: chat.gate is not None)
        await asyncio.sleep(0)
        tokens = -1

        def steady() -> bool:
            nonlocal tokens
            before, tokens = tokens, chat.figures.tokens
            return bool(before == tokens)

        await until(steady)
        held_at = chat.figures.tokens
        assert held_at < count
        assert chat.active
        await socket.send("cancel")
        await socket.send("resume")
        await socket.read_to_end()

    assert "cancelled" == client.page.outcome
    await until(lambda: llm.active == 0)


async def test_pause_and_resume_lose_nothing(host: Host, llm: FaultServer) -> None:
    """The text after a pause is whole."""
    llm.plan(Plan(Words(200, pace=0.002)))
    async with StreamClient(host.url, llm.base_url) as client, client.socket() as socket:
        await socket.invoke()
        while len(client.page.text) < 50:
            await socket.next()
        await socket.send("pause")
        (chat,) = list(pulse_of(host).chats)
        await until(lambda: chat.gate is not None)
        await socket.send("resume")
        await socket.read_to_end()

    assert words(200) == client.page.text


async def test_metrics_events_and_health_see_the_streams(host: Host, llm: FaultServer) -> None:
    """Chats over a socket count as chats, and the streams have figures of their own."""
    pulse = pulse_of(host)
    seen: list[Any] = []
    for type_ in ("stream.opened", "stream.closed", "chat.finished"):
        pulse.bus.subscribe(type_, lambda event: seen.append((event.type, dict(event.data))))
    before = (await metrics_of(host))["chat"]["completed"]
    async with StreamClient(host.url, llm.base_url) as client:
        await client.chat_ws()
        metrics = await metrics_of(host)
        health = await host.page.json("/api/health")
    await until(lambda: len(seen) >= 3)

    assert before + 1 == metrics["chat"]["completed"]
    assert 1 == metrics["extra"]["streams"]["kept"]
    assert "streams:running" in health["checks"]
    assert {"stream.opened", "stream.closed", "chat.finished"} == {type_ for type_, _ in seen}
    assert "websocket" == next(data for type_, data in seen if type_ == "stream.opened")["transport"]
    assert words(40) == client.page.text
