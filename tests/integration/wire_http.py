"""HTTP itself: rows of wire_rows.py."""

from __future__ import annotations

import gzip
import zlib

from tests.support.raw_server import Reply
from tests.support.wire_shapes import DONE, HEAD, WORDS, answer, event, texts, told, whole

BODY = b"".join(map(event, texts(*WORDS))) + DONE


def head(*lines: str, status_line: str = "HTTP/1.1 200 OK", kind: str = "text/event-stream") -> bytes:
    """The head of an answer with these lines beside its type."""
    return "\r\n".join((status_line, f"Content-Type: {kind}", *lines, "Connection: close", "", "")).encode()


_DEFLATE = zlib.compressobj(wbits=-15)
HTTP = (
    whole("O", "gzip", Reply(head("Content-Encoding: gzip") + gzip.compress(BODY))),
    whole("O", "raw deflate", Reply(head("Content-Encoding: deflate") + _DEFLATE.compress(BODY) + _DEFLATE.flush())),
    whole("O", "an encoding that is none", Reply(head("Content-Encoding: utf-8") + BODY)),
    *(
        told(
            "O",
            f"{name} that nobody can unpack",
            Reply(head(f"Content-Encoding: {name}") + body),
            says=("no valid answer",),
            never=("chat template",),
            requests=4,
        )
        for name, body in (("br", bytes(range(128, 256)) * 4), ("gzip", BODY))
    ),
    *(
        whole("O", f"the type {kind}", Reply(head(kind=kind) + BODY))
        for kind in (
            "text/plain",
            "application/octet-stream",
            "text/html",
            "application/json",
            "Text/Event-Stream;charset=GBK",
        )
    ),
    whole("O", "a head before the head", Reply(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + head() + BODY)),
    whole("O", "lines of the head without CR", Reply(head().replace(b"\r", b"") + BODY)),
    whole("O", "no reason phrase", Reply(head(status_line="HTTP/1.1 200") + BODY)),
    whole("O", "another good status", Reply(head(status_line="HTTP/1.1 246 Checked") + BODY)),
    whole(
        "O",
        "a long and a strange header",
        Reply(head("Set-Cookie: a=" + "x" * 20_000, "X_Under:", "X-Name: caf\xe9") + BODY),
    ),
    whole("O", "a length that is too long", Reply(head(f"Content-Length: {len(BODY) + 50}") + BODY)),
    told(
        "O",
        "a length that is too short",
        Reply(head("Content-Length: 50") + BODY),
        says=("rules of HTTP",),
        never=("(HTTP 400)",),
    ),
    whole(
        "O",
        "chunks with words of their own",
        Reply(head("Transfer-Encoding: Chunked") + b"%x;a=b\r\n%s\r\n0\r\nX-T: 1\r\n\r\n" % (len(BODY), BODY)),
    ),
    whole(
        "O", "chunks without an end", Reply(head("Transfer-Encoding: chunked") + b"%x\r\n%s\r\n" % (len(BODY), BODY))
    ),
    whole(
        "O",
        "a chunk that is cut, once",
        Reply(head("Transfer-Encoding: chunked") + b"%x\r\n%s" % (len(BODY), BODY[:600])),
        answer(),
    ),
    told(
        "O",
        "204",
        Reply(b"HTTP/1.1 204 No Content\r\n\r\n"),
        says=("no valid answer", "base URL"),
        never=("chat template",),
        requests=4,
    ),
    whole(
        "O",
        "events after the mark of the end",
        Reply(HEAD, BODY, *map(event, texts("more")), event({"error": {"code": 500}}), b"garbage"),
    ),
    *(
        whole("O", f"{name} the field of data", Reply(HEAD, *(BODY.replace(b"data: ", instead),)))
        for name, instead in (("a tab after", b"data:\t"), ("capitals for", b"DATA: "), ("a blank before", b" data: "))
    ),
)
