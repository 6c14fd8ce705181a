"""`python -m backend.standalone.settings_table` writes the table of settings into docs/, in both languages.

The tables come from `settings.describe()`; a test compares them with what stands in the files.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..settings import describe

ROOT: Final = Path(__file__).parents[2]
BEGIN: Final = "<!-- settings: made by `python -m backend.standalone.settings_table` -->"
END: Final = "<!-- end of settings -->"
FILES: Final[Mapping[str, str]] = {"docs/settings.md": "en", "docs/settings.zh.md": "zh"}
_HEADS: Final[Mapping[str, str]] = {
    "en": "| variable | default | allowed | meaning |",
    "zh": "| 变量 | 默认值 | 允许值 | 含义 |",
}
CHINESE: Final[Mapping[str, str]] = {
    "enabled": "关闭后不接管 Copilot 的任何部分。",
    "queue_size": "队列或订阅者的消息队列能容纳的项目数。",
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
    "expose_text": "允许带有对话文字的事件离开本进程。",
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
}


def table(language: str) -> str:
    """The Markdown table of all settings in `language`. KeyError if one has no Chinese text."""
    rows = [_HEADS[language], "|---|---|---|---|"]
    for setting in describe():
        meaning = setting["doc"] if language == "en" else CHINESE[setting["name"]]
        default, allowed = _value(setting, setting["default"]), _allowed(setting)
        rows.append(f"| `{setting['env']}` | {default} | {allowed} | {meaning} |")
    return "\n".join(rows)


def renewed(text: str, language: str) -> str:
    """`text` with the table between its markers made anew. ValueError if the markers are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the file has no place for the table")
    return f"{before}{BEGIN}\n\n{table(language)}\n\n{END}{after}"


def main() -> int:
    """Rewrite the tables; says which files changed."""
    for name, language in FILES.items():
        path = ROOT / name
        old = path.read_text(encoding="utf-8")
        new = renewed(old, language)
        if new != old:
            path.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{name} is up to date now\n")
    return 0


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
    if setting["type"] in ("text", "secret"):
        return f"≤ {setting['high']:,}"
    return f"{setting['low']:,} – {setting['high']:,}"


if __name__ == "__main__":
    sys.exit(main())
