"""What this host calls its own places, where an advice would name Copilot's: they are options of its command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PLACES: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "program": "this program",
        "computer": "this program's computer",
        "assistant": "this host",
        "package": "Copilot Pulse",
        "at_key": "that --api-key-env names",
        "by_key": "with --api-key-env or --llm",
        "at_url": "given by --llm",
        "by_url": "with --llm",
        "picker": " with --model",
        "where_model": "Start this program again with another --model.",
        "where_model_chat": "It was given by --model: start this program again with another one.",
    },
    "zh": {
        "program": "本程序",
        "computer": "运行本程序的电脑",
        "assistant": "本程序",
        "package": "Copilot Pulse",
        "at_key": "在 --api-key-env 指定的变量中",
        "by_key": "用 --api-key-env 或 --llm ",
        "at_url": "在 --llm 中",
        "by_url": "在 --llm 中",
        "picker": "（用 --model）",
        "where_model": "请用其他的 --model 重新启动本程序。",
        "where_model_chat": "它是用 --model 指定的：请换一个并重新启动本程序。",
    },
}
"""By language; the names are those of `PLACES` and `PHRASES` in backend/recovery/advice_en.py."""
