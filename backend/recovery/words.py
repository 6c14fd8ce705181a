"""The words and codes by which providers tell one refusal from another. All patterns match lower-case text.

Collected from the error bodies of OpenAI, Azure, Anthropic, Google, OpenRouter, Groq, Mistral, DeepSeek,
Qwen (DashScope), Zhipu, Moonshot, Volcengine, SiliconFlow, MiniMax, one-api, vLLM, llama.cpp, Ollama and LM
Studio. Runs of unknown text are bounded, so that a long message cannot make a search slow.
"""

from __future__ import annotations

from typing import Final

from .lazy import LazyPattern


def _any(*alternatives: str) -> LazyPattern:
    return LazyPattern("|".join(alternatives))


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


CLOSING: Final = _any(r"closing transport")
# As the agent library says it of a server, and not of how the agent uses it.
MCP_SERVER: Final = _any(r"\b(?:on|to) mcp server '", r"^mcp server '")
HTML_TYPE: Final = _any(r"text/html", r"application/xhtml")
PLAIN_TO_TLS: Final = _any(
    r"plain http request was sent to https port",
    r"sent an http request to an https server",
    r"speaking plain http to an ssl",
)

# Matched against the message alone, which may consist of no more than these words.
NO_ROUTE: Final = _any(
    r"^(?:http )?(?:404:? )?not found\W{0,3}$",
    r"^(?:http )?(?:405:? )?method not allowed\W{0,3}$",
    r"^404 page not found",
    r"unexpected endpoint",
    r"invalid url",
    r"unknown (?:request )?(?:url|endpoint|path|route)",
    r"cannot (?:post|get) /",
    r"\b(?:page|path|route|endpoint|url) (?:was )?not found",
    r"no (?:static resource|route|handler)",
    r"路径不存在",
    r"无效的(?:url|路径)",
)

# Not the options that go with tools, nor the messages of a tool: a model may lack these and still call tools.
_TOOL = (
    r"(?:(?<!parallel )(?<!role ['\"`])\b(?:tools?\b(?! (?:message|result|output|name|type))"
    r"|tool[_ -](?:use|calls?|calling)|function[_ -]?call(?:s|ing)?)|工具调用|函数调用)"
)
_NOT = r"(?:not support|n't support|unsupported|not enabled|not available|no support|不支持|未开启)"
NO_TOOLS_CODES: Final = _codes("tools_not_supported 20037")
NO_TOOLS: Final = _any(
    rf"{_NOT}[^.\n]{{0,40}}{_TOOL}",
    rf"{_TOOL}[^.\n]{{0,60}}{_NOT}",
    r"support tool use",
    r"requires? --(?:enable-auto-tool-choice|jinja|tool-call-parser)",
)

IMAGE_TOO_LARGE: Final = _any(r"images?\b[^.\n]{0,20}(?:is |are )?too (?:large|big)")
# The model's fault of this one answer: the next is another.
TOOL_CALL_CODES: Final = _codes("tool_use_failed")
CONTEXT_CODES: Final = _codes(
    "context_length_exceeded context_window_exceeded exceed_context_size_error string_above_max_length "
    "max_tokens_exceeded request_too_large tokens_limit_reached model_max_prompt_tokens_exceeded 1261 2013"
)
CONTEXT: Final = _any(
    r"maximum (?:\w{1,12} )?context",
    r"context[ _-]?(?:length|window|size)[^\n]{0,60}(?:exceed|overflow|too |limit|reached|only)",
    r"(?:exceed(?:s|ed|ing)?|reached|available|overflows?|than)[^.\n]{0,24} context",
    r"context (?:the )?overflows",
    r"too many (?:input |prompt )?tokens",
    r"(?:input|prompt|messages?)\b[^.\n]{0,30}(?:is |are )?too (?:long|large)",
    r"exceed(?:s|ed)?[^.\n]{0,40}(?:token limit|max[^.\n]{0,30} tokens?\b|maximum number of tokens)",
    r"range of input length",
    r"reduce (?:the|your) (?:length|prompt|messages|input)",
    r"request too large for",
    r"too large for model",
    r"上下文[^。\n]{0,16}(?:超|过长|限制)",
    r"(?:超出|超过)[^。\n]{0,16}(?:长度|上下文|token|最大)",
    r"(?:输入|提示词?|prompt|文本)[^。\n]{0,10}(?:过长|超长|太长)",
)

PER_DAY: Final = _any(r"per[ _-]?day", r"/ ?day\b", r"每[天日]", r"\d ?小时的?使用上限")
NO_LIMIT: Final = _any(r"\blimit: 0\b")
PER_MINUTE: Final = _any(
    r"per[ _-]?(?:minute|second|hour|min\b|sec\b)",
    r"/ ?(?:min|minute|sec)\b",
    r"\b[rt]p[ms]\b",
    r"每分钟",
    r"每秒",
)
QUOTA_CODES: Final = _codes(
    "insufficient_quota exceeded_current_quota_error insufficient_balance insufficient_credits arrearage "
    "billing_hard_limit_reached billing_not_active accountoverdueerror allocationquota.freetieronly "
    "insufficient_user_quota quota_exceeded 1113 30001 1008 payment_required billing_error"
)
QUOTA: Final = _any(
    r"insufficient[_ ](?:\w{1,12} )?(?:quota|balance|credit|fund)",
    r"exceeded your (?:current )?quota",
    r"billing (?:hard limit|details|is not)",
    r"out of credits?",
    r"(?:credit|account) balance (?:is )?(?:too low|insufficient)",
    r"balance is (?:insufficient|too low)",
    r"not enough (?:credits?|balance)",
    r"requires? more credits",
    r"(?:add|purchase) (?:more )?credits",
    r"free (?:tier|quota)[^.\n]{0,40}(?:exhausted|exceeded|used up)",
    r"account (?:is |has )?(?:overdue|in arrears)",
    r"account is in good standing",
    r"overdue balance",
    r"quota (?:has been |is )?(?:exhausted|used up)",
    r"余额",
    r"欠费",
    r"充值",
    r"(?:额度|配额)(?:已|不足|用)",
)

FILTER_CODES: Final = _codes(
    "content_filter content_policy_violation data_inspection_failed datainspectionfailed 1301 1026 1027 "
    "moderation_blocked sensitivecontentdetected prompt_blocked content_filter_error"
)
FILTER: Final = _any(
    r"content management policy",
    r"content[_ ](?:filter|policy|exists risk)",
    r"inappropriate content",
    r"considered high risk",
    r"(?:usage|safety) polic",
    r"flagged (?:by|for|as)",
    r"safety (?:system|filter|settings)",
    r"moderation (?:flag|block|fail)",
    r"prohibited[_ ]content",
    r"敏感(?:内容|信息|词)",
    r"不安全",
    r"违规",
    r"(?:内容|安全)审核",
)

MODEL_CODES: Final = _codes(
    "model_not_found model_not_exist modelnotfound model_decommissioned model_not_available "
    "invalid_model deploymentnotfound 20012 1211 "
    "invalidendpointormodel.notfound model_not_found_error unknown_model no_model_loaded"
)
# Words that tell a missing model even when the status blames the server.
_SURE_MODEL: Final = (
    r"models?\b[^\n]{0,120}(?:does not exist|not found)",
    r"无可用渠道",
    r"no available channel",
    r"failed to load (?:the )?model",
    r"no models? loaded",
    r"pulling it first",
    r"模型[^。\n]{0,60}不存在",
)
MODEL_SURELY: Final = _any(*_SURE_MODEL)
MODEL: Final = _any(
    *_SURE_MODEL,
    r"models?\b[^\n]{0,120}(?:does not exist|doesn't exist|not exists?\b|not found|no longer available)",
    r"models?\b[^\n]{0,120}(?:not (?:available|loaded|accessible|a valid|a supported)|is not supported)",
    r"models?\b[^\n]{0,120}(?:has been (?:decommissioned|deprecated|retired)|is (?:invalid|unknown))",
    r"^model: [\w.:/@-]{1,100} not_found_error",  # Anthropic says no more than that
    r"not found the model",
    r"no (?:such |available )?models? (?:\w{1,12} )?(?:loaded|found|available)",
    r"(?:no such|unknown|invalid|unsupported|unrecognized) model",
    r"no endpoints found",
    r"not a chat model",
    r"only supported in v1/(?:responses|completions)",
    r"not a valid model",
    r"模型[^。\n]{0,60}(?:不存在|未找到|无效|不可用|未开通|已下线)",
    r"不存在[^。\n]{0,8}模型",
)
OVERLOAD_CODES: Final = _codes(
    "overloaded_error overloaded engine_overloaded_error server_overloaded service_unavailable "
    "server_busy unavailable "
    "serveroverloaded model_overloaded 1305 1312 service_unavailable_error"
)
# Told before a model answers at all: it is waited for.
LOADING: Final = _any(
    r"\bloading (?:the )?model\b",
    r"\bmodel\b[^.\n]{0,80}\b(?:is|are) (?:\w{1,12} )?(?:loading|being loaded|starting|warming up)",
    r"\bmodel (?:is )?not (?:yet )?(?:ready|loaded yet)",
    r"\b(?:server|model|engine|instance|container|endpoint|replica)s?\b[^.\n]{0,40}\b(?:starting up|warming up|"
    r"initiali[sz]ing|cold[ -]start|not ready yet|still loading|scal(?:ing|ed) (?:up|to zero))",
    r"\bmodel loading\b",
    r"模型[^。\n]{0,20}(?:加载中|启动中|预热)",
    r"(?:正在|尚在)(?:加载|启动)[^。\n]{0,12}",
)
OVERLOAD: Final = _any(
    r"overloaded",
    r"(?:server|service|system|model|engine) (?:is )?(?:currently |too |temporarily )?(?:"
    r"busy|unavailable|at capacity)",
    r"high demand",
    r"(?:系统|服务器?|模型)(?:当前)?(?:繁忙|过载|不可用)",
    r"负载(?:已)?(?:过高|饱和)",
)

RATE_CODES: Final = _codes(
    "rate_limit_exceeded rate_limit_error rate_limit rate_limited rate_limit_reached_error "
    "too_many_requests 429 "
    "resource_exhausted throttling throttling.ratequota throttling.allocationquota limit_requests "
    "limit_burst_rate "
    "1302 1303 ratelimitexceeded"
)
RATE: Final = _any(
    r"rate[_ -]?limit",
    r"too many requests",
    r"throttl(?:ed|ing)",
    r"限流",
    r"速率限制",
    r"(?:请求|访问|调用)[^。\n]{0,8}(?:频繁|频率|过快)",
    r"并发数?(?:超|过高)",
)

AUTH_CODES: Final = _codes(
    "invalid_api_key authentication_error invalid_authentication_error incorrect_api_key_error unauthorized "
    "unauthenticated invalidapikey missing_api_key no_api_key 401 invalid_token expired_api_key "
    "api_key_invalid "
    "1000 1001 1002 1004"
)
_KEY = r"(?:api[ _-]?key|access token|credentials?|authentication|authorization)"
AUTH: Final = _any(
    rf"(?:invalid|incorrect|wrong|missing|expired|\bno\b|provide|bad|disabled|revoked)[^.\n]{{0,24}} {_KEY}",
    rf"{_KEY}[^.\n]{{0,40}}(?:not valid|invalid|incorrect|missing|expired|required|not "
    rf"found|disabled|revoked)",
    r"authentication (?:fails|failed|error)",
    r"unauthori[sz]ed",
    r"not authenticated",
    rf"{_KEY}[^.\n]{{0,30}}\bleaked",
    r"无效的(?:令牌|api|密钥|key)",
    r"(?:令牌|密钥|api ?key)[^。\n]{0,10}(?:无效|错误|过期|不正确|不存在|失效)",
    r"(?:身份验证|鉴权|认证)(?:失败|错误)",
)
FORBIDDEN_CODES: Final = _codes(
    "permission_error permission_denied forbidden access_denied permission_denied_error accessdenied"
)
REQUEST_CODES: Final = _codes(
    "invalid_request_error invalid_request bad_request invalid_argument invalidparameter invalid_parameter "
    "badrequesterror invalid_parameter_error unprocessable_entity failed_precondition"
)

NOT_ACTIVATED_CODES: Final = _codes("modelnotopen model_not_open model_not_activated")
NOT_ACTIVATED: Final = _any(
    r"has not activated",
    r"not (?:been )?(?:activated|enabled|opened|subscribed)[^.\n]{0,40}\bmodel",
    r"\bmodel\b[^.\n]{0,80}\bnot (?:been )?(?:activated|opened|subscribed)",
    r"(?:don't|do not) have access to (?:the )?model with the specified model id",
    r"(?:model|模型)[^。\n]{0,40}(?:未开通|没有开通|未激活|尚未开通)",
)
NO_PROVIDER: Final = _any(
    r"no (?:\w{1,12} )?(?:endpoints?|providers?)\b[^\n]{0,60}(?:data policy|privacy|guardrail|settings|allowed|"
    r"requested parameters|handle|routing|match)",
    r"all providers have been ignored",
)
NO_IMAGES: Final = _any(
    r"no endpoints found that support image",
    r"(?:image|vision|multi-?modal)(?:[ _-]?(?:url|input|content|data))?s?\b[^\n]{0,60}(?:not support|n't support|"
    r"unsupported|not enabled|not available|not allowed|not permitted|only supported by)",
    r"(?:not support|n't support|unsupported|cannot (?:process|read|handle|accept)|no support)[^.\n]{0,40}"
    r"(?:image|vision|multi-?modal)",
    r"not a (?:multi-?modal|vision)",
    r"missing mmproj|\bmmproj\b",
    r"(?:at most|up to|maximum of) 0 images?",
    r"不支持[^。\n]{0,10}(?:图片|图像|视觉|多模态)",
)
SERVER_MEMORY: Final = _any(
    r"requires more (?:system |gpu |video )?memory",
    r"\bout of memory\b",
    r"\boutofmemory",
    r"insufficient (?:system |gpu |video )?(?:memory|v?ram)\b",
    r"not enough (?:system |gpu |video )?(?:memory|v?ram)\b",
    r"(?:unable|failed) to allocate",
    r"insufficient system resources",
    r"(?:内存|显存)不足",
)
CRASHED: Final = _any(
    r"(?:model|engine|runner|server|process|worker)\b[^.\n]{0,40}\b(?:has |have )?(?:crashed|unexpectedly stopped|"
    r"terminated unexpectedly|exited unexpectedly|died)",
    r"runner (?:process )?(?:has )?(?:terminated|no longer running)",
    r"engine ?core[^\n]{0,20}(?:dead|died|encountered)",
    r"\benginedeaderror",
    r"(?:channel|model unloaded|model has been unloaded)\b[^.\n]{0,20}(?:error|unloaded)",
)
REGION_CODES: Final = _codes("unsupported_country_region_territory unsupported_country request_forbidden_region")
REGION: Final = _any(
    r"(?:country|region|territory|location)\b[^.\n]{0,60}(?:not (?:currently )?(?:supported|available|allowed)|"
    r"unsupported|restricted|prohibited|blocked)",
    r"(?:not (?:currently )?(?:supported|available|allowed)|unsupported|unavailable|restricted)[^.\n]{0,40} "
    r"(?:in |for )?(?:your |this |the )?(?:country|region|territory|location)\b",
    r"(?:地区|国家|区域)[^。\n]{0,12}(?:不支持|不可用|受限)",
    r"不支持[^。\n]{0,8}(?:地区|国家|区域)",
)
# The title of a page that keeps robots out, and what stands inside of one.
PROTECTED: Final = _any(
    r"just a moment",
    r"attention required",
    r"checking your browser",
    r"(?:are you|verify (?:that )?you are) (?:a )?(?:human|robot)",
    r"access (?:to this page (?:has been|was) |was |is )?denied",
    r"security (?:check|verification)",
    r"captcha",
    r"ddos",
    r"request (?:blocked|rejected|unsuccessful)",
    r"安全验证|人机验证|访问被(?:拦截|阻断)",
)
PROTECTED_PAGE: Final = _any(
    r"cf-chl|challenge-platform|cf-error-details|_incapsula_|\baws-?waf\b|/\.well-known/vercel/security",
    r"enable javascript and cookies to continue",
    r"(?:sorry, )?you have been blocked",
    r"verify(?:ing)? you are (?:a )?human",
)

NO_KEY: Final = _any(r"api_key client option", r"api key must be set", r"missing credentials")
BAD_PORT: Final = _any(r"port must be")
BAD_HEADER: Final = _any(r"header")
TLS: Final = _any(
    r"wrong[_ ]version",
    r"certificate",
    r"(?:unknown|unsupported)[_ ]protocol",
    r"handshake[_ ]failure",
    r"http[_ ]request",
    r"https[_ ]proxy",
    r"record[_ ]layer",
    r"packet[_ ]length",
    r"no[_ ]protocols",
    r"unexpected[_ ]message",
    r"alert",
    r"hostname",
)
UNKNOWN_TOOL: Final = _any(r"tool[^\n]{0,200}not found", r"unknown tool", r"not found in agent")
NO_FINAL: Final = _any(r"did not produce", r"no final response", r"without (?:a )?(?:final )?response")

# "try again in 1m20.5s", "retry in 342ms", "请在 20 秒后重试"
WAIT: Final = _any(
    r"(?:again|retry|wait|resets?|available)\b[^\d\n]{0,40}?((?:\d{1,7}(?:\.\d{1,9})?\s?(?:"
    r"ms|[hms]\b|[hm](?=\d)|"
    r"(?:milli)?sec(?:ond)?s?\b|min(?:ute)?s?\b|hours?\b)\s?){1,4})",
    r"((?:\d{1,7}\s?(?:小时|分钟|秒)){1,3})(?:钟|之)?后",
)
WAIT_PART: Final = _any(r"(\d{1,7}(?:\.\d{1,9})?)\s?(ms|milli|h|m(?!s)|s|小时|分钟|秒)")
