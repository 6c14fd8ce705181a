"""What a run must not give away: a key and a prompt for each chat, the forms that servers echo them in, and the search.

Each key and each prompt of a run holds the same mark, so that one search finds any of them in any output.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from random import Random
from urllib.parse import quote

_KEY_MARK = "kQ7vX2wZ9rT4yB"
_PROMPT_MARK = "zwiebelkuchenmarmeladenbrot"
_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def _encoded(data: bytes) -> list[str]:
    """What stands in the Base64 of any text that holds `data`, whatever is around it."""
    found = []
    for before in range(3):
        whole = base64.b64encode(bytes(before) + data).decode()
        found.append(whole[(0, 2, 3)[before] :].rstrip("=")[:-1])
    return found


_MARKS = tuple(
    form.lower().encode()
    for mark in (_KEY_MARK, _PROMPT_MARK)
    for form in (
        mark, mark.encode().hex(), "".join(f"\\u{ord(c):04x}" for c in mark), "".join(f"&#{ord(c)};" for c in mark),
        *_encoded(mark.encode()),
    )
)  # fmt: skip
_FORMS: tuple[Callable[[str], str], ...] = (
    str, str, str.upper, str.lower,
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(json.dumps(text))[1:-1],
    lambda text: html.escape(text),
    lambda text: repr(text),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: text.encode().hex(),
)  # fmt: skip
_KEY_FORMS: tuple[Callable[[str], str], ...] = (
    *_FORMS,
    lambda text: base64.b64encode(f"Bearer {text}".encode()).decode(),
    lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
)


def leaks(data: bytes | str) -> bool:
    """Whether a key or a prompt of the run stands in `data`, in any form."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    lower = raw.lower()
    return any(mark in lower for mark in _MARKS)


class Planted:
    """The key and the prompt of one chat, and how a server may quote them."""

    def __init__(self, random: Random, *, asked: bool = True) -> None:
        """`asked`: the prompt is in what the server gets; a server can quote no other."""
        self._random = random
        self._asked = asked
        head = random.choice(("sk-", "sk-proj-", "AIza", "key_", "Basic+", "", ""))
        tail = "".join(random.choices(_LETTERS + "-_.~+/=", k=random.randint(12, 30)))
        self.key = f"{head}{''.join(random.choices(_LETTERS, k=10))}{_KEY_MARK}{tail}"
        self.prompt = f"please {random.choice(('draw', 'é 你好', 'say:', '“quote”'))} {_PROMPT_MARK} {self._words()}"

    def _words(self) -> str:
        return " ".join(self._random.choice(("cat", "and", "dog", "<b>", "100%", "tea\tcup")) for _ in range(6))

    def echo(self, random: Random) -> str:
        """The key, the prompt or both, in one of the forms in which servers have been seen to give them back."""
        parts = []
        if random.random() < 0.7:
            parts.append(random.choice(_KEY_FORMS)(self.key))
        if random.random() < 0.5 and self._asked:
            parts.append(random.choice(_FORMS)(self.prompt))
        return random.choice((" ", ": ", '", "', "\n")).join(parts)
