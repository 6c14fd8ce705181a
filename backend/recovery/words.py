"""The words and codes by which providers tell one refusal from another. All patterns match lower-case text.

Collected from the error bodies of OpenAI, Azure, Anthropic, Google, OpenRouter, Groq, Mistral, DeepSeek,
Qwen (DashScope), Zhipu, Moonshot, Volcengine, SiliconFlow, MiniMax, one-api, vLLM, llama.cpp, Ollama and LM
Studio. Runs of unknown text are bounded, so that a long message cannot make a search slow.
"""

from __future__ import annotations

from collections.abc import Mapping
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
# A word of Latin letters may stand between others without a blank.
_TOOL = (
    r"(?:(?<!parallel )(?<!role ['\"`])(?<![a-z0-9_])(?:tools?(?![a-z0-9_])(?! (?:message|result|output|name|type))"
    r"|tool[_ -](?:use|calls?|calling)|function[_ -]?call(?:s|ing)?)|(?:工具|函数)调用(?!时|的时候|的情况))"
)
_NOT = (
    r"(?:(?:not|n't) (?:currently |yet |been )?(?:support|enabled|available|implemented|offered|provided)|unsupported|"
    r"no support|不支持(?!同时|并行)|不被支持|未(?:开启|启用|开放))"
)
# What a model goes without, and not what it is asked for together with something else.
_TOOLS_ALONE = (
    r"(?:(?:use|call|invoke|using|calling|invoking) )?(?:any )?"
    r"(?:tools\b|functions\b|tool[_ -](?:use|usage|calls?|calling|support)\b|function[_ -]?(?:calls?|calling)\b)"
    r"(?![^.\n]{0,40}\b(?:together|at the same time|simultaneously|combined|alongside|at once)\b)"
    r"(?! (?:and|with|or|while|when|if|for|unless|until|before) )"
)
# Here it is the model that goes without them.
_MODEL_WITHOUT = (
    r"\bmodel\b(?: ['\"`]?[\w./:-]{1,80}['\"`]?)?(?: is| are| was| does| can| could)?"
    rf" ?(?:{_NOT}|not be used|not work|unavailable|incompatible|not compatible)[^.,;:\n]{{0,20}}"
    rf"\b(?:with|when|while|for)\b[^.,;:\n]{{0,20}}{_TOOL}"
)
MODEL_WITHOUT_TOOLS: Final = _any(_MODEL_WITHOUT)
NO_TOOLS_CODES: Final = _codes("tools_not_supported")
NO_TOOLS: Final = _any(
    _MODEL_WITHOUT,
    rf"{_NOT}[^.\n]{{0,40}}{_TOOL}",
    rf"{_TOOL}[^.\n]{{0,60}}{_NOT}",
    # Nobody has sent a choice of tools: it is the server's own that goes with them.
    r"\btool[_ ]choice\b['\"`]? (?:is |are )?(?:not (?:supported|available|allowed)|unsupported) (?:for|by|with|on|in) "
    r"(?:this|the|that|your)\b[^.\n]{0,60}\bmodel\b",
    r"\bmodel\b[^.\n]{0,60}\b(?:does not|doesn't) support (?:the )?(?:parameter )?['\"`]?tool[_ ]choice\b",
    r"support tool use",
    r"\b(?:cannot|can't|can not|unable to|(?:not|n't) able to|incapable of|(?:not|n't) capable of|"
    r"(?:not|n't|never) (?:been )?trained (?:for|to|on|with)|"
    rf"(?:do|does)(?: not|n't) (?:accept|allow|take|handle|understand|offer|provide)) {_TOOLS_ALONE}",
    r"\b(?:lacks?|ha(?:s|ve) no|(?:do|does)(?: not|n't) have) (?:any )?(?:tools?|functions?)[ _-]?"
    r"(?:use|usage|call\w*)? ?(?:support|capabilit|abilit)",
    rf"\bmodel\b[^.\n]{{0,60}}{_TOOL}[^.\n]{{0,12}}\bdisabled\b",
    rf"{_TOOL}[^.\n]{{0,12}}\bdisabled (?:for|on|by|with|in) (?:this|the|that|your)\b[^.\n]{{0,12}}\bmodel",
    rf"{_TOOL}[^.\n]{{0,12}} only (?:be )?(?:supported|available|used|work\w*) (?:by|for|with|on|in)\b[^.\n]{{0,24}}"
    r"\bmodels?\b",
    r"\b(?:tools|functions)\s{1,4}extra (?:inputs|fields) (?:are )?not permitted",
    r"(?:不支持|不能|无法|不具备|不会|未启用|未开启|不允许)(?!同时|并行)(?:使用|调用|启用)?[^。，,\n]{0,4}"
    r"(?:工具|函数)(?!名|结果|返回|消息|参数|列表|描述|[^。\n]{0,12}(?:同时|一起))",
    r"(?:unrecognized|unknown|unexpected|extra)[^.\n]{0,40}\b(?:tools|functions)\b",
    r"\b(?:tools|functions)\b['\"`]? (?:is |are )?(?:an? )?(?:unrecogni[sz]ed|unknown|unexpected|not permitted)",
    r"requires? --(?:enable-auto-tool-choice|jinja|tool-call-parser)",
)
# Under which circumstances something else is refused: what is asked for "with tools" is not the tools.
WITH_TOOLS: Final = _any(
    rf"(?<!requests )(?<!request )(?<!messages )(?<!chat )(?<!chats )"
    rf"\b(?:with|when|whenever|while|if|once|during|alongside)\b[^.,;:\n]{{0,30}}?{_TOOL}"
)

IMAGE_TOO_LARGE: Final = _any(r"images?\b[^.\n]{0,20}(?:is |are )?too (?:large|big)")
# The model's fault of this one answer: the next is another.
TOOL_CALL_CODES: Final = _codes("tool_use_failed malformed_function_call")
TOOL_CALL: Final = _any(
    r"(?:error|fail\w*|unable|could not|cannot)[^.\n]{0,24}pars(?:e|ing)[^.\n]{0,30}\b(?:tool|function)[ _-]?calls?\b",
    r"failed to parse input at pos",
    r"unexpected tokens? (?:remaining in message header|\d{1,9} while expecting)",
    r"(?:malformed|invalid|unparsable)[ _](?:function|tool)[ _]call\b",
    r"failed to call a function|tool call validation failed",
)
CONTEXT_CODES: Final = _codes(
    "context_length_exceeded context_window_exceeded exceed_context_size_error string_above_max_length "
    "max_tokens_exceeded request_too_large tokens_limit_reached model_max_prompt_tokens_exceeded "
    "input_too_long prompt_too_long context_too_long inputtoolong contextlengthexceeded"
)
# What is too long, that it is, and by which measure: each server has its own sentence of these three.
_LONG = (
    r"(?:prompts?|inputs?|messages?|conversation|history|context|sequence|requests?|contents?|(?<!max_)(?<!max_new_)"
    r"(?<!output )(?<!completion )(?<!generated )tokens?|token (?:count|length|number)|tokens? count)"
)
_OVER = (
    r"(?:exceed(?:s|ed|ing)?|over(?:flow(?:s|ed|ing)?|run)|surpass(?:es|ed)?|(?:is |are |was |were )?(?:too |much too )"
    r"(?:long|large|big|many)|(?:longer|larger|greater|more|bigger|higher) than|must (?:be |have )?(?:at most|no more|"
    r"less|fewer|smaller|shorter|within|below|<=?)|(?:should|can(?:not|'t)?|may not|must not) (?:be )?(?:exceed|less|"
    r"fewer|more|in \[|within|<=?)|above the|beyond the|reached the|does(?: not|n't) fit|out of range|> ?\d)"
)
_MEASURE = (
    r"(?:tokens?\b|context|window|max_seq_len|max_model_len|max_input|n_ctx|max(?:imum)? (?:\w{1,12} )?(?:length|size|"
    r"input|prompt|tokens?|sequence)|(?:model|input|prompt|sequence|length|token)s?'? ?limit|limit of \d)"
)
CONTEXT: Final = _any(
    rf"{_LONG}\b[^\n]{{0,80}}?{_OVER}[^\n]{{0,80}}?{_MEASURE}",
    rf"(?:exceed(?:s|ed|ing)?|overflow(?:s|ed|ing)?|(?:longer|larger|greater|more) than|above the|"
    rf"beyond the)[^.\n]{{0,24}}?"
    rf"(?:context|{_MEASURE})",
    r"(?:input|prompt|token|context|sequence|message|model)s?[ _-]?(?:tokens? |token[ _-])?(?:limit|"
    r"length|window|size|count)s?"
    r"\b[^\n]{0,40}(?:exceed|overflow|too |reached|> ?\d)",
    r"\blength\b[^.\n]{0,12}\d{3,9}[^.\n]{0,12}(?:exceed|>|over|larger|longer|greater)",
    r"\b(?:prompt|input|token|context|sequence)s?\b[^\n]{0,60}\d\)? ?>=? ?(?:\d|max|n_ctx|the )",
    r"\b(?:n_ctx|max_model_len|max_seq_len|max_total_tokens|max_position_embeddings|max_input_(?:tokens|length))\b",
    r"\bcontext (?:is |was )?full\b",
    r"\btoken[^\n]{0,60}supports? (?:only )?up to \d",
    r"exceed[^.\n]{0,20} (?:kv|key-value) cache",
    r"max(?:imum)? (?:allowed |permitted )?(?:prompt|input|context) tokens?",
    r"max(?:imum)? tokens?\b[^\n]{0,16}\d{4,9}[^\n]{0,12}exceeded",
    r"supports? (?:only |at most |up to )?(?:a )?(?:max(?:imum)? )?(?:of )?\d{3,9} (?:input |context |prompt )?tokens",
    r"\bmax(?:imum)?[ _](?:model|seq|input|prompt|context)[ _-]?(?:len|length|tokens?|char\w*)\b",
    rf"(?:input|prompt|context|message|total)[ _]tokens?\b[^\n]{{0,30}}{_OVER}[^\n]{{0,16}}\d{{3,}}",
    r"(?:prompts?|inputs?|messages?|conversation|history|body)\b[^.\n]{0,40}exceed[^.\n]{0,30}"
    r"(?:limit|max|size|length|memory|capacity)",
    r"(?<!output )(?<!completion )(?<!generated )(?<!max )(?<!new )\btokens?\b[^\n]{0,20}"
    r"(?:more|greater|larger|over|above|exceed\w*)[^\n]{0,16}\d{4,7}",
    r"\b\d{3,9} tokens?\b[^.\n]{0,30}\b(?:only|room for|space for) \d{3,9}\b(?: tokens?)?(?: fit| are | can |[.\s]*$)",
    r"(?:prompts?|inputs?|messages|conversation|history)\b[^.\n]{0,40}\b\d{3,9} tokens?\b[^\n]{0,30}"
    r"\b(?:window|limit|max(?:imum)?)\b[^.\n]{0,30}\d{3}",
    r"\b\d{2,4}k tokens\b[^\n]{0,30}\b(?:cap|limit|max(?:imum)?|window)\b[^\n]{0,20}\d",
    r"too much (?:context|text|input)\b|max(?:imum)?[_ ]position[_ ]embeddings",
    r"(?:not|n't|cannot) fit[^.\n]{0,40}(?:context|window|model)",
    r"max(?:imum)? (?:\w{1,12} ){0,2}context",
    r"maximum (?:prompt|input|sequence) length",
    r"context[ _-]?(?:length|window|size|limit)[^\n]{0,60}(?:exceed|overflow|too |limit|reached|only|of \d)",
    r"context (?:the )?overflows",
    r"context shift is (?:disabled|not)",
    r"too many (?:\w{1,12} ){0,3}tokens\b(?![^\n]{0,40}(?:wait|retry|again|per|minute))",
    r"(?:input|prompt|messages?|conversation|request body|request)\b[^.\n]{0,30}(?:is |are |was )?too (?:long|large)",
    r"range of input length",
    r"reduce (?:the|your) (?:length|prompt|messages|input|context|number of)",
    r"(?:shorten|truncate) (?:the|your) (?:prompt|input|messages|conversation)",
    r"too large for (?:\w{1,12} )?model",
    r"cannot truncate prompt",
    r"tokens to keep from the initial prompt",
    r"`?inputs`? (?:tokens )?(?:\+|must)",
    r"(?:kv|key-value) cache[^\n]{0,60}(?:full|exceed|larger than|not enough|exhausted|no space)",
    r"上下文[^。\n]{0,16}(?:超|过长|限制|太长)",
    r"(?:超出|超过|超)[^。\n]{0,16}(?:长度|上下文|token|最大|限制)",
    r"(?:输入|提示词?|prompt|文本|消息|对话|内容)[^。\n]{0,16}(?:过长|超长|太长|超限|超过)",
    r"token[^。\n]{0,10}(?:超|过多|过长)",
)
_ABOUT_IT = (
    r"(?:context|prompts?\b|inputs?\b|messages?\b|conversation|history|n_ctx|(?<!invalid )(?<!bad )"
    r"\brequests?\b|(?<!stop )\bsequence|上下文|输入)"
)
_OF_IT = (
    r"(?:context|ctx|prompt|input|message|conversation|history|content|token|seq|request|body|model|cache\b|text|position|"
    r"len|chat|completion|llm|error|invalid|argument|exceed|too_|limit|param)"
)
_FIELD = (
    r"(?:metadata|stop(?:[ _-]?(?:sequences?|tokens?|words?|strings?)|['\"`:])|(?:thinking|reasoning)[ _-]?"
    r"(?:budget|tokens)|budget[ _]tokens|temperature|seed|suffix|grammar|schema|log_?probs|logit[ _-]bias|best[ _-]of|"
    r"penalty)"
)
_BEYOND = (
    r"(?:exceed|over the|above the|beyond the|too (?:many|long|large|big|high)|(?:greater|larger|longer|more|higher|"
    r"less|fewer|smaller|shorter) than|at most|max(?:imum)?\b|limit)"
)
# The same words of a field, a name, a picture or the answer's length are not about the conversation.
NOT_CONTEXT: Final = _any(
    r"(?:name|description|tool_call_id|\bid|title|user|metadata|\bkey)['\"`]?:?\s[^\n]{0,60}"
    r"(?:too long|max(?:imum)? length)",
    r"(?:function|tools?)\[?[\w.\[\]]{0,40}(?:name|description)",
    r"^(?![^\n]{0,300}(?:context|prompt|inputs?\b))[^\n]{0,60}\bmax_(?:completion_|output_|new_)?tokens\b[^\n]{0,40}"
    r"(?:too large|must be|less than|(?:greater|larger|more|higher) than|exceeds?\b|between)",
    # A field of the request by its name, and others that are told in plain words.
    rf"^(?![^\n]{{0,300}}{_ABOUT_IT})[^\n]{{0,30}}?"
    rf"\b(?!\w*{_OF_IT})[a-z]{{1,20}}(?:_[a-z]{{1,20}}){{1,4}}\b[^\n]{{0,40}}{_BEYOND}",
    rf"^(?![^\n]{{0,300}}{_ABOUT_IT})[^\n]{{0,30}}?\b{_FIELD}\b[^\n]{{0,40}}{_BEYOND}",
    rf"^(?![^\n]{{0,300}}{_ABOUT_IT})[^\n]{{0,20}}{_BEYOND}[^\n]{{0,12}}\b{_FIELD}\b",
    r"^(?![^\n]{0,300}(?:token|context))[^\n]{0,60}(?:images?|audio|video|files?|attachments?|pdf)\b[^.\n]{0,60}"
    r"(?:too (?:large|big|long)|exceed|maximum|larger|size)",
    r"headers?\b[^.\n]{0,30}too (?:large|big|long)",
    r"(?:次数|频率|速率|并发|qps|[rt]pm|流量|额度|配额)[^。\n]{0,8}(?:超|受限|限制|上限|达)|"
    r"(?:超|达)[^。\n]{0,6}(?:次数|频率|速率|并发|qps|[rt]pm|流量|额度|配额|请求数|调用量)",
    r"too large for (?:the |this )?(?:system|machine|gpu|host|memory|v?ram)\b",
)
# A 429 is a limit of a time, unless it says that this one request is beyond it for ever.
CONTEXT_SURELY: Final = _any(
    r"request too large for",
    r"too large for (?:\w{1,12} )?model",
    r"maximum (?:\w{1,12} )?context",
    r"context[ _-](?:length|window)",
    r"(?:reduce|shorten) (?:the|your) (?:length|prompt|messages|input)",
    r"上下文",
    r"prompt is too long",
)

PER_DAY: Final = _any(
    r"per[ _-]?(?:day|week|month)",
    r"/ ?(?:day|week|month)\b",
    r"\b(?:daily|weekly|monthly|rpd|tpd)\b",
    r"(?:usage|session|message) limit[^.\n]{0,40}\b(?:hours?|days?|weeks?|months?)\b",
    r"\b\d{1,3}[ -]?(?:hours?|h|days?) (?:usage |rolling |message |window |session )?(?:limit|quota|window)",
    r"每[天日周月]",
    r"\d ?小时的?(?:使用)?(?:上限|限额|额度)",
    r"[当本][天日周月][^。\n]{0,12}(?:上限|限额|用完)",
)
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
    "insufficient_user_quota quota_exceeded payment_required billing_error budget_exceeded "
    "pre_consume_token_quota_failed insufficient_funds credit_exhausted out_of_credits spend_limit_reached "
    "quotaexceeded commodity.not.purchased postpaidbilloverdue prepaidbilloverdue setlimitexceeded"
)
_CREDIT = r"(?:quota|balance|credits?|funds?|tokens? quota)"
ANY_QUOTA: Final = _any(r"\bquota\b", r"配额|额度")
# Of money, and of nothing that comes back by itself.
CREDIT: Final = _any(
    r"insufficient[_ ](?:\w{1,12} )?(?:balance|credit|fund)",
    r"billing (?:hard limit|issue|not)",
    r"credit|top up|recharge|payment",
    r"余额|欠费|充值",
)
QUOTA: Final = _any(
    rf"\b(?:insufficient|not enough|no|low|negative|zero|lack of|exhausted|depleted|out of|"
    rf"used (?:up )?(?:all )?(?:of )?your|"
    rf"any)[_ -](?:\w{{1,14}}[_ -]){{0,3}}{_CREDIT}\b"
    r"(?! (?:was|were|will be|has been|have been) (?:charged|used|spent))",
    rf"{_CREDIT}\b[^.\n]{{0,30}}(?:too low|insufficient|exhausted|depleted|used up|is not enough|run out|"
    rf"ran out|negative|overdrawn|"
    rf"expired|has been reached|is over|is 0|(?:is )?below)",
    r"(?:run|ran) out of (?:\w{1,12} )?(?:credits?|funds?|balance|quota)",
    r"exceeded (?:your|the) (?:current |monthly |daily |included |total |\w{1,12} )*(?:quota|credits?|"
    r"budget|spend|plan)",
    r"billing (?:hard limit|details|is not|issue|error|not)",
    r"(?:can|could) only afford",
    r"requires? more credits",
    r"(?:add|purchase|buy|top up|recharge)[^.\n]{0,20}(?:credits?|balance|funds?|your account)",
    r"\bpaid balance\b|\bnegative balance\b",
    r"\bused (?:up )?all\b[^.\n]{0,24}\b(?:messages|requests|tokens|calls|generations|prompts)\b",
    r"\b(?:spend\w*|usage|budget|cost) caps?\b[^.\n]{0,30}(?:reached|exceeded|hit)",
    r"(?:reached|exceeded|hit)[^.\n]{0,30}\b(?:spend\w*|usage|budget|cost) cap\b",
    r"\b(?:requires?|needs?|add|without|no|missing|provide)\b[^.\n]{0,30}"
    r"\b(?:credit card|payment method|card on file)\b",
    r"\b(?:used|consumed|spent|exhausted|depleted)\b[^.\n]{0,24}\b(?:credits?|quota|balance|allowance|allotment)\b",
    r"service (?:has been |is )(?:paused|suspended)",
    r"(?:usage|spend(?:ing)?|budget|billing|cost|key|credit) limits?\b[^.\n]{0,30}(?:reached|exceeded|hit)",
    r"(?:reached|exceeded|hit)[^.\n]{0,40}(?:usage|spend(?:ing)?|budget|billing|cost|credit) limit",
    r"budget (?:has been |was |is )?(?:exceeded|exhausted|depleted|used up|spent)",
    r"(?:exceeded|exhausted)[^.\n]{0,20} budget",
    r"key limit exceeded",
    r"\b(?:allowance|allotment)\b[^.\n]{0,24}\b(?:used(?: up)?|consumed|spent|exhausted|depleted|exceeded|gone)\b",
    r"free (?:tier|quota|trial|usage|plan)[^.\n]{0,40}(?:exhausted|exceeded|used up|consumed|expired|ended|over)",
    r"(?:trial|subscription|plan|package)\b[^.\n]{0,30}(?:has )?(?:expired|ended|lapsed|inactive|not active)",
    r"payment (?:is )?(?:required|method|failed|overdue)",
    r"\bunpaid\b|past[ -]due|no active (?:subscription|plan|package)",
    r"\b(?:daily|weekly|monthly)\b[^.\n]{0,40}(?:limit|quota|allowance|cap)\b",
    r"account (?:is |has )?(?:overdue|in arrears|not active, please check your billing)",
    r"account is in good standing",
    r"overdue (?:balance|payment|bill)",
    r"quota (?:has been |is )?(?:exhausted|used up)",
    r"quota limit exceeded",
    r"quota exceeded (?:for|this)[^.\n]{0,20}\b(?:month|week|day|period|year|account|key|user|plan)\b",
    r"余额",
    r"欠费",
    r"充值",
    r"购买[^。\n]{0,6}(?:套餐|资源包|流量包|额度|会员)",
    r"(?:额度|配额|点数|积分|次数|流量|资源包|套餐)[^。\n]{0,6}(?:已|不足|用|耗尽|过期|到期|为 ?0|为零)",
)
FILTER_CODES: Final = _codes(
    "content_filter content_policy_violation data_inspection_failed datainspectionfailed "
    "moderation_blocked sensitivecontentdetected prompt_blocked content_filter_error content_filtered "
    "inputtextsensitivecontentdetected outputtextsensitivecontentdetected responsibleaipolicyviolation "
    "content_safety invalid_prompt blocklist prohibited_content hooks_failed guardrail_intervened guardrail_violation "
    "content_moderation moderation_failed inputtextriskdetection inputimageriskdetection outputtextriskdetection "
    "outputimageriskdetection moderation"
)
FILTER: Final = _any(
    r"content management policy",
    r"content[_ ](?:filter|policy|exists risk)",
    r"inappropriate content",
    r"considered high risk",
    r"(?:usage|safety) polic",
    r"flagged (?:by|for|as)",
    r"safety (?:system|filter|settings|classifier)",
    r"moderation (?:flag|block|fail)",
    r"prohibited[_ ]content",
    r"\bguardrail\w*\b[^.\n]{0,60}\b(?:failed|intervened|triggered|violated|violations?)\b",
    r"\b(?:request|prompt|input|content|response|output|message)s?\b[^.\n]{0,40}\b(?:blocked|denied|rejected|stopped) "
    r"by[^.\n]{0,30}(?:guardrail|polic|filter|shield|safety)",
    r"sensitive (?:content|information|words?|topics?)|new_sensitive",
    r"violation information|violat\w{1,4}[^.\n]{0,30}\b(?:polic\w{1,3}|terms of|guidelines|rules)\b",
    r"rejected by (?:the |our )?(?:safety|content)",
    r"\b(?:prompt|content|input|message|response|output)s? (?:was |were |is |has been |have been )blocked\b",
    r"敏感(?:内容|信息|词)",
    r"不安全",
    r"违规",
    r"(?:内容|安全)审核",
)

# What the provider's moderation found in the words, whatever else it says of credit.
MODERATED: Final = _any(
    r"\b(?:input|prompt|content|message|request|output|response|image)s?\b[^.\n]{0,30}\bflagged\b",
    r"\brequires moderation\b",
)
# A tunnel or a content network that answers instead of the server behind it.
TUNNEL: Final = _any(
    r"err_ngrok_(?:3200|8012|725)",
    r"\bendpoint [\w.-]{1,100} is offline\b",
    r"\btunnel\b[^\n]{0,100}\b(?:offline|not found|not running|disconnected|unavailable)\b",
    r"\bcloudflare tunnel error\b|\berror 1033\b",
)
# The key is known, and not allowed to do this, or not from here.
NO_RIGHT: Final = _any(
    r"(?:insufficient|missing|lacks?|not enough|without)[^.\n]{0,24}\b(?:permissions?|scopes?|privileges?|rights?)\b",
    r"\bip(?: address)?\b[^.\n]{0,60}\b(?:not (?:authori[sz]ed|allowed|permitted|whitelisted|in )|denied|blocked|"
    r"rejected)",
    r"\bip_(?:not_|un)?(?:authorized|allowed|blocked|denied)",
    r"\b(?:do|does)(?: not|n't) have (?:the )?(?:access|permissions?|rights?)\b",
    r"(?:没有|无|缺少)[^。\n]{0,6}权限|\bip\b[^。\n]{0,12}(?:白名单|不允许|未授权)",
)
# An account that is not served at all, whatever its key.
BARRED: Final = _any(
    r"\b(?:account|organi[sz]ation|project|workspace|user|team|resource|subscription)s?\b[^.\n]{0,40}"
    r"\b(?:frozen|suspended|restricted|banned|blocked|locked|deactivated|disabled|terminated)\b",
    r"(?:账[号户]|用户|组织)[^。\n]{0,8}(?:封禁|冻结|禁用|停用)",
)
# A local server's template is a program that the conversation can break, the same way each time.
CHAT_TEMPLATE: Final = _any(
    r"\bjinja\b",
    r"\bchat[_ ]template\b[^\n]{0,60}(?:error|fail|raise|exception|invalid)",
    r"(?:error|fail\w*|exception|cannot)[^.\n]{0,40}\b(?:chat|prompt)[_ ]template\b",
    r"\btemplateerror\b",
    r"\broles? must alternate\b|\broles? should be alternating\b|alternating? (?:between )?user",
)

# What is called as models are: a sign or a digit in it, and no name of an option, a format or a path.
_NAMED = (
    r"(?<![\w/.:-])(?!(?:https?|utf|base|ipv|tls|ssl|oauth|sha|iso|image|audio|video|application|multipart|v\d|max|min|"
    r"top|json|log|stop|stream|non|tool|functions?|parallel|structured|response|reason\w{0,3}|think\w{0,3}|system|role|"
    r"user|multi|prompt|real|batch|server|x|api|org|proj|node|gpu|cuda|worker|pod|file|session|thread|req(?:uest)?|key|sk|"
    r"device|port|localhost|host)[\d/:.+-])(?!text/)[a-z][\w@.]{0,40}[\d/:-][\w@./:-]{0,80}['\"`]?"
)
_PLACE = (
    r"(?:here\b|(?:on|by|at|in|with) (?:this|our|the|that|your) (?:\w{1,12} )?"
    r"(?:cluster|server|node|gateway|host|deployment|endpoint|instance|platform|proxy|router|provider|service|backend|"
    r"machine|site)\b)"
)
_NONE_HERE = r"(?:is not|isn't|is no longer|was not|wasn't|is never) (?:currently |yet |being )?"
MODEL_CODES: Final = _codes(
    "model_not_found model_not_exist modelnotfound model_decommissioned model_not_available "
    "invalid_model deploymentnotfound "
    "invalidendpointormodel.notfound model_not_found_error unknown_model no_model_loaded model_not_supported "
    "endpoint_not_found"
)
# A server that holds no model at the moment: naming another one would not help.
NONE_LOADED: Final = _any(
    r"no models? (?:is |are )?(?:currently )?loaded",
    r"\bmodel (?:is |was )?not loaded\b",
    r"\b(?:load|start) (?:a|the|your) model (?:first|in|before)",
)
# Words that tell a missing model even when the status blames the server.
_SURE_MODEL: Final = (
    r"models?\b[^\n]{0,120}(?:does not exist|not found)",
    r"无可用渠道",
    r"no available channel",
    r"no models? (?:is |are )?(?:currently )?loaded",
    r"(?:could not|cannot|can't|unable to) find (?:\w{1,12} ){0,3}model",
    r"pulling it first",
    r"模型[^。\n]{0,60}不存在",
)
MODEL_SURELY: Final = _any(*_SURE_MODEL)
MODEL: Final = _any(
    *_SURE_MODEL,
    r"models?\b[^\n]{0,120}(?:does not exist|doesn't exist|not exists?\b|not found|no longer available)",
    r"models?\b[^\n]{0,120}(?:(?:not|n't) (?:available|loaded|accessible|a valid|a supported)|"
    r"is not supported)",
    r"\bmodel\b(?: ['\"`]?[\w./:-]{1,80}['\"`]?)? isn't supported",
    r"(?:not|n't) (?:currently |yet )?(?:in|on|part of|among|one of|listed in|included in) (?:our|the|its|this|my)\b"
    r"(?: \w{1,12}){0,2} (?:catalog(?:ue)?|models|model (?:list|library|registry|catalog(?:ue)?)|model)s?\b",
    r"(?:do|does|did)(?: not|n't) (?:have|know|offer|serve|host|provide|recogni[sz]e|match) "
    r"(?:an? |the |any |this |that )?models?\b",
    r"\b(?:not|n't) (?:served|hosted|deployed) (?:by|on|at|here)\b",
    r"models?\b[^\n]{0,120}(?:has been (?:decommissioned|deprecated|retired)|is (?:invalid|unknown))",
    r"^model: [\w.:/@-]{1,100} not_found_error",  # Anthropic says no more than that
    r"\bmodels?\b[^\n]{0,60}(?<!temporarily )(?<!currently )\bunavailable",
    rf"{_NAMED}:? {_NONE_HERE}(?:available|offered|supported|served|hosted|deployed|provided|known|installed|"
    rf"registered|listed|found|recogni[sz]ed) {_PLACE}",
    rf"(?:do|does)(?: not|n't) (?:currently )?(?:carry|have|offer|serve|host|know|recogni[sz]e) ['\"`]?{_NAMED}",
    rf"{_NAMED} (?:was|is|has been) (?:retired|sunset|decommissioned|deprecated|discontinued|removed|withdrawn|"
    r"shut ?down|turned off)\b",
    r"\b(?:no such|unknown) (?:deployment|engine)\b|\bno weights (?:for|of)\b",
    r"(?:未|没有)(?:部署|接入|上线|收录)[^。\n]{0,4}[a-z][\w./:-]{2,80}",
    # As Together, NVIDIA, LM Studio and LiteLLM say it.
    r"\bunable to access (?:the )?model\b|\bspecified function\b[^.\n]{0,60}\bnot found\b",
    r"\bmultiple models are loaded\b|\bllm provider not provided\b",
    r"not found the model",
    r"no (?:such |available )?models? (?:\w{1,12} )?(?:loaded|found|available)",
    r"\bno (?:\w{1,12} )?models? (?:(?:is |are )?(?:called|named|known as)|(?:by|of|with) (?:that|this|the) "
    r"(?:name|id))\b",
    r"models?\b[^\n]{0,80}(?:\bnot|n't) (?:yet )?(?:served|hosted|offered|deployed|registered|installed|downloaded)\b",
    r"\bmodel not support(?:ed)?\b",
    r"\bmodel\b[^\n]{0,60}(?:end of (?:its )?life|end-of-life|sunset|discontinued|shut ?down|unrecogni[sz]ed|"
    r"(?:been|was|is) (?:removed|retired|deleted|withdrawn))",
    r"\bis not a model\b|\bmodel name format\b|\ballowed now, your model\b",
    r"(?:no such|unknown|invalid|unsupported|unrecognized) model(?! architecture)",
    r"no endpoints found",
    r"not a chat model",
    r"only supported in v1/(?:responses|completions)",
    r"not a valid model",
    r"模型[^。\n]{0,60}(?:不存在|未找到|无效|不可用|未开通|已?下[线架]|已?停止服务|已?停用|未部署|未上[线架]|"
    r"不在[^。\n]{0,12}(?:列表|范围|支持))",
    r"模型(?:的)?(?:名称?|编码|代码|标识|id)[^。\n]{0,4}(?:错误|有误|不正确|不合法|不对)",
    r"不支持(?:的|该|此|所选|所选的|这个|当前|指定的?)?模型(?!的|使用|调用|同时)|无[此该]模型",
    r"不存在[^。\n]{0,8}模型",
    r"(?:没有|找不到|未找到|查无)(?:这个|这样的|此|该|对应的?|指定的|所?请求的|名为[^。\n]{1,60}的)?模型(?!的|访问|使用|调用|权限|服务)",
)
# What a tool has told, which the conversation holds: no word of this server's about its own model.
TOLD_BY_A_TOOL: Final = _any(r"\btool\b[^\n]{0,80}\b(?:returned|responded|answered|reported|said|failed with)\b")
OVERLOAD_CODES: Final = _codes(
    "overloaded_error overloaded engine_overloaded_error server_overloaded service_unavailable "
    "server_busy unavailable capacity_exceeded flex_unavailable no_capacity insufficient_system_resource "
    "serveroverloaded model_overloaded service_unavailable_error serviceunavailable modelbusy"
)
# Told before a model answers at all: it is waited for.
LOADING_CODES: Final = _codes(
    "loading model_loading model_is_loading model_cold model_warming warming_up starting not_ready"
)
LOADING: Final = _any(
    r"(?<!error )(?<!failed )(?<!while )\b(?:pulling|downloading|fetching|loading)[^.\n]{0,20}\bweights\b",
    r"(?<!error )(?<!failed )(?<!while )(?<!fail )\bloading (?:the )?model\b",
    r"\bmodel\b[^\n]{0,60}(?:loading now|not loaded yet|being downloaded|downloading)",
    r"\bmodel\b[^\n]{0,100}\b(?:is|are) (?:\w{1,12} )?(?:loading|being loaded|starting|warming up|initiali[sz]ing)",
    r"\bmodel (?:is )?not (?:yet )?ready",
    r"\bwarming (?:the )?caches?\b|\bmodel loading\b|\bcold[ -]start",
    r"(?:process of|still|currently) loading|loading in progress|waiting for (?:the )?model|"
    r"weights? (?:are |is )?loading",
    r"\b(?:server|service|upstream|backend|worker|gpu|model|engine|instance|container|endpoint|replica|deployment|"
    r"machine)s?\b[^\n]{0,60}\b(?:starting up|"
    r"is starting|warming up|initiali[sz]ing|cold[ -]start|not (?:yet )?ready|still loading|scaling up|scaled to zero|"
    r"waking up|booting|spinning up)",
    r"timed? ?out waiting for[^.\n]{0,40}\b(?:start|load|ready)",
    r"模型[^。\n]{0,20}(?:加载中|启动中|预热|未就绪)",
    r"(?:正在|尚在)(?:加载|启动)",
)
OVERLOAD: Final = _any(
    r"overload(?:ed|ing)?\b|\bdegraded function\b",
    r"(?:servers?|service|system|model|engine|backend|upstream|cluster|gpus?|workers?)\b[^.\n]{0,24}(?:is |are )?"
    r"(?:currently |too |temporarily |very |all )*(?:busy|unavailable|at (?:full )?capacity|"
    r"under (?:heavy|high) load|saturated|congested|swamped|overwhelmed|overburdened)",
    r"(?:gpus?|workers?|slots?|instances?|replicas?|machines?)\b[^.\n]{0,24}(?:is |are )(?:currently |all |already )*"
    r"(?:occupied|in use|taken|full|fully used|draining|unhealthy)",
    r"\bno (?:upstream|backend|worker|replica|instance|server)s? (?:could|can|was able to|is able to) "
    r"(?:take|accept|handle|serve)\b",
    r"(?:high|heavy|peak|excessive|huge|too much) (?:demand|load|traffic|concurrency)",
    r"capacity (?:exceeded|reached|constraints?|limit|is (?:full|limited|exhausted))",
    r"(?:exceeded|out of|no|insufficient|at|over|lack of)[^.\n]{0,20} capacity\b",
    r"no (?:healthy|available|ready) (?:upstreams?|backends?|instances?|workers?|servers?|slots?|"
    r"replicas?|nodes?|endpoint)",
    r"(?:queue|slots?) (?:is |are )?(?:full|unavailable|exhausted|too long)",
    r"\bqueue (?:length|size|depth|limit|capacity)\b[^.\n]{0,12}(?:reached|exceeded|full)|\byour (?:queue )?position\b",
    r"\bno (?:\w{1,12} )?(?:gpus?|slots?|workers?|instances?|replicas?|nodes?)\b[^.\n]{0,20}"
    r"\b(?:free|available|ready|left)\b",
    r"(?:系统|服务器?|模型|当前|节点)[^。\n]{0,6}(?:繁忙|过载|不可用|拥挤|爆满)",
    r"负载[^。\n]{0,3}(?:高|大|饱和)|排队|(?:队列|gpu|显卡|节点|资源)[^。\n]{0,3}(?:已满|占满|紧张)|算力[^。\n]{0,3}(?:不足|紧张|满)",
    r"计算资源[^。\n]{0,3}不足|(?:使用|访问|在线|请求)?(?:人数|用户)(?:较|过|太)多|高峰(?:期|时段)|拥[挤堵]",
    r"(?:访问|请求)量(?:过大|过高)",
)
RATE_CODES: Final = _codes(
    "rate_limit_exceeded rate_limit_error rate_limit rate_limited rate_limit_reached_error ratelimit "
    "too_many_requests toomanyrequests 429 usage_limit_reached throttlingexception ratelimiterror "
    "resource_exhausted throttling throttling.ratequota throttling.allocationquota limit_requests "
    "limit_burst_rate tokens_usage_based requests_usage_based ratelimitexceeded modelrateerror "
    "rpmlimitexceeded tpmlimitexceeded requestburstexceeded"
)
RATE: Final = _any(
    r"\brate[_ -]?limit",
    r"\b(?:request|token|usage|message|concurren(?:t|cy)|qps|[rt]p[mds])s?[ _-](?:\w{1,12} )?(?:limit|quota|cap)s?\b",
    r"\b(?:accounts?|keys?|credentials|channels?|deployments?)"
    r"\b[^.\n]{0,24}\b(?:limited|cool(?:ing)?[- ]?down)\b(?! to)",
    r"\blimit(?:s|ed)?\b[^.\n]{0,24}\b(?:reached|exceeded|hit)\b",
    r"(?:reached|exceeded|hit)\b[^.\n]{0,40}\blimits?\b",
    r"too many (?:\w{1,12} )?(?:requests|concurrent|messages|calls|connections|attempts)",
    r"too many tokens\b[^\n]{0,40}(?:wait|retry|again|per|minute)",
    r"too (?:frequent|fast|often|quick)",
    r"\bmax(?:imum)?\b[ :]{0,2}(?:\w{1,12} )?(?:concurrency|[rt]p[mds]|qps)\b",
    r"\b(?:requests?|calls|messages) (?:are |is )?limited to \d",
    r"\b(?:one|a single|\d{1,3}) (?:\w{1,12} )?requests? at a time\b",
    r"\bslow(?:ing)? down\b",
    r"(?:please )?wait (?:a (?:moment|minute|bit|while) )?before (?:trying|retrying|sending|making)",
    r"throttl(?:ed|ing)",
    r"限流|流控",
    r"(?:速率|频率|并发|请求数?|调用|流量|次数|qps|[rt]pm)[^。\n]{0,8}(?:限制|上限|超限|受限)",
    r"(?:请求|访问|调用|操作|发送)[^。\n]{0,8}(?:频繁|频率|过快|太快|过多)",
    r"并发数?(?:超|过高)",
)
AUTH_CODES: Final = _codes(
    "invalid_api_key authentication_error invalid_authentication_error incorrect_api_key_error unauthorized "
    "unauthenticated invalidapikey missing_api_key no_api_key 401 invalid_token expired_api_key "
    "api_key_invalid invalid_key authenticationerror invalidaccesskeyid token_expired no_db_connection"
)
_KEY = r"(?:api[ _-]?key|access token|credentials?|authentication|authorization)"
AUTH: Final = _any(
    rf"(?:invalid|incorrect|wrong|missing|expired|\bno\b|provide|bad|malformed|disabled|revoked)[^.\n]{{0,24}} {_KEY}",
    rf"{_KEY}[^.\n]{{0,40}}(?:not valid|invalid|incorrect|missing|expired|required|not "
    rf"found|disabled|revoked|exist|unknown|rejected|recogni[sz]ed)",
    r"authentication (?:fails|failed|error)",
    r"unauthori[sz]ed",
    r"not authenticated",
    r"\bauth(?:entication|orization)? (?:check )?fail(?:ed|ure)|unregistered callers|please use (?:an? )?api key",
    r"\bno connected db\b",  # LiteLLM without a database looks up a key that is not its own
    rf"{_KEY}[^.\n]{{0,30}}\bleaked",
    r"\byour key\b[^.\n]{0,30}(?:not (?:valid|recogni[sz]ed|found|known)|invalid|unknown|rejected|expired)",
    r"无效的(?:令牌|api|密钥|key)|未登录|请先?登录",
    r"(?:令牌|密钥|api ?key)[^。\n]{0,10}(?:无效|错误|有误|不对|过期|不正确|不合法|不存在|失效)",
    r"(?:身份验证|鉴权|认证)(?:失败|错误)",
)
TOKEN: Final = _any(r"\b(?:invalid|expired|missing|wrong|bad) (?:\w{1,12} )?token\b")
# Told as a failure of the server's own.
TIMED_OUT: Final = _any(
    r"\b(?:request|connection|upstream|gateway|server|response|read|model|provider)\b[^.\n]{0,24}\btimed?[ -]?out\b",
    r"\b(?:no|not|n't)\b[^.\n]{0,40}\bwithin \d{1,4} ?(?:s\b|ms\b|sec|min)",
    r"\btimeout (?:error|exceeded|reached)|deadline exceeded",
    r"超时",
)
FORBIDDEN_CODES: Final = _codes(
    "permission_error permission_denied forbidden access_denied permission_denied_error accessdenied"
)
REQUEST_CODES: Final = _codes(
    "invalid_request_error invalid_request bad_request invalid_argument invalidparameter invalid_parameter "
    "badrequesterror invalid_parameter_error unprocessable_entity failed_precondition validation "
    "validation_error validationexception invalidrequesterror badrequest"
)
NOT_ACTIVATED_CODES: Final = _codes(
    "modelnotopen model_not_open model_not_activated model_terms_required no_access model_access_denied "
    "modelaccessdenied model.accessdenied invalidendpointormodel.modelnotopen"
)
NOT_ACTIVATED: Final = _any(
    r"\b(?:has|have) not (?:been )?(?:activated|enabled|opened|subscribed|purchased)",
    r"\bmodel\b[^\n]{0,80}\bnot (?:been |yet )*(?:activated|opened|subscribed|purchased|enabled for)",
    r"not (?:have |has )?(?:been )?(?:granted |given )?access to (?:the |this )?(?:requested )?model\b",
    r"(?<!or )(?:(?:does|do|did) not|doesn't|don't|no) (?:currently )?(?:have )?access to (?:the |"
    r"this )?(?:\w{1,12} )?model\b",
    r"access to (?:the )?model\b[^.\n]{0,60}(?:denied|not granted)",
    r"(?:subscription|plan|tier|package)\b[^.\n]{0,60}(?:does not|doesn't|do not|not)[^.\n]{0,24}"
    r"(?:include|support|allow|have|cover|contain)",
    r"(?:not (?:available|included|accessible|supported)|unavailable) (?:on|in|for|with|under|"
    r"by) (?:your |the |this |a )?"
    r"(?:current |free |basic )*(?:\w{1,12} )?(?:plan|tier|subscription|account)",
    r"\bmodel\b[^\n]{0,60}requires? (?:an? |the )?(?:\w{1,12} )?(?:subscription|plan|tier|account|upgrade)",
    r"only available (?:to|for|on|with|in) (?:[\w-]{1,12} ){0,3}(?:tiers?|plans?|accounts?|users?|"
    r"customers?|subscri\w+)",
    rf"{_NAMED} {_NONE_HERE}(?:enabled|activated|open|allowed) (?:for|in|on) (?:this|your|the) "
    r"(?:project|organi[sz]ation|workspace|team|account|key|user)\b",
    rf"{_NAMED} {_NONE_HERE}(?:on|in) (?:the |your |our |this )?(?:\w{{1,12}} )?(?:allow|white)[ -]?list",
    r"\b(?:must|need to|have to|please) (?:first )?request access\b",
    r"\b(?:terms|licen[cs]e|eula|agreement)\b[^.\n]{0,60}\b(?:not|n't) (?:been )?(?:accepted|agreed|signed)\b",
    r"请先[^。\n]{0,12}开通|开通[^。\n]{0,6}(?:模型|服务)",
    r"\bmust be verified\b|\bcomplete\b[^.\n]{0,24}\b(?:verification|authentication)\b",
    r"access to (?:this |the )?model\b[^.\n]{0,40}(?:requires|denied|not |restricted|approval)",
    r"not (?:allowed|authori[sz]ed|permitted|eligible|entitled) to (?:use|access|call) (?:this |"
    r"the )?(?:\w{1,12} )?model\b",
    r"\bmodel access\b[^.\n]{0,24}(?:denied|not granted|required)",
    r"(?:requires?|accept(?:ing)?)[^.\n]{0,30}(?:terms|licen[cs]e|eula|agreement)",
    r"\blimited to (?:use|using)\b|限制使用",
    r"non-?serverless model|\blimit (?:of|is) 0\b",
    r"\b(?:model|endpoint|deployment)s?\b(?: \S{1,80})? (?:is |has been |was )?(?:currently )?"
    r"(?:disabled|paused|closed|suspended)\b",
    r"not found for account",
    r"(?:model|模型)[^。\n]{0,40}(?:未开通|没有开通|未激活|尚未开通|未订阅|未购买)",
    r"(?:未开通|没有开通|尚未开通|未激活)[^。\n]{0,12}(?:模型|服务|权限)",
    r"(?:订阅|套餐)[^。\n]{0,16}(?:未开放|不包含|不支持|暂未)",
)
NO_PROVIDER: Final = _any(
    r"no (?:\w{1,12} )?(?:endpoints?|providers?)\b[^\n]{0,80}(?:data policy|privacy|guardrail|settings|allowed|"
    r"requested (?:parameters|providers?)|handle|routing|match|selected model|available for)",
    r"no (?:\w{1,12} )?endpoints? (?:found|available) (?:that|which|matching|with)\b",
    r"all providers have been ignored",
    r"\bany (?:of )?(?:your |the )?(?:\w{1,12} )?providers?\b",
    r"\bno (?:(?!for\b)\w{1,12} ){0,3}providers?\b",
    r"(?:data policy|guardrails?|privacy settings)[^.\n]{0,60}(?:restrict|prevent|exclude|block|"
    r"no (?:endpoint|provider))",
)
NO_IMAGES: Final = _any(
    r"no endpoints found that support (?:image|vision|input)",
    r"(?:image|vision|multi-?modal|picture)(?:[ _-]?(?:url|input|content|data|part)s?)?s?\b[^\n]{0,60}(?:not support|"
    r"n't support|unsupported|not enabled|not available|not allowed|not permitted|only supported by|not accepted|"
    r"not understood)",
    r"(?:not support|n't support|unsupported|cannot (?:process|read|handle|accept|see)|no support|"
    r"not accept)[^.\n]{0,40}"
    r"(?:image|vision|multi-?modal|picture)",
    r"\bnot (?:a )?(?:multi-?modal|vision)",
    r"unknown variant [`'\"]?image",
    r"missing data required for image",
    r"\bmust be text\b[^\n]{0,20}\bimage",
    r"\bmmproj\b",
    r"\btext[- ]only\b",
    r"\bmodel\b[^.\n]{0,30}(?:not able to|unable to|cannot|can't)[^.\n]{0,20}(?:images?|pictures?|vision)",
    r"multi-?modal[^.\n]{0,30}disabled|\bvision\b[^.\n]{0,30}\b(?:missing|lacking|absent)\b",
    r"only text (?:\w{1,12} )?(?:is |are )?(?:supported|accepted|allowed)",
    r"(?:at most|up to|maximum of) 0 images?",
    r"(?:only (?:accepts?|supports?)|is an?) text(?:-only| input| only)",
    r"\bcontent\b[^.\n]{0,24}must be a (?:string|str)\b",
    r"不支持[^。\n]{0,10}(?:图片|图像|视觉|多模态)",
    r"(?:图片|图像|多模态)[^。\n]{0,10}(?:不支持|未开启)",
)
SERVER_MEMORY: Final = _any(
    r"requires? more (?:\w{1,12} )?memory",
    r"\bout of (?:\w{1,12} )?(?:memory|v?ram)\b",
    r"outofmemory|\boom\b",
    r"(?:insufficient|not enough|lack of|low on) (?:\w{1,12} )?(?:memory|v?ram)\b",
    r"(?:unable|failed|cannot|could not) (?:to )?allocate",
    r"insufficient system resources|bad_?alloc",
    r"too large for (?:the |this )?(?:system|machine|gpu|host|memory|v?ram)\b",
    r"memory layout cannot|(?:requires?|needs?)\b[^\n]{0,40}\d ?(?:gb|gib|mib)\b[^\n]{0,60}(?:available|free)",
    r"memory (?:is )?(?:insufficient|exhausted)",
    r"\balloc(?:ation)?[ _]fail|_alloc_failed|failed to alloc",
    r"(?:内存|显存)(?:不足|不够|溢出)",
)
CRASHED: Final = _any(
    r"(?:model|engine|runner|server|process|worker|backend)\b[^.\n]{0,40}\b(?:has |have )?(?:crashed|"
    r"unexpectedly stopped|"
    r"terminated|exited|died|stopped unexpectedly|no longer running)",
    r"engine ?core[^\n]{0,20}(?:dead|died|encountered)",
    r"enginedead|asyncenginedead|engine is dead",
    r"\bmodel (?:was |has been |is )?unloaded\b",
    r"channel error",
    r"background loop|has errored",
    r"rpc error: code = unavailable|error reading from server: eof|llama_decode\b[^\n]{0,20}fail",
    r"\b(?:runner|process|worker|backend)\b[^.\n]{0,24}\bkilled\b",
    r"exit (?:code|status):? ?\d",
    r"segmentation fault|core dumped|signal: \w+|unexpected eof|post predict",
    r"\b(?:cuda|hip|nccl|rocm|cublas|metal|vulkan)\b[^\n]{0,40}(?:error|fail|lost|hang)|cublas_status|gpu hang",
    r"illegal memory access|device-side assert",
    r"模型[^。\n]{0,8}崩溃",
)
# A model that is there, and did not come up.
LOAD_FAILED: Final = _any(
    r"(?:fail(?:ed|ure)?|unable|could not|cannot|error) (?:to )?(?:load|start)(?:ing)? (?:the |a )?(?:llm )?"
    r"(?:model|engine|runner)",
    r"\bmodel\b[^.\n]{0,30}failed to load",
    r"unknown model architecture",
)
REGION_CODES: Final = _codes(
    "unsupported_country_region_territory unsupported_country unsupported_location region_not_supported"
)
REGION: Final = _any(
    r"(?:country|countries|region|territory|location)\b[^.\n]{0,60}(?:not (?:currently |"
    r"yet )?(?:supported|available|allowed|"
    r"served)|unsupported|restricted|prohibited|blocked|is not)",
    r"(?:not (?:currently |yet )?(?:supported|available|allowed|offered|accessible)|unsupported|"
    r"unavailable|restricted|blocked)"
    r"[^.\n]{0,40} (?:in|for|from) (?:your |this |the |certain )?(?:current )?(?:country|region|territory|"
    r"location|area)\b",
    r"unsupported (?:country|region|territory|location)",
    r"geo(?:graphic(?:al)?)?[- ]?(?:block|restrict|location)",
    r"(?:地区|国家|区域|地域)[^。\n]{0,12}(?:不支持|不可用|受限|限制)",
    r"不支持[^。\n]{0,12}(?:地区|国家|区域|地域)",
)
# An option of the request that the server or the model does not know, or that has a value it cannot take.
OPTION: Final = _any(
    r"(?:unsupported|unknown|unrecognized|unexpected|invalid|extra|additional)[ _-](?:\w{1,12}[ _-])?"
    r"(?:parameter|argument|value|option|field|input|keyword|propert)",
    r"(?:parameter|argument|option|field)\b[^.\n]{0,60}(?:not support|n't support|unsupported|invalid|"
    r"not allowed|unknown)",
    r"['`\"][a-z_]{3,40}['`\"][^.\n]{0,30}(?:not supported|unsupported|not permitted|not allowed)",
    r"not permitted",
    r"参数[^。\n]{0,12}(?:不支持|无效|非法|有误)",
)
# What breaks the rules of HTTP itself: the same with each answer.
BAD_HTTP: Final = _any(
    r"transfer.encoding",
    r"content.length",
    r"\bmultiple\b",
    r"illegal (?:header|status|http|request)",
    r"(?:invalid|bad|malformed|unexpected) (?:http|header|status|chunk)",
    r"(?:header|status) (?:line|name|value)",
    r"expected http/|not supported",
)

# The title of a page that keeps robots out, and what stands inside of one: not what any page has that has come
# through the same network.
PROTECTED: Final = _any(
    r"just a moment",
    r"attention required",
    r"checking your browser",
    r"(?:are you|verify (?:that )?you are) (?:a )?(?:human|robot)",
    r"access (?:to this page (?:has been|was) |was |is )?denied",
    r"security (?:check|verification)",
    r"captcha",
    r"ddos",
    r"request (?:has been |was )?(?:blocked|rejected|unsuccessful)",
    r"^error code: 10(?:0[5-9]|1[0-24]|20)\b",
    r"安全验证|人机验证|访问被(?:拦截|阻断)",
)
PROTECTED_PAGE: Final = _any(
    r"[_-]cf[_-]chl|\bcf-chl|challenge-platform/h/|_incapsula_|\baws-?waf\b|mod_?security|/\.well-known/vercel/security",
    r"enable javascript and cookies to continue",
    r"(?:you|request|access) (?:has|have) been (?:blocked|denied)",
    r"verify(?:ing)? you are (?:a )?human",
)

# A content network's own page about a limit of its own.
LIMITED_PAGE: Final = _any(r"\berror 1015\b", r"you are being rate limited", r"\btoo many requests\b")

# What a provider's bare numbers mean. Elsewhere the same number is somebody else's, and says nothing.
_NUMBERS: Final[Mapping[str, Mapping[str, str]]] = {
    "zhipu": {
        "auth": "1000 1001 1002 1003 1004",
        "quota": "1113",
        "forbidden": "1110 1111 1112 1220 1121",
        "model_not_found": "1211 1222",
        "not_activated": "1311",
        "context_too_long": "1261",
        "content_filter": "1301",
        "rate_limited": "1302 1303 1304 1308 1309 1310",
        "overloaded": "1305 1312",
        "server_error": "1230 1234 500",
    },
    "minimax": {
        "auth": "1004 2049",
        "quota": "1008 2056",
        "rate_limited": "1002 1039 1041 2045",
        "content_filter": "1026 1027",
        "timeout": "1001",
        "server_error": "1000 1013 1024 1033",
        "not_activated": "2061",
    },
    "siliconflow": {
        "no_tools": "20037",
        "model_not_found": "20012",
        "quota": "30001 30011",
        "not_activated": "30003",
        "overloaded": "50505",
    },
    "qianfan": {
        "auth": "110 111 13 14 336404",
        "quota": "17 19",
        "rate_limited": "4 18 336501 336502",
        "model_not_found": "3 6",
        "context_too_long": "336007 336103",
        "content_filter": "336104",
        "overloaded": "336100",
    },
    "mistral": {"overloaded": "3505", "rate_limited": "1300", "model_not_found": "1500"},
    "cloudflare": {"model_not_found": "5007 7000", "not_activated": "5018 5016", "quota": "4006", "overloaded": "3040"},
}


NUMBERED_KINDS: Final = tuple(sorted({kind for meanings in _NUMBERS.values() for kind in meanings}))


def number_kind(provider: str, codes: frozenset[str]) -> str | None:
    """The kind of failure that a number among `codes` means at this provider."""
    meanings = _NUMBERS.get(provider, {})
    return next((kind for kind, numbers in meanings.items() if codes & _codes(numbers)), None)


NO_KEY: Final = _any(r"api_key client option", r"api key must be set", r"missing credentials")
BAD_PORT: Final = _any(r"port must be")
BAD_HEADER: Final = _any(r"header")
CONTROL_IN_HEADER: Final = _any(r"(?:character|carriage return) detected in headers")
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
