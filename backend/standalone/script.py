"""What the scripted model says and how it misbehaves: plain data, and the prose of answers/*.md.

A chat's last user message picks a `Command`; `plan()` turns the command, the number of faults already
played for this answer, and the results of tools into a `Plan`, which `scripted_model` plays over HTTP.
All functions are without side effects and may be called from any thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

Language = Literal["en", "zh"]
Fault = Literal["", "reset", "stall", "silent", "truncate", "garbage", "status", "html"]
Group = Literal["repaired", "told", "plain"]

FOREVER: Final = 1_000_000
MAX_TIMES: Final = 20
FLOOD_TOKENS: Final = 2_000
TOKEN_PACE: Final = 0.02
SLOW_PACE: Final = 0.35
RETRY_AFTER: Final = 2


@dataclass(frozen=True)
class Command:
    """One word that a user can type. `times`: how often it misbehaves unless a number follows; 0: never."""

    name: str
    fault: Fault
    times: int
    doc: Mapping[Language, str]
    status: int = 200

    @property
    def group(self) -> Group:
        """What comes of it: the answer is repaired, the user is told what is wrong, or nothing is wrong."""
        return "plain" if not self.times else "told" if self.times >= FOREVER else "repaired"


def _command(
    name: str, en: str, zh: str, *, fault: Fault = "", times: int = 0, status: int = 200
) -> tuple[str, Command]:
    return name, Command(name, fault, times, {"en": en, "zh": zh}, status)


COMMANDS: Final[Mapping[str, Command]] = dict(
    (
        _command("drop", "cut the connection in mid-answer (`/drop 2`: twice)",
                 "回答到一半时断开连接（`/drop 2`：断两次）", fault="reset", times=1),
        _command("stall", "fall silent in mid-answer", "回答到一半时停止输出", fault="stall", times=1),
        _command("silent", "say nothing at all", "始终不输出任何内容", fault="silent", times=1),
        _command("429", "refuse: too many requests, come back in 2 seconds",
                 "拒绝：请求过多，2 秒后再来", fault="status", times=1, status=429),
        _command("503", "refuse: the server is overloaded (twice)",
                 "拒绝：服务器过载（两次）", fault="status", times=2, status=503),
        _command("401", "refuse: the key is wrong (for ever)",
                 "拒绝：密钥错误（一直如此）", fault="status", times=FOREVER, status=401),
        _command("html", "answer with a web page, as a wrong base URL does (for ever)",
                 "返回一个网页，就像填错了 Base URL（一直如此）", fault="html", times=FOREVER),
        _command("truncate", "stop in mid-answer as if nothing were missing",
                 "回答到一半就停下，装作已经说完", fault="truncate", times=1),
        _command("garbage", "send a line that is not JSON",
                 "发来一行不是 JSON 的内容", fault="garbage", times=1),
        _command("slow", "answer slowly, without a fault", "慢慢回答，没有故障"),
        _command("flood", "send 2,000 tokens as fast as it can", "全速发送 2,000 个 token"),
        _command("reasoning", "think aloud before the answer", "先把思考说出来，再回答"),
        _command("tool", "call two tools (`/tool drop`: and lose the connection after that)",
                 "调用两个工具（`/tool drop`：之后再断线）", fault="reset", times=0),
        _command("help", "list these commands", "列出这些命令"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """What the user asked for: a command of `COMMANDS` or None, and how often it is to misbehave."""

    command: Command | None
    times: int
    text: str
    language: Language


@dataclass(frozen=True)
class ToolCall:
    """A tool that the scripted model calls; `arguments` is JSON."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True)
class Plan:
    """One HTTP answer. `fail_at` is the token before which `fault` happens; `pace` is seconds a token."""

    tokens: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    pace: float = TOKEN_PACE
    fault: Fault = ""
    fail_at: int = 0
    status: int = 200
    error: Mapping[str, Any] | None = None
    retry_after: int | None = None


_COMMAND: Final = re.compile(r"\s*/(\w+)\b\s*(\S*)", re.ASCII)
_WIDE: Final = r"\u3001-\u9fff\uf900-\ufaff\uff01-\uffef"  # Chinese characters and their punctuation
_SECTION: Final = re.compile(r"<!-- ([\w ]+) -->\n")
_CJK: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_TOKEN: Final = re.compile(rf"[{_WIDE}]\s*|[^\s{_WIDE}]+\s*|\s+")


def read(messages: Sequence[Mapping[str, Any]]) -> Ask:
    """What the last user message of an OpenAI message list asks for, and in which language to answer."""
    last: Mapping[str, Any] = next((m for m in reversed(messages) if m.get("role") == "user"), {})
    text = plain_text(last.get("content"))
    orders = (m.get("content") for m in messages if m.get("role") in ("system", "developer"))
    system = " ".join(map(plain_text, orders))
    language: Language = "zh" if _CJK.search(text) or "Answer in Chinese" in system else "en"
    match = _COMMAND.match(text)
    command = COMMANDS.get(match.group(1).lower()) if match else None
    if match is None or command is None:
        return Ask(None, 0, text.strip(), language)
    times, word = command.times, match.group(2)
    if word.isdecimal() and command.fault:
        times = min(int(word), MAX_TIMES)
    elif command.name == "tool" and word.lower() == "drop":
        times = 1
    return Ask(command, times, text.strip(), language)


def plain_text(content: Any) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def tool_results(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The outputs of the tools that were called since the last user message."""
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") == "user":
            break
        if message.get("role") == "tool":
            results.append(plain_text(message.get("content")))
    return results[::-1]


def tokens(text: str) -> tuple[str, ...]:
    """`text` in pieces as a model streams it: words with their blanks, and single Chinese characters."""
    return tuple(_TOKEN.findall(text))


def plan(ask: Ask, faults: int, results: Sequence[str] = (), offered: Sequence[str] = ()) -> Plan:
    """The next HTTP answer, after `faults` broken ones. `offered` names the tools that the request brings."""
    name = ask.command.name if ask.command else ""
    if name == "tool" and not results:
        calls = tuple(ToolCall(tool) for tool in ("list_nodes", "now") if tool in offered)
        return Plan(tokens=tokens(answers(ask.language)["tool intro"]), tools=calls)
    good = _answer(ask, results)
    if ask.command is None or faults >= ask.times:
        return good
    fault = ask.command.fault
    if fault == "status":
        return _refusal(ask.command.status)
    return Plan(
        tokens=good.tokens,
        reasoning=good.reasoning,
        pace=good.pace,
        fault=fault,
        fail_at=len(good.tokens) * 2 // 5,
    )


def _refusal(status: int) -> Plan:
    message, type_, code = {
        401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
        429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
        503: ("The server is overloaded, please try again later.", "server_error", "overloaded"),
    }[status]
    return Plan(
        fault="status",
        status=status,
        error={"error": {"message": message, "type": type_, "param": None, "code": code}},
        retry_after=RETRY_AFTER if status == 429 else None,
    )


def _answer(ask: Ask, results: Sequence[str]) -> Plan:
    language = ask.language
    name = ask.command.name if ask.command else "hello"
    if name == "flood":
        return Plan(tokens=flood(), pace=0)
    texts = answers(language)
    values = {
        "said": _short(ask.text, 120) or "…",
        "times": _times(ask.times, language),
        "commands": "\n".join(f"- `/{c.name}` {c.doc[language]}" for c in COMMANDS.values()),
        "results": "\n".join(f"- `{_short(result)}`" for result in results),
    }
    text = texts[name]
    if name == "hello":
        text += texts["help"]
    elif name == "tool" and ask.times:
        text += texts["tool drop"]
    return Plan(
        tokens=tokens(text.format_map(values).strip()),
        reasoning=tokens(texts["thoughts"]) if name == "reasoning" else (),
        pace=SLOW_PACE if name == "slow" else TOKEN_PACE,
    )


def flood() -> tuple[str, ...]:
    """2,000 numbered tokens, a hundred a paragraph, so that a gap or a repeat would be seen by eye."""
    return tuple(f"{n:04d}" + ("\n\n" if n % 100 == 0 else " ") for n in range(1, FLOOD_TOKENS + 1))


@lru_cache(maxsize=2)
def answers(language: Language) -> Mapping[str, str]:
    """The prose by name, from answers/<language>.md. Reads the file once; OSError if it is gone."""
    text = (Path(__file__).parent / "answers" / f"{language}.md").read_text(encoding="utf-8")
    parts = _SECTION.split(text)
    return {name: prose.strip() + "\n\n" for name, prose in zip(parts[1::2], parts[2::2], strict=True)}


def _times(count: int, language: Language) -> str:
    if language == "zh":
        return f"{count} 次"
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _short(text: str, limit: int = 160) -> str:
    flat = " ".join(text.replace("`", "'").split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
