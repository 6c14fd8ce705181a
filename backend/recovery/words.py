"""The words and codes by which providers tell one refusal from another. All patterns match lower-case text.

Collected from the error bodies of OpenAI, Azure, Anthropic, Google, OpenRouter, Groq, Mistral, DeepSeek, Qwen
(DashScope), Zhipu, Moonshot, Volcengine, SiliconFlow, one-api, vLLM, llama.cpp, Ollama and LM Studio. Runs of
unknown text are bounded, so that a long message cannot make a search slow.
"""

from __future__ import annotations

import re
from typing import Final

CLOSING: Final = re.compile(r"closing transport")
HTML_TYPE: Final = re.compile(r"text/html|application/xhtml")
PLAIN_TO_TLS: Final = re.compile(
    r"plain http request was sent to https port|client sent an http request to an https server|speaking plain http to an ssl"
)
NO_ROUTE: Final = re.compile(
    r"unexpected endpoint|invalid url|unknown (?:request )?(?:url|endpoint|path|route)|cannot (?:post|get) /|"
    r"(?:page|path|route|resource|endpoint|url) (?:was )?not found|no (?:static resource|route|handler)|"
    r"method not allowed|404 page|^(?:http )?(?:404:? )?not found\b|\"detail\":\"not found\"|无效的(?:url|路径)|路径不存在"
)

_TOOL = (
    r"(?:tools?\b|tool[_ -](?:use|calls?|calling|choice)|function[_ -]?call(?:s|ing)?|functions?\b|工具|函数)"
)
_NOT = r"(?:not support|n't support|unsupported|not (?:enabled|available|allowed)|no support|不支持|未开启)"
NO_TOOLS_CODES: Final = frozenset({"tools_not_supported", "20037"})
NO_TOOLS: Final = re.compile(
    rf"{_NOT}[^.\n]{{0,40}}{_TOOL}|{_TOOL}[^.\n]{{0,60}}{_NOT}|support tool use|"
    r"requires? --(?:enable-auto-tool-choice|jinja|tool-call-parser)|tools param requires"
)

CONTEXT_CODES: Final = frozenset(
    {
        "context_length_exceeded",
        "context_window_exceeded",
        "exceed_context_size_error",
        "string_above_max_length",
        "max_tokens_exceeded",
        "request_too_large",
        "tokens_limit_reached",
        "1261",
    }
)
CONTEXT: Final = re.compile(
    r"(?:maximum|max|model'?s|available|loaded with|exceeds? (?:the|its)|reached) (?:available )?context|context[ _-]?(?:length|window|size)"
    r"[^.\n]{0,60}(?:exceed|overflow|too|limit|reached|only|超)|context (?:the )?overflows|too many (?:input )?tokens|"
    r"prompt is too (?:long|large)|(?:input|prompt)[^.\n]{0,30}(?:is )?too (?:long|large)|exceed(?:s|ed)?[^.\n]{0,40}"
    r"(?:token limit|max(?:imum)?[^.\n]{0,24} tokens|context|maximum number of tokens)|exceeds? max(?:imum)? [a-z ]{0,16}tokens?|"
    r"range of input length|reduce (?:the|your) (?:length|prompt|messages|input)|request too large|too large for model|"
    r"上下文[^。\n]{0,16}(?:超|长|限)|(?:超出|超过)[^。\n]{0,16}(?:长度|上下文|token|最大)|(?:输入|提示|prompt|文本)[^。\n]{0,10}(?:过长|超长|太长)"
)

PER_MINUTE: Final = re.compile(
    r"per[ _-]?(?:minute|second|hour)|perminute|persecond|/ ?(?:min|minute|sec)\b|\b[rt]p[ms]\b|every minute|每分钟|每秒"
)
QUOTA_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "exceeded_current_quota_error",
        "insufficient_balance",
        "insufficient_credits",
        "arrearage",
        "billing_hard_limit_reached",
        "billing_not_active",
        "accountoverdueerror",
        "allocationquota.freetieronly",
        "insufficient_user_quota",
        "quota_exceeded",
        "1113",
        "30001",
        "payment_required",
        "billing_error",
    }
)
QUOTA: Final = re.compile(
    r"insufficient[_ ](?:quota|balance|credit|fund)|exceeded your current quota|current quota|(?:check|to) your (?:plan and )?billing|"
    r"billing (?:hard limit|details|is not)|out of credits?|(?:credit|account) balance|not enough (?:credits?|balance)|requires? more credits|"
    r"add (?:more )?credits|free (?:tier|quota)[^.\n]{0,40}(?:exhausted|exceeded|used up)|account is (?:overdue|in arrears)|"
    r"in good standing|account[^.\n]{0,20}overdue|quota (?:has been )?(?:exhausted|used up)|余额|欠费|充值|额度(?:已|不足|用)|配额(?:已|不足|用)"
)

FILTER_CODES: Final = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "datainspectionfailed",
        "1301",
        "moderation_blocked",
        "sensitivecontentdetected",
        "prompt_blocked",
    }
)
FILTER: Final = re.compile(
    r"content management policy|content[_ ](?:filter|policy|exists risk)|inappropriate content|considered high risk|usage polic|"
    r"flagged (?:by|for|as)|safety (?:system|filter|settings)|moderation (?:flag|block|fail)|prohibited[_ ]content|"
    r"敏感(?:内容|信息|词)|不安全|违规|内容审核|安全审核"
)

MODEL_CODES: Final = frozenset(
    {
        "model_not_found",
        "model_not_exist",
        "modelnotfound",
        "model_decommissioned",
        "model_not_available",
        "invalid_model",
        "20012",
        "1211",
        "invalidendpointormodel.notfound",
        "model_not_found_error",
        "unknown_model",
        "no_model_loaded",
    }
)
MODEL: Final = re.compile(
    r"models?\b[^.\n]{0,120}(?:does not exist|doesn't exist|not exists?\b|(?:was |is )?not found|not (?:available|loaded|accessible)|"
    r"(?:is )?not (?:a )?(?:valid|supported model)|has been (?:decommissioned|deprecated|retired)|is (?:invalid|unknown)|no longer available)|"
    r"not found the model|no (?:such |available )?models?\b(?:[^.\n]{0,20}(?:loaded|found|available))?|(?:unknown|invalid|unsupported|unrecognized) model|"
    r"no endpoints found|not a valid model|model identifier is invalid|failed to load (?:the )?model|pulling it first|"
    r"无可用渠道|模型[^。\n]{0,40}(?:不存在|未找到|无效|不可用|未开通)|不存在[^。\n]{0,8}模型"
)

OVERLOAD_CODES: Final = frozenset(
    {
        "overloaded_error",
        "overloaded",
        "engine_overloaded_error",
        "server_overloaded",
        "service_unavailable",
        "server_busy",
        "unavailable",
        "serveroverloaded",
        "model_overloaded",
        "1305",
    }
)
OVERLOAD: Final = re.compile(
    r"overloaded|(?:server|service|system|model|engine) (?:is )?(?:currently |too |temporarily )?(?:busy|unavailable|at capacity)|"
    r"high demand|at capacity|(?:loading|load the) model|model is (?:currently |still )?loading|系统繁忙|服务(?:器)?(?:繁忙|过载|不可用)|负载(?:已)?(?:过高|饱和)"
)

RATE_CODES: Final = frozenset(
    {
        "rate_limit_exceeded",
        "rate_limit_error",
        "rate_limit",
        "rate_limited",
        "rate_limit_reached_error",
        "too_many_requests",
        "429",
        "resource_exhausted",
        "throttling",
        "throttling.ratequota",
        "throttling.allocationquota",
        "requests",
        "tokens",
        "1302",
        "1303",
        "ratelimitexceeded",
        "limit_requests",
        "limit_burst_rate",
    }
)
RATE: Final = re.compile(
    r"rate[_ -]?limit|too many requests|requests? (?:was |were |is )?throttled|throttling|限流|(?:请求|访问|调用)[^。\n]{0,8}(?:频繁|频率|过快)|速率限制|并发(?:数)?(?:超|过高)"
)

AUTH_CODES: Final = frozenset(
    {
        "invalid_api_key",
        "authentication_error",
        "invalid_authentication_error",
        "incorrect_api_key_error",
        "unauthorized",
        "unauthenticated",
        "invalidapikey",
        "missing_api_key",
        "no_api_key",
        "401",
        "invalid_token",
        "expired_api_key",
        "api_key_invalid",
        "1000",
        "1001",
        "1002",
    }
)
AUTH: Final = re.compile(
    r"(?:invalid|incorrect|wrong|missing|expired|no|provide|bad|disabled|revoked)[^.\n]{0,24} (?:api[ _-]?key|access token|credentials?|authentication|authorization)|"
    r"api[ _-]?key[^.\n]{0,40}(?:not valid|invalid|incorrect|missing|expired|required|not found|disabled|revoked)|authentication (?:fails|failed|error)|"
    r"unauthori[sz]ed|not authenticated|无效的(?:令牌|api|密钥|key)|(?:令牌|密钥|api ?key)[^。\n]{0,10}(?:无效|错误|过期|不正确|不存在|失效)|身份验证|鉴权失败|认证失败"
)
FORBIDDEN_CODES: Final = frozenset(
    {
        "permission_error",
        "permission_denied",
        "forbidden",
        "access_denied",
        "permission_denied_error",
        "accessdenied",
    }
)
REQUEST_CODES: Final = frozenset(
    {
        "invalid_request_error",
        "invalid_request",
        "bad_request",
        "invalid_argument",
        "invalidparameter",
        "invalid_parameter",
        "badrequesterror",
        "invalid_parameter_error",
        "unprocessable_entity",
        "failed_precondition",
    }
)

NO_KEY: Final = re.compile(r"api_key client option|api key must be set|missing credentials")
BAD_PORT: Final = re.compile(r"port must be")
BAD_HEADER: Final = re.compile(r"header")
TLS: Final = re.compile(
    r"wrong[_ ]version|certificate|unknown[_ ]protocol|unsupported[_ ]protocol|handshake[_ ]failure|http[_ ]request|record[_ ]layer|"
    r"packet[_ ]length|no[_ ]protocols|unexpected[_ ]message|alert[_ ]protocol|https[_ ]proxy|tlsv1[_ ]alert|hostname"
)
UNKNOWN_TOOL: Final = re.compile(r"tool[^\n]{0,200}not found|unknown tool|not found in agent")
NO_FINAL: Final = re.compile(r"did not produce|no final response|without (?:a )?(?:final )?response")
