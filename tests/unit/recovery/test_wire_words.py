"""What real servers say, and what is understood of it: one row a sentence, retold with figures of our own.

The rows stand by what the failure is, not by who says it. A pattern that is written for one of them has to catch
the others of its kind, too.
"""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import functools
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
    return judged(_client()._make_status_error_from_response(response))


@functools.cache
def _client() -> Any:
    """One for all rows: it is only asked what it makes of an answer, and takes its time to be made."""
    return openai.AsyncOpenAI(api_key="k", base_url=HOSTED)


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
    # In shorter words, by kind.
    ("context_too_long", 400, said("The input is too long. Max 32000 tokens, got 40000"), HOSTED),
    ("context_too_long", 400, said("Input length (52000) exceeds model's maximum context length (32768)."), HOSTED),
    ("context_too_long", 400, said("Token limit exceeded: 41231 > 32768"), HOSTED),
    ("context_too_long", 400, said("Prompt tokens (40123) + max_tokens (4096) > max_model_len (32768)"), HOSTED),
    ("context_too_long", 400, said("The total number of tokens (prompt + completion) exceeds the model's context limit"), HOSTED),
    ("context_too_long", 400, said("Your prompt has 9000 tokens, which is above the limit of 8192"), HOSTED),
    ("context_too_long", 400, said("conversation too long"), HOSTED),
    ("context_too_long", 400, said("messages token length exceed model limit"), HOSTED),
    ("context_too_long", 400, said("invalid_request: total token length 9000 exceeds the maximum allowed 8192"), HOSTED),
    ("context_too_long", 500, said("llama_decode: failed to decode, context full"), HOSTED),
    ("context_too_long", 400, said("Input prompt is too long (40000 tokens). Maximum allowed: 32768"), HOSTED),
    ("context_too_long", 422, {"detail":[{"loc":["body"],"msg":"Prompt length exceeds maximum of 4096 tokens","type":"value_error"}]}, HOSTED),
    ("context_too_long", 400, said("This request exceeds the maximum number of input tokens"), HOSTED),
    ("context_too_long", 400, said("模型上下文窗口超限"), HOSTED),
    ("context_too_long", 400, said("请求的 token 数超过了模型的最大限制"), HOSTED),
    ("context_too_long", 400, said("input tokens limit exceeded"), HOSTED),
    ("context_too_long", 400, said("ValidationException: Input is too long for requested model."), HOSTED),
    ("context_too_long", 400, said("The request was too large. Please reduce the size of your prompt."), HOSTED),
    ("context_too_long", 413, 'Payload Too Large', HOSTED),
    ("context_too_long", 400, said("prompt_too_long: the prompt exceeds the context"), HOSTED),
    ("context_too_long", 400, said("request exceeded the context window: 33000/32768"), HOSTED),
    ("context_too_long", 400, said("n_prompt_tokens (9000) >= n_ctx (8192)"), HOSTED),
    ("context_too_long", 400, said("The number of prompt tokens is greater than n_ctx"), HOSTED),
    ("context_too_long", 400, said("exceeds the maximum context"), HOSTED),
    ("context_too_long", 400, said("Requested tokens exceed the model's context window"), HOSTED),
    ("context_too_long", 400, said("max_total_tokens exceeded: inputs has 5000"), HOSTED),
    ("context_too_long", 400, said("Context size has been exceeded."), HOSTED),
    ("context_too_long", 400, {"error":"Context size has been exceeded."}, HOSTED),
    ("context_too_long", 400, said("the prompt (9111 tokens) does not fit into the context"), HOSTED),
    ("context_too_long", 400, said("Sequence length 9000 exceeds maximum 8192"), HOSTED),
    ("context_too_long", 400, said("Message too long"), HOSTED),
    ("context_too_long", 400, said("Input validation error: `inputs` must have less than 4095 tokens. Given: 5000"), HOSTED),
    ("context_too_long", 400, said("对话长度超出限制，请开启新对话"), HOSTED),
    ("bad_request", 400, said("max_tokens must be less than or equal to 8192"), HOSTED),
    ("bad_request", 400, said("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"), HOSTED),
    ("bad_request", 400, said("temperature must be less than 2"), HOSTED),
    ("bad_request", 400, said("`top_p` is too large"), HOSTED),
    ("bad_request", 400, said("tools: array too long, maximum 128"), HOSTED),
    ("bad_request", 400, said("messages: at least one message is required"), HOSTED),
    ("bad_request", 400, said("tool_calls must be followed by tool messages responding to each tool_call_id"), HOSTED),
    ("bad_request", 400, said("The reasoning_content in the thinking mode must be passed back to the API."), HOSTED),
    ("bad_request", 400, said("invalid params, tool result's tool id not found (2013)",2013), MINIMAX),
    ("bad_request", 400, said("invalid params, messages role is wrong",'1214'), ZHIPU),
    ("bad_request", 400, said("Function call is missing a thought_signature in functionCall parts."), HOSTED),
    ("bad_request", 400, said("Conversation roles must alternate user/assistant/user/assistant/..."), HOSTED),
    ("rate_limited", 429, said("Usage limit reached for 5 hour. Your limit will reset at 2026-08-25 07:41:44","1308"), ZHIPU),
    ("rate_limited", 429, {"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_at":1767825600}}, HOSTED),
    ("rate_limited", 429, said("This request would exceed your account's rate limit. Please try again later.",None,"rate_limit_error"), HOSTED),
    ("rate_limited", 429, said("You've hit your limit · resets 3pm (Europe/Berlin)"), HOSTED),
    ("rate_limited", 429, said("Weekly usage limit reached. Resets in 2 days"), HOSTED),
    ("quota", 429, said("You have reached the daily request limit for this model"), HOSTED),
    ("quota", 429, said("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"), HOSTED),
    ("rate_limited", 429, said("Rate limit exceeded: free-models-per-min."), HOSTED),
    ("rate_limited", 429, said("Provider returned error: acme/x:free is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits"), HOSTED),
    ("rate_limited", 429, said("Requests to the ChatCompletions_Create Operation have exceeded token rate limit of your current pricing tier. Please retry after 12 seconds."), HOSTED),
    ("rate_limited", 429, said("您的账户已达到速率限制，请您控制请求频率","1302"), ZHIPU),
    ("rate_limited", 400, said("Rate limit exceeded"), HOSTED),
    ("rate_limited", 403, said("rate limit exceeded for this key"), HOSTED),
    ("rate_limited", 429, said("Too Many Requests"), HOSTED),
    ("rate_limited", 429, 'Too Many Requests', HOSTED),
    ("rate_limited", 429, said("Concurrency limit exceeded for account, please retry later"), HOSTED),
    ("rate_limited", 429, said("Your TPM quota is exhausted. Please wait a minute"), HOSTED),
    ("quota", 403, said("Quota exceeded for this month"), HOSTED),
    ("quota", 429, said("Insufficient balance or no resource package. Please recharge.","1113"), ZHIPU),
    ("quota", 402, said("Insufficient Balance"), HOSTED),
    ("quota", 400, said("Credit balance too low"), HOSTED),
    ("quota", 403, said("pre-paid balance exhausted"), HOSTED),
    ("quota", 401, said("Your subscription has expired"), HOSTED),
    ("quota", 429, said("Monthly usage limit reached. Upgrade your plan"), HOSTED),
    ("quota", 400, said("Spend limit reached for this workspace; it resets on 2026-02-01"), HOSTED),
    ("quota", 403, said("The free quota has been exhausted. To continue, disable the free tier only mode","AllocationQuota.FreeTierOnly"), HOSTED),
    ("model_not_found", 400, said("The model `gpt-9` has been deprecated"), HOSTED),
    ("model_not_found", 404, said("The API deployment for this resource does not exist.","DeploymentNotFound"), HOSTED),
    ("model_not_found", 400, said("Model Not Exist"), HOSTED),
    ("model_not_found", 404, said("model 'x' not found"), HOSTED),
    ("model_not_found", 400, said("Invalid model name passed in model=gpt-x. Call `/v1/models` to view available models for your key."), HOSTED),
    ("model_not_found", 400, said("Unknown Model, please check the model code.","1211"), ZHIPU),
    ("model_not_found", 400, said("模型不存在，请检查模型代码。","1211"), ZHIPU),
    ("not_activated", 403, said("Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace actions"), HOSTED),
    ("not_activated", 403, said("Access to model denied. Please make sure you are eligible for using the model.","AccessDenied.Unpurchased"), HOSTED),
    ("not_activated", 400, said("Your organization must be verified to use the model `o9`."), HOSTED),
    ("not_activated", 403, said("This model is not available on the free plan"), HOSTED),
    ("not_activated", 429, said("The current subscription plan does not yet include access to GLM-5","1311"), ZHIPU),
    ("not_activated", 400, said("your current token plan not support model, MiniMax-M9 (2061)",2061), MINIMAX),
    ("no_provider", 404, said("No endpoints found matching your data policy (Paid model training). Configure: https://x/settings/privacy",404), HOSTED),
    ("no_provider", 404, said("All providers have been ignored. To change your default ignored providers, visit: https://x",404), HOSTED),
    ("model_not_found", 404, said("No endpoints found for deepseek/deepseek-r9:free.",404), HOSTED),
    ("no_provider", 404, said("No endpoints found that support the requested output modalities",404), HOSTED),
    ("crashed", 400, {"error":"The model has crashed without additional information. (Exit code: null)"}, HOSTED),
    ("crashed", 500, said("an error was encountered while running the model: CUDA error: an illegal memory access was encountered"), HOSTED),
    ("crashed", 500, said("POST predict: Post \"http://127.0.0.1:1/completion\": EOF"), HOSTED),
    ("crashed", 500, said("llama runner process no longer running: -1"), HOSTED),
    ("crashed", 500, said("exception during inference: worker process died"), HOSTED),
    ("server_memory", 500, said("error loading model: unable to allocate CUDA0 buffer"), HOSTED),
    ("server_memory", 500, said("Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"), HOSTED),
    ("server_memory", 500, said("torch.OutOfMemoryError: HIP out of memory"), HOSTED),
    ("server_memory", 400, {"error":"Failed to load LLM engine: not enough VRAM"}, HOSTED),
    ("no_images", 400, said("This model does not support image inputs"), HOSTED),
    ("no_images", 400, said("model does not support vision"), HOSTED),
    ("no_images", 400, said("Invalid user message: image content is not allowed for this model"), HOSTED),
    ("no_images", 500, said("Failed to load image: unsupported by this model"), HOSTED),
    ("no_images", 400, said("The model does not support multimodal input"), HOSTED),
    ("bad_request", 400, said("image exceeds 5 MB maximum: 6123456 bytes > 5242880 bytes"), HOSTED),
    ("bad_request", 400, said("Could not process image"), HOSTED),
    ("bad_request", 400, said("Failed to download image from url"), HOSTED),
    ("region", 403, said("This model is not available in your country."), HOSTED),
    ("region", 403, said("Access from your region is restricted"), HOSTED),
    ("region", 451, said("Unavailable For Legal Reasons"), HOSTED),
    ("region", 400, said("Your location is not supported"), HOSTED),
    ("region", 403, said("Sorry, this service is not yet available in your area"), HOSTED),
    ("forbidden", 403, {"error":{"type":"forbidden","message":"Request not allowed"}}, HOSTED),
    ("forbidden", 403, said("Access denied. Please check your network settings."), HOSTED),
    ("overloaded", 529, '', HOSTED),
    ("overloaded", 503, said("The model is overloaded. Please try again later."), HOSTED),
    ("overloaded", 503, '<html><head><title>503 Service Temporarily Unavailable</title></head></html>', HOSTED),
    ("loading", 503, said("Model is warming up"), HOSTED),
    ("loading", 503, said("The model `x` is not ready for inference. Please wait until it is ready"), HOSTED),
    ("loading", 503, said("llm server loading model"), HOSTED),
    ("loading", 503, {"detail":"Server is initializing"}, HOSTED),
    ("loading", 500, said("model is loading, try again"), HOSTED),
    ("loading", 425, said("Model is still loading"), HOSTED),
    ("loading", 503, said("Container is starting, please retry"), HOSTED),
    ("server_error", 500, said("Internal Server Error"), HOSTED),
    ("server_error", 500, said("The server had an error while processing your request. Sorry about that!"), HOSTED),
    ("auth", 401, said("Incorrect API key provided: sk-abc"), HOSTED),
    ("auth", 403, said("Invalid API key"), HOSTED),
    ("auth", 400, said("API key not valid. Please pass a valid API key."), HOSTED),
    ("protected", 403, "<html><title>Access denied</title><body>Error 1020 Ray ID</body></html>", HOSTED),
    ("protected", 429, "<html><title>Just a moment...</title></html>", HOSTED),
    ("timeout", 504, said("Gateway timeout"), HOSTED),
    ("timeout", 408, said("Request timed out"), HOSTED),
    ("content_filter", 400, said("Your request was flagged by our safety system"), HOSTED),
    ("content_filter", 400, said("系统检测到输入或生成内容可能包含不安全或敏感内容","1301"), ZHIPU),
    ("no_tools", 400, said("registry.ollama.ai/library/gemma:latest does not support tools"), HOSTED),
    ("no_tools", 400, said('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'), HOSTED),
    ("no_tools", 400, said("tools is not supported in this model"), HOSTED),
    ("no_tools", 400, said("Function calling is not enabled for this model"), HOSTED),
    ("no_tools", 400, said("Unknown parameter: tools"), HOSTED),
    ("context_too_long", 400, said("This model supports a maximum of 8192 tokens but 9123 were given"), HOSTED),
    ("context_too_long", 400, said("Your request contains too many tokens (33000). The model accepts at most 32768."), HOSTED),
    ("context_too_long", 400, said("prompt has too many tokens"), HOSTED),
    ("context_too_long", 400, said("The conversation history is too long for this model"), HOSTED),
    ("context_too_long", 400, {"object":"error","message":"Input is longer than max model len 4096","code":400}, HOSTED),
    ("context_too_long", 400, said("Exceeded maximum context window. Please start a new session"), HOSTED),
    ("context_too_long", 400, said("InternalError.Algo.InvalidParameter: Input tokens should be less than 129024"), HOSTED),
    ("context_too_long", 400, said("Bad request: context length must be at most 4096 tokens, got 6123"), HOSTED),
    ("context_too_long", 500, {"error":"prompt is too long for the context (6123 > 4096)"}, HOSTED),
    ("context_too_long", 400, said("The prompt (prompt_tokens: 6123) exceeds the truncation limit"), HOSTED),
    ("context_too_long", 400, said("token count exceeds limit"), HOSTED),
    ("context_too_long", 400, said("The request body exceeds the size limit"), HOSTED),
    ("context_too_long", 400, said("tokens_to_process is larger than the model limit"), HOSTED),
    ("context_too_long", 400, said("Please shorten your prompt; it is 200 tokens over the limit"), HOSTED),
    ("context_too_long", 400, said("inputs too long: 40000 tokens"), HOSTED),
    ("context_too_long", 400, said("too many total text tokens"), HOSTED),
    ("context_too_long", 400, said("输入 token 超出模型上限"), HOSTED),
    ("context_too_long", 400, said("文本过长，超过模型可处理的最大长度"), HOSTED),
    ("context_too_long", 400, said("prompt tokens too long","336007"), HOSTED),
    ("context_too_long", 400, said("the max input characters is 20000"), HOSTED),
    ("context_too_long", 400, said("the input messages exceed the maximum length"), HOSTED),
    ("context_too_long", 400, said("Max context reached"), HOSTED),
    ("context_too_long", 400, said("could not fit prompt into context window"), HOSTED),
    ("context_too_long", 400, said("input exceeds maximum tokens"), HOSTED),
    ("context_too_long", 400, said("LLMError: The context window is exceeded"), HOSTED),
    ("rate_limited", 400, said("Too many tokens per minute"), HOSTED),
    ("rate_limited", 429, said("Token limit reached, try again in 30 seconds"), HOSTED),
    ("rate_limited", 429, said("token limit exceeded"), HOSTED),
    ("rate_limited", 429, said("Rate limit hit: limit 40000 input tokens per minute"), HOSTED),
    ("rate_limited", 429, said("Number of request tokens has exceeded your per-minute rate limit"), HOSTED),
    ("rate_limited", 200, said("too many requests",429), HOSTED),
    ("rate_limited", 503, said("429 Too Many Requests"), HOSTED),
    ("rate_limited", 429, said("Model is at its request limit, please wait 12 seconds"), HOSTED),
    ("rate_limited", 429, said("You are being throttled"), HOSTED),
    ("rate_limited", 400, said("ThrottlingException: Rate exceeded"), HOSTED),
    ("rate_limited", 429, said("Resource has been exhausted (e.g. check quota).",429,None), HOSTED),
    ("rate_limited", 429, said("请求频率超限，请稍后重试"), HOSTED),
    ("overloaded", 429, said("当前分组上游负载已饱和，请稍后再试"), HOSTED),
    ("rate_limited", 429, said("已达到本周使用上限，将于 2026-09-01 00:00:00 重置"), HOSTED),
    ("quota", 429, said("今日免费次数已用完"), HOSTED),
    ("quota", 403, said("您的套餐已过期"), HOSTED),
    ("quota", 402, said("payment required"), HOSTED),
    ("quota", 400, said("Your account has no remaining balance"), HOSTED),
    ("quota", 429, said("You have run out of credits. Please purchase more"), HOSTED),
    ("quota", 403, said("This organization has exceeded its monthly budget"), HOSTED),
    ("quota", 400, said("Organization has been disabled because of unpaid invoices"), HOSTED),
    ("quota", 403, said("Team has no active subscription"), HOSTED),
    ("quota", 429, said("insufficient_quota"), HOSTED),
    ("quota", 400, {"message":"Insufficient credits. Add more using https://x","code":402}, HOSTED),
    ("quota", 403, said("User daily limit of free requests has been reached; upgrade"), HOSTED),
    ("quota", 200, {"base_resp":{"status_code":1008,"status_msg":"insufficient balance"},"choices":None}, MINIMAX),
    ("not_activated", 404, said("Your account 1 has not activated the model x","ModelNotOpen"), HOSTED),
    ("not_activated", 403, said("You do not have access to this model. Request access in the console"), HOSTED),
    ("not_activated", 403, said("Model x requires a Pro subscription"), HOSTED),
    ("not_activated", 400, said("model 'x' is only available to Tier 3 accounts"), HOSTED),
    ("not_activated", 403, said("请先在控制台开通该模型服务"), HOSTED),
    ("not_activated", 403, said("You need to accept the license of this model first"), HOSTED),
    ("no_provider", 404, said("No providers match your provider preferences"), HOSTED),
    ("no_provider", 400, said("Model is not available from any of your enabled providers"), HOSTED),
    ("no_images", 404, said("No endpoints found that support image input."), HOSTED),
    ("no_images", 422, said("This model only accepts text input"), HOSTED),
    ("no_images", 400, said("image_url is not supported by this model"), HOSTED),
    ("no_images", 400, said("Received image but model is text only"), HOSTED),
    ("no_images", 400, said("images are not supported"), HOSTED),
    ("no_images", 400, said("unsupported content type 'image_url'"), HOSTED),
    ("no_images", 400, {"detail":"Vision is not supported by this model"}, HOSTED),
    ("no_images", 400, said("当前模型不支持视觉理解"), HOSTED),
    ("no_images", 500, said("clip model not loaded: image input needs --mmproj"), HOSTED),
    ("crashed", 500, said("llama-server exited with code -1073741819"), HOSTED),
    ("crashed", 500, said("The inference engine crashed"), HOSTED),
    ("crashed", 500, said("Engine loop has died"), HOSTED),
    ("crashed", 500, said("Background loop has errored already."), HOSTED),
    ("crashed", 400, {"error":"Model was unloaded while the request was still in queue.."}, HOSTED),
    ("crashed", 500, said("model process terminated with signal 9"), HOSTED),
    ("crashed", 502, said("The model worker crashed"), HOSTED),
    ("server_memory", 500, said("GPU memory is insufficient to load the model"), HOSTED),
    ("server_memory", 500, said("memory layout cannot be allocated with num_gpu = 99"), HOSTED),
    ("server_memory", 500, said("CUDA error: out of memory"), HOSTED),
    ("server_memory", 503, said("model requires 40 GB but only 24 GB VRAM available"), HOSTED),
    ("loading", 503, said("The model is starting, estimated time 40s"), HOSTED),
    ("loading", 503, said("Model loading in progress"), HOSTED),
    ("loading", 503, said("Service is starting up, please wait"), HOSTED),
    ("loading", 503, said("Model not loaded yet, loading now"), HOSTED),
    ("loading", 503, said("Instance is cold starting"), HOSTED),
    ("loading", 500, {"error":"Model is being downloaded"}, HOSTED),
    ("overloaded", 498, said("Flex tier capacity exceeded","capacity_exceeded"), HOSTED),
    ("overloaded", 503, said("Service unavailable"), HOSTED),
    ("overloaded", 503, said("No capacity available, try again later"), HOSTED),
    ("overloaded", 500, said("We are experiencing high demand"), HOSTED),
    ("overloaded", 429, said("Service tier capacity exceeded for this model.","3505"), HOSTED),
    ("overloaded", 429, said("The server is busy"), HOSTED),
    ("overloaded", 503, said("no healthy upstream"), HOSTED),
    ("overloaded", 503, 'no healthy upstream', HOSTED),
    ("region", 403, said("unsupported_country_region_territory"), HOSTED),
    ("region", 400, said("User location is not supported for the API use without a billing account linked."), HOSTED),
    ("region", 403, said("This API is not accessible from your location"), HOSTED),
    ("region", 403, said("Request from an unsupported region"), HOSTED),
    ("region", 403, said("您所在的地区暂不支持"), HOSTED),
    ("protected", 403, '<html><head><title>Attention Required! | Cloudflare</title></head><body>Sorry, you have been blocked</body></html>', HOSTED),
    ("protected", 403, 'error code: 1020', HOSTED),
    ("protected", 403, '<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD><BODY>Reference #18.1</BODY></HTML>', HOSTED),
    ("protected", 405, '<!doctypehtml><html><head><title>405</title></head><body>Sorry, your request has been blocked as it may cause potential threats</body></html>', HOSTED),
    ("protected", 429, '<!DOCTYPE html><html><head><title>Vercel Security Checkpoint</title></head></html>', HOSTED),
    ("forbidden", 403, said("Your account has been suspended"), HOSTED),
    ("auth", 401, said(""), HOSTED),
    ("auth", 403, said("Authentication Fails (no such user)"), HOSTED),
    ("auth", 403, said("invalid token"), HOSTED),
    ("bad_request", 400, said("Unrecognized request argument supplied: parallel_tool_calls"), HOSTED),
    ("bad_request", 422, {"detail":[{"type":"extra_forbidden","loc":["body","store"],"msg":"Extra inputs are not permitted"}]}, HOSTED),
    ("bad_request", 400, said("Error rendering prompt with jinja template: Conversation roles must alternate"), HOSTED),
    ("bad_request", 400, said("Value error, tool_choice must be one of auto, none"), HOSTED),
    ("content_filter", 400, said("内容安全审核未通过"), HOSTED),
    ("content_filter", 400, said("The request was rejected as a result of our safety system"), HOSTED),
    ("content_filter", 403, said("Your chosen model requires moderation and your input was flagged for 'violence'",403), HOSTED),
    ("server_error", 500, said("stream error"), HOSTED),
    ("server_error", 502, said("Bad gateway"), HOSTED),
    ("server_error", 521, '', HOSTED),
    ("server_error", 525, '', HOSTED),
    ("server_error", 530, 'error code: 1033', HOSTED),
    ("timeout", 504, '', HOSTED),
    ("timeout", 522, '', HOSTED),
    ("timeout", 598, '', HOSTED),
    ("context_too_long", 400, said("Requested input length 40101 exceeds maximum input length 32768"), HOSTED),
    ("context_too_long", 400, said("The input exceeds this model's context length of 8192"), HOSTED),
    ("context_too_long", 400, said("invalid_argument: prompt is larger than the context size"), HOSTED),
    ("context_too_long", 400, said("The message you submitted was too long, please reload the conversation and submit something shorter."), HOSTED),
    ("context_too_long", 400, said("Unable to submit request because the input token count is 33000 but model only supports up to 32768"), HOSTED),
    ("context_too_long", 400, said("code=400: history exceeds the token budget of the model"), HOSTED),
    ("context_too_long", 500, said("RuntimeError: Requested prompt tokens 9000 exceed KV cache capacity 8192"), HOSTED),
    ("context_too_long", 400, said("输入tokens超过最大限制，最大支持32768"), HOSTED),
    ("context_too_long", 400, said("您的输入超过了模型支持的最大上下文"), HOSTED),
    ("context_too_long", 413, '<html><head><title>413 Request Entity Too Large</title></head></html>', HOSTED),
    ("context_too_long", 400, said("Input is too long. Please shorten it to fit within 8192 tokens"), HOSTED),
    ("context_too_long", 400, said("maximum allowed prompt tokens: 8192"), HOSTED),
    ("bad_request", 400, said("invalid params, tools is empty",2013), MINIMAX),
    ("bad_request", 400, said("invalid params, temperature out of range",2013), MINIMAX),
    ("bad_request", 400, said("1301"), HOSTED),
    ("bad_request", 400, said("parameter error","1261"), HOSTED),
    ("bad_request", 400, said("field required","1004"), HOSTED),
    ("bad_request", 400, said("wrong id","20012"), HOSTED),
    ("server_error", 500, said("oops","1113"), HOSTED),
    ("rate_limited", 429, said("oops","1008"), HOSTED),
    ("quota", 429, said("账户已欠费，请充值","1113"), ZHIPU),
    ("rate_limited", 429, said("当前API请求过多，请稍后重试。","1305"), HOSTED),
    ("overloaded", 429, said("该模型当前访问量过大，请您稍后再试","1305"), ZHIPU),
    ("rate_limited", 429, said("Weekly limit reached; resets Mon, 31 Aug 2026 00:00:00 GMT"), HOSTED),
    ("rate_limited", 429, said("Limit reached. Your quota will be refreshed in 4h 12m"), HOSTED),
    ("rate_limited", 429, {"detail":"Rate limit exceeded","reset_at":"2026-01-01T05:00:00Z"}, HOSTED),
    ("rate_limited", 429, {"error":{"message":"quota hit","type":"rate_limit_error","retry_after":3600}}, HOSTED),
    ("quota", 403, said("You have exhausted your free trial credits"), HOSTED),
    ("quota", 400, said("Workspace API usage limit reached. Access resumes on 2026-10-01."), HOSTED),
    ("quota", 429, said("API key has reached its monthly spend limit"), HOSTED),
    ("quota", 402, {"detail":"Balance too low"}, HOSTED),
    ("quota", 429, said("Free tier limit exhausted for today"), HOSTED),
    ("not_activated", 403, said("The account has not opened the model service"), HOSTED),
    ("not_activated", 404, said("The model or endpoint ep-1 is closed: your account has not activated it","ModelNotOpen"), HOSTED),
    ("not_activated", 403, said("Access to this model requires approval"), HOSTED),
    ("not_activated", 403, said("You are not allowed to use this model. Upgrade your plan"), HOSTED),
    ("not_activated", 403, said("Model not enabled for this workspace"), HOSTED),
    ("no_provider", 404, said("No endpoints found matching your privacy settings"), HOSTED),
    ("no_provider", 404, said("No available model provider that meets your routing requirements"), HOSTED),
    ("no_images", 404, said("No endpoints found that support input modality image"), HOSTED),
    ("no_images", 400, said("This model is not able to process images"), HOSTED),
    ("no_images", 400, said("multimodal inputs are disabled"), HOSTED),
    ("no_images", 400, said("input of type image is not supported"), HOSTED),
    ("no_images", 400, said("模型不支持多模态输入"), HOSTED),
    ("no_images", 400, said("Only text content is supported"), HOSTED),
    ("crashed", 500, said("llama_server process has terminated unexpectedly"), HOSTED),
    ("crashed", 400, {"error":"The model crashed."}, HOSTED),
    ("crashed", 500, said("Model terminated (exit code 139)"), HOSTED),
    ("crashed", 500, said("worker died: SIGSEGV"), HOSTED),
    ("server_memory", 500, said("model failed to load, this may be due to resource limitations or out of memory"), HOSTED),
    ("server_memory", 500, said("Not enough GPU memory"), HOSTED),
    ("server_memory", 500, said("failed to allocate 12.3 GiB for KV cache"), HOSTED),
    ("loading", 503, said("Model is in the process of loading"), HOSTED),
    ("loading", 503, said("Please wait, the model weights are loading"), HOSTED),
    ("loading", 503, said("The endpoint is initializing, try again in a moment"), HOSTED),
    ("loading", 503, said("upstream is warming up"), HOSTED),
    ("loading", 503, said("waiting for the model to load"), HOSTED),
    ("overloaded", 503, said("system overloaded, queue is full"), HOSTED),
    ("overloaded", 503, said("All slots are busy"), HOSTED),
    ("overloaded", 498, said("Custom: Flex tier capacity exceeded"), HOSTED),
    ("overloaded", 529, said("overloaded_error"), HOSTED),
    ("region", 400, said("User location is not supported for the API use."), HOSTED),
    ("region", 403, said("Service is unavailable in your country"), HOSTED),
    ("region", 403, said("OpenAI's services are not available in your country."), HOSTED),
    ("region", 403, said("Your IP address region is not permitted"), HOSTED),
    ("region", 403, said("country not supported"), HOSTED),
    ("protected", 403, '<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title><meta http-equiv="refresh"></head></html>', HOSTED),
    ("protected", 503, '<html><head><title>DDoS-Guard</title></head></html>', HOSTED),
    ("protected", 403, '<html><head><title>Human Verification</title></head></html>', HOSTED),
    ("protected", 403, '<html><head><title>ERROR: The request could not be satisfied</title></head><body>CloudFront</body></html>', HOSTED),
    ("auth", 401, said("No auth credentials found"), HOSTED),
    ("auth", 401, 'Unauthorized', HOSTED),
    ("auth", 400, said("Missing API key"), HOSTED),
    ("auth", 403, said("API key is disabled"), HOSTED),
    ("forbidden", 403, said("Permission denied"), HOSTED),
    ("model_not_found", 404, said("The requested model is unavailable"), HOSTED),
    ("model_not_found", 400, said("unknown model: foo"), HOSTED),
    ("model_not_found", 422, said("model foo is not supported"), HOSTED),
    ("model_not_found", 404, said("no such model"), HOSTED),
    ("model_not_found", 400, {"error":"No models loaded. Please load a model in the developer page or use the lms load command."}, HOSTED),
    ("timeout", 504, said("upstream request timeout"), HOSTED),
    ("server_error", 500, {"error":"unexpected server status"}, HOSTED),
    ("content_filter", 400, said("Prompt blocked by safety settings"), HOSTED),
    ("no_tools", 400, said("This model does not support tool use"), HOSTED),
    ("no_tools", 400, said("model does not support function calling"), HOSTED),
    ("no_tools", 500, said("tools param requires --jinja flag"), HOSTED),
    ("no_tools", 400, said("该模型不支持工具调用"), HOSTED),
    # A moderation that adds a word of credit is no matter of credit.
    ("content_filter", 403, said('A moderated model. Your input was flagged for "violence". No credits were charged.', 403), HOSTED),
    ("content_filter", 400, said("The prompt was flagged. You have not been charged."), HOSTED),
    ("quota", 403, said("No credits left: none will be charged."), HOSTED),
    # A key that is good, and not for this, or not from here.
    ("forbidden", 401, said("You have insufficient permissions for this operation. Missing scopes: model.request."), HOSTED),
    ("forbidden", 401, said("Your IP address is not authorized to access this resource", "ip_not_authorized"), HOSTED),
    ("forbidden", 403, said("当前 IP 不在白名单"), HOSTED),
    ("auth", 401, said("Missing API key"), HOSTED),
    ("model_not_found", 410, said("The model `old-32k` has been deprecated.", "model_not_found"), HOSTED),
    ("not_found", 410, said("Gone"), HOSTED),
    # A template fails the same way each time, whatever the status.
    ("bad_request", 500, said("jinja template: Conversation roles must alternate user/assistant/user/assistant"), HOSTED),
    ("bad_request", 500, said("Failed to apply chat template: unexpected role"), HOSTED),
    ("no_tools", 500, said("tools param requires --jinja flag, the chat template lacks them"), HOSTED),
    # A tunnel's entrance is no server of models, and its page no website that somebody has entered.
    ("connection", 404, "The endpoint abc.ngrok-free.app is offline. ERR_NGROK_3200", HOSTED),
    ("connection", 404, "<html><head><title>ngrok</title></head><body>The endpoint abc.ngrok-free.app is offline.</body></html>", HOSTED),
    ("connection", 530, "<html><head><title>Cloudflare Tunnel error | x.example.com</title></head></html>", HOSTED),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), TOO_LONG, ids=range(len(TOO_LONG)))
def test_too_long_in_every_server_s_words(status: int, body: Any) -> None:
    """Whoever says it, and with whatever status: the conversation is too long, and is not sent again."""
    cause = told(status, body)

    assert ("context_too_long", False) == (cause.kind, cause.retryable)


@pytest.mark.parametrize(
    ("kind", "status", "body", "base"), OTHERS, ids=[f"{i}-{row[0]}" for i, row in enumerate(OTHERS)]
)
def test_what_servers_say(kind: str, status: int, body: Any, base: str) -> None:
    """The kind of each failure, by the words first, then by the numbers of the host, then by the status."""
    cause = told(status, body, base=base)

    assert kind == cause.kind


@pytest.mark.parametrize(
    ("kind", "retried", "body"),
    [
        ("quota", False, {"code": 402, "message": "Insufficient credits", "metadata": {"provider_name": "p"}}),
        ("quota", False, {"choices": [{"delta": {}, "error": {"code": 402, "message": "Provider returned error"}, "finish_reason": "error"}]}),
        ("timeout", True, {"choices": [{"error": {"code": 502, "message": "Upstream idle timeout exceeded"}}]}),
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
    cause = judged(StreamError("api.example.com", HOSTED, body))

    assert (kind, retried) == (cause.kind, cause.retryable)
    assert cause.message


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
    cause = told(429, body, headers=headers)

    assert "rate_limited" == cause.kind
    assert pytest.approx(seconds) == cause.retry_after


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
    cause = told(429, said("Usage limit reached for 5 hour. Your limit will reset at 2025-08-25 07:41:44"))

    assert ("rate_limited", False, None) == (cause.kind, cause.retryable, cause.retry_after)
    assert "2025-08-25 07:41:44" in explain(cause)
    assert "a minute" not in explain(cause)


def test_headers_of_limits_count_only_where_a_limit_was_hit() -> None:
    """They come with every answer; credit that is used up does not come back in six seconds."""
    headers = {"x-ratelimit-reset-requests": "6s"}

    assert told(429, said("You exceeded your current quota", "insufficient_quota"), headers=headers).retry_after is None
    assert told(503, said("Overloaded"), headers=headers).retry_after is None


def test_a_redirect_that_dropped_the_key_is_told_with_its_target() -> None:
    """The key is right, and was rightly not sent to another server."""
    cause = told(401, said("No key"), base="https://other.example.org/v1", history=HOSTED)
    text = explain(cause, host="api.example.com", base_url=HOSTED)

    assert "redirected" == cause.kind
    assert "other.example.org" in text
    assert "https://other.example.org/v1" in text
    assert "refused the API key" not in text


def test_a_redirect_on_the_same_host_leaves_the_key_in_doubt() -> None:
    """There the key was sent."""
    assert "auth" == told(401, said("Incorrect API key"), base=f"{HOSTED}/eu", history=HOSTED).kind


def test_a_field_that_is_refused_is_named() -> None:
    """FastAPI tells the field beside the message; without it "not permitted" says nothing."""
    body = {
        "detail": [
            {"type": "extra_forbidden", "loc": ["body", "parallel_tool_calls"], "msg": "Extra inputs are not permitted"}
        ]
    }

    assert "parallel_tool_calls: Extra inputs are not permitted" == told(422, body).message


def test_a_server_without_a_model_is_told_to_load_one() -> None:
    """Another name would not help, nor would a pull."""
    text = explain(told(404, said("No models loaded. Please load a model.")), host="127.0.0.1:1234", model="m")

    assert "load one" in text
    assert "choose another model there" not in text.lower()


def test_a_proxy_s_time_limit_is_its_own() -> None:
    """Our own settings would not help."""
    text = explain(told(524, "<html><title>524: A timeout occurred</title></html>"), host="127.0.0.1:1234", model="m")

    assert "time limit of its own" in text
    assert "first_token_timeout" not in text
