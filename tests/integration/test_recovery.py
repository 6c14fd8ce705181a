"""Recovery beyond a single fault: the breaker, a critical error, rules of others, the limits of silence, its events.

The faults themselves, and what the user reads of each, are the rows of test_faults.py.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from backend.copilot.notices import strip
from tests.integration.fault_rows import ENVIRONMENT, FULL
from tests.support import net
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import (
    Eof,
    Finish,
    Plan,
    Raw,
    ToolCall,
    Wait,
    Words,
    answer,
    eof_at,
    reset_at,
    stall_at,
    status,
    words,
)
from tests.support.loop_time import LoopTime
from tests.support.net import Gate, until
from tests.support.plugged import NODES, metrics_of, pulse_of, warm

_UNKNOWN_TOOL = Plan(ToolCall("make_coffee", {}))
_USAGE = (
    b'data: {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 25, "total_tokens": 125, '
    b'"prompt_tokens_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 5}}}\n\n'
)


async def test_a_server_that_keeps_failing_is_left_alone_and_probed_again(llm: FaultServer) -> None:
    """The breaker opens: a clear message at once, without a request; after a while one probe heals it."""
    limits = {**ENVIRONMENT, "COPILOT_PULSE_BREAKER_MIN_CALLS": "4", "COPILOT_PULSE_BREAKER_OPEN": "60"}
    async with Host(NODES, llm=llm, env=limits) as host:
        await warm(host, llm, "a")
        breaker = pulse_of(host).recovery.breakers.snapshot()[0]["name"]
        llm.plan(status(503))
        for _ in range(2):
            await host.chat(session="a")
        asked = len(llm.chats)

        refused = await host.chat(session="a")

        assert asked == len(llm.chats), "an open breaker asks nobody"
        (left,) = re.findall(r"(\d+) s\b", refused.text)
        assert 0 < int(left) <= 60, refused.text
        assert "127.0.0.1" in refused.text
        metrics = await metrics_of(host)
        assert ["open"] == [row["state"] for row in metrics["errors"]["breakers"]]

        llm.plan(answer())
        url = f"{host.url}/copilot-pulse/breakers/{breaker}/probe"
        async with host.page.session.post(url, json={}) as response:
            assert 200 == response.status, await response.text()
        assert FULL == (await host.chat(session="a")).text
        metrics = await metrics_of(host)
        assert ["closed"] == [row["state"] for row in metrics["errors"]["breakers"]]


async def test_the_cause_is_told_when_the_breaker_opens_and_after(llm: FaultServer) -> None:
    """Whom the open breaker refuses reads what is wrong with the server, and how often it was really asked."""
    limits = {**ENVIRONMENT, "COPILOT_PULSE_BREAKER_MIN_CALLS": "5", "COPILOT_PULSE_BREAKER_OPEN": "60"}
    url = net.refused_url("/v1")
    async with Host(NODES, llm=llm, env=limits) as host:
        await warm(host, llm, "a")
        first, second, third = [await host.chat(session="a", llm=url) for _ in range(3)]

    assert "Tried 4 times" in first.text
    assert "refused" in second.text
    assert "left alone" not in second.text
    assert "Tried" not in second.text
    assert "left alone" in third.text
    assert "refused" in third.text


async def test_a_rate_limit_of_one_key_stops_nobody_else(llm: FaultServer) -> None:
    """The limit is one user's; another one with a key of their own is answered."""
    limits = {**ENVIRONMENT, "COPILOT_PULSE_BREAKER_MIN_CALLS": "2"}
    async with Host(NODES, llm=llm, env=limits) as host:
        await warm(host, llm, "a", "b")
        llm.plan(status(429))
        for _ in range(2):
            await host.chat(session="a")
        asked = len(llm.chats)
        llm.plan(answer())
        chat = await host.chat(session="b", headers={"Openai-Api-Key": "another-key-0123456789"})

    assert (8, FULL) == (asked, chat.text)


async def test_a_broken_model_stops_no_other_model_of_its_server(llm: FaultServer) -> None:
    """At a router, one model that is down says nothing about the next."""
    limits = {**ENVIRONMENT, "COPILOT_PULSE_BREAKER_MIN_CALLS": "2"}
    async with Host(NODES, llm=llm, env=limits) as host:
        await warm(host, llm, "a")
        llm.plan(status(503))
        await host.chat(session="a", model="vendor/bad-model")
        states = {row["name"]: row["state"] for row in (await metrics_of(host))["errors"]["breakers"]}
        llm.plan(answer())
        chat = await host.chat(session="a", model="good-model")

    assert [f"llm:127.0.0.1:{llm.port} vendor/bad-model"] == [name for name, state in states.items() if state == "open"]
    assert FULL == chat.text


async def test_a_chat_that_is_stopped_counts_for_no_breaker(llm: FaultServer) -> None:
    """A cancelled call is neither a success nor a failure."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        before = pulse_of(host).recovery.breakers.snapshot()
        llm.plan(Plan(Words(100_000, pace=0.005)))
        chat = await host.begin(session="a")
        await chat.until_text("w0002")
        await chat.hang_up()
        await until(lambda: not llm.active, what="the request has ended")

        assert before == pulse_of(host).recovery.breakers.snapshot()


async def test_a_critical_error_stops_the_chat_and_turns_health_to_fail(
    llm: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory in a model call: told at once, not retried, and health says fail until it has passed."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")

        async def out_of_memory(*args: Any, **kwargs: Any) -> None:
            raise MemoryError

        model = host.copilot("backend.agent_factory").OpenAIChatCompletionsModel
        monkeypatch.setattr(model, "_fetch_response", out_of_memory)
        chat = await host.chat(session="a")
        monkeypatch.undo()
        async with host.page.session.get(f"{host.url}/api/health") as response:
            status_code, health = response.status, await response.json(content_type=None)
        metrics = await metrics_of(host)

    assert "memory" in chat.text.lower()
    assert chat.finished
    assert 0 == len(llm.chats)
    assert (503, "fail") == (status_code, health["status"])
    assert 1 == metrics["errors"]["by_severity"]["critical"]


async def test_a_rule_of_another_plugin_decides(llm: FaultServer) -> None:
    """A registered rule turns a status that is not retried into one that is."""
    from backend.error_handling import Severity

    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        recovery = pulse_of(host).recovery
        medium = next(s for s in type(recovery.classify(TimeoutError()).severity) if s.value == Severity.MEDIUM.value)
        recovery.register_rule(
            lambda error: getattr(error, "status_code", None) == 418,
            severity=medium, kind="teapot", retryable=True, override=True,
        )  # fmt: skip
        llm.plan(status(418), answer())

        chat = await host.chat(session="a")

    assert FULL == chat.text


@pytest.mark.parametrize(
    ("limits", "prompt", "requests"),
    [
        ({"COPILOT_PULSE_FIRST_TOKEN_PER_1000_CHARS": "10"}, "word " * 10_000, 1),
        ({"COPILOT_PULSE_FIRST_TOKEN_PER_1000_CHARS": "10"}, "word", 2),
        ({"COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "0"}, "word", 1),
    ],
    ids=["a long prompt has time", "a short one has not", "no limit"],
)
async def test_the_first_token_limit(
    llm: FaultServer, loop_time: LoopTime, limits: dict[str, str], prompt: str, requests: int
) -> None:
    """A local model that still reads a long prompt is not cut off; the same silence after a short one is."""
    async with Host(NODES, llm=llm, env={**ENVIRONMENT, **limits}) as host:
        await warm(host, llm, "a")
        gate = Gate()
        llm.plan(Plan(Words(40), before=Wait(gate)), answer())
        chat = await host.begin(prompt, session="a")
        await llm.until_requests(1)
        loop_time.skip(200)
        if requests > 1:
            await llm.until_requests(requests)
        gate.open()
        await chat.done()

    assert (FULL, requests) == (chat.text, len(llm.chats))


async def test_a_server_that_never_sends_a_finish_reason_is_learnt(llm: FaultServer) -> None:
    """Asked again once; from then on its `[DONE]` is enough, until a finish reason comes after all."""
    done = Plan(Words(40), Eof(done=True))
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        llm.plan(done)
        first = await host.chat(session="a")
        requests = len(llm.chats)
        second = await host.chat(session="a")

    assert FULL.strip() == strip(first.text)
    assert "finish" in first.text
    assert 2 == requests
    assert (FULL, 3) == (second.text, len(llm.chats))


async def test_every_step_of_a_recovery_is_an_event(llm: FaultServer) -> None:
    """Retry and recovery carry class, kind, attempt and wait, tied by one id; metrics count them."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        events: list[Any] = []
        bus = pulse_of(host).bus
        subscription = bus.subscribe("error", events.append)
        llm.plan(reset_at(3), eof_at(2), answer())
        await host.chat(session="a")
        bus.unsubscribe("error", subscription)
        metrics = await metrics_of(host)

    told = [(e.data["outcome"], e.data["kind"], e.data["severity"], e.data["attempt"]) for e in events]
    assert [("retrying", "connection", "medium", 1), ("retrying", "truncated", "medium", 2)] == told[:2]
    assert "recovered" == told[2][0]
    assert 1 == len({e.data["error_id"] for e in events})
    assert 2 == metrics["errors"]["retries"]
    assert 1 == metrics["errors"]["recovered"]


async def test_every_call_of_the_model_has_an_end_with_its_usage(llm: FaultServer) -> None:
    """One that broke, one whose tool does not exist, one that answered: each as often ended as it was begun."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        events: list[Any] = []
        bus = pulse_of(host).bus
        bus.subscribe("chat.model", events.append)
        bus.subscribe("chat.model_ended", events.append)
        llm.plan(reset_at(3), _UNKNOWN_TOOL, Plan(Words(20), Finish("stop"), Raw(_USAGE), Eof(done=True)))
        await host.chat(session="a")

    assert [e.type for e in events] == ["chat.model", "chat.model_ended"] * 3
    assert [e.data["attempt"] for e in events] == [1, 1, 2, 2, 3, 3]
    assert {e.data["turn"] for e in events} == {1}
    first, second, last = (e.data for e in events if e.type == "chat.model_ended")
    assert (first["outcome"], first.get("output_tokens")) == ("failed", None)
    assert (second["outcome"], second["finish"]) == ("completed", "tool_calls")
    assert (last["outcome"], last["finish"]) == ("completed", "stop")
    usage = [last[f"{name}_tokens"] for name in ("input", "output", "cached", "reasoning")]
    assert usage == [100, 25, 64, 5]
    assert 0 <= last["first_token"] <= last["seconds"]


@pytest.mark.parametrize(
    ("plans", "outcomes", "notices"),
    [
        ((eof_at(5),), ["truncated retrying", "truncated gave_up"], 1),
        ((Plan(Words(5), Finish("length")),), ["length_limit gave_up"], 1),
        ((Plan(Finish("content_filter")),), ["content_filter gave_up"], 1),
        ((_UNKNOWN_TOOL, answer()), ["unknown_tool retrying", "unknown_tool recovered"], 0),
        ((_UNKNOWN_TOOL,), ["unknown_tool retrying", "unknown_tool retrying", "unknown_tool gave_up"], 1),
        (
            (_UNKNOWN_TOOL, _UNKNOWN_TOOL, Plan(Words(5), ToolCall("make_coffee", {}))),
            ["unknown_tool retrying", "unknown_tool retrying", "unknown_tool gave_up"],
            0,
        ),
    ],
    ids=["truncated", "length", "filter", "unknown tool", "insists", "insists after text"],
)
async def test_only_what_is_whole_has_recovered(
    llm: FaultServer, plans: tuple[Plan, ...], outcomes: list[str], notices: int
) -> None:
    """Each failure is counted once and told once; an answer that ends in a notice was given up."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        told: list[str] = []
        bus = pulse_of(host).bus
        bus.subscribe("error", lambda event: told.append(f"{event.data['kind']} {event.data['outcome']}"))
        llm.plan(*plans)
        chat = await host.chat(session="a")
        errors = (await metrics_of(host))["errors"]
    kind = outcomes[0].partition(" ")[0]

    assert outcomes == told
    assert sum("recovered" not in outcome for outcome in outcomes) == errors["by_kind"][kind]
    assert notices == chat.text.count("> \u2063")


async def test_waits_and_tools_are_no_streaming(llm: FaultServer) -> None:
    """The model's speed is that of its own calls: neither a tool's time nor a broken attempt counts."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        seen: dict[str, Any] = {}
        bus = pulse_of(host).bus
        for type_ in ("chat.tool_output", "chat.finished"):
            bus.subscribe(type_, lambda event: seen.update({event.type: event.data}))
        llm.plan(
            reset_at(30),
            Plan(Words(10, pace=0.001), ToolCall("take_time", {"seconds": 0.5})),
            Plan(Words(20, pace=0.001), Finish()),
        )
        await host.chat(session="a")
        end = seen["chat.finished"]

    assert 0 < end["stream_seconds"] <= end["seconds"] - end["first_token"] - seen["chat.tool_output"]["seconds"]
    assert 9 + 19 == end["stream_tokens"]


async def test_a_slow_tool_between_two_turns_is_no_silence_of_the_model(llm: FaultServer) -> None:
    """No limit runs while a tool works, however long it takes."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        llm.plan(Plan(Words(2), ToolCall("take_time", {"seconds": 1.2})), answer())
        chat = await host.chat(session="a")
        counts = dict(host.tool_counts("a"))

    assert words(2) + FULL == chat.text
    assert {"take_time": 1} == counts


async def test_other_requests_get_their_turn_while_a_model_is_fast(llm: FaultServer) -> None:
    """While 5,000 tokens rush through, another request of ComfyUI is answered before they are done."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        gate = Gate()
        llm.plan(Plan(Wait(gate), Words(5000)))
        chat = await host.begin(session="a")
        await until(lambda: gate.waiting, what="the model is asked")
        gate.open()
        answered = 0
        while not chat.finished:
            await host.page.json("/system_stats")
            answered += 1
            await asyncio.sleep(0)
        await chat.done()

    assert words(5000) == chat.text
    assert answered > 3


async def test_a_stall_after_the_first_token_has_its_own_limit(llm: FaultServer) -> None:
    """A long limit for the first token does not hold for the silence after it."""
    limits = {**ENVIRONMENT, "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "3000"}
    async with Host(NODES, llm=llm, env=limits) as host:
        await warm(host, llm, "a")
        llm.plan(stall_at(5), answer())
        chat = await host.chat(session="a")

    assert (FULL, 2) == (chat.text, len(llm.chats))


@pytest.mark.parametrize("count", [0, 3])
async def test_heartbeats_alone_do_not_keep_a_dead_stream(llm: FaultServer, loop_time: LoopTime, count: int) -> None:
    """A server that only sends comments, before or after the first words, is given up after a while."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        llm.plan(stall_at(count, heartbeat=0.01), answer())
        chat = await host.begin(session="a")

        def given_up() -> bool:
            if llm.active:
                loop_time.skip(5)  # less than the limit for silence: each comment is a sign of life
            return len(llm.chats) > 0 and not llm.active

        await until(given_up)
        await chat.done()

    assert (FULL, 2) == (chat.text, len(llm.chats))


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("fireworkskey-plain-0042", "plain-0042"),
        ("user:s3cretpw@127.0.0.1/v1", "s3cretpw"),
        ("127.0.0.1/v1?foo=QSECRET77x", "QSECRET77x"),
        ("http://user:p%2Fs3cret@127.0.0.1:9/v1", "s3cret"),
    ],
    ids=["key", "no scheme", "query", "password"],
)
async def test_no_secret_of_a_base_url_is_told(llm: FaultServer, url: str, secret: str) -> None:
    """A key or password in the base URL's place reaches no event, no label and no notice."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        told: list[str] = []
        pulse_of(host).bus.subscribe("*", lambda event: told.append(json.dumps(event.data, default=str)))
        chat = await host.chat(session="a", llm=url)
        told.append(json.dumps(await metrics_of(host)))
        async with host.page.session.get(f"{host.url}/api/metrics", headers={"Accept": "text/plain"}) as response:
            told.append(await response.text())
        told.append(json.dumps(await host.page.json("/copilot-pulse/health")))

    assert strip(chat.text) != chat.text, "the user is told what is wrong"
    assert [] == [text for text in (*told, chat.raw.decode()) if secret in text]


async def test_a_strangers_key_hides_the_name_of_a_model_from_him_alone(llm: FaultServer) -> None:
    """A password that could be a word is hidden in the chat that brings it, in the page, the events and the logs, and
    a stranger who sends a model's name as his key does not take it out of anybody's figures."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        told: list[str] = []
        pulse_of(host).bus.subscribe("*", lambda event: told.append(json.dumps(event.data, default=str)))
        bad = {"error": {"message": "no such key: correct-horse", "code": "invalid_api_key"}}
        llm.plan(status(401, bad), answer())
        keys = {"Openai-Api-Key": "correct-horse", "Workflow-LLM-Api-Key": "correct-horse"}
        refused = await host.chat(session="a", headers=keys)
        before = len(told)
        answered = await host.chat(session="b", model="correct-horse")
        models = json.dumps(await metrics_of(host))

    assert "no such key: [redacted]" in refused.text
    assert [] == [text for text in (*told[:before], refused.raw.decode()) if "correct-horse" in text]
    assert FULL == answered.text
    assert "correct-horse" in models
    assert any("correct-horse" in text for text in told[before:])


async def test_the_keys_of_a_forks_own_client_are_known(llm: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's `api-key`, Google's `x-goog-api-key` and a key in the query come in no request of the page."""
    keys = ["correct-horse", "battery-staple", "purple-hippo"]
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        factory = host.copilot("backend.agent_factory")
        plain = factory.AsyncOpenAI

        def fork(default_headers: dict[str, str], **options: Any) -> Any:
            headers = {**default_headers, "api-key": keys[0], "x-goog-api-key": keys[1]}
            return plain(default_headers=headers, default_query={"key": keys[2]}, **options)

        monkeypatch.setattr(factory, "AsyncOpenAI", fork)
        told: list[str] = []
        pulse_of(host).bus.subscribe("*", lambda event: told.append(json.dumps(event.data, default=str)))
        llm.plan(status(401, {"error": {"message": f"none of {' '.join(keys)} is a key"}}))
        refused = await host.chat(session="a")
        told.append(json.dumps(await metrics_of(host)))

    assert "none of [redacted] [redacted] [redacted] is a key" in refused.text
    assert [] == [text for text in (*told, refused.raw.decode()) if any(key in text for key in keys)]


async def test_messages_of_no_form_are_told_as_such(llm: FaultServer) -> None:
    """Whoever sends them is told so, in a sentence, and Copilot is not blamed; the model is not asked."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        await warm(host, llm, "a")
        about = {"session_id": "a", "prompt": "hi", "ext": [], "images": []}
        told = [
            await host.chat(session="a", body={**about, "messages": [{"role": "user", "content": 5}]}),
            await host.chat(session="a", body={**about, "messages": [{"role": "wizard", "content": "hi"}]}),
        ]
        model = [{"type": "model_select", "data": [5]}]
        refused = await host.chat(session="a", body={**about, "messages": [], "ext": model})

    assert [] == llm.chats
    assert ["cannot read the messages of this chat" in chat.text for chat in told] == [True, True]
    assert 400 == refused.status
