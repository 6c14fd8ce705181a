"""`python -m docs.tables` writes the tables of settings, errors and events into docs/, from the code.

With `--check` it writes nothing and ends with status 1 if a page is out of date; a test does the same.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backend.events import EVENTS
from backend.recovery import advice_en
from backend.recovery.breaker import BreakerLimits
from backend.recovery.kinds import KINDS, Severity
from backend.recovery.lazy import LazyPattern
from backend.recovery.retry import RetryPolicy
from backend.recovery.rules import FALLBACK, RULES, Rule
from backend.settings import describe

ROOT: Final = Path(__file__).parents[1]
BEGIN: Final = "<!-- made by `python -m docs.tables` -->"
END: Final = "<!-- end of the table -->"
_CHOICE: Final = re.compile(r"\w+(?:\|\w+)+")
_CLASSES: Final = {
    Severity.LOW: "Not an error: clean up and let it through; counted as cancelled.",
    Severity.MEDIUM: "The model call is made again where the table says so; else the user is told.",
    Severity.HIGH: "No retry: the user is told what to change.",
    Severity.CRITICAL: "The chat stops at once and frees its memory; health fails until it has passed.",
}


def pages() -> dict[str, str]:
    """Each page, by its path below the repository's root, as it should be.

    ValueError if a page has lost its markers, or a setting has no Chinese sentence.
    """
    return {
        "docs/errors.md": errors(),
        "docs/events.md": _renewed("docs/events.md", events()),
        "docs/settings.md": _renewed("docs/settings.md", settings("en")),
        "docs/settings.zh.md": _renewed("docs/settings.zh.md", settings("zh")),
    }


def main(arguments: list[str]) -> int:
    """Write what has changed and say so; with `--check` only say so."""
    check = "--check" in arguments
    try:
        made = pages()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    stale = [name for name, text in made.items() if (ROOT / name).read_text("utf-8") != text]
    for name in stale:
        if not check:
            (ROOT / name).write_text(made[name], "utf-8", newline="\n")
        sys.stdout.write(f"{name} {'is out of date' if check else 'is up to date now'}\n")
    return 1 if check and stale else 0


def _renewed(name: str, table: str) -> str:
    before, begin, rest = (ROOT / name).read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{name} has no place for the table")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


# Events


def events() -> str:
    """The table of event types."""
    rows = ["| event | when | data |", "|---|---|---|"]
    for type_, spec in EVENTS.items():
        keys = ", ".join(f"`{name}`" for name in spec.data.__annotations__)
        more = "" if spec.essential else " May be dropped by a full mailbox."
        more += " Holds text of the chat." if spec.text else ""
        rows.append(f"| `{type_}` | {spec.doc}{more} | {keys} |")
    return "\n".join(rows)


# Settings


_HEADS: Final[Mapping[str, str]] = {
    "en": "| variable | in the dialog | default | allowed | meaning |",
    "zh": "| 变量 | 对话框 | 默认值 | 允许值 | 含义 |",
}
CHINESE: Final[Mapping[str, str]] = {
    "enabled": "关闭后不接管 Copilot 的任何部分。",
    "queue_size": "队列或订阅者的消息队列能容纳的项目数。",
    "throttle": "发布者被放慢的方式：fixed，按水位分区；learned，由前瞻模型决定；observe，按分区执行，模型只报告。",
    "put_timeout": "队列满时，生产者最多等待多久。",
    "updates_per_second": "侧边栏每秒最多收到的更新次数。",
    "update_bytes_per_second": "每秒最多发送的累计文本字节数。",
    "first_token_timeout": "首个 token 的最长等待时间，随提示词变长而增加。0：不限。",
    "first_token_per_1000_chars": "提示词每 1,000 个字符，首个 token 的最长等待时间增加多少秒。",
    "stall_timeout": "回答中途没有任何数据时的最长等待时间。0：不限。",
    "max_retries": "中断的模型调用最多重试几次。",
    "retry_base": "第一次等待的上限，之后每次加倍。",
    "retry_max": "单次等待的上限（Retry-After 除外）。",
    "retry_budget": "一次模型调用的所有等待加起来的上限。",
    "breaker_share": "失败调用达到这个比例时断路器打开。",
    "breaker_min_calls": "窗口内至少有这么多次调用，断路器才会打开。",
    "breaker_window": "断路器的统计窗口。",
    "breaker_open": "断路器打开多久后开始探测。",
    "breaker_probes": "半开时同时放行的探测次数。",
    "mcp_timeout": "MCP 服务器连接的时限。",
    "mcp_retry": "失联的 MCP 服务器多久之后再试。",
    "mcp_tool_timeout": "MCP 工具的时限。0：由 Copilot 决定。",
    "loop_stall": "事件循环被阻塞超过这个时间就报告。",
    "panel_refresh": "面板两次更新之间的秒数。",
    "resume_grace": "没有页面在读、但可以回来续读时，对话还保留多久。0：立即停止。",
    "stream_keep": "已完成的回答保留多久可读。",
    "stream_keep_bytes": "所有已完成的回答合计占用的内存。",
    "prices": "每百万 token 的价格，按模型：输入 / 输出（/ 缓存输入），例如 gpt-4.1* = $2.00 / $8.00; "
    "deepseek-* = 0.27 / 1.10。本地服务器不计费。",
    "http_client": "由什么承载模型调用：所有对话共用一个客户端（aiohttp 或 httpx），"
    "或 own：沿用 Copilot 自己的，每个对话一个。",
    "expose_text": "允许带有对话文字的事件离开本进程。",
    "private": "只给出数字：不含会话、模型、主机和服务器的话；没有面板，也没有人能停止对话。",
    "webhook": "健康状态变化或对话最终失败时通知的 URL，每分钟最多一条：Slack、Discord、ntfy。留空：关闭。",
    "redis_url": "多台机器共用的 Redis，形如 redis://user:password@host:6379/0，TLS 用 rediss://…。留空：关闭。",
    "redis_prefix": "Redis 中所有键的前缀。",
    "instance": "本机在集群中的名字。留空：主机名。",
    "redis_events": "发往集群的事件类型；前面带 ! 的除外。",
    "redis_outbox": "Redis 不可用时保留的事件数。",
    "redis_pace": "两次写入之间的最短时间。",
    "redis_read_pace": "从多台机器读取事件时，两次读取之间的最短时间。",
    "redis_timeout": "Redis 应答的时限。",
    "redis_keep_bytes": "Redis 为每台机器保留的最新事件。",
    "redis_tail_bytes": "本机保留的最新事件，Redis 丢失时重发。",
    "redis_answers": "回答可以在任何一台机器上续读。对话文字会存入 Redis。",
    "redis_claim_idle": "共享任务超过这个时间没有完成，就转给另一台机器。",
    "store": "事件保存在磁盘上，重启和崩溃后仍在。",
    "store_dir": "事件存储的文件夹。留空：ComfyUI 的用户文件夹内。",
    "store_days": "事件保留的天数。",
    "store_bytes": "所有事件文件合计的上限。",
    "store_flush": "崩溃时最多丢失多长时间的最新事件。",
    "store_sync": "`full`：每次提交都等磁盘写完，防断电。",
    "store_text": "回答的文字也写入存储，崩溃后页面能取回已写的部分。密钥仍会去掉。",
}


def settings(language: str) -> str:
    """The table of all settings in `language`. ValueError if one has no Chinese text."""
    rows = [_HEADS[language], "|---|---|---|---|---|"]
    for setting in describe():
        meaning = setting["doc"] if language == "en" else _in_chinese(setting["name"])
        default, allowed = _value(setting, setting["default"]), _allowed(setting)
        dialog = "✓" if setting["panel"] else "–"
        rows.append(f"| `{setting['env']}` | {dialog} | {default} | {allowed} | {meaning} |")
    return "\n".join(rows)


def _in_chinese(name: str) -> str:
    if name not in CHINESE:
        raise ValueError(f"the setting {name!r} has no Chinese sentence: add one to CHINESE in docs/tables.py")
    return CHINESE[name]


def _value(setting: Mapping[str, Any], value: Any) -> str:
    if setting["type"] == "boolean":
        return "on" if value else "off"
    if setting["type"] in ("text", "secret"):
        return f"`{value}`" if value else "–"
    unit = setting["unit"]
    if unit and not unit.startswith("/"):
        unit = f" {unit}"
    return f"{value:,g}{unit}" if isinstance(value, float) else f"{value:,}{unit}"


def _allowed(setting: Mapping[str, Any]) -> str:
    if setting["type"] == "boolean":
        return "on, off"
    if _CHOICE.fullmatch(setting.get("form", "")):
        return str(setting["form"]).replace("|", ", ")
    if setting["type"] in ("text", "secret"):
        return f"≤ {setting['high']:,}"
    return f"{setting['low']:,} – {setting['high']:,}"


# Errors


def errors() -> str:
    """The whole of docs/errors.md."""
    return "\n".join([*_head(), *_classes(), *_kinds(), *_rules(), *_recorded(), *_waiting()]) + "\n"


def _prose(text: str) -> list[str]:
    return [*textwrap.wrap(" ".join(text.split()), 110, break_on_hyphens=False, break_long_words=False), ""]


def _head() -> list[str]:
    return [
        "# Errors",
        "",
        *_prose(
            """What Pulse does about each failure. This page is written from the code by `python -m
            docs.tables`; a test fails if the two differ."""
        ),
    ]


def _classes() -> list[str]:
    rows = [f"| {severity.value.upper()} | {text} |" for severity, text in _CLASSES.items()]
    return ["## Classes", "", "| class | what is done |", "|---|---|", *rows, ""]


def _kinds() -> list[str]:
    lines = [
        "## Kinds",
        "",
        *_prose(
            """*Retried*: the broken model call is made again. *Breaker*: the failure counts against the
            server's circuit breaker. *Patiently*: the retries spread over the whole budget of waits. The advice
            is what the user reads; pieces in braces are filled in, and a Chinese chat reads it in Chinese."""
        ),
        "| kind | class | retried | breaker | meaning | advice |",
        "|---|---|---|---|---|---|",
    ]
    for name, kind in KINDS.items():
        what, do = advice_en.TEXTS[name]
        cells = [
            f"`{name}`",
            kind.severity.value.upper(),
            "patiently" if kind.patient else "yes" if kind.retryable else "",
            "yes" if kind.upstream else "",
            kind.doc,
            _at_copilots_places(f"{what} {do}".strip()),
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return [*lines, ""]


def _at_copilots_places(advice: str) -> str:
    """`advice` with what Copilot in ComfyUI calls its places; another host has words of its own."""
    for name, words in advice_en.PLACES.items():
        advice = advice.replace(f"{{{name}}}", words).replace(f"{{{name.capitalize()}}}", words)
    return advice


def _rules() -> list[str]:
    lines = [
        "## How a kind is found",
        "",
        *_prose(
            """The first row that matches decides. All that a row names must be true; *body* means that the
            server answered. After the numbered rows up to *then your own rules* come those that were
            registered with `register_rule()`, and then the general ones. A *carrier* only carries another
            error: if a rule knows that one, it decides. Causes and members of exception groups are looked
            through in the same way."""
        ),
        "| | kind | when | types | status | codes and words |",
        "|---|---|---|---|---|---|",
    ]
    for number, rule in enumerate(RULES, start=1):
        lines.append(_rule_row(str(number), rule))
    lines.append("| | | *then your own rules* | | | |")
    for number, rule in enumerate(FALLBACK, start=len(RULES) + 1):
        lines.append(_rule_row(str(number), rule))
    lines.append("| | `unknown` | *everything else* | | | |")
    return [*lines, ""]


def _rule_row(number: str, rule: Rule) -> str:
    types = ", ".join(f"`{t if isinstance(t, str) else t.__name__}`" for t in rule.types)
    status = ", ".join(f"{s.start}–{s.stop - 1}" if isinstance(s, range) else str(s) for s in rule.status)
    if not status and rule.spoken:
        status = "*body*"
    told = []
    if rule.codes:
        told.append(", ".join(f"`{code}`" for code in sorted(rule.codes)))
    if rule.words is not None:
        count = _alternatives(rule.words)
        told.append(f"{count} phrase{'s' if count > 1 else ''}")
    doc = rule.doc + (" (*carrier*)" if rule.wrapper else "")
    return "| " + " | ".join(_cell(c) for c in (number, f"`{rule.kind}`", doc, types, status, "; ".join(told))) + " |"


def _alternatives(pattern: LazyPattern) -> int:
    """How many phrases a pattern of words.py lists, by its top-level bars."""
    depth, bars = 0, 0
    for at, char in enumerate(pattern.pattern):
        escaped = at > 0 and pattern.pattern[at - 1] == "\\"
        if not escaped:
            depth += (char in "([") - (char in ")]")
            bars += char == "|" and depth == 0
    return bars + 1


def _recorded() -> list[str]:
    return [
        "## What is recorded",
        "",
        *_prose(
            """An `error` event, a row of `/api/metrics` and the sentence of `/api/health` hold at most 500
            characters of what the server said."""
        ),
        "",
        *_prose(
            """Keys are replaced by `[redacted]`: what looks like one, and those that are known from requests,
            settings and the environment, also from their first 8 characters on where they are cut off, and, if
            they have 16 or more, in Base64, hex and in another case. Known keys are read behind the escapes of
            URLs, JSON, HTML and programs' strings (`%2F`, `\\/`, `\\u002F`, `\\x2f`, `&#47;`), also where one is
            quoted in another, up to three deep; and without what steers a terminal or cannot be seen."""
        ),
        "",
        *_prose(
            """What the user has written in this chat is replaced by `[prompt]`: every stretch of 14 letters and
            digits (5 of Chinese, Japanese or Korean) that also stands in a message of the user, whatever stands
            between them and in either case; a shorter message, of 6 letters and more, where all of it is quoted.
            It is read behind the same escapes, in Base64 and hex, and in one of them inside another. Where
            a server sends the request itself back, its message ends before that; of an answer that is no JSON the
            first 80 characters are kept."""
        ),
        "",
        *_prose(
            """Not known again: single words, text that is reworded, translated or written backwards; for both keys
            and texts other encodings (Base32, compressed or encrypted bytes, hex with spaces), for texts Base64
            whose case was changed, and what stands before the newest 32 KB of a chat."""
        ),
    ]


def _waiting() -> list[str]:
    policy, limits = RetryPolicy(), BreakerLimits()
    return [
        "## Waiting",
        "",
        *_prose(
            f"""A broken model call is made again at most {policy.max_retries} times. Wait *k* is random
            between a half of `min({policy.cap:g}, {policy.base:g} * 2**(k-1))` seconds and all of it. What
            takes its time to heal is waited for patiently: the waits grow so that all of them together use
            the budget of {policy.budget:g} s."""
        ),
        *_prose(
            f"""A time that the server names is waited out in full, with up to a hundredth more. It is read
            wherever it stands: `Retry-After` and `retry-after-ms` (seconds, `1m20s`, a date), the
            `x-ratelimit-reset-*` headers and their like, a field of the body (`resets_in_seconds`, `retryDelay`,
            `estimated_time`...), or the words ("try again in 6s", "will reset at 2026-08-25 07:41:44"). All
            waits of one call together stay within {policy.budget:g} s; a server that asks for more is told to
            the user at once, with its time."""
        ),
        "## Circuit breaker",
        "",
        *_prose(
            f"""One for each model of a server. It opens when at least {limits.min_calls} calls of
            the last {limits.window:g} s have ended and {limits.share:.0%} of them failed. Open, it
            refuses at once and tells the seconds left; after {limits.open_for:g} s it lets
            {limits.probes} call through as a probe, whose success closes it. Cancelled calls count as
            neither, and results of calls that began before the last change of state are ignored. An open
            one that nobody has called for another {limits.window:g} s closes by itself."""
        ),
        "All these numbers are settings.",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
