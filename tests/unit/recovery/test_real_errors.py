"""Real clients (whichever openai version is installed), real sockets: what each failure is judged to be.

Everything here is raised by openai, its HTTP client, aiohttp or the agent library itself, never made by hand.
"""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from backend.recovery.advice import explain
from backend.recovery.bodies import wrong_body
from backend.recovery.classify import Classification, Classifier
from backend.recovery.kinds import Severity
from tests.support import llm_bodies as bodies
from tests.support import llm_steps as steps
from tests.support import net
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Plan

KEY = "sk-proj-THEUSERSOWNSECRET0123456789"


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    """A model server that can be told to fail; a path without /v1 is served like any other."""
    async with FaultServer() as running:
        yield running


async def failure(base_url: str, *, key: str = KEY, timeout: float = 5.0, model: str = "test-model") -> BaseException:
    """The error that a streamed chat ends with; fails the test if there is none."""
    # Loading the authorities' certificates takes longer than all the rest of a test.
    http = openai.DefaultAsyncHttpxClient(verify=False)
    try:
        client = openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeout, http_client=http)
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "THE PROMPT"}], stream=True
        )
        async for _ in stream:
            pass
    except Exception as error:
        return error
    finally:
        await http.aclose()
    pytest.fail("the call did not fail")


async def judged(server: FaultServer, plan: Plan, base: str = "/v1", **how: Any) -> Classification:
    """What the failure under a plan is classified as."""
    server.plan(plan)
    return Classifier().classify(await failure(server.base_url.removesuffix("/v1") + base, **how))


BROKEN = [
    ("reset before the headers", steps.reset_before_headers(), "connection"),
    ("reset before the first token", steps.reset_first(), "connection"),
    ("reset in mid-answer", steps.reset_at(5), "connection"),
    ("the body is cut", steps.cut_at(5), "connection"),
    ("an error object inside the stream", steps.error_at(3), "server_error"),
    ("a rate limit inside the stream", steps.error_at(3, message="Slow down", code="rate_limit_exceeded"), "rate_limited"),
    ("overload inside the stream", steps.error_at(3, message="Overloaded", code=None, type="overloaded_error"), "overloaded"),
    ("a status as the code inside the stream", steps.error_at(3, message="Provider returned error", code=502), "server_error"),
    ("a line that is no JSON", steps.garbage_at(3), "malformed"),
    ("bytes that are no UTF-8", steps.undecodable_at(3), "malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("plan", "kind"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
async def test_broken_stream_is_asked_again(server: FaultServer, plan: Plan, kind: str) -> None:
    """Whatever breaks a stream in mid-answer is MEDIUM and retryable."""
    cause = await judged(server, plan)

    assert (kind, Severity.MEDIUM, True) == (cause.kind, cause.severity, cause.retryable)


BLAMED = [
    ("quota", {"message": "You exceeded your current quota", "code": "insufficient_quota"}, "quota"),
    ("key", {"message": "Incorrect API key provided", "code": "invalid_api_key", "type": "authentication_error"}, "auth"),
    ("request", {"message": "temperature: bad value", "code": None, "type": "invalid_request_error"}, "bad_request"),
    ("model", {"message": "The model `x` does not exist", "code": None, "type": "invalid_request_error"},
     "model_not_found"),
    ("context", {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"},
     "context_too_long"),
    ("filter", {"message": "stopped", "code": "content_filter", "type": "x"}, "content_filter"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind"), [b[1:] for b in BLAMED], ids=[b[0] for b in BLAMED])
async def test_in_stream_refusal_is_not_asked_again(server: FaultServer, error: dict[str, Any], kind: str) -> None:
    """An error object inside the stream that blames the request or the account is judged like its status."""
    cause = await judged(server, steps.error_at(2, **error))

    assert (kind, Severity.HIGH, False) == (cause.kind, cause.severity, cause.retryable)


STATUSES = [
    (400, "bad_request"), (401, "auth"), (402, "quota"), (403, "forbidden"), (404, "not_found"), (405, "not_found"),
    (407, "network_login"), (408, "timeout"), (409, "server_error"), (410, "not_found"), (413, "context_too_long"),
    (418, "bad_request"), (422, "bad_request"), (424, "server_error"), (425, "server_error"), (429, "rate_limited"), (446, "content_filter"), (451, "region"), (499, "server_error"),
    (500, "server_error"), (502, "server_error"), (503, "overloaded"), (504, "timeout"), (520, "server_error"),
    (524, "timeout"), (529, "overloaded"), (511, "network_login"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_bare_status(server: FaultServer, status: int, kind: str) -> None:
    """A status whose body tells nothing decides alone: those of a moment, 429 and 5xx are asked again."""
    cause = await judged(server, steps.status(status))

    assert (kind, status) == (cause.kind, cause.status)
    assert cause.retryable is (status in (408, 409, 424, 425, 429, 499) or (status >= 500 and status != 511))


BODIES: list[tuple[str, int, Any, str]] = [
    ("openai key", 401, bodies.OPENAI_401, "auth"),
    ("openai region", 403, bodies.OPENAI_403_REGION, "region"),
    ("openai model", 404, bodies.OPENAI_404_MODEL, "model_not_found"),
    ("openai context", 400, bodies.OPENAI_400_CONTEXT, "context_too_long"),
    ("openai filter", 400, bodies.OPENAI_400_FILTER, "content_filter"),
    ("openai rate", 429, bodies.OPENAI_429_RATE, "rate_limited"),
    ("openai quota", 429, bodies.OPENAI_429_QUOTA, "quota"),
    ("openai 500", 500, bodies.OPENAI_500, "server_error"),
    ("openai 503", 503, bodies.OPENAI_503, "overloaded"),
    ("anthropic overload", 529, bodies.ANTHROPIC_529, "overloaded"),
    ("anthropic model", 404,
     {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-nope"}}, "model_not_found"),
    ("anthropic context", 400,
     {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}},
     "context_too_long"),
    ("anthropic credit", 400,
     {"type": "error", "error": {"type": "invalid_request_error",
                                 "message": "Your credit balance is too low to access the Anthropic API."}}, "quota"),
    ("azure filter", 400, bodies.AZURE_400_FILTER, "content_filter"),
    ("azure deployment", 404, bodies.AZURE_404_DEPLOYMENT, "model_not_found"),
    ("dashscope context", 400, bodies.DASHSCOPE_400_CONTEXT, "context_too_long"),
    ("dashscope arrears", 400, bodies.DASHSCOPE_400_ARREARS, "quota"),
    ("dashscope key", 401, bodies.DASHSCOPE_401, "auth"),
    ("dashscope filter", 400, {"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}},
     "content_filter"),
    ("deepseek balance", 402, bodies.DEEPSEEK_402, "quota"),
    ("deepseek model", 400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}, "model_not_found"),
    ("deepseek risk", 400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}, "content_filter"),
    ("deepseek key", 401, {"error": {"message": "Authentication Fails, Your api key: ****abcd is invalid"}}, "auth"),
    ("gemini key", 400, bodies.GEMINI_400_KEY, "auth"),
    ("gemini overload", 503, bodies.GEMINI_503, "overloaded"),
    ("gemini model", 404, [{"error": {"code": 404, "message": "models/gemini-9 is not found for API version v1main",
                                      "status": "NOT_FOUND"}}], "model_not_found"),
    ("gemini per minute", 429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message":
                                 "You exceeded your current quota. Quota exceeded for metric: requests per minute. "
                                 "Please retry in 27.5s."}}], "rate_limited"),
    ("gemini context", 400, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
                              "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."}}],
     "context_too_long"),
    ("groq too large", 413, bodies.GROQ_413, "context_too_long"),
    ("groq retired", 400, {"error": {"message": "The model `x` has been decommissioned", "code": "model_decommissioned"}},
     "model_not_found"),
    ("too large for the minute", 429, {"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000"}},
     "context_too_long"),
    ("lm studio no model", 404, bodies.LMSTUDIO_404_NO_MODEL, "model_not_found"),
    ("lm studio context", 400, bodies.LMSTUDIO_400_CONTEXT, "context_too_long"),
    ("lm studio load", 400, {"error": {"message": 'Failed to load model "x". Error: not enough memory'}}, "server_memory"),
    ("moonshot concurrency", 429, bodies.MOONSHOT_429, "rate_limited"),
    ("moonshot model", 404, {"error": {"message": "Not found the model moonshot-x or Permission denied",
                                       "type": "resource_not_found_error"}}, "model_not_found"),
    ("moonshot context", 400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 8192",
                                         "type": "invalid_request_error"}}, "context_too_long"),
    ("moonshot balance", 429, {"error": {"message": "Your account is suspended", "type": "exceeded_current_quota_error"}},
     "quota"),
    ("moonshot busy", 429, {"error": {"message": "The engine is currently overloaded", "type": "engine_overloaded_error"}},
     "overloaded"),
    ("ollama model", 404, bodies.OLLAMA_404_MODEL, "model_not_found"),
    ("ollama tools", 400, bodies.OLLAMA_400_NO_TOOLS, "no_tools"),
    ("openrouter credits", 402, bodies.OPENROUTER_402, "quota"),
    ("openrouter tools", 404, bodies.OPENROUTER_404_TOOLS, "no_tools"),
    ("openrouter model", 400, {"error": {"message": "acme/none is not a valid model ID", "code": 400}}, "model_not_found"),
    ("openrouter no endpoint", 404, {"error": {"message": "No endpoints found for acme/none.", "code": 404}},
     "model_not_found"),
    ("bedrock default model", 400, bodies.BEDROCK_400_MODEL, "model_not_found"),
    ("vllm context", 400, bodies.VLLM_400_CONTEXT, "context_too_long"),
    ("vllm tools", 400, bodies.VLLM_400_TOOLS, "no_tools"),
    ("vllm model", 404, {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
     "model_not_found"),
    ("llama.cpp context", 400, {"error": {"code": 400, "type": "exceed_context_size_error",
                                          "message": "the request exceeds the available context size. try increasing it"}},
     "context_too_long"),
    ("llama.cpp loading", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "loading"),
    ("llama.cpp tools", 500, {"error": {"code": 500, "message": "tools param requires --jinja flag"}}, "no_tools"),
    ("siliconflow tools", 400, {"code": 20037, "message": "Function call is not supported for this model.", "data": None},
     "no_tools"),
    ("siliconflow model", 400, {"code": 20012, "message": "Model does not exist. Please check it carefully."},
     "model_not_found"),
    ("siliconflow balance", 403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}, "quota"),
    ("zhipu balance", 429, bodies.ZHIPU_429_BALANCE, "quota"),
    ("zhipu context", 400, bodies.ZHIPU_400_CONTEXT, "context_too_long"),
    ("zhipu model", 400, {"error": {"code": "1211", "message": "模型不存在，请检查模型代码。"}}, "model_not_found"),
    ("zhipu filter", 400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}},
     "content_filter"),
    ("chinese rate", 429, bodies.CHINESE_429_RATE, "rate_limited"),
    ("one-api no channel", 503, {"error": {"message": "当前分组 default 下对于模型 gpt-x 无可用渠道", "type": "new_api_error"}},
     "model_not_found"),
    ("one-api token", 401, {"error": {"message": "无效的令牌", "type": "new_api_error"}}, "auth"),
    ("nginx", 502, bodies.NGINX_502, "server_error"),
    ("cloudflare", 524, bodies.CLOUDFLARE_524, "timeout"),
    ("cloudflare forbids", 403, b"<!DOCTYPE html><html><title>Attention Required</title></html>", "protected"),
    ("plain to tls", 400, b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>", "tls"),
]  # fmt: skip


def gemini(says: str, *quotas: str, delay: str = "") -> Any:
    """A 429 of Gemini's compatible interface, with the limits that were hit in its details."""
    details: list[Any] = [{"@type": "QuotaFailure", "violations": [{"quotaId": quota} for quota in quotas]}]
    if delay:
        details.append({"@type": "RetryInfo", "retryDelay": delay})
    told = f"You exceeded your current quota, please check your plan and billing details. {says}"
    return [{"error": {"code": 429, "message": told, "status": "RESOURCE_EXHAUSTED", "details": details}}]


_MINUTE, _DAY = (
    "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
)
BODIES += [
    ("gemini wait", 429, gemini("Please retry in 41.2s."), "rate_limited"),
    ("gemini minute", 429, gemini("limit: 15", _MINUTE), "rate_limited"),
    ("gemini day", 429, gemini("Please retry in 20s.", _DAY), "quota"),
    ("gemini minute and day", 429, gemini("Please retry in 20s.", _MINUTE, _DAY), "quota"),
    ("gemini none at all", 429, gemini("limit: 0\nPlease retry in 20s.", _MINUTE), "quota"),
    ("openai quota with a wait", 429, {"error": {"message": "You exceeded your current quota. Retry in 20s", "code": "insufficient_quota"}}, "quota"),
    ("openrouter free day", 429, {"error": {"message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 requests per day", "code": 429}}, "quota"),
    ("openai day", 429, {"error": {"message": "Rate limit reached on requests per day (RPD): Limit 200. Please try again in 7m12s.", "code": "rate_limit_exceeded"}}, "rate_limited"),
    ("zhipu 5 hours", 429, {"error": {"message": "已达到 5 小时的使用上限。您的限额将在 2026-11-22 20:00:00 重置。", "code": "1308"}}, "rate_limited"),
    ("option parallel_tool_calls", 400, {"error": {"message": "Unsupported parameter: 'parallel_tool_calls' is not supported with this model."}}, "bad_request"),
    ("option parallel_tool_calls in backticks", 400, {"error": {"message": "`parallel_tool_calls` is not supported"}}, "bad_request"),
    ("option tool_choice", 400, {"error": {"message": "Unsupported value: 'tool_choice' does not support 'required' with this model."}}, "bad_request"),
    ("tool messages", 400, {"error": {"message": "messages with role 'tool' must follow 'tool_calls'. Tool messages are not supported here"}}, "bad_request"),
    ("option tools", 400, {"error": {"message": "Unsupported parameter: 'tools' is not supported with this model."}}, "no_tools"),
    ("responses only", 404, {"error": {"message": "This model is only supported in v1/responses and not in v1/chat/completions."}}, "model_not_found"),
    ("no chat model", 404, {"error": {"message": "This is not a chat model and thus not supported in the v1/chat/completions endpoint."}}, "model_not_found"),
    ("leaked key", 403, {"error": {"message": "Your API key was reported as leaked. Please use another API key.", "status": "PERMISSION_DENIED"}}, "auth"),
    ("image too large", 400, {"error": {"message": "The model's input image is too large. Images must be smaller than 20 MB"}}, "bad_request"),
    ("groq tool call", 400, {"error": {"message": "Failed to call a function. Please adjust your prompt.", "code": "tool_use_failed", "failed_generation": "x"}}, "malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES])
async def test_body_of_a_provider(server: FaultServer, status: int, body: Any, kind: str) -> None:
    """What each provider says in its own words, in English or Chinese, is understood."""
    headers = {"Content-Type": "text/html"} if isinstance(body, bytes) else {}
    cause = await judged(server, steps.status(status, body, headers=headers))

    assert (kind, status) == (cause.kind, cause.status)


ADDRESSES: list[tuple[str, str, int, Any, str]] = [
    ("ollama without v1", "", 404, b"404 page not found", "missing_v1"),
    ("fastapi without v1", "", 404, bodies.NOT_FOUND, "missing_v1"),
    ("405 without v1", "", 405, {"detail": "Method Not Allowed"}, "missing_v1"),
    ("a page without v1", "", 404, steps.PAGE, "missing_v1"),
    (
        "openai without v1",
        "",
        404,
        {"error": {"message": "Invalid URL (POST /chat/completions)"}},
        "missing_v1",
    ),
    ("a model error without v1", "", 404, bodies.OPENAI_404_MODEL, "model_not_found"),
    (
        "moonshot's model error without v1",
        "",
        404,
        {"error": {"message": "Not found the model x"}},
        "model_not_found",
    ),
    ("fastapi with v1", "/v1", 404, bodies.NOT_FOUND, "not_found"),
    ("a page with v1", "/v1", 404, steps.PAGE, "html_body"),
    ("the whole address as the base", "/v1/chat/completions", 404, bodies.NOT_FOUND, "bad_url"),
    ("a version of another name", "/api/paas/v4", 404, bodies.NOT_FOUND, "not_found"),
]


@pytest.mark.parametrize(("base", "status", "body", "kind"), [a[1:] for a in ADDRESSES], ids=[a[0] for a in ADDRESSES])
async def test_wrong_address(base: str, status: int, body: Any, kind: str) -> None:
    """A 404 tells a missing model from a missing /v1 from a website from a wrong path."""
    async with Scripted(status, body) as url:
        cause = Classifier().classify(await failure(url + base))

    assert (kind, f"{url}{base}/chat/completions", False) == (cause.kind, cause.url, cause.retryable)


class Scripted:
    """A server that gives every path the same answer, which the fault server keeps for paths with /v1.

    The first path may be redirected to another.
    """

    def __init__(self, status: int, body: Any, *, raw: bytes | None = None, redirect: bytes = b"") -> None:
        plan = steps.status(status, body)
        kind = b"text/html" if plan.body == steps.PAGE else b"application/json"
        head = b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self._answer = raw if raw is not None else head % (status, kind, len(plan.body or b"")) + (plan.body or b"")
        self._redirect = redirect

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(65_536)
        if self._redirect and self._redirect not in asked:
            head = b"HTTP/1.1 302 X\r\nLocation: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(head % self._redirect)
        else:
            writer.write(self._answer)
        await writer.drain()
        writer.close()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()


UNREACHABLE = [
    ("refused", lambda: net.refused_url("/v1"), "connection_refused", True),
    ("no such host", lambda: net.dns_failure_url("/v1"), "dns", True),
    ("no scheme", lambda: "127.0.0.1:1234/v1", "bad_url", False),
    ("not a URL", lambda: "my server", "bad_url", False),
    ("another protocol", lambda: "ftp://127.0.0.1/v1", "bad_url", False),
    ("half an IPv6 address", lambda: "http://[::1/v1", "bad_url", False),
    ("an impossible port", lambda: "http://127.0.0.1:99999/v1", "bad_url", False),
]


@pytest.mark.parametrize(("url", "kind", "retryable"), [u[1:] for u in UNREACHABLE], ids=[u[0] for u in UNREACHABLE])
async def test_unreachable_address(url: Any, kind: str, retryable: bool) -> None:
    """A server that is not there is asked again; an address that can never work is not."""
    cause = Classifier().classify(await failure(url()))

    assert (kind, retryable) == (cause.kind, cause.retryable)


async def test_tls_to_a_plain_port_is_told_and_not_retried() -> None:
    """https:// in front of a plain server: every try would fail the same."""
    async with Scripted(0, None, raw=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as url:
        cause = Classifier().classify(await failure(net.tls_to_plain(url) + "/v1"))

    assert ("tls", False, Severity.HIGH) == (cause.kind, cause.retryable, cause.severity)
    assert "http:// instead of https://" in explain(cause, base_url=net.tls_to_plain(url) + "/v1")


async def test_silence_is_a_timeout(server: FaultServer) -> None:
    """The client's own limit, before the headers and in mid-stream."""
    before = await judged(server, steps.stall_headers(), timeout=0.2)
    within = await judged(server, steps.stall_at(3), timeout=0.2)

    assert ["timeout", "timeout"] == [before.kind, within.kind]
    assert before.retryable
    assert within.retryable


@pytest.mark.parametrize("key", [f"{KEY}\n", "我的密钥-THEUSERSOWNSECRET"], ids=["line break", "chinese"])
async def test_key_that_cannot_be_sent(server: FaultServer, key: str) -> None:
    """A key with a line break or foreign characters never reaches the server; it is told, not retried, not shown."""
    cause = Classifier().classify(await failure(server.base_url, key=key))

    assert ("auth", False) == (cause.kind, cause.retryable)
    assert "SECRET" not in cause.message
    assert "cannot be sent" in explain(cause)


async def test_key_that_cannot_be_sent_by_the_shared_client(server: FaultServer) -> None:
    """aiohttp, which carries the chats, has other words for it."""
    async with aiohttp.ClientSession() as client:
        with pytest.raises(ValueError, match="header") as refused:
            await client.get(server.base_url, headers={"Authorization": f"Bearer {KEY}\n"})
    cause = Classifier().classify(refused.value)

    assert ("auth", False) == (cause.kind, cause.retryable)
    assert "cannot be sent" in explain(cause)


async def test_no_key_at_all() -> None:
    """openai refuses to be made without a key."""
    with pytest.raises(openai.OpenAIError) as caught:
        openai.AsyncOpenAI(api_key=None)

    cause = Classifier().classify(caught.value)

    assert ("auth", False) == (cause.kind, cause.retryable)
    assert "No API key was sent" in explain(cause)


@pytest.mark.parametrize(
    ("plan", "low", "high"),
    [
        (steps.status(429, retry_after=7), 7, 7),
        (steps.status(503, retry_after="2.5"), 2.5, 2.5),
        (steps.status(429, retry_after=90, retry_after_ms=1500), 1.5, 1.5),
        (steps.status(429, retry_at=4000), 2000, 4001),
        (steps.status(429, retry_at=-4000), 0, 0),
        (steps.status(429, bodies.OPENAI_429_RATE), 6, 6),
        (steps.status(429, gemini("", _MINUTE, delay="41.5s")), 41.5, 41.5),
        (steps.status(429, retry_after="soon"), None, None),
        (steps.status(429, retry_after="nan"), None, None),
        (steps.status(400, retry_after=7), None, None),
    ],
    ids=["seconds", "fraction", "milliseconds", "date", "past", "words", "details", "nonsense", "nan", "no retry"],
)
async def test_wait_that_the_server_asks_for(
    server: FaultServer, plan: Plan, low: float | None, high: float | None
) -> None:
    """Retry-After in seconds, in milliseconds, as a date, or in the message's words."""
    cause = await judged(server, plan)

    if low is None or high is None:
        assert cause.retry_after is None
    else:
        assert cause.retry_after is not None
        assert low <= cause.retry_after <= high


async def test_prompt_echoed_by_a_validation_error_is_not_repeated(server: FaultServer) -> None:
    """FastAPI's details hold the whole input; only their messages are taken over."""
    details = {"detail": [{"type": "missing", "loc": ["body"], "msg": "Field required", "input": {"m": "THE PROMPT"}}]}
    cause = await judged(server, steps.status(422, details))

    assert ("bad_request", "Field required") == (cause.kind, cause.message)


async def test_words_of_an_echoed_prompt_decide_nothing(server: FaultServer) -> None:
    """A body without a message is not searched for words that the user may have written."""
    cause = await judged(server, steps.status(400, {"input": "x" * 400 + " rate limit, insufficient quota"}))

    assert "bad_request" == cause.kind
    assert "quota" not in cause.message


async def test_a_string_under_error_is_kept_whole_and_a_text_in_its_beginning(server: FaultServer) -> None:
    """LM Studio and Ollama put all they have to say into one string; a text of no known sort may be an echo."""
    said = "Error rendering prompt with jinja template: " + "the template of this model cannot do that; " * 3
    as_json = await judged(server, steps.status(400, {"error": said.strip()}))
    line = f"data: {json.dumps({'error': said.strip()})}\n\n"
    in_stream = await judged(server, Plan(steps.Words(2), steps.Raw(line.encode())))
    as_text = await judged(server, steps.status(400, said.encode(), headers={"Content-Type": "text/plain"}))

    assert said.strip() == as_json.message == in_stream.message
    assert said[:80].strip() == as_text.message


async def test_redirect_to_a_login_page_is_seen() -> None:
    """A page behind a redirect tells where the request was led, for the advice to name."""
    async with Scripted(404, steps.PAGE, redirect=b"/v1/login") as url:
        cause = Classifier().classify(await failure(url + "/v1"))

    assert ("html_body", f"{url}/v1/login") == (cause.kind, cause.redirected_to)


async def test_a_redirect_to_a_server_that_is_away_names_that_one() -> None:
    """The one that was asked is there; nobody finds the fault by looking at it."""
    away = net.refused_url("/v1")
    async with Scripted(404, "", redirect=away.encode()) as url:
        cause = Classifier().classify(await failure(url + "/v1"))
        text = explain(cause, base_url=f"{url}/v1")

    assert ("connection_refused", f"{url}/v1/chat/completions", away) == (cause.kind, cause.url, cause.redirected_to)
    there = away.removeprefix("http://").removesuffix("/v1")
    assert f"Nothing answers at {there}" in text
    assert f"led on to {there}" in text


async def test_answer_that_is_no_stream_is_judged_by_its_first_bytes(server: FaultServer) -> None:
    """openai reads a page or LM Studio's "returning 200 anyway" as an empty stream; `wrong_body` does not."""
    url = server.base_url.removesuffix("/v1") + "/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json={"stream": True}) as answer:
        error = wrong_body(answer.content_type, await answer.read(), url=url, status=answer.status)
    assert error is not None

    cause = Classifier().classify(error)

    assert ("missing_v1", 200) == (cause.kind, cause.status)


async def test_aiohttp_errors(server: FaultServer) -> None:
    """The errors of aiohttp's client, as another part of Copilot may raise them."""
    found = []
    server.plan(steps.status(503), steps.html(), steps.cut_at(3))
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for url in (server.base_url + "/chat/completions",) * 3 + (
            net.refused_url(),
            "http://",
            net.dns_failure_url(),
        ):
            try:
                async with session.post(url, json={"stream": True}) as answer:
                    await answer.json()
            except Exception as error:
                found.append(Classifier().classify(error).kind)

    assert ["overloaded", "html_body", "connection", "connection_refused", "bad_url", "dns"] == found


async def test_agents_and_mcp_errors() -> None:
    """The agent library's own errors: no retry, and a missing tool is told from nonsense."""
    exceptions = pytest.importorskip("agents.exceptions")
    made = [
        exceptions.MaxTurnsExceeded("Max turns (30) exceeded"),
        exceptions.ModelBehaviorError("Tool get_weather not found in agent Main"),
        exceptions.ModelBehaviorError("Invalid JSON when parsing THE ANSWER for TypeAdapter"),
        exceptions.ModelBehaviorError("Model did not produce a final response!"),
        exceptions.UserError("Error running tool x: Connection error."),
        exceptions.AgentsException("something"),
    ]
    made[4].__cause__ = ConnectionRefusedError()
    causes = [Classifier().classify(error) for error in made]

    assert [
        ("max_turns", False), ("unknown_tool", False), ("model_behavior", False), ("empty_answer", True),
        ("user_error", False), ("model_behavior", False),
    ] == [(v.kind, v.retryable) for v in causes]  # fmt: skip
    assert "ANSWER" not in causes[2].message


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Failed to call tool 'x' on MCP server 'sse: <redacted>': Connection lost.", "mcp"),
        ("Failed to connect to MCP server 'sse: <redacted>': Request failed.", "mcp"),
        ("Duplicate tool names found across MCP servers: 'x'", "user_error"),
    ],
)
async def test_a_broken_mcp_server_is_no_fault_of_the_agent(said: str, kind: str) -> None:
    """openai-agents wraps a server's loss into UserError, as it does with mistakes of whoever wrote the agent."""
    exceptions = pytest.importorskip("agents.exceptions")
    bare, caused = exceptions.UserError(said), exceptions.UserError(said)
    caused.__cause__ = ConnectionRefusedError()

    assert kind == Classifier().classify(bare).kind
    assert ("connection_refused" if kind == "mcp" else kind) == Classifier().classify(caused).kind


async def test_nothing_of_the_key_or_the_prompt_is_in_any_classification(server: FaultServer) -> None:
    """Whatever the server echoes: the key is taken out by its looks alone."""
    seen = []
    for body in (
        {"error": {"message": f"Incorrect API key provided: {KEY}"}},
        {"error": f"bad header Authorization: Bearer {KEY}"},
        {"message": "denied", "code": KEY},
        f"<html><title>token={KEY}</title>".encode(),
    ):
        cause = await judged(server, steps.status(400, body))
        seen.append(f"{cause} {explain(cause)} {explain(cause, language='zh')}")

    assert "SECRET" not in " ".join(seen)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "zzz", "text": "my secret words"},
        {"role": "user", "content": {"my secret words": 1}},
        {"role": "user", "content": ["my secret words"]},
        {"role": "user", "content": 5},
        {"role": "user"},
        {"type": "function_call", "name": "my secret words"},
        {"role": "wizard", "content": "my secret words"},
    ],
    ids=["type", "dict", "text in a list", "number", "no content", "call", "role"],
)
def test_messages_that_the_agent_cannot_read_are_nobodys_code_at_fault(message: Any) -> None:
    """They come from the page or from another program: no error of Copilot's, and nothing of them is quoted."""
    converter = pytest.importorskip("agents.models.chatcmpl_converter").Converter
    with pytest.raises(Exception) as raised:
        converter.items_to_messages([message])

    cause = Classifier().classify(raised.value)

    assert ("bad_messages", False) == (cause.kind, cause.retryable)
    assert "secret" not in cause.message
    assert "report" not in explain(cause)
