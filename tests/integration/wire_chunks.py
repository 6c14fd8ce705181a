"""How an answer ends, and chunks of a shape of their own: rows of wire_rows.py."""

from __future__ import annotations

import json
from typing import Any

from tests.support.raw_server import Reply
from tests.support.wire_shapes import (
    DONE,
    FULL,
    HALF,
    HEAD,
    WORDS,
    Row,
    answer,
    choice,
    chunk,
    event,
    stream,
    texts,
    told,
    whole,
)


def ended(name: str, word: str, *says: str, text: bool = True, **options: Any) -> Row:
    """Half an answer, or none, and then this finish reason."""
    first = stream(*texts(*(WORDS[:12] if text else ()), finish=word))
    return told("A", name, first, says=says, text=HALF if text else "", **options)


def routed(finish: str, own: str) -> dict[str, Any]:
    """The last chunk of a router, with the finish reason of the provider behind it."""
    return choice({"content": ""}, finish, native_finish_reason=own)


FINISH_REASONS = (
    ended("recitation in mid-answer", "RECITATION", "filter"),
    ended("refusal in mid-answer", "refusal", "filter"),
    ended("spii without text", "SPII", "filter", text=False),
    ended("refusal without text", "refusal", "filter", text=False),
    ended("blocklist", "BLOCKLIST", "filter"),
    ended("prohibited content", "PROHIBITED_CONTENT", "filter", text=False),
    ended("image safety", "IMAGE_SAFETY", "filter"),
    ended("guardrail intervened", "guardrail_intervened", "filter"),
    ended("another word for the limit", "MAX_OUTPUT_TOKENS", "limit"),
    ended("truncated", "truncated", "limit"),
    ended("a word that nobody knows", "OTHER", "may be missing"),
    ended("language", "LANGUAGE", "filter"),
    *(
        whole("A", f"good end {word}", stream(*texts(*WORDS, finish=word)))
        for word in ("eos", "end_turn", "STOP", "stop_sequence", "completed", "FINISH_REASON_STOP", "eos_token")
    ),
    *(
        whole(
            "A", f"a router's stop, and the provider's {own}", stream(*texts(*WORDS, finish=None), routed("stop", own))
        )
        for own in ("end_turn", "STOP", "something new")
    ),
    whole("A", "a router's stop, and the provider's failure once", stream(routed("stop", "network_error")), answer()),
    whole(
        "A",
        "the same after half an answer",
        stream(*texts(*WORDS[:12], finish=None), routed("stop", "network_error")),
        answer(),
    ),
    told(
        "A",
        "the same for ever",
        stream(routed("stop", "network_error")),
        says=("failed",),
        never=("chat template", "without writing"),
        requests=4,
    ),
    told("A", "a router's stop, and the provider's refusal", stream(routed("stop", "refusal")), says=("filter",)),
    told(
        "A",
        "a router's stop, and the provider's filter in mid-answer",
        stream(*texts(*WORDS[:12], finish=None), routed("stop", "content_filter")),
        says=("filter",),
        text=HALF,
    ),
    whole("A", "an object that says stop", stream(*texts(*WORDS, finish={"type": "stop", "matched": 151645}))),
    whole(
        "A",
        "an object that says abort, once",
        stream(*texts("w", finish={"type": "abort", "status_code": 503})),
        answer(),
    ),
    told(
        "A",
        "an object that says length",
        stream(*texts(*WORDS[:12], finish={"type": "length", "length": 12})),
        says=("limit",),
        text=HALF,
    ),
    *(
        whole("A", f"a call that its server cannot read: {word}", stream(choice({"content": ""}, word)), answer())
        for word in ("function_call_filter: MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")
    ),
    told(
        "A",
        "a call that its server can never read",
        stream(choice({"content": ""}, "function_call_filter: MALFORMED_FUNCTION_CALL")),
        says=("tool calls", "another model"),
        never=("filter refused", "damages"),
        requests=4,
    ),
)

_NO_ERRORS: list[Any] = [None, {}, False, "", []]
_ODD_USAGE: list[Any] = [None, {}, [], "x", {"prompt_tokens": "3"}]
CHUNKS = (
    whole(
        "B",
        "the index counts the tokens",
        stream(*(choice({"content": w}, index=n) for n, w in enumerate(WORDS)), choice({}, "stop", index=24)),
    ),
    whole(
        "B",
        "no index",
        stream(*(chunk({"delta": {"content": w}}) for w in WORDS), chunk({"delta": {}, "finish_reason": "stop"})),
    ),
    whole("B", "null index", stream(*texts(*WORDS, index=None))),
    whole(
        "B",
        "message in place of delta",
        stream(
            *(chunk({"index": 0, "message": {"role": "assistant", "content": w}}) for w in WORDS), choice({}, "stop")
        ),
    ),
    whole(
        "B",
        "a null delta beside message",
        stream(*(chunk({"index": 0, "delta": None, "message": {"content": w}}) for w in WORDS), choice({}, "stop")),
    ),
    whole("B", "text in place of delta", stream(*(chunk({"index": 0, "text": w}) for w in WORDS), choice({}, "stop"))),
    whole(
        "B",
        "a list of parts, thinking first",
        stream(
            choice(
                {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}
            ),
            choice({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}]}),
            *(choice({"content": [{"type": "text", "text": w}]}) for w in WORDS),
            choice({"content": []}, "stop"),
        ),
    ),
    whole("B", "a list of plain strings", stream(*(choice({"content": [w]}) for w in WORDS), choice({}, "stop"))),
    whole(
        "B",
        "thinking and text in one list, then strings",
        stream(
            choice({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": WORDS[0]}]}),
            *texts(*WORDS[1:]),
        ),
    ),
    whole(
        "B",
        "a content part as an object",
        stream(*(choice({"content": {"type": "text", "text": w}}) for w in WORDS), choice({}, "stop")),
    ),
    whole("B", "the last delta repeats the text", stream(*texts(*WORDS, FULL))),
    whole(
        "B",
        "the chunk with the finish reason repeats the text",
        stream(*texts(*WORDS, finish=None), choice({"content": FULL}, "stop")),
    ),
    whole(
        "B",
        "the last chunk has the whole message beside its delta",
        stream(*texts(*WORDS, finish=None), choice({}, "stop", message={"role": "assistant", "content": FULL})),
    ),
    whole(
        "B", "each delta holds all of the text so far", stream(*texts(*("".join(WORDS[: n + 1]) for n in range(24))))
    ),
    whole("B", "a text that says itself twice", stream(*texts("ha", "ha")), text="haha"),
    told(
        "B",
        "thoughts in tags and nothing behind",
        stream(*texts("<think>", "hm ", "so", "</think>")),
        says=("only thought",),
        requests=2,
    ),
    told(
        "B",
        "thoughts in tags that never end",
        stream(*texts("<think>\n", "hm ", "so")),
        says=("only thought",),
        requests=2,
    ),
    told(
        "B",
        "the end of thoughts and nothing behind",
        stream(*texts("hm ", "so", "</think>", "\n")),
        says=("only thought",),
        text="hm so</think>",
        requests=2,
    ),
    whole(
        "B",
        "choices as an object",
        stream(
            *({"choices": {"delta": {"content": w}}} for w in WORDS),
            choice({}, "stop"),
        ),
    ),
    *(
        told(
            "B",
            f"{name} answers",
            Reply(HEAD, *parts),
            says=("no valid answer", "OpenAI-compatible"),
            never=("chat template", "damages"),
            requests=4,
        )
        for name, parts in (
            ("Gemini's interface", [event({"candidates": [{"content": {"parts": [{"text": w}]}}]}) for w in WORDS]),
            (
                "Anthropic's interface",
                [
                    event({"type": "message_start", "message": {"role": "assistant", "content": []}}, "message_start"),
                    *(
                        event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": w}}, "delta")
                        for w in WORDS
                    ),
                    event(
                        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
                    ),
                ],
            ),
            ("Ollama's older interface", [json.dumps({"response": w, "done": False}).encode() + b"\n" for w in WORDS]),
            ("the interface of responses", [event({"type": "response.output_text.delta", "delta": w}) for w in WORDS]),
            ("Qianfan's first interface", [event({"result": w, "sentence_id": 1, "is_end": False}) for w in WORDS]),
        )
    ),
    whole("B", "a completion inside of data", stream(*({"code": 0, "data": one} for one in texts(*WORDS)))),
    whole("B", "lines of JSON without data", Reply(HEAD, *(json.dumps(one).encode() + b"\n" for one in texts(*WORDS)))),
    whole(
        "B",
        "usage without figures, and in a choice",
        stream(
            *texts(*WORDS, finish=None),
            choice({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": None}),
            chunk(usage={}),
        ),
    ),
    whole("B", "no mark of the end", stream(*texts(*WORDS), done=False)),
    whole(
        "B",
        "the words so far as a message beside each delta",
        stream(
            *(
                choice({"content": w}, "stop" if n == 23 else None, message={"content": "".join(WORDS[: n + 1])})
                for n, w in enumerate(WORDS)
            )
        ),
    ),
    whole(
        "B",
        "the last event is a whole completion",
        stream(*texts(*WORDS, finish=None), chunk({"message": {"content": FULL}, "finish_reason": "stop"})),
    ),
    whole(
        "B",
        "the only event is a whole completion",
        stream(chunk({"index": 0, "message": {"content": FULL, "tool_calls": []}, "finish_reason": "stop"})),
    ),
    whole(
        "B",
        "thoughts that each hold all so far, and fields of its own",
        stream(
            *(
                choice({"role": "", "name": "m", "audio_content": "", "reasoning_details": [{"text": "hm so"[:n]}]})
                for n in range(1, 6)
            ),
            *texts(*WORDS),
            chunk(input_sensitive=False, base_resp={"status_code": 0, "status_msg": ""}, usage={"total_tokens": 0}),
        ),
    ),
    whole(
        "B",
        "errors that are none",
        stream(*({**one, "error": error} for one, error in zip(texts(*WORDS), _NO_ERRORS * 5, strict=True))),
    ),
    whole(
        "B",
        "usage of odd kinds",
        stream(*({**one, "usage": u} for one, u in zip(texts(*WORDS), _ODD_USAGE * 5, strict=True))),
    ),
    whole(
        "B",
        "ids and times of odd kinds",
        stream(*({**one, "id": None, "created": "now", "model": None} for one in texts(*WORDS))),
    ),
    whole(
        "B",
        "empty events at the end",
        Reply(HEAD, *map(event, texts(*WORDS)), b'data: {"done":true}\n\ndata: {}\n\ndata: ""\n\ndata:\n\n', DONE),
    ),
    whole(
        "B",
        "line separators that are letters",
        stream(*texts("a\u2028b", "\x85c", "\u2029d")),
        text="a\u2028b\x85c\u2029d",
    ),
    whole(
        "B",
        "events with a name, an id and a time",
        Reply(
            HEAD, *(b"id: 1\nevent: chat.completion.chunk\nretry: 3000\n" + event(one) for one in texts(*WORDS)), DONE
        ),
    ),
    whole(
        "B",
        "JSON over several lines",
        Reply(
            HEAD,
            *(b"data: " + json.dumps(one, indent=1).encode() + b"\n\n" for one in texts(*WORDS[:12], finish=None)),
            *(
                b"data: " + json.dumps(one, indent=1).replace("\n", "\ndata: ").encode() + b"\n\n"
                for one in texts(*WORDS[12:])
            ),
            DONE,
        ),
    ),
    whole(
        "B",
        "the finish reason in the delta",
        stream(*texts(*WORDS, finish=None), chunk({"index": 0, "delta": {"finish_reason": "stop"}})),
    ),
)
