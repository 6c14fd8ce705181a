"""What the user is told, in Chinese.

`TEXTS` holds, for each kind of failure, what happened and what to do; `PHRASES` the pieces that fill
the braces. `{at}` is the host in passing or nothing, `{server}` and `{model}` are their names or "the
model server" and "the model". A key never appears: no field holds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "cancelled": ("对话已停止。", ""),
    "timeout": ("{Server}没有及时响应。", "{slow}"),
    "stalled": ("{Model}{at}中途没有了响应，回答未能继续。", "{slow}"),
    "truncated": (
        "{Model}{at}没有给出结束标志就断开了，回答的结尾可能缺失。",
        "可以让它继续。有些兼容服务总是这样结束，此时回答多半是完整的。",
    ),
    "length_limit": ("{Model}{at}达到了输出长度上限，回答到此中断。", "可以让它继续，或要求更短的回答。"),
    "empty_answer": (
        "{Model}{at}没有写出任何内容就结束了。",
        "请重新发送，或换一个模型{picker}。{template}",
    ),
    "reasoning_only": (
        "{Model}{at}只输出了思考过程，没有给出回答。",
        "请重新发送，调大模型的输出上限，关闭其思考模式，或换一个非推理模型{picker}。",
    ),
    "malformed": (
        "{Server}返回的内容不是有效的模型回答。",
        "请重新发送。若仍然如此，{no_stream}",
    ),
    "connection": (
        "与{server}的连接中断或无法建立。",
        "请检查网络、代理或 VPN，以及该服务是否在运行，然后重新发送。{local}",
    ),
    "connection_refused": ("{address} 无人应答：连接被拒绝。", "{refused}"),
    "dns": (
        "找不到主机名 {hostname}。",
        "请检查 Base URL{base}的拼写，以及{computer}的网络或 VPN。",
    ),
    "tls": ("无法与{server}建立加密连接。", "{scheme}若是证书不受信任，请检查本机日期以及中间的代理。"),
    "server_error": (
        "{Server}出错{status}。",
        "问题出在服务端。请稍后重新发送，或换一个模型{picker}。{local}",
    ),
    "overloaded": (
        "{Server}过载{status}。",
        "请稍等{wait}后重新发送，或换一个模型{picker}。",
    ),
    "loading": (
        "{Server}仍在加载{model}{status}。",
        "请等加载完成{wait}后重新发送，或换一个模型{picker}。{loading}",
    ),
    "crashed": (
        "{Model}在{server}中崩溃了，或无法在那里加载{status}。",
        "请重新发送：服务会重新加载它。若再次崩溃，说明内存不够，或该服务的版本太旧。{crashed}",
    ),
    "rate_limited": (
        "{Server}暂时不接受更多请求：已达到速率限制{status}。",
        "{limit}也可以升级套餐或换一个模型{picker}。",
    ),
    "circuit_open": (
        "{Server}最近一分钟内多次失败，暂时不再请求。",
        "{seconds}后会再次尝试，请届时重新发送；也可以在 Copilot Pulse 面板中立即重试。",
    ),
    "mcp": (
        "工具服务{at}报告了错误。",
        "对话仍可继续，只是缺少它的工具。Copilot Pulse 面板会显示其状态，并可重试。",
    ),
    "quota": (
        "账户{at}的余额或配额已用完{status}。",
        "{again}请在服务商处充值或检查套餐，或{by_key}换用其他密钥或服务商。",
    ),
    "auth": (
        "{Server}拒绝了 API 密钥{status}。",
        "请{at_key}检查密钥：可能缺失、不完整、已过期，或不属于该 Base URL{base}的服务商。",
    ),
    "forbidden": (
        "{Server}不允许此请求{status}。",
        "{why_forbidden}请在服务商处检查账户，或换一个模型{picker}。",
    ),
    "model_not_found": ("{Server}没有{the_model}{status}。", "{where_model}{pull}"),
    "bad_http": (
        "{Server}的应答不符合 HTTP 规范，无法读取。",
        "问题出在服务端或它前面的代理：请更新它，或换用其他服务。{crashed}",
    ),
    "not_activated": (
        "{Server}有{model}，但账户尚未开通它{status}。",
        "请在服务商的网站上为账户开通该模型，或换一个模型{picker}。",
    ),
    "no_provider": (
        "{Server}上没有符合此请求的{model}供应方{status}。",
        "请检查账户{at}的数据政策和供应方设置，或换一个模型{picker}。",
    ),
    "server_memory": (
        "{Server}的内存不足以运行{model}{status}。",
        "请换更小的模型或更小的量化{picker}，缩短上下文，或释放内存：同一张显卡上由 ComfyUI 占用的模型可在 ComfyUI "
        "中卸载。{crashed}",
    ),
    "region": (
        "服务商{at}不支持请求所在的国家或地区{status}。",
        "请换用支持该地区的服务商，或让{computer}以允许的方式访问它。",
    ),
    "protected": (
        "应答的是{server}前面的防护页面，而不是模型{status}。",
        "它把{program}当成了机器人，或屏蔽了所在的网络。请关闭 VPN 或代理，稍后再试，或使用服务商为程序提供的地址。"
        "这与密钥无关。",
    ),
    "redirected": (
        "{Server}把请求转到了另一台服务器 {target}，而密钥不会发给它{status}。",
        "如果那才是正确的服务器，请{by_url}把 Base URL 改为 {try_target}。",
    ),
    "network_login": (
        "{computer}与{server}之间的代理或网络要求先登录{status}。",
        "代理的用户名和密码应写在代理地址里（HTTP_PROXY、HTTPS_PROXY）；访客网络的登录页请在浏览器中打开。"
        "问题不在 API 密钥。",
    ),
    "not_found": (
        "{Server}上没有 {called}{status}。",
        "请{at_url}检查 Base URL{base}。它通常以 /v1 结尾，例如 {example}。",
    ),
    "missing_v1": (
        "{called} 不存在{at}：Base URL 似乎缺少版本部分。",
        "请{by_url}把 Base URL 改为 {try_url}，然后重新发送。",
    ),
    "html_body": (
        "{Server}返回的是网页，而不是模型的回答{redirect}。",
        "Base URL{base}是网站地址，不是模型接口地址。请{by_url}改为 OpenAI 兼容的地址，例如 {example}。",
    ),
    "bad_url": (
        "Base URL{base}不是可用的地址。",
        "它应以 http:// 或 https:// 开头，且不含 /chat/completions，例如 {example}。请{by_url}改正。",
    ),
    "context_too_long": (
        "对话（含工作流）超出了{model}{at}的上下文长度。",
        "请新建对话，使用较小的工作流，或换一个上下文更长的模型{picker}。{context}",
    ),
    "bad_request": (
        "{Server}拒绝了对{model}的请求{status}。",
        "{why_refused}若无法更改，请换一个模型{picker}。",
    ),
    "no_tools": (
        "{Model}{at}不支持工具调用，而{assistant}需要它。",
        "请换一个支持工具调用（function calling）的模型{picker}，例如 qwen3、llama3.1 或 gpt-4.1。{serve}",
    ),
    "no_images": (
        "{Model}{at}不接受图片{status}。",
        "请换一个支持图片的模型{picker}，或新建一个不含图片的对话。{vision}",
    ),
    "unparsed_tools": (
        "{Model}{at}想调用工具，但服务端把调用当作普通文字传了过来。",
        "服务端没有解析该模型的工具调用：请打开此功能，或换一个模型{picker}。{parse}",
    ),
    "stopped_early": (
        "{Model}{at}以不寻常的方式结束了回答，结尾可能缺失。",
        "可以让它继续，或换一个模型{picker}。",
    ),
    "content_filter": (
        "服务商的内容审核{at}拒绝了该请求或回答。",
        "请换一种说法，或换一个模型或服务商{picker}。",
    ),
    "unknown_tool": (
        "{Model}{at}反复调用不存在的工具。",
        "请重新发送，或换一个更擅长工具调用的模型{picker}。若有 MCP 服务离线，其工具会缺失：请看 Copilot Pulse 面板。",
    ),
    "max_turns": (
        "{Model}{at}用完了所有轮次仍未完成。",
        "请每次少提一些要求，或换一个更强的模型{picker}。",
    ),
    "model_behavior": ("{Model}{at}给出的回答{assistant}无法使用。", "请重新发送，或换一个模型{picker}。"),
    "bad_messages": (
        "{assistant}的智能体无法读取此对话的消息，因此没有请求{model}。",
        "请新建对话。若这些消息由页面以外的程序发送，请修正该程序。",
    ),
    "user_error": (
        "{assistant}的智能体或其工具设置有误。",
        "请更新 {package} 和 openai-agents；若仍然如此，请向 {package} 反馈。",
    ),
    "fault": (
        "生成回答时 Copilot Pulse 自身出错（{type}）。",
        "请重新发送；若仍然如此，请附上 Copilot Pulse 面板中的详情进行反馈。",
    ),
    "internal": (
        "生成回答时{assistant}或其使用的库的代码出错（{type}）。",
        "请重新发送；若仍然如此，请更新 {package}，或向 {package} 反馈。",
    ),
    "unknown": (
        "意外错误中断了{model}{at}的回答（{type}）。",
        "请重新发送；若仍然如此，请更新 {package}，或向 {package} 反馈。",
    ),
    "memory": (
        "{Computer}内存不足，此对话已停止。",
        "请关闭其他程序，在 ComfyUI 中卸载模型，然后重新发送。",
    ),
    "recursion": (
        "工作流或回答嵌套过深，此对话已停止。",
        "请尝试更简单的工作流，或开始新的对话。",
    ),
    "system": (
        "{Computer}出现故障（{type}），此对话已停止。",
        "请检查磁盘空间和打开的文件数，并重启{program}。",
    ),
}

# What only a host knows of itself; see advice_en.
PLACES: Final[Mapping[str, str]] = {
    "program": "ComfyUI",
    "computer": "运行 ComfyUI 的电脑",
    "assistant": "Copilot",
    "package": "ComfyUI-Copilot",
    "at_key": "在 Copilot 的 API 设置中",
    "by_key": "在 Copilot 的 API 设置中",
    "at_url": "在 Copilot 的 API 设置中",
    "by_url": "在 Copilot 的 API 设置中",
}

PHRASES: Final[Mapping[str, str]] = {
    "server": "模型服务",
    "model": "模型",
    "model_named": "模型 {name} ",
    "at": "（{host}）",
    "base": "（{base}）",
    "status": "（HTTP {status}）",
    "details": "详情：“{words}”",
    "model_there": "名为“{name}”的模型",
    "model_chosen": "所选的模型",
    "quote": "服务端的原话：“{words}”",
    "own_words": "原因见上面服务端的原话。",
    "no_words": "它没有说明原因，其自身的日志或许有。",
    "option": "模型或服务不支持{assistant}使用的某个选项。",
    "no_right": "该密钥可能无权使用{model}，或服务商不接受来自此网络的请求。",
    "no_interface": "请检查 Base URL{base}是否属于 OpenAI 兼容接口。",
    "bad_call": "说明该模型写出的工具调用连它自己的服务也无法解析：请换一个模型{picker}。",
    "damaged": "说明该服务或它前面的代理损坏了应答：请更新它，或换用其他服务。",
    "template": "本地模型在对话模板不匹配、或提示词占满上下文时会这样。",
    "led": "请求被转到了 {target}。",
    "led_here": "请求被转到了同一服务器的另一个地址：请{by_url}把 Base URL 改为 {try_target}。",
    "asked": "所用模型：{name}。",
    "tried": "已尝试 {attempts} 次{waiting}。",
    "waiting": "，共等待 {seconds}",
    "partial": "上面的回答不完整。",
    "seconds": "{n} 秒",
    "minutes": "{n} 分钟",
    "hours": "{n} 小时",
    "days": "{n} 天",
    "long": "一个多月",
    "wait": "（{seconds}）",
    "limit": "请在{seconds}后重新发送。",
    "limit_until": "服务端给出的恢复时间是 {until}：请届时重新发送。",
    "again": "服务端说{seconds}后可以再次请求。",
    "again_until": "服务端给出的恢复时间是 {until}。",
    "again_never": "再次发送没有用。",
    "limit_unknown": "请等一分钟后重新发送。",
    "picker": "（在对话的模型列表中）",
    "picker_workflow": "（在 Copilot 的工作流 LLM 设置 WORKFLOW_LLM_MODEL 中）",
    "picker_other": "（在{where}中）",
    "where_model": (
        "请在对话的模型列表中另选模型，或在设置它的地方改正名称：对话的模型列表，或 Copilot 的工作流 LLM "
        "设置（WORKFLOW_LLM_MODEL）。"
    ),
    "where_model_chat": "它是在对话的模型列表中选择的：请在那里另选模型。",
    "where_model_workflow": ("它是在 Copilot 的工作流 LLM 设置（WORKFLOW_LLM_MODEL）中填写的：请在那里改正名称。"),
    "where_model_other": "它是在{where}中设置的：请在那里改正名称。",
    "pull": 'Ollama 只有已下载的模型：请运行 "ollama pull {name}"。',
    "load": "在 LM Studio 中请先加载模型。",
    "load_one": (
        "该服务器目前没有加载任何模型：请先在服务器中加载一个（LM Studio：Developer；"
        "text-generation-webui：Model），再重新发送。"
    ),
    "slow": "请查看服务商的状态后重新发送，或换一个模型{picker}。",
    "slow_in_between": (
        "服务器或它前面的代理不再等待：这是它自己的时限。请重新发送、缩短对话，或换一个更快的模型{picker}。"
    ),
    "slow_local": (
        "本地模型可能仍在加载或在读取很长的提示词：请查看它自己的窗口或日志，就绪后重新发送。"
        "允许的时间（first_token_timeout、stall_timeout）可在 Copilot Pulse 的设置中调大或关闭。"
    ),
    "refused_local": (
        '本地服务在运行吗？请启动它（LM Studio：Developer → Start Server，端口 1234；Ollama："ollama '
        'serve"，端口 11434），并核对 Base URL{base}的端口。若{program}在 Docker 中运行，localhost '
        "指的是容器本身，请改用 host.docker.internal。"
    ),
    "refused": "请检查 Base URL{base}的主机和端口、中间的防火墙，以及该服务是否在运行。",
    "local": "本地服务（LM Studio、Ollama）还在运行并已加载模型吗？",
    "scheme_https": (
        "若服务只支持普通 HTTP（本地服务通常如此），请让 Base URL 以 http:// 而不是 https:// 开头{suggest}。"
    ),
    "scheme_http": "该端口需要加密：请让 Base URL 以 https:// 而不是 http:// 开头{suggest}。",
    "suggest": "：{url}",
    "loading": "较大的本地模型需要几分钟：请看该服务自己的窗口或日志。",
    "crashed": '原因见该服务自己的日志（LM Studio：Developer；Ollama："ollama serve"；llama.cpp 和 vLLM：其终端）。',
    "vision": "llama.cpp 处理图片需要模型的 --mmproj 文件。",
    "parse": (
        "vLLM：--enable-auto-tool-choice 和 --tool-call-parser；SGLang：--tool-call-parser；llama.cpp：--jinja；"
        "LM Studio 和 Ollama：选用标明支持工具的模型。"
    ),
    "redirect": "（请求被转到 {host}，多半是要登录）",
    "context": (
        "本地服务可以设置更大的上下文（LM Studio：加载模型时设置；Ollama：OLLAMA_CONTEXT_LENGTH；"
        "llama.cpp：--ctx-size；vLLM：--max-model-len）。"
    ),
    "serve": "vLLM 需要 --enable-auto-tool-choice 和 --tool-call-parser，llama.cpp 需要 --jinja。",
    "no_key": "没有向{server}发送 API 密钥。",
    "bad_key": "API 密钥无法发送：其中含有换行、空格或密钥里不会有的字符。",
}
