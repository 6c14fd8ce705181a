"""Hostile text, JSON and bytes, from a seeded generator of random numbers. For both sides: the model and the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

MEGABYTES_8 = 8 * 2**20
ODD_TEXTS = (
    "", " ", "\\ud83d", "\\udc00\\ud800", "\\u0000", "\\u2063\\u2063\\u2063",
    "> \\u2063\\u2063x\\u2063\\u2063\\u2063",
    "\\u202e", "\\ufeff", "é你🎉", "[DONE]", "data: x", "null", "NaN", "![x](http://a/b)", "<script>alert(1)</script>",
    "{{7*7}}", "%s%n%d", "{0}{a.b}", "../../etc/passwd", "$(id)", "`id`", "a" * 300, "\\n\\n\\r\\r\\n",
    "\\u2028\\u2029",
)  # fmt: skip
"""Text as it stands between the quotation marks of JSON."""
ODD_NUMBERS = (
    "0", "-0", "-1", "1e999", "-1e999", "1e-999", "NaN", "Infinity", "-Infinity", "0.1", "1" * 300, "9" * 5000,
    "2147483648", "9007199254740993", "18446744073709551616", "1.7976931348623157e308",
)  # fmt: skip


def text(random: Random) -> str:
    """JSON text with its quotation marks, odd more often than not."""
    if random.random() < 0.3:
        return json.dumps("".join(chr(random.randrange(32, 0x2FFF)) for _ in range(random.randint(0, 20))))
    return f'"{"".join(random.choices(ODD_TEXTS, k=random.randint(1, 3)))}"'


def nested(random: Random, depth: int = 0) -> str:
    """Brackets and braces, deeper than any parser likes; some of them never closed."""
    depth = depth or random.choice((20, 400, 1_000, 20_000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}"), ('[{"error":', "}]"), ('{"choices":[', "]}")))
    return opening * depth + "1" + (closing * depth if random.random() < 0.8 else "")


def value(random: Random, depth: int = 0) -> str:
    """A JSON value of any kind, not always valid."""
    kind = random.randrange(10)
    if kind < 3 or depth > 3:
        return text(random)
    if kind < 5:
        return random.choice(ODD_NUMBERS)
    if kind == 5:
        return random.choice(("null", "true", "false", "", "undefined", "'x'", '"unclosed', "[1,]", '{"a":1,}'))
    if kind == 6:
        return "[" + ",".join(value(random, depth + 1) for _ in range(random.randint(0, 4))) + "]"
    if kind == 7 and depth < 2 and random.random() < 0.3:
        return nested(random)
    return obj(random, {}, depth + 1)


NAMES = (
    "id", "object", "choices", "delta", "content", "index", "finish_reason", "tool_calls", "function", "name",
    "arguments",
    "usage", "total_tokens", "error", "message", "code", "type", "detail", "role", "reasoning_content", "model",
    "text",
    "retry_after", "status", "param", "created", "__proto__", "__class__", "",
)  # fmt: skip


def obj(random: Random, fields: dict[str, str], depth: int = 0) -> str:
    """A JSON object of `fields` (name to JSON text), with more of the kind that servers send, and some twice."""
    pairs = list(fields.items())
    for _ in range(random.randint(0, 4)):
        pairs.append((random.choice(NAMES), value(random, depth + 1)))
    if pairs and random.random() < 0.3:
        pairs.append((random.choice(pairs)[0], value(random, depth + 1)))
    random.shuffle(pairs)
    return "{" + ",".join(f'"{name}":{one}' for name, one in pairs) + "}"


def _flip(random: Random, data: bytearray, at: int) -> None:
    data[at] = random.randrange(256)


def _drop(random: Random, data: bytearray, at: int) -> None:
    del data[at : at + random.randint(1, 20)]


def _double(random: Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + random.randint(1, 200)]


def _insert(random: Random, data: bytearray, at: int) -> None:
    data[at:at] = random.choice(
        (b"\0", b"\xff", b"\xf0\x9f", b"\n", b"\n\n", b"\r", b"data: ", b"event: error\n", b"[DONE]", b'"', b"{", b"}",
         b"\\", b"\\ud83d", b": x\n\n", b"\xef\xbb\xbf", b"id: 1\n", b"retry: 0\n\n")
    )  # fmt: skip


def _cut(random: Random, data: bytearray, at: int) -> None:
    del data[at:]


_CHANGES: Sequence[Callable[[Random, bytearray, int], None]] = (
    _flip, _flip, _drop, _drop, _double, _insert, _insert, _insert, _cut,
)  # fmt: skip


def mutated(random: Random, data: bytes) -> bytes:
    """`data` with a few bytes changed, lost, doubled or put in, or cut off."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        if changed:
            random.choice(_CHANGES)(random, changed, random.randrange(len(changed)))
    return bytes(changed)


def pieces(random: Random, data: bytes) -> list[bytes]:
    """`data` in pieces, cut anywhere; mostly few, sometimes single bytes."""
    if len(data) > 200_000 or random.random() < 0.3:
        return [data]
    if len(data) < 2_000 and random.random() < 0.2:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randint(1, 12)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
