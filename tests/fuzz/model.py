"""A hostile model server: what it answers to a request follows from the seed, the chat's number and the attempt's."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz import hostile
from tests.fuzz.planted import Planted
from tests.support.raw_server import RESET, RawServer, Reply

_PATH = re.compile(r"/chat(\d+)/")
Body = tuple[bytes, str]
"""The bytes of a body, and the content type that a server would give them."""
STREAM = "text/event-stream"
_STATUSES = (
    400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 425, 429, 429, 500, 500, 502, 503, 503, 504, 520, 529,
    599, 999,
)  # fmt: skip


def events(random: Random) -> list[bytes]:
    """The events of a healthy answer: text, perhaps thoughts, perhaps a tool call."""
    chunks: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}]
    if random.random() < 0.3:
        chunks += [{"delta": {"reasoning_content": "hm "}} for _ in range(random.randint(1, 5))]
    chunks += [{"delta": {"content": f"word{n} "}} for n in range(random.randint(1, 20))]
    reason = "stop"
    if random.random() < 0.2:
        reason = "tool_calls"
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "count_up", "arguments": ""}}
        chunks += [{"delta": {"tool_calls": [call]}}]
        chunks += [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}} for part in ("{", "}")]
    chunks += [{"delta": {}, "finish_reason": reason}]
    made = []
    for chunk in chunks:
        choice = {"index": 0, "finish_reason": None, **chunk}
        whole = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "fuzz", "choices": [choice]}
        made.append(f"data: {json.dumps(whole)}\n\n".encode())
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    made.append(f"data: {json.dumps({'id': 'c1', 'choices': [], 'usage': usage})}\n\n".encode())
    return [*made, b"data: [DONE]\n\n"]


def healthy(random: Random, planted: Planted) -> Body:
    """An answer that is well."""
    return b"".join(events(random)), STREAM


def mutated_stream(random: Random, planted: Planted) -> Body:
    """A healthy answer with bytes changed."""
    return hostile.mutated(random, b"".join(events(random))), STREAM


def odd_fields(random: Random, planted: Planted) -> Body:
    """A healthy answer in which values have become something else."""
    made = events(random)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(made))
        values = list(re.finditer(rb'(?<=": )("[^"]*"|\d+|null|\[\]|\{\})', made[at]))
        if values:
            found = random.choice(values)
            odd = hostile.value(random).encode("utf-8", "surrogatepass")
            made[at] = made[at][: found.start()] + odd + made[at][found.end() :]
    return b"".join(made), STREAM


def random_events(random: Random, planted: Planted) -> Body:
    """Events of JSON that has only the names right, errors in them that quote what was asked."""
    made = events(random)[: random.randint(0, 6)]
    for _ in range(random.randint(1, 6)):
        error = obj_of_error(random, planted)
        fields = random.choice(({"choices": f"[{hostile.obj(random, {})}]"}, {"error": error}, {}))
        made.append(b"data: " + hostile.obj(random, fields).encode("utf-8", "surrogatepass") + b"\n\n")
    return b"".join(made), STREAM


def obj_of_error(random: Random, planted: Planted) -> str:
    """JSON of an error, its words with what was asked in them."""
    words = random.choice(
        ("invalid key", "Rate limit reached, try again in 1s", "model not found", "context length exceeded", "boom")
    )
    told = json.dumps(f"{words} {planted.echo(random)}", ensure_ascii=random.random() < 0.5)[:-1]
    told += random.choice(hostile.ODD_TEXTS) + '"'
    return random.choice((told, hostile.obj(random, {"message": told, "code": hostile.value(random)})))


def error(random: Random, planted: Planted) -> Body:
    """The body of an error, in one of the shapes that servers use, or in none."""
    inner = obj_of_error(random, planted)
    text = random.choice(
        (f'{{"error":{inner}}}', f'{{"detail":[{inner}]}}', f"[{inner}]", inner, f"<html><title>{inner}</title>",
         f"Traceback: {inner}", f'{{"message":{inner},"status":{hostile.value(random)}}}')
    )  # fmt: skip
    if random.random() < 0.2:
        return hostile.mutated(random, text.encode("utf-8", "surrogatepass")), "application/json"
    kind = random.choice(("application/json", "text/plain", "text/html", "application/problem+json", "", "x"))
    return text.encode("utf-8", "surrogatepass"), kind


def any_json(random: Random, planted: Planted) -> Body:
    """JSON that is no stream."""
    return hostile.value(random).encode("utf-8", "surrogatepass"), random.choice(("application/json", STREAM))


def deep(random: Random, planted: Planted) -> Body:
    """Brackets without end, as an event, inside of an event, or as the whole body."""
    deep = hostile.nested(random).encode()
    body = random.choice(
        (deep, b"data: " + deep + b"\n\n", b'data: {"choices":[{"delta":{"content":' + deep + b"}}]}\n\n",
         b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"count_up","arguments":'
         + json.dumps(deep.decode()).encode() + b"}}]}}]}\n\n",
         b'{"error":{"message":' + deep + b"}}")
    )  # fmt: skip
    return body, random.choice((STREAM, "application/json"))


def noise(random: Random, planted: Planted) -> Body:
    """Random bytes."""
    return random.randbytes(random.choice((1, 100, 5_000))), random.choice((STREAM, "application/json", "image/png"))


def huge(random: Random, planted: Planted) -> Body:
    """8 MB: one line, one event, many events, one error, or brackets."""
    size = hostile.MEGABYTES_8
    body = random.choice(
        (lambda: b"x" * size, lambda: b"data: " + b"x" * size,
         lambda: b'data: {"choices":[{"delta":{"content":"' + b"x" * size + b'"}}]}\n\ndata: [DONE]\n\n',
         lambda: b": beat\n\n" * (size // 8), lambda: b"\n" * size, lambda: b"[" * size,
         lambda: b'{"error":{"message":"' + b"x " * (size // 2) + b'"}}',
         lambda: b'data: {"choices":[]}\n\n' * (size // 160))
    )()  # fmt: skip
    return body, random.choice((STREAM, "application/json"))


_BODIES: tuple[tuple[Callable[[Random, Planted], Body], int], ...] = (
    (healthy, 30), (mutated_stream, 60), (odd_fields, 60), (random_events, 40), (error, 60), (any_json, 20), (deep, 20),
    (noise, 8), (huge, 2),
)  # fmt: skip
_ENCODED: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress,
    lambda data: gzip.compress(data)[:-9],
    lambda data: gzip.compress(data)[: max(1, len(data) // 3)],
    lambda data: gzip.compress(data) + b"more",
    lambda data: data,
    lambda data: zlib.compress(data),
    lambda data: gzip.compress(b" " * hostile.MEGABYTES_8),
)
_ODD_HEADERS = (
    "Retry-After: 1", "Retry-After: -1", "Retry-After: 1e999", "Retry-After: Wed, 99 Foo 2099", "Retry-After: NaN",
    "X-RateLimit-Reset: 99999999999999999999", "X-RateLimit-Reset-Tokens: 6m0s", "X: \xe9\xff",
    "Set-Cookie: a=b; \x01",
    "Content-Type: text/event-stream; charset=klingon", "Date: yesterday", "X-Request-Id: " + "r" * 3000, "Server: ",
    "Content-Language: 你好", "Keep-Alive: timeout=-1", "Upgrade: h2c", "Transfer-Encoding: chunked",
)  # fmt: skip


def _chunked(random: Random, data: bytes) -> bytes:
    out = b""
    for piece in hostile.pieces(random, data):
        out += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    end = (
        b"0\r\n\r\n" if random.random() < 0.8 else random.choice((b"", b"zz\r\n", b"ffffffffffffffff\r\nx", b"-1\r\n"))
    )
    return out + end


def _redirect(random: Random) -> bytes:
    to = random.choice(
        ("/chat/completions", "http://127.0.0.1:1/", "//", "ftp://x/", "javascript:alert(1)", "http://[::1", "",
         "http://user:pw@127.0.0.1:1/v1", "/" + "a" * 5000, "\xff", "http://no-such-host.invalid/", "?x#y")
    )  # fmt: skip
    status = random.choice((301, 302, 303, 307, 308, 300, 304))
    return f"HTTP/1.1 {status} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode("latin-1", "replace")


def _broken_head(random: Random) -> bytes:
    return random.choice(
        (b"", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000,
         b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 50, b"\x16\x03\x01\x02\x00",
         b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\nxx",
         b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
         b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello")
    )  # fmt: skip


def answer(random: Random, planted: Planted) -> bytes:
    """All bytes of an answer, head and body."""
    if random.random() < 0.05:
        return _redirect(random) if random.random() < 0.5 else _broken_head(random)
    maker = random.choices([one for one, _ in _BODIES], [weight for _, weight in _BODIES])[0]
    body, kind = maker(random, planted)
    status = random.choice(_STATUSES) if maker is error or random.random() < 0.1 else 200
    if random.random() < 0.1:
        kind = random.choice(("text/html", "application/json", "", "text/event-stream;;;", "multipart/mixed", "a/b"))
    lines = [f"HTTP/1.1 {status} X"] + ([f"Content-Type: {kind}"] if kind else [])
    if random.random() < 0.3:
        lines += random.choices(_ODD_HEADERS, k=random.randint(1, 3))
    if random.random() < 0.1:
        body = random.choice(_ENCODED)(body)
        lines.append(f"Content-Encoding: {random.choice(('gzip', 'gzip', 'deflate', 'br', 'zstd', 'x'))}")
    framing = random.randrange(10)
    if framing < 4:
        lines.append("Transfer-Encoding: chunked")
        body = _chunked(random, body)
    elif framing < 7:
        wrong = random.choice((0, 0, 0, 0, 1, 1_000, -1, -10))
        lines.append(f"Content-Length: {max(0, len(body) + wrong)}")
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def reply(random: Random, planted: Planted) -> Reply:
    """An answer in pieces, with pauses, whole or cut off."""
    data = answer(random, planted)
    if random.random() < 0.15:
        data = data[: random.randrange(len(data) + 1)]
    parts: list[bytes | float | str] = []
    for piece in hostile.pieces(random, data):
        parts += [piece, random.choice((0.0, 0.0, 0.0, 0.001, 0.01))]
    if random.random() < 0.04:
        parts.insert(random.randrange(len(parts) + 1), random.choice((0.3, 1.5)))
    if random.random() < 0.15:
        parts.append(RESET)
    return Reply(*parts)


class HostileModel(RawServer):
    """On loopback. Chat number 7 asks at `url(7)`; `chats` has what each of those that run has planted."""

    def __init__(self, seed: int) -> None:
        super().__init__([self._choose])
        self._seed = seed
        self.chats: dict[int, Planted] = {}
        self._attempts: dict[int, int] = {}
        self.requests = 0

    def url(self, number: int) -> str:
        """The base URL of a chat."""
        return self.base_url.removesuffix("/v1") + f"/chat{number}/v1"

    def forget(self) -> None:
        """Forget the requests and chats so far: memory must not grow by this."""
        self.bodies.clear()
        self.paths.clear()
        self.chats.clear()
        self._attempts.clear()

    def _choose(self, seconds: float, body: dict[str, Any]) -> Reply:
        self.requests += 1
        found = _PATH.search(self.paths[-1])
        number = int(found[1]) if found else -1
        attempt = self._attempts[number] = self._attempts.get(number, 0) + 1
        random = Random(f"{self._seed} {number} {attempt}")
        if number not in self.chats or attempt > 12:  # a model that calls tools for ever ends some time
            return Reply(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + healthy(Random(1), Planted(random))[0]
            )
        return reply(random, self.chats[number])
