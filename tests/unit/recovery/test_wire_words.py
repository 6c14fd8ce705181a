"""What real servers say, and what is understood of it: one row a sentence, retold with figures of our own.

The rows stand by what the failure is, not by who says it. A pattern that is written for one of them has to catch
the others of its kind, too.
"""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import sys
from typing import Any, Final

import openai
import pytest

from backend.recovery.advice import explain
from backend.recovery.classify import Classification, Classifier
from backend.recovery.errors import StreamError, UnexpectedBody

# Newer clients bring an HTTP library of another name.
httpx: Any = sys.modules[openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]]


NOW: Final = 1_767_225_600.0  # 2026-01-01 00:00 UTC
LOCAL: Final = "http://127.0.0.1:8080/v1"
HOSTED: Final = "https://api.example.com/v1"
ZHIPU: Final = "https://open.bigmodel.cn/api/paas/v4"
MINIMAX: Final = "https://api.minimax.io/v1"


def told(
    status: int, body: Any, *, base: str = HOSTED, headers: dict[str, str] | None = None, history: str = ""
) -> Classification:
    """What the client's own error about such an answer is judged to be; with a good status, what its body is.

    `history` is an address that led here.
    """
    if status == 200:
        return judged(UnexpectedBody(base, base, body, status=200))
    request = httpx.Request("POST", f"{base}/chat/completions")
    how: dict[str, Any] = {"text": body} if isinstance(body, str) else {"json": body}
    response = httpx.Response(status, request=request, headers=headers, **how)
    if history:
        response.history = [httpx.Response(307, request=httpx.Request("POST", f"{history}/chat/completions"))]
    client = openai.AsyncOpenAI(api_key="k", base_url=base)
    return judged(client._make_status_error_from_response(response))


def judged(error: BaseException) -> Classification:
    """By a clock that stands at the beginning of 2026."""
    return Classifier(wall=lambda: NOW).classify(error)


def said(message: str, code: Any = None, type_: str | None = None) -> dict[str, Any]:
    """The most common shape of an error body."""
    return {"error": {"message": message, "code": code, "type": type_}}


TOO_LONG: Final[list[tuple[int, Any]]] = [
    (400, said("This model's maximum context length is 8192 tokens. However, your messages resulted in 9121 tokens.")),
    (400, said("Your input exceeds the context window of this model. Please adjust your input and try again.")),
    (400, said("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 301122 tokens.")),
    (400, said("prompt is too long: 211034 tokens > 200000 maximum")),
    (400, said("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length")),
    (413, said("Request exceeds the maximum allowed number of bytes", type_="request_too_large")),
    (400, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."}}]),
    (400, {"object": "error", "message": "Prompt contains 40960 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_error", "code": 3051}),
    (400, {"object": "error", "message": "The decoder prompt (length 5111) is longer than the maximum model length of 4096.", "code": 400}),
    (400, said("You passed 33001 input tokens and requested 1024 output tokens. However, the model's context length is only 32768 tokens.")),
    (400, said("length of prompt_tokens (70011) must be less than max_seq_len (65536)")),
    (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5120 `inputs` tokens and 256 `max_new_tokens`", "error_type": "validation"}),
    (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2217", "error_type": "validation"}),
    (400, {"object": "error", "message": "The input (6001 tokens) is longer than the model's context length (4096 tokens).", "type": "BadRequestError"}),
    (400, said("Requested token count exceeds the model's maximum context length of 32768 tokens.")),
    (400, said("the request exceeds the available context size. try increasing the context size or enable context shift", 400, "invalid_request_error")),
    (400, said("request (14400 tokens) exceeds the available context size (8192 tokens), try increasing it", 400, "exceed_context_size_error")),
    (500, said("context shift is disabled")),
    (500, said("input is too large to process. increase the physical batch size", 500, "server_error")),
    (500, {"detail": "Requested tokens (2511) exceed context window of 2048"}),
    (400, {"error": {"message": "the input length exceeds the context length", "type": "api_error"}}),
    (500, {"error": {"message": "prompt too long; exceeded max context length by 411 tokens", "type": "api_error"}}),
    (400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length, or provide a shorter input"}),
    (400, {"error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"}),
    (400, {"error": "Cannot truncate prompt with n_keep (6211) >= n_ctx (4096)"}),
    (200, {"error": "Reached context length of 4096 tokens with this model"}),
    (400, said("This model's maximum prompt length is 131072 but the request contains 537812 tokens.")),
    (400, said("Please reduce the length of the messages or completion.", "context_length_exceeded")),
    (400, said("Current length is 9121 while limit is 8192. Please reduce the length of the messages or completion.")),
    (413, said("Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 11250")),
    (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5411"}),
    (400, {"message": "Input is too long for requested model.", "__type": "ValidationException"}),
    (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]", "request_id": "r"}),
    (400, said("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]", "invalid_parameter_error")),
    (400, said("Prompt 超长", "1261")),
    (400, said("输入内容的 tokens 数量超过模型限制")),
    (400, said("Invalid request: Your request exceeded model token limit: 262144 (requested: 270001)", type_="invalid_request_error")),
    (400, said("invalid params, context window exceeds limit (2013)")),
    (400, said("Total tokens of image and text exceed max message tokens", "InvalidParameter", "BadRequest")),
    (400, said("Input length 40120 exceeds the maximum length 32768")),
    (400, said("prompt token count of 150221 exceeds the limit of 128000", "model_max_prompt_tokens_exceeded")),
    (413, said("Request body too large for gpt-4o model. Max size: 8000 tokens.", "tokens_limit_reached")),
    (400, said("The prompt is too long: 150000, model maximum context length: 131071")),
    (400, said("Prompt length (6011) exceeds maximum input length (4096). Set log level to info and check the logs.")),
    (400, said("The sum of prompt length (5000.0), query length (0) and max_tokens should not exceed max_num_tokens (4096)")),
    (400, said("Invalid 'messages[3].content': string too long. Expected a string with maximum length 1048576, but got 1201001.", "string_above_max_length")),
    (429, said("Request too large for gpt-4o in organization o on tokens per min (TPM): Limit 30000, Requested 41000. The input or output tokens must be reduced.")),
    (400, said("This endpoint's maximum context length is 131072 tokens. However, you requested about 140211 tokens (139187 of text input, 1024 in the output).", 400)),
    (400, said("输入超过最大长度，请缩短后重试")),
    (400, said("上下文长度超过限制")),
    (400, said("the number of input tokens is larger than the max input tokens of the model")),
]  # fmt: skip

OTHERS: Final[list[tuple[str, int, Any, str]]] = [
    # Numbers mean something only with their host, and words beat them.
    ("bad_request", 400, said("invalid params, function name or parameters is empty (2013)", 2013), MINIMAX),
    ("bad_request", 400, said("something about the format", 1301), HOSTED),
    ("content_filter", 400, said("see the documentation for the code", "1301"), ZHIPU),
    ("quota", 429, said("see the documentation for the code", "1113"), ZHIPU),
    ("rate_limited", 429, said("see the documentation for the code", "1302"), ZHIPU),
    ("rate_limited", 429, said("see the documentation for the code", "1113"), HOSTED),
    ("not_activated", 403, said("see the documentation for the code", "1311"), ZHIPU),
    ("quota", 200, {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, MINIMAX),
    ("quota", 200, {"base_resp": {"status_code": 1008, "status_msg": "see the code"}}, HOSTED),
    ("rate_limited", 200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, MINIMAX),
    ("auth", 200, {"base_resp": {"status_code": 2049, "status_msg": "invalid api key"}}, MINIMAX),
    # Credit, against a limit of a time.
    ("quota", 400, said("You have reached your specified API usage limits. You will regain access on 2026-09-01 at 00:00 UTC."), HOSTED),
    ("quota", 400, said("Your credit balance is too low to access the API. Please go to Plans & Billing to upgrade or purchase credits."), HOSTED),
    ("quota", 403, said("Key limit exceeded (total limit). Manage it using the keys page", 403), HOSTED),
    ("quota", 403, said("Your newly created team doesn't have any credits yet."), HOSTED),
    ("quota", 400, said("Budget has been exceeded! Current cost: 10.2, Max budget: 10.0", "400", "budget_exceeded"), HOSTED),
    ("quota", 429, said("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota"), HOSTED),
    ("quota", 402, {"error": "You have exceeded your monthly included credits for Inference Providers."}, HOSTED),
    ("quota", 403, {"code": "AllocationQuota.FreeTierOnly", "message": "The free tier of the model has been exhausted."}, HOSTED),
    ("quota", 403, said("用户额度不足, 剩余额度: 0", "insufficient_user_quota"), HOSTED),
    ("quota", 403, said("该令牌额度已用尽"), HOSTED),
    ("quota", 400, said("Access denied, please make sure your account is in good standing.", "Arrearage"), HOSTED),
    ("quota", 429, said("Your trial has expired. Please subscribe to continue."), HOSTED),
    ("quota", 403, said("This request requires more credits, or fewer max_tokens. You can only afford 120."), HOSTED),
    ("quota", 401, said("账号余额不足"), HOSTED),
    ("quota", 403, said("Monthly spending limit reached"), HOSTED),
    ("rate_limited", 429, said("Too many tokens, please wait before trying again."), HOSTED),
    ("rate_limited", 400, {"message": "Too many tokens, please wait before trying again.", "__type": "ThrottlingException"}, HOSTED),
    ("rate_limited", 429, said("You exceeded your current quota. Quota exceeded for requests per minute. Please retry in 12.5s."), HOSTED),
    ("rate_limited", 429, said("Requests rate limit exceeded", "1300", "rate_limited"), HOSTED),
    ("rate_limited", 429, said("Your account reached max organization concurrency: 3, please try again after 1 seconds"), HOSTED),
    ("rate_limited", 403, said("请求过于频繁，请稍后再试"), HOSTED),
    ("rate_limited", 503, said("Rate limit reached, slow down"), HOSTED),
    ("rate_limited", 429, {"code": "Throttling.RateQuota", "message": "Requests throttling triggered"}, HOSTED),
    ("overloaded", 429, said("The engine is currently overloaded, please try again later", type_="engine_overloaded_error"), HOSTED),
    ("overloaded", 498, said("capacity_exceeded", "capacity_exceeded"), HOSTED),
    ("overloaded", 498, "", HOSTED),
    ("overloaded", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, HOSTED),
    ("overloaded", 503, {"error": "server busy, please try again. maximum pending requests exceeded"}, LOCAL),
    ("overloaded", 503, "no available server", LOCAL),
    ("overloaded", 429, said("当前模型请求量过大，请稍后再试"), HOSTED),
    # A model that is there, and is not to be had.
    ("not_activated", 404, said("Your account 2100001 has not activated the model doubao-x. Please activate the model service in the Ark Console.", "ModelNotOpen", "NotFound"), HOSTED),
    ("not_activated", 403, {"message": "You don't have access to the model with the specified model ID."}, HOSTED),
    ("not_activated", 403, said("Project `proj_x` does not have access to model `gpt-x`", "model_not_found"), HOSTED),
    ("not_activated", 400, said("The model `x` requires terms acceptance. Please have the org admin accept the terms.", "model_terms_required"), HOSTED),
    ("not_activated", 403, said("当前订阅套餐暂未开放该模型的权限"), HOSTED),
    ("not_activated", 400, said("Unable to access non-serverless model acme/x. Please create and start a new dedicated endpoint for it."), HOSTED),
    ("not_activated", 403, said("该模型未开通，请先在控制台开通"), HOSTED),
    ("no_images", 404, said("No endpoints found that support image input", 404), HOSTED),
    ("no_provider", 404, said("No endpoints found matching your data policy (Free model training). Configure it in the settings.", 404), HOSTED),
    ("no_provider", 404, said("No endpoints available matching your guardrail restrictions and data policy.", 404), HOSTED),
    ("no_provider", 404, said("No allowed providers are available for the selected model.", 404), HOSTED),
    ("no_provider", 404, said("No endpoints found that can handle the requested parameters.", 404), HOSTED),
    ("no_provider", 400, said("The requested model 'acme/x' is not supported by any provider you have enabled."), HOSTED),
    ("no_tools", 404, said("No endpoints found that support tool use. Try disabling some.", 404), HOSTED),
    ("model_not_found", 404, said("No endpoints found for acme/none.", 404), HOSTED),
    ("model_not_found", 404, said("The model `gpt-x` does not exist or you do not have access to it.", "model_not_found"), HOSTED),
    ("model_not_found", 404, {"error": {"message": 'model "llama9" not found, try pulling it first'}}, LOCAL),
    ("model_not_found", 503, said("当前分组 default 下对于模型 x 无可用渠道"), HOSTED),
    # Memory, crashes, images, loading.
    ("crashed", 400, {"error": "The model has crashed without additional information. (Exit code: 18446744072635812000)"}, LOCAL),
    ("crashed", 500, said("llama runner process has terminated: exit status 2"), LOCAL),
    ("crashed", 500, said("model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"), LOCAL),
    ("crashed", 500, {"error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.", "type": "EngineDeadError"}}, LOCAL),
    ("crashed", 400, {"error": "Model unloaded."}, LOCAL),
    ("server_memory", 500, said("model requires more system memory (12.4 GiB) than is available (7.7 GiB)"), LOCAL),
    ("server_memory", 500, said("llama runner process has terminated: cudaMalloc failed: out of memory"), LOCAL),
    ("server_memory", 400, {"error": 'Failed to load model "x". Error: Model loading was stopped due to insufficient system resources.'}, LOCAL),
    ("server_memory", 500, {"detail": "CUDA out of memory. Tried to allocate 2.50 GiB"}, LOCAL),
    ("no_images", 500, said("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", 500, "server_error"), LOCAL),
    ("no_images", 400, said("Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, expected `text`"), HOSTED),
    ("no_images", 400, said("acme/x is not a multimodal model"), LOCAL),
    ("no_images", 400, said("At most 0 image(s) may be provided in one prompt."), LOCAL),
    ("no_images", 400, {"error": "Model does not support images. Please use a model that does."}, LOCAL),
    ("no_images", 500, said("this model is missing data required for image input"), LOCAL),
    ("no_images", 400, said("Invalid content type. image_url is only supported by certain models."), HOSTED),
    ("no_images", 400, said("messages[0].content must be a string"), HOSTED),
    ("no_images", 400, said("该模型不支持图片输入"), HOSTED),
    ("loading", 503, said("Loading model", 503, "unavailable_error"), LOCAL),
    ("loading", 503, {"error": "Model acme/llama-3.1-8b is currently loading", "estimated_time": 20.0}, HOSTED),
    ("loading", 503, said("The model is being loaded, please wait"), LOCAL),
    ("loading", 503, said("Engine is starting up"), LOCAL),
    ("loading", 503, said("模型正在加载，请稍后"), LOCAL),
    # Where one is, what stands in between.
    ("region", 400, [{"error": {"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"}}], HOSTED),
    ("region", 403, said("Country, region, or territory not supported", "unsupported_country_region_territory"), HOSTED),
    ("region", 403, said("The service is not available in your region."), HOSTED),
    ("region", 403, said("当前地区不支持使用该服务"), HOSTED),
    ("protected", 403, "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>cf-chl</body></html>", HOSTED),
    ("protected", 503, "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>", HOSTED),
    ("protected", 403, "<html><head><title>Attention Required! | Cloudflare</title></head></html>", HOSTED),
    ("protected", 403, "<html><head><title>403 Forbidden</title></head><body>nginx</body></html>", HOSTED),
    ("server_error", 520, "<html><head><title>example.com | 520: Web server is returning an unknown error</title></head></html>", HOSTED),
    ("timeout", 524, "error code: 524", HOSTED),
    ("server_error", 502, "<html><head><title>502 Bad Gateway</title></head></html>", LOCAL),
    # Neither the address, nor the key, nor an option.
    ("bad_request", 404, said("The conversation that this refers to is gone since yesterday."), HOSTED),
    ("not_found", 404, {"detail": "Not Found"}, HOSTED),
    ("bad_request", 400, said("max_tokens is too large: 64000. This model supports at most 16384 completion tokens."), HOSTED),
    ("bad_request", 400, said("Invalid 'tools[2].function.name': string too long. Expected a string with maximum length 64, but got 71.", "string_above_max_length"), HOSTED),
    ("content_filter", 400, said("The response was filtered due to the prompt triggering content management policy", "content_filter"), HOSTED),
    ("content_filter", 400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}, HOSTED),
    ("auth", 401, said("User not found.", 401), HOSTED),
    ("auth", 400, [{"error": {"code": 400, "message": "API key expired. Please renew the API key.", "status": "INVALID_ARGUMENT"}}], HOSTED),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), TOO_LONG, ids=range(len(TOO_LONG)))
def test_too_long_in_every_server_s_words(status: int, body: Any) -> None:
    """Whoever says it, and with whatever status: the conversation is too long, and is not sent again."""
    verdict = told(status, body)

    assert ("context_too_long", False) == (verdict.kind, verdict.retryable)


@pytest.mark.parametrize(
    ("kind", "status", "body", "base"), OTHERS, ids=[f"{i}-{row[0]}" for i, row in enumerate(OTHERS)]
)
def test_what_servers_say(kind: str, status: int, body: Any, base: str) -> None:
    """The kind of each failure, by the words first, then by the numbers of the host, then by the status."""
    verdict = told(status, body, base=base)

    assert kind == verdict.kind


@pytest.mark.parametrize(
    ("kind", "retried", "body"),
    [
        ("quota", False, {"code": 402, "message": "Insufficient credits", "metadata": {"provider_name": "p"}}),
        ("quota", False, {"choices": [{"delta": {}, "error": {"code": 402, "message": "Provider returned error"}, "finish_reason": "error"}]}),
        ("server_error", True, {"choices": [{"error": {"code": 502, "message": "Upstream idle timeout exceeded"}}]}),
        ("rate_limited", True, "Too many requests, please slow down"),
        ("rate_limited", True, '{"message": "Too many tokens, please wait before trying again."}'),
        ("context_too_long", False, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "validation"}),
        ("bad_request", False, {"error": "the template has no such role", "error_type": "validation"}),
        ("overloaded", True, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        ("auth", False, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}),
        ("server_error", True, {"message": "something nobody has ever said"}),
        ("server_error", True, "generation failed"),
        ("crashed", True, {"error": {"message": "The model has crashed without additional information."}}),
    ],
)  # fmt: skip
def test_failures_told_inside_a_stream(kind: str, retried: bool, body: Any) -> None:
    """An error object, a choice's error, or a plain text: judged like the body of an error status."""
    verdict = judged(StreamError("api.example.com", HOSTED, body))

    assert (kind, retried) == (verdict.kind, verdict.retryable)
    assert verdict.message


HOURS: Final = 3_600.0


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, said("slow"), 7.0),
        ({"retry-after": "1m30s"}, said("slow"), 90.0),
        ({"retry-after-ms": "2500"}, said("slow"), 2.5),
        ({"x-ratelimit-reset-requests": "6s"}, said("slow"), 6.0),
        ({"x-ratelimit-reset-requests": "9m", "x-ratelimit-remaining-requests": "12", "x-ratelimit-reset-tokens": "1m2s", "x-ratelimit-remaining-tokens": "0"}, said("slow"), 62.0),
        ({"x-ratelimit-reset": "1767225630"}, said("slow"), 30.0),
        ({"x-ratelimit-reset": "1767225645000"}, said("slow"), 45.0),
        ({"anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:20Z"}, said("slow"), 20.0),
        ({"ratelimit-reset": "11"}, said("slow"), 11.0),
        ({}, {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "resets_in_seconds": 529498}}, 529498.0),
        ({}, {"error": {"message": "slow", "metadata": {"headers": {"X-RateLimit-Reset": "1767225660000"}}}}, 60.0),
        ({}, {"error": {"message": "slow", "details": [{"@type": "RetryInfo", "retryDelay": "41s"}]}}, 41.0),
        ({}, said("Rate limit reached. Please try again in 20m30s."), 1230.0),
        ({}, said("Rate limit reached. Please try again in 1 hour and 5 minutes."), 3900.0),
        ({}, said("Usage limit reached for 5 hour. Your limit will reset at 2026-01-01 02:00:00"), 2 * HOURS),
        ({}, said("Limit reached, available again on Jan 3, 2026"), 48 * HOURS),
        ({}, said("限流，请在 20 秒后重试"), 20.0),
        ({}, said("You have hit your limit. It resets in 3 days."), 72 * HOURS),
    ],
)  # fmt: skip
def test_told_times_are_read_wherever_they_stand(headers: dict[str, str], body: Any, seconds: float) -> None:
    """In headers of every spelling, in fields of the body, in the words; as a span, an epoch or a date."""
    verdict = told(429, body, headers=headers)

    assert "rate_limited" == verdict.kind
    assert pytest.approx(seconds) == verdict.retry_after


def test_dates_of_chinese_providers_are_in_their_own_zone() -> None:
    """A date without a zone is Beijing's there, and UTC elsewhere."""
    body = said("Usage limit reached for 5 hour. Your limit will reset at 2026-01-01 10:00:00", "1308")

    assert (2 * HOURS, 10 * HOURS) == (told(429, body, base=ZHIPU).retry_after, told(429, body).retry_after)


def test_the_server_s_own_clock_decides() -> None:
    """A computer whose clock is wrong by years still waits as long as the server means."""
    headers = {"date": "Tue, 25 Aug 2026 07:41:00 GMT"}

    assert 44.0 == told(429, said("It will reset at 2026-08-25 07:41:44 UTC"), headers=headers).retry_after


def test_a_date_that_has_passed_is_told_and_not_waited_for() -> None:
    """Nobody knows what the clocks are about; asking again and again would not help."""
    verdict = told(429, said("Usage limit reached for 5 hour. Your limit will reset at 2025-08-25 07:41:44"))

    assert ("rate_limited", False, None) == (verdict.kind, verdict.retryable, verdict.retry_after)
    assert "2025-08-25 07:41:44" in explain(verdict)
    assert "a minute" not in explain(verdict)


def test_headers_of_limits_count_only_where_a_limit_was_hit() -> None:
    """They come with every answer; credit that is used up does not come back in six seconds."""
    headers = {"x-ratelimit-reset-requests": "6s"}

    assert told(429, said("You exceeded your current quota", "insufficient_quota"), headers=headers).retry_after is None
    assert told(503, said("Overloaded"), headers=headers).retry_after is None


def test_a_redirect_that_dropped_the_key_is_told_with_its_target() -> None:
    """The key is right, and was rightly not sent to another server."""
    verdict = told(401, said("No key"), base="https://other.example.org/v1", history=HOSTED)
    text = explain(verdict, host="api.example.com", base_url=HOSTED)

    assert "redirected" == verdict.kind
    assert "other.example.org" in text
    assert "https://other.example.org/v1" in text
    assert "refused the API key" not in text


def test_a_redirect_on_the_same_host_leaves_the_key_in_doubt() -> None:
    """There the key was sent."""
    assert "auth" == told(401, said("Incorrect API key"), base=f"{HOSTED}/eu", history=HOSTED).kind
