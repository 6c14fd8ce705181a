"""A hostile page: what it sends to the server follows from the seed and the request's number.

Everything is written by hand on a socket, so that it may be as wrong as a stranger can make it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from aiohttp import web

from tests.fuzz import hostile
from tests.fuzz.planted import Planted
from tests.support.page import CopilotPage
from tests.support.stream_client import PROTOCOL, chat_body

ASK = ("/api/chat/invoke", "/api/debug-agent")
QUERY = (
    "format", "range", "since", "until", "type", "session", "chat", "model", "outcome", "after", "limit", "order",
    "step",
    "offset", "name", "id",
)  # fmt: skip
FIELDS = (
    "client_id", "open", "server", "dismissed", "session", "all", "name", "queue_size", "panel_refresh",
    "expose_text",
    "text", "prices", "redis_url", "store_dir", "stall_timeout", "x",
)  # fmt: skip
ODD_WORDS = (
    "json", "prometheus", "openmetrics", "csv", "1h", "NaN", "inf", "-1", "1e400", "9" * 4000, "%00", "%ff%fe",
    "%ed%a0%bd",
    "../..", "a" * 5_000, "%F0%9F%8E%89", "٣", "*", "!", "1-1", "1-1,2-2", "chat.*", "'; DROP TABLE events;--", "",
    "hour", "+1",
    "99999999999999999999", "0x10", "2026-11-25", "-7d", "%2e%2e%2f", "[", "{}", "a:b:c",
)  # fmt: skip
ODD_HEADERS = (
    "Origin: null", "Origin: http://evil.example", "Origin: http://[::1", "Sec-Fetch-Site: cross-site",
    "X-Copilot-Pulse: 1",
    "Sec-Fetch-Site: same-origin", "Accept: */*;q=nan", "Accept: " + "text/plain," * 800,
    "Accept: application/openmetrics-text",
    "Accept: ;;;,,,q=", "Range: bytes=0-0", "Host: [", "Host: evil.example:99999", "X-Forwarded-Host: \xff",
    "Forwarded: for=",
    "Accept-Language: \xe4\xbd\xa0", "Cookie: a=\x01", "X-Copilot-Pulse-Stream: ../..",
    "X-Copilot-Pulse-Mode: frames",
    "X-Copilot-Pulse-Mode: detached", "Last-Event-ID: 99-99,x", "If-None-Match: *", "Content-Encoding: gzip",
    "Expect: x", "Expect: 100-continue",
    "Transfer-Encoding: chunked", "Openai-Base-Url: http://[", "Workflow-LLM-Model: \x7f\xff",
    "Trace-Id: " + "t" * 4000,
)  # fmt: skip


LONG, SHORT = 120.0, 0.7
"""Seconds: what an answer may take that has to come, and for how long the page stays that need not get one."""


@dataclass
class Sent:
    """One request: its route, its bytes in pieces, and whether the server has to answer and to close by itself."""

    route: str
    pieces: list[bytes]
    ends: bool = True


@dataclass
class Answered:
    """What came back, and whether it ended."""

    raw: bytes
    ended: bool

    @property
    def status(self) -> int:
        """The status; 0 if nothing came that reads as an answer."""
        line = self.raw.split(b"\r\n", 1)[0].split(b" ")
        return int(line[1]) if len(line) > 1 and line[0].startswith(b"HTTP/") and line[1].isdigit() else 0


async def send(port: int, sent: Sent, most: int = 2**20) -> Answered:
    """Send it on a new connection and read to its end, `most` bytes. Then the page is gone."""
    got = bytearray()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def talk() -> None:
        for piece in sent.pieces:
            writer.write(piece)
            await writer.drain()
        while len(got) < most and (more := await reader.read(2**16)):
            got.extend(more)

    try:
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(talk(), LONG if sent.ends else SHORT)
    except asyncio.TimeoutError:
        return Answered(bytes(got), ended=False)
    finally:
        writer.close()
    return Answered(bytes(got), ended=True)


def _word(random: Random) -> str:
    return random.choice(ODD_WORDS) if random.random() < 0.7 else _id(random)


def _id(random: Random) -> str:
    """A word of letters, such as a stream's id, mostly of the right length."""
    return "".join(random.choices("abcdefgh01234_-", k=random.choice((22, 22, 22, 64, 65, 3, 1))))


def _target(random: Random, path: str) -> str:
    while "ID" in path:
        path = path.replace("ID", _word(random).replace("?", "") or "x", 1)
    if random.random() < 0.5:
        path = "/api" + path
    query = "&".join(f"{random.choice(QUERY)}={_word(random)}" for _ in range(random.randint(0, 3)))
    return (f"{path}?{query}" if query else path).replace(" ", "%20")


def _body(random: Random) -> bytes:
    kind = random.randrange(12)
    if kind < 7:
        fields = {random.choice(FIELDS): hostile.value(random) for _ in range(random.randint(0, 3))}
        return hostile.obj(random, fields).encode("utf-8", "surrogatepass")
    if kind == 7:
        return hostile.nested(random).encode()
    if kind == 8:
        return b"[" * 60_000
    if kind == 9:
        return random.randbytes(random.choice((10, 70_000)))
    return hostile.value(random).encode("utf-8", "surrogatepass")


def routes_of(router: web.UrlDispatcher) -> list[tuple[str, str]]:
    """(method, path) of each route of ours; what stands in its place in a path is ID. A new one is here by itself."""
    found = {
        (route.method, re.sub(r"\{[^}]*\}", "ID", route.resource.canonical))
        for route in router.routes()
        if route.resource is not None and route.method in ("GET", "POST")
    }
    return sorted(one for one in found if one[1].startswith(("/copilot-pulse", "/metrics", "/health", "/ws/chat")))


def request(random: Random, routes: Sequence[tuple[str, str]]) -> Sent:
    """One request to a route of ours."""
    right, path = random.choice(routes)
    changes = right == "POST"
    target = _target(random, path)
    method = (
        random.choice(("POST",) * 8 + ("GET", "PUT"))
        if changes
        else random.choice(("GET",) * 9 + ("HEAD", "DELETE", "X"))
    )
    host = [] if random.random() < 0.03 else ["Host: 127.0.0.1"]
    lines = [f"{method} {target} HTTP/1.1", *host, "Connection: close"]
    lines += random.choices(ODD_HEADERS, k=random.choice((0, 0, 1, 1, 2, 4)))
    body, ends = b"", "follow" not in path and "/ws/" not in path
    if changes:
        body = _body(random)
        kind = (
            "application/json"
            if random.random() < 0.85
            else random.choice(("text/plain", "", "application/json; charset=x"))
        )
        length = len(body) if random.random() < 0.93 else random.choice((0, len(body) // 2, -1, 10**12, len(body) + 30))
        lines += [f"Content-Type: {kind}", f"Content-Length: {length}"]
        ends = length <= len(body)
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    if random.random() < 0.05:
        head, ends = hostile.mutated(random, head), False
    # The server waits for what such a header announces.
    ends = ends and b"chunked" not in head
    return Sent(path, hostile.pieces(random, head + body), ends)


def _ask_body(random: Random, planted: Planted) -> bytes:
    body = chat_body(f"odd-{random.randrange(8)}", planted.prompt)
    if random.random() < 0.1:
        return random.choice(
            (hostile.nested(random).encode(), b"", b"{", random.randbytes(50), b"[" * hostile.MEGABYTES_8)
        )
    fields = {name: json.dumps(value) for name, value in body.items()}
    for _ in range(random.randint(1, 3)):
        fields[random.choice(tuple(fields))] = hostile.value(random)
    if random.random() < 0.3:
        fields["messages"] = f'[{{"role":{hostile.value(random)},"content":{hostile.value(random)}}}]'
    if random.random() < 0.3:
        fields["ext"] = f'[{{"type":"model_select","data":[{hostile.value(random)}]}}]'
    return ("{" + ",".join(f'"{name}":{one}' for name, one in fields.items()) + "}").encode("utf-8", "surrogatepass")


def asking(random: Random, page: CopilotPage, llm: str, planted: Planted) -> Sent:
    """One request to the chat's route, with a body that is none of Copilot's page."""
    path = random.choice(ASK)
    headers = {**page.headers(llm=llm), "Workflow-LLM-Api-Key": planted.key, "Openai-Api-Key": planted.key}
    if random.random() < 0.2:
        headers[random.choice(tuple(headers))] = random.choice(ODD_WORDS)
    if random.random() < 0.5:
        headers["X-Copilot-Pulse-Stream"] = _id(random)
        headers["X-Copilot-Pulse-Mode"] = random.choice(("frames", "detached", "x"))
    body = _ask_body(random, planted)
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += random.choices(ODD_HEADERS, k=random.choice((0, 0, 0, 1)))
    head = "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n"
    return Sent(path, hostile.pieces(random, head + body), b"chunked" not in head)


# -- WebSocket ------------------------------------------------------------------------------------------


def _frame(opcode: int, data: bytes, *, final: bool = True, masked: bool = True, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    head = bytes([(0x80 if final else 0) | opcode])
    flag = 0x80 if masked else 0
    if size < 126:
        head += bytes([flag | size])
    elif size < 2**16:
        head += bytes([flag | 126]) + struct.pack(">H", size)
    else:
        head += bytes([flag | 127]) + struct.pack(">Q", size)
    return head + (b"\0\0\0\0" if masked else b"") + data


def _message(random: Random, session: str, streams: list[str], page: CopilotPage, llm: str, planted: Planted) -> bytes:
    kind = random.randrange(12)
    stream = random.choice((*streams, _id(random), _id(random)))
    if kind < 3:
        body = chat_body(session, planted.prompt)
        if random.random() < 0.3:
            body[random.choice(tuple(body))] = random.choice((None, 1e308, [], "x", {"a": [{}]}, True))
        headers = {**page.headers(llm=llm), "Workflow-LLM-Api-Key": planted.key, "Openai-Api-Key": planted.key}
        if random.random() < 0.2:
            headers[random.choice(("Cookie", "Host", "X", "", "Openai-\n", "Openai-Api-Key"))] = "a\r\nb"
        path = random.choice(("/api/chat/invoke",) * 6 + ("/api/debug-agent", "/etc", "http://x/"))
        return json.dumps({"type": "invoke", "stream": stream, "path": path, "headers": headers, "body": body}).encode()
    if kind < 8:
        word = random.choice(("read", "leave", "cancel", "pause", "resume", "ping", "invoke", "hello"))
        after = random.choice(("0", "1", "5", hostile.value(random)))
        name = json.dumps(stream) if random.random() < 0.9 else hostile.value(random)
        pairs = {"type": f'"{word}"', "stream": name, "after": after}
        return ("{" + ",".join(f'"{n}":{v}' for n, v in pairs.items()) + "}").encode("utf-8", "surrogatepass")
    if kind == 8:
        return hostile.nested(random).encode()
    if kind == 9:
        return hostile.value(random).encode("utf-8", "surrogatepass")
    if kind == 10 and random.random() < 0.05:
        return b'{"type":"invoke","body":' + b"[" * (hostile.MEGABYTES_8 - 100)
    return random.randbytes(random.choice((0, 3, 200)))


def _framed(random: Random, message: bytes) -> list[bytes]:
    kind = random.randrange(14)
    if kind < 9:
        return [_frame(1, message)]
    if kind == 9 and message:
        cut = random.randrange(len(message))
        parts = [_frame(1, message[:cut], final=False), _frame(9, b"ping"), _frame(0, message[cut:])]
        return parts if random.random() < 0.7 else parts[:2]
    if kind == 10:
        return [_frame(2, message)]
    if kind == 11:
        return [_frame(random.choice((0, 3, 7, 8, 9, 10, 15)), message[:100])]
    if kind == 12:
        return [_frame(1, message, masked=False)]
    return [_frame(1, message, length=random.choice((2**62, len(message) + 5, 9 * 2**20)))]


def socket(random: Random, streams: list[str], page: CopilotPage, llm: str, planted: Planted) -> Sent:
    """The bytes of one WebSocket: the handshake, and frames that may be anything, the last one a close."""
    session = f"fuzz-{random.randrange(8)}" if random.random() < 0.8 else _word(random)
    key = base64.b64encode(random.randbytes(16)).decode()
    lines = [
        f"GET {random.choice(('', '/api'))}/ws/chat/{session or 'x'} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket",
        "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {PROTOCOL if random.random() < 0.95 else 'x'}",
    ]  # fmt: skip
    if random.random() < 0.1:
        lines += [random.choice(ODD_HEADERS)]
    frames = ["\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"]
    for _ in range(random.randint(1, 6)):
        frames += _framed(random, _message(random, session, streams, page, llm, planted))
    if random.random() < 0.7:
        frames.append(_frame(8, struct.pack(">H", 1000)))
    return Sent("/ws/chat", [piece for frame in frames for piece in hostile.pieces(random, frame)], ends=False)
