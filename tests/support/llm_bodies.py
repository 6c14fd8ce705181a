"""Error bodies as real providers send them, for classification tests: what a status alone does not tell."""

# ruff: noqa: E501  (the texts are quoted as they come)

from __future__ import annotations

from typing import Any


def _openai(message: str, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


NOT_FOUND = {"detail": "Not Found"}

OPENAI_401 = _openai(
    "Incorrect API key provided: sk-abcde***wxyz. You can find your API key at https://platform.openai.com/account/api-keys.",
    "invalid_request_error", "invalid_api_key",
)  # fmt: skip
OPENAI_403_REGION = _openai(
    "Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"
)
OPENAI_404_MODEL = _openai(
    "The model `gpt-nope` does not exist or you do not have access to it.",
    "invalid_request_error",
    "model_not_found",
)
OPENAI_400_CONTEXT = _openai(
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. "
    "Please reduce the length of the messages.",
    "invalid_request_error", "context_length_exceeded", "messages",
)  # fmt: skip
OPENAI_400_FILTER = _openai(
    "Your request was rejected as a result of our safety system.",
    "invalid_request_error",
    "content_policy_violation",
)
OPENAI_429_RATE = _openai(
    "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, "
    "Requested 4000. Please try again in 6s.",
    "tokens", "rate_limit_exceeded",
)  # fmt: skip
OPENAI_429_QUOTA = _openai(
    "You exceeded your current quota, please check your plan and billing details.",
    "insufficient_quota",
    "insufficient_quota",
)
OPENAI_500 = _openai("The server had an error while processing your request. Sorry about that!", "server_error", None)
OPENAI_503 = _openai("The engine is currently overloaded, please try again later", "server_error", None)

ANTHROPIC_529 = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
AZURE_404_DEPLOYMENT = {
    "error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}
}
AZURE_400_FILTER = {
    "error": {
        "code": "content_filter", "status": 400, "param": "prompt",
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    }
}  # fmt: skip
DASHSCOPE_400_CONTEXT = _openai(
    "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
    "invalid_request_error", "invalid_parameter_error",
)  # fmt: skip
DASHSCOPE_400_ARREARS = _openai(
    "Access denied, please make sure your account is in good standing.", "Arrearage", "Arrearage"
)
DASHSCOPE_401 = _openai("Incorrect API key provided. ", "invalid_request_error", "invalid_api_key")
DEEPSEEK_402 = _openai("Insufficient Balance", "unknown_error", "invalid_request_error")
GEMINI_400_KEY = [
    {
        "error": {
            "code": 400, "status": "INVALID_ARGUMENT",
            "message": "API key not valid. Please pass a valid API key.",
        }
    }
]  # fmt: skip
GEMINI_503 = [
    {
        "error": {
            "code": 503,
            "message": "The model is overloaded. Please try again later.",
            "status": "UNAVAILABLE",
        }
    }
]
GROQ_413 = _openai(
    "Request too large for model `llama` in organization `org_x` service tier `on_demand` on tokens per minute "
    "(TPM): Limit 6000, Requested 9031, please reduce your message size and try again.",
    "tokens", "rate_limit_exceeded",
)  # fmt: skip
LMSTUDIO_404_NO_MODEL = {
    "error": {
        "message": 'No models loaded. Please load a model in the developer page or use the "lms load" command.',
        "type": "invalid_request_error", "param": "model", "code": "model_not_found",
    }
}  # fmt: skip
LMSTUDIO_400_CONTEXT = {
    "error": "The number of tokens to keep from the initial prompt is greater than the context length. Try to load "
    "the model with a larger context length, or provide a shorter input"
}
MOONSHOT_429 = {
    "error": {"message": "Your account org-x request reached max organization concurrency: 1, please try again after 1 seconds",
              "type": "rate_limit_reached_error"}
}  # fmt: skip
OLLAMA_404_MODEL = _openai('model "qwen3:8b" not found, try pulling it first', "api_error", None)
OLLAMA_400_NO_TOOLS = _openai("registry.ollama.ai/library/gemma:2b does not support tools", "api_error", None)
OPENROUTER_402 = {"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}}
OPENROUTER_404_TOOLS = {"error": {"message": "No endpoints found that support tool use.", "code": 404}}
BEDROCK_400_MODEL = _openai(
    "The model `us.anthropic.claude-sonnet-4-20250514-v1:0` does not exist.", "invalid_request_error", None
)
VLLM_400_CONTEXT = {
    "object": "error", "type": "BadRequestError", "param": None, "code": 400,
    "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens in the messages.",
}  # fmt: skip
VLLM_400_TOOLS = {
    "object": "error", "type": "BadRequestError", "param": None, "code": 400,
    "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
}  # fmt: skip
ZHIPU_429_BALANCE = {"error": {"code": "1113", "message": "您的账户已欠费，请充值后重试。"}}
ZHIPU_400_CONTEXT = {"error": {"code": "1261", "message": "Prompt 超长"}}
CHINESE_429_RATE = {
    "error": {"code": "1302", "message": "您当前使用该API的并发数过高，请降低并发，或联系客服增加限额。"}
}

NGINX_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
CLOUDFLARE_524 = (
    b"<!DOCTYPE html><html><head><title>524: A timeout occurred</title></head><body>error code: 524</body></html>"
)
