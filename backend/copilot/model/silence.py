"""The sign that a model is silent: a wait that nobody explains looks like a hang.

Times of day instead of seconds: Copilot's page shows no text that is not longer than the one before, so a count would
stand still there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

Then = Literal["retry", "give_up"]
_TEXTS: Final = {
    "en": {
        "silent": "{model} has been silent since {since}. It may be thinking, loading, or preparing a tool call.",
        "retry": "If nothing comes by {until}, it is asked again.",
        "give_up": "If nothing comes by {until}, the answer ends here.",
        "stop": "Stop ends it at once.",
        "model": "The model",
    },
    "zh": {
        "silent": "{model} 自 {since} 起没有输出，可能正在思考、加载或准备工具调用。",
        "retry": "如果到 {until} 仍无输出，将重新请求。",
        "give_up": "如果到 {until} 仍无输出，本次回答将结束。",
        "stop": "可随时点击停止。",
        "model": "模型",
    },
}


def silence_notice(
    model: str, seconds: float, left: float | None, then: Then, language: str, wall: Callable[[], float] = time.time
) -> str:
    """What the chat shows of a model that has been silent for `seconds`; `left` seconds are allowed still, or None
    for no limit."""
    texts = _TEXTS["zh" if language == "zh" else "en"]
    now = wall()
    parts = [texts["silent"].format(model=model or texts["model"], since=_time_of_day(now - seconds))]
    if left is not None:
        parts.append(texts[then].format(until=_time_of_day(now + left)))
    parts.append(texts["stop"])
    return ("" if language == "zh" else " ").join(parts)


def _time_of_day(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
