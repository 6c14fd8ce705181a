"""Every number of /api/metrics beside the book-keeping of what was done: chats over the whole pipeline."""

from __future__ import annotations

from collections import Counter
from typing import Any

from backend.copilot.model.tokens import estimate
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Finish, Plan, Raw, Words, answer, reset_at, status, words
from tests.support.net import until
from tests.support.plugged import metrics_of, pulse_of
from tests.unit.api.test_docs import MCP

_PROMPT = 10  # tokens that the server tells of each prompt
_DETAILS = (
    b'data: {"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 70, "total_tokens": 970, '
    b'"prompt_tokens_details": {"cached_tokens": 600}, "completion_tokens_details": {"reasoning_tokens": 30}}}\n\n'
    b"data: [DONE]\n\n"
)
_REFUSED = status(400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}})


async def _stopped(host: Host, llm: FaultServer) -> None:
    """A chat that its user stops in mid-answer."""
    llm.plan(Plan(Words(100_000, pace=0.005)))
    chat = await host.begin(session="a")
    await chat.until_text("w0002")
    running = next(iter(pulse_of(host).chats))
    async with host.page.session.post(f"{host.url}/copilot-pulse/chats/{running.id}/stop", json={}) as response:
        assert 200 == response.status
    await chat.done()
    await until(lambda: llm.active == 0, what="the model's request has ended")


async def _everything(host: Host, llm: FaultServer) -> None:
    """Healthy twice, with another model, repaired, explained, stopped, and without usage twice."""
    llm.plan(answer(40))
    await host.chat(session="a")
    llm.plan(Plan(Words(25), Finish("stop"), Raw(_DETAILS)))
    await host.chat(session="a", model="other-model")
    llm.plan(reset_at(3), answer(40))
    await host.chat(session="a")
    llm.plan(status(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}))
    await host.chat(session="a")
    await _stopped(host, llm)
    llm.plan(_REFUSED, answer(40), answer(20))
    await host.chat(session="a")
    await host.chat(session="a")


async def test_every_number_is_what_happened(host: Host, llm: FaultServer) -> None:
    """Chats by outcome, calls, tokens by kind and model, what was saved and explained, breakers and routes."""
    await _everything(host, llm)

    metrics = await metrics_of(host)
    chat, rows = metrics["chat"], {row["model"]: row for row in metrics["chat"]["models"]}
    current = {row["chat_id"]: row for row in reversed(chat["current"])}
    healthy, other, repaired, explained, stopped, first, second = current.values()

    assert (5, 1, 1, 0) == (chat["completed"], chat["failed"], chat["cancelled"], chat["active"])
    assert (2, 1, 1, 1) == (chat["failures"], chat["saved"], chat["explained"], chat["retries"])
    assert 8 == sum(row["calls"] for row in rows.values())
    assert [40, 70, 40, 0] == [row["tokens"] for row in (healthy, other, repaired, explained)]
    assert [40, 70, 40, None] == [row["output_tokens"] for row in (healthy, other, repaired, explained)]
    assert [_PROMPT, 900, _PROMPT, None] == [row["input_tokens"] for row in (healthy, other, repaired, explained)]
    assert ([600, 30], [None, None]) == ([other["cached_tokens"], other["reasoning_tokens"]],
                                         [healthy["cached_tokens"], healthy["reasoning_tokens"]])  # fmt: skip
    guessed = [stopped["tokens"], first["tokens"], second["tokens"]]
    assert [round(estimate(words(40))), round(estimate(words(20)))] == guessed[1:]
    assert guessed[0] >= estimate(words(3))
    assert [True] * 3 == [row["tokens_estimated"] for row in (stopped, first, second)]
    assert [False] * 4 == [row["tokens_estimated"] for row in (healthy, other, repaired, explained)]
    assert [None] * 3 == [row["input_tokens"] for row in (stopped, first, second)]
    assert (920, 150, 600, 30) == tuple(chat[f"{name}_tokens"] for name in ("input", "output", "cached", "reasoning"))
    assert sum(guessed) == chat["tokens_estimated"] == chat["tokens"] - 150

    assert [1, 1, 2, 1, 1, 1, 1] == [row["attempts"] for row in current.values()]
    assert [False, False, True, False, False, False, False] == [row["saved"] for row in current.values()]
    assert [0, 0, 1, 1, 0, 0, 0] == [len(row["breaks"]) for row in current.values()]
    assert 0 < repaired["breaks"][0] <= repaired["seconds"]
    assert [None, None, "connection", "auth", None, None, None] == [
        row["error"] and row["error"]["kind"] for row in current.values()
    ]
    assert all(row["cost"] == 0 and row["silent"] is None for row in current.values())


async def test_models_breakers_and_routes_add_up(host: Host, llm: FaultServer) -> None:
    """What stands in one place is the sum of what stands in another; Prometheus says the same."""
    await _everything(host, llm)

    metrics = await metrics_of(host)
    chat, models = metrics["chat"], metrics["chat"]["models"]
    this, other = sorted(models, key=lambda row: row["model"] != "fake-model")
    assert ("fake-model", 6, 1, 1, 1, 7, 2) == tuple(
        this[name] for name in ("model", "chats", "failed", "saved", "retries", "calls", "calls_failed")
    )
    assert ("other-model", 1, 0, 0, 0, 1, 0) == tuple(
        other[name] for name in ("model", "chats", "failed", "saved", "retries", "calls", "calls_failed")
    )
    assert ("auth", None) == (this["last_error"]["kind"], other["last_error"])
    assert [True, True] == [row["local"] for row in models]
    for name in ("tokens", "tokens_estimated", "input_tokens", "output_tokens", "saved", "retries"):
        assert chat[name] == sum(row[name] for row in models)
    assert chat["first_token_seconds"]["exact"]
    errors = metrics["errors"]
    assert (1, 1, 1, 1, 0.0 < 1) == (errors["retries"], errors["recovered"], errors["saved"], errors["explained"], True)
    assert (1.0, 300.0) == (errors["recovery_rate"], errors["window_seconds"])

    breakers = {row["name"].rpartition(" ")[2]: row for row in errors["breakers"] if row["name"].startswith("llm:")}
    told = {name: (row["calls"], row["failures"]) for name, row in breakers.items()}
    assert {"fake-model": (6, 1), "other-model": (1, 0)} == told
    for row in breakers.values():
        assert (row["window_calls"], row["window_failures"]) == (row["calls"], row["failures"])
    assert set(MCP) == set(metrics["mcp"][0])
    routes = {row["route"]: row for row in metrics["http"]["routes"]}
    chats = next(row for route, row in routes.items() if route.endswith("/chat/invoke"))
    assert (7, 0) == (chats["count"], chats["failed"])

    asked = Counter(bool(record.body.get("stream_options")) for record in llm.chats)
    assert {True: 7, False: 2} == dict(asked)  # refused once, and never asked again
    since = chat["since_install"]
    assert since is None or (since["chats"], since["saved"], since["tokens"]) == (7, 1, chat["tokens"])

    prometheus = await _prometheus(host)
    for name in ("tokens", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        assert (chat[name] or 0) == sum(prometheus[f"chat_{name}"])
    assert chat["tokens_estimated"] == sum(prometheus["chat_estimated_tokens"])
    assert (8, 1, 1) == tuple(sum(prometheus[name]) for name in ("chat_model_calls", "chats_saved", "chats_explained"))


async def _prometheus(host: Host) -> dict[str, list[float]]:
    """The counters by name, without prefix and suffix."""
    async with host.page.session.get(f"{host.url}/copilot-pulse/metrics?format=prometheus") as response:
        lines = (await response.text()).splitlines()
    found: dict[str, list[Any]] = {}
    for line in lines:
        if line.startswith("copilot_pulse_"):
            name, _, value = line.rpartition(" ")
            plain = name.partition("{")[0].removeprefix("copilot_pulse_").removesuffix("_total")
            found.setdefault(plain, []).append(float(value))
    return found
