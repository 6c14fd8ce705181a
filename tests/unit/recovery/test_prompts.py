"""The user's words do not reach what is recorded about an error, however a server quotes them."""

from __future__ import annotations

import contextvars
import html
import json
from base64 import b64encode, encodebytes, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from backend.recovery.classify import Classifier
from backend.recovery.errors import UnexpectedBody
from backend.recovery.prompts import hold_prompt

PROMPT = "My sister's name is Ada Byron,\nborn in 1815; draw her at a desk with a brass engine"
CHINESE = "请画一张我女儿在杭州西湖边放风筝的照片"
TEMPLATE = "Conversation roles must alternate user/assistant"


def encoded(text: str) -> str:
    """As Base64."""
    return b64encode(text.encode()).decode()


def told(message: Any, *prompts: str) -> str:
    """The message of an error whose body says `message`, in a chat of these messages."""

    def judge() -> str:
        if prompts:
            hold_prompt(prompts)
        body = {"error": {"message": message}} if isinstance(message, str) else message["body"]
        return Classifier().classify(UnexpectedBody("h", "http://h/v1", body, status=400)).message

    return contextvars.copy_context().run(judge)


@pytest.mark.parametrize(
    ("quoted", "prompt"),
    [
        (PROMPT, PROMPT),
        (" ".join(PROMPT.split()), PROMPT),
        (json.dumps(PROMPT), PROMPT),
        (repr(PROMPT), PROMPT),
        (PROMPT[20:60], PROMPT),
        (CHINESE, CHINESE),
        (json.dumps(CHINESE), CHINESE),
        (CHINESE[2:9], CHINESE),
        ("a cat, red", "a cat, red"),
        ("猫在窗台上", "猫在窗台上"),
        (PROMPT.upper(), PROMPT),
        (quote(PROMPT), PROMPT),
        (quote_plus(PROMPT), PROMPT),
        (quote(quote(PROMPT)), PROMPT),
        (quote(CHINESE), CHINESE),
        (json.dumps(json.dumps(PROMPT)), PROMPT),
        (json.dumps(json.dumps(CHINESE)), CHINESE),
        (html.escape(html.escape(PROMPT)), PROMPT),
        ("".join(f"&#{ord(char)};" for char in PROMPT), PROMPT),
        (PROMPT.replace(" ", "  ~  "), PROMPT),
        (str(PROMPT.encode()), PROMPT),
        (quote("a cat, red"), "a cat, red"),
        (encoded(PROMPT), PROMPT),
        (encoded(CHINESE), CHINESE),
        (encoded("a cat, red"), "a cat, red"),
        (urlsafe_b64encode(f"ÿ?>{CHINESE}".encode()).decode(), CHINESE),
        (encoded(json.dumps([{"text": CHINESE}])), CHINESE),
        (encoded(quote(PROMPT)), PROMPT),
        (encoded(encoded(PROMPT)), PROMPT),
        (encodebytes(PROMPT.encode() * 2).decode(), PROMPT),
        (json.dumps(encodebytes(PROMPT.encode() * 2).decode()), PROMPT),
        (encoded("1" + PROMPT)[9:60], PROMPT),
        (encoded(CHINESE)[5:40], CHINESE),
        (PROMPT.encode().hex(), PROMPT),
        (CHINESE.encode().hex().upper(), CHINESE),
        ("0x" + PROMPT.encode().hex()[7:80], PROMPT),
        (encoded(PROMPT.encode().hex()), PROMPT),
    ],
)
def test_what_the_user_wrote_is_blanked(quoted: str, prompt: str) -> None:
    """Whole or in part, with its line breaks or without, escaped or not: the rest of the message stays."""
    message = told(f"Invalid content: {quoted} - {TEMPLATE}", "hello", prompt, "and another message")

    assert message.startswith("Invalid content:")
    assert message.endswith(TEMPLATE)
    assert "[prompt]" in message
    for piece in ("sister", "Byron", "1815", "engine", "西湖", "女儿", "a cat", "猫", "u5973"):
        assert piece.lower() not in message.lower()
        assert not {part for part in (encoded(piece)[:6], piece.encode().hex()) if part in message}


def test_a_message_that_quotes_nothing_stays() -> None:
    """Common words, the model's name and addresses are not taken for the prompt."""
    text = "The model `qwen3` does not support images; see https://example.com/docs"

    assert text == told(text, PROMPT, "Does the model support it?", "qwen3")


@pytest.mark.parametrize(
    "text",
    [
        f"request_id={encoded('another thing that nobody of this chat has said')}",
        f"trace {b'the sister of somebody else'.hex()}",
        "thumbprint 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 is unknown",
        "model Qwen2-5-Coder-32B-Instruct-GGUF/q4_k_m is not loaded at /v1/chat/completions",
        "a" * 500,
        "0" * 500,
    ],
)
def test_what_is_encoded_and_not_the_user_s_stays(text: str) -> None:
    """Names, sums and identifiers look like Base64 and hex, and say something else."""
    assert text == told(text, PROMPT, CHINESE, "a cat, red")


def test_what_is_known_ends_with_the_chat() -> None:
    """Another chat, whose user wrote something else, reads the server's words in full."""
    assert "[prompt]" in told(f"bad: {PROMPT}", PROMPT)
    assert "sister" in told(f"bad: {PROMPT}", "something else")
    assert "sister" in told(f"bad: {PROMPT}")


@pytest.mark.parametrize(
    "body",
    [
        "Bad request: " + json.dumps({"messages": [{"role": "user", "content": "THE PROMPT"}]}),
        "Bad request: " + repr({"messages": [{"role": "user", "content": "THE PROMPT"}]}),
        {"error": {"message": "Bad request: " + json.dumps({"model": "m", "input": "THE PROMPT"})}},
        {"error": {"message": "Bad request: " + json.dumps(json.dumps({"contents": ["THE PROMPT"]}))}},
    ],
)
def test_a_request_that_is_sent_back_is_cut_off(body: Any) -> None:
    """What stands before the echoed request is the server's own and stays; nothing need be known of the chat."""
    assert "Bad request" == told({"body": body})


def test_a_plain_text_is_kept_only_in_its_beginning() -> None:
    """A page of text may hold anything; its first words tell what it is."""
    assert "upstream connect error or disconnect/reset before headers" == told(
        {"body": "upstream connect error or disconnect/reset before headers"}
    )
    assert 80 >= len(told({"body": "why " * 100}))


def test_words_in_quotes_before_a_colon_are_no_request() -> None:
    """OpenAI names the field at fault like this."""
    text = "Invalid value for 'content': expected a string, got null."

    assert text == told(text)


def test_a_long_prompt_is_still_quick() -> None:
    """A pasted workflow of a megabyte is looked at in part; its end is its newest and counts."""
    long = "lorem ipsum dolor sit amet " * 40_000

    assert "[prompt]" in told(f"bad: {PROMPT}", long, PROMPT)
