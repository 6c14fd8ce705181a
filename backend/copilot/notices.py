"""What Copilot Pulse tells the user inside an answer, and how the model never gets to read it.

Copilot's page sends earlier answers back as history. A notice of ours in there would be taken for the
assistant's own words, so each is enclosed in two invisible characters and taken out of what comes back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

# U+2063 INVISIBLE SEPARATOR: no width, no blank (str.rstrip leaves it), kept by Markdown and JSON.
NO_WIDTH: Final = "\u2063"
_OPEN: Final = NO_WIDTH * 2
_CLOSE: Final = NO_WIDTH * 3
_NOTICE: Final = re.compile(r"\s*> \u2063{2}[^\u2063]+\u2063{3}")


def mark(notice: str) -> str:
    """`notice` as a quoted paragraph between the marks."""
    clean = notice.replace("\u2063", "").strip()
    # The first mark stands behind the sign for a quotation: in front of it, Markdown would not see the sign.
    quoted = "\n".join(f"> {line}" if line else ">" for line in clean.split("\n"))
    return f"> {_OPEN}{quoted[2:]}{_CLOSE}"


def without_marks(text: str) -> str:
    """`text` of a model without the character of our marks: what it writes must not pass for a notice of ours."""
    return text.replace("\u2063", "") if "\u2063" in text else text


def with_notices(text: str, notices: Iterable[str]) -> str:
    """`text`, then each notice once as a paragraph of its own."""
    parts = [text.rstrip()] if text.strip() else []
    parts.extend(mark(notice) for notice in dict.fromkeys(notices))
    return "\n\n".join(parts) if len(parts) > 1 or not text.strip() else text


def strip(text: str) -> str:
    """`text` without our notices, and without what fills up for one at its end."""
    return _NOTICE.sub("", text).rstrip(NO_WIDTH) if NO_WIDTH in text else text


def strip_messages(messages: Any) -> Any:
    """Chat messages without our notices; an answer that was a notice alone is left out.

    Returns the very same object if nothing had to go, so that Copilot sees what it always sees.
    """
    if not isinstance(messages, list):
        return messages
    clean: list[Any] = []
    changed = False
    for message in messages:
        if not isinstance(message, dict) or message.get("role") != "assistant":
            clean.append(message)
            continue
        content, kept = _strip_content(message.get("content"))
        if content is message.get("content"):
            clean.append(message)
            continue
        changed = True
        if kept:
            clean.append({**message, "content": content})
    return clean if changed else messages


def _strip_content(content: Any) -> tuple[Any, bool]:
    if isinstance(content, str):
        clean = strip(content)
        return (content, True) if clean == content else (clean, bool(clean.strip()))
    if isinstance(content, list):
        parts: list[Any] = []
        changed = False
        for part in content:
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str) and strip(text) != text:
                changed = True
                if strip(text).strip():
                    parts.append({**part, "text": strip(text)})
            else:
                parts.append(part)
        return (parts, bool(parts)) if changed else (content, True)
    return content, True
