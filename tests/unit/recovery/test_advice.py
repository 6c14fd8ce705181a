"""What the user reads: every kind, in both languages, with what is needed to act on it."""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import re
import string
from typing import Any

import pytest

from backend.recovery import addresses, advice_en, advice_zh
from backend.recovery.advice import explain, language_of
from backend.recovery.classify import Classification, Classifier
from backend.recovery.errors import CircuitOpen, ContentFiltered, HtmlBody, UnexpectedBody
from backend.recovery.kinds import KINDS, Severity

KEY = "sk-proj-THEUSERSOWNSECRET0123456789"
LOCAL = "127.0.0.1:1234"
REMOTE = "api.deepseek.com"


def cause(kind: str, **more: Any) -> Classification:
    """A classification of a kind as the table has it."""
    spec = KINDS[kind]
    base = Classification(spec.severity, kind, spec.retryable, "openai.APIStatusError", "", spoken=True)
    return base._replace(**more)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_a_paragraph(kind: str, language: str) -> None:
    """One line, no empty brackets, no unfilled field, with or without facts."""
    for host, model, base, where in (
        (LOCAL, "qwen3:8b", f"http://{LOCAL}/v1", None),
        (REMOTE, "deepseek-chat", f"https://{REMOTE}", "workflow"),
        (None, None, None, "chat"),
        ("", "", "not a url", "the node's own field"),
    ):
        text = explain(
            cause(kind, message="some words", status=404, retry_after=7.0),
            host=host, model=model, base_url=base, attempts=4, waited=9.6, language=language, where_set=where, partial=True,
        )  # fmt: skip

        assert 5 < len(text) < 1000
        assert not re.search(r"[{}\n]|\(\)|（）|  | [,.;:)]|\bNone\b|\.\.(?!\.)|。。", text), text


def test_both_languages_have_the_same_kinds_and_fields() -> None:
    """A new kind or phrase is written in both, with the same fields, or the tests fail."""

    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name} - {
            "Server",
            "server",
            "Model",
            "model",
        }

    assert set(KINDS) == set(advice_en.TEXTS) == set(advice_zh.TEXTS)
    assert set(advice_en.PHRASES) == set(advice_zh.PHRASES)
    assert [] == [k for k in KINDS if fields("".join(advice_en.TEXTS[k])) != fields("".join(advice_zh.TEXTS[k]))]
    assert [] == [k for k in advice_en.PHRASES if fields(advice_en.PHRASES[k]) != fields(advice_zh.PHRASES[k])]


def test_each_kind_has_its_own_advice() -> None:
    """No two kinds tell the same story."""
    for texts in (advice_en.TEXTS, advice_zh.TEXTS):
        assert len(texts) == len({what for what, _ in texts.values()})


def test_paragraph_says_what_where_tried_and_what_to_do() -> None:
    """The whole sentence, once, as the user reads it."""
    text = explain(
        cause("server_error", status=502, message="Bad Gateway"),
        host=REMOTE, model="deepseek-chat", attempts=4, waited=12.4, partial=True,
    )  # fmt: skip

    assert (
        'The answer above is incomplete. api.deepseek.com failed (HTTP 502). The server says: "Bad Gateway" Tried 4 times, '
        "with 12 s of waiting. The model asked was deepseek-chat. The fault is at the server. Send the message again in a while, or choose another model in "
        "the chat's model list."
    ) == text


def test_the_same_in_chinese() -> None:
    """Full-width punctuation, no stray blanks."""
    text = explain(
        cause("server_error", status=502, message="Bad Gateway"),
        host=REMOTE, model="deepseek-chat", attempts=4, waited=12.4, language="zh-CN,zh;q=0.9", partial=True,
    )  # fmt: skip

    assert (
        "上面的回答不完整。api.deepseek.com 出错（HTTP 502）。服务端的原话：“Bad Gateway”已尝试 4 次，共等待 12 秒。"
        "所用模型：deepseek-chat。问题出在服务端。请稍后重新发送，或换一个模型（在对话的模型列表中）。"
    ) == text


ADVICE: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("auth", {"status": 401}, {"host": REMOTE}, ["api.deepseek.com refused the API key (HTTP 401)", "Copilot's API settings"]),
    ("forbidden", {"status": 403}, {"host": REMOTE, "model": "m1"}, ["(HTTP 403)", "right to use m1"]),
    ("model_not_found", {"status": 404}, {"host": REMOTE, "model": "us.anthropic.claude"},
     ['does not have a model named "us.anthropic.claude"', "chat's model list", "WORKFLOW_LLM_MODEL"]),
    ("model_not_found", {}, {"model": "m1", "where_set": "workflow"}, ["It was set in Copilot's workflow LLM setting"]),
    ("model_not_found", {}, {"model": "m1", "where_set": "chat"}, ["It was set in the chat's model list"]),
    ("model_not_found", {}, {"model": "qwen3", "host": "localhost:11434"}, ['"ollama pull qwen3"']),
    ("model_not_found", {}, {"model": "qwen3", "host": LOCAL}, ["In LM Studio, load the model first"]),
    ("model_not_found", {}, {}, ["The model server does not have the chosen model."]),
    ("context_too_long", {}, {"host": LOCAL, "model": "m1"}, ["longer than m1 at 127.0.0.1:1234 can read", "OLLAMA_CONTEXT_LENGTH"]),
    ("context_too_long", {}, {"host": REMOTE, "model": "m1"}, ["Start a new conversation"]),
    ("connection_refused", {}, {"host": LOCAL, "base_url": f"http://{LOCAL}/v1"},
     ["Nothing answers at 127.0.0.1:1234", "Is the local server running?", "1234", "11434", "host.docker.internal"]),
    ("connection_refused", {}, {"host": "10.1.2.3:8000"}, ["Is the local server running?"]),
    ("connection_refused", {}, {"host": "api.example.org"}, ["a firewall in between"]),
    ("missing_v1", {"url": f"http://{LOCAL}/chat/completions"}, {"host": LOCAL, "base_url": f"http://{LOCAL}/"},
     [f"http://{LOCAL}/chat/completions does not exist", f"to http://{LOCAL}/v1 and"]),
    ("missing_v1", {"url": f"http://{LOCAL}/chat/completions"}, {}, [f"to http://{LOCAL}/v1 and"]),
    ("missing_v1", {}, {"base_url": "https://openrouter.ai"}, ["to https://openrouter.ai/api/v1 and"]),
    ("missing_v1", {}, {"base_url": "http://localhost:11434/api"}, ["to http://localhost:11434/v1 and"]),
    ("html_body", {"redirected_to": "https://accounts.google.com/signin"},
     {"host": "aistudio.google.com", "base_url": "https://aistudio.google.com"},
     ["web page", "(the request was led to accounts.google.com, probably to log in)", "(https://aistudio.google.com)",
      "https://generativelanguage.googleapis.com/v1beta/openai"]),
    ("bad_url", {}, {"base_url": "my server"}, ["(my server) is no usable address", "http:// or https://"]),
    ("bad_url", {}, {"base_url": "https://api.x.ai/v1/chat/completions"}, ["https://api.x.ai/v1."]),
    ("dns", {}, {"base_url": "http://"}, ["is no usable address"]),
    ("dns", {}, {"base_url": "https://api.opnai.com/v1"}, ["The host name api.opnai.com was not found", "spelling"]),
    ("tls", {}, {"base_url": f"https://{LOCAL}/v1"}, ["http:// instead of https://", f"http://{LOCAL}/v1"]),
    ("tls", {"status": 400}, {"base_url": "http://x.org/v1"}, ["https:// instead of http://", "https://x.org/v1"]),
    ("rate_limited", {"status": 429, "retry_after": 17.0}, {}, ["rate limit is reached (HTTP 429)", "again in 17 s"]),
    ("rate_limited", {"retry_after": 360.0}, {}, ["again in 6 min"]),
    ("rate_limited", {"retry_after": 80_000.0}, {}, ["again in 22 h"]),
    ("rate_limited", {}, {}, ["Wait a minute"]),
    ("quota", {"status": 402}, {"host": REMOTE}, ["credit or quota", "Asking again does not help"]),
    ("no_tools", {}, {"model": "gemma:2b", "host": LOCAL}, ["gemma:2b at 127.0.0.1:1234 cannot call tools", "qwen3", "--jinja"]),
    ("stalled", {}, {"model": "m1", "host": LOCAL}, ["may still be loading", "first_token_timeout"]),
    ("stalled", {}, {"model": "m1", "host": REMOTE}, ["state at the provider"]),
    ("circuit_open", {"retry_after": 12.6}, {"host": REMOTE}, ["left alone for a while", "tried again in 13 s", "panel"]),
    ("reasoning_only", {}, {"model": "r1"}, ["r1 only thought", "turn its thinking off"]),
    ("truncated", {}, {"model": "m1", "partial": True}, ["without saying that it was finished"]),
    ("overloaded", {"status": 503}, {"model": "m1"}, ["is overloaded (HTTP 503)"]),
    ("loading", {"status": 503}, {"model": "m1", "host": LOCAL}, ["still loading m1 (HTTP 503)", "own window or log"]),
    ("rate_limited", {"retry_after": 529_498.0}, {"host": REMOTE}, ["in 6 days"]),
    ("rate_limited", {"until": "2026-08-25 07:41"}, {"host": REMOTE}, ["names 2026-08-25 07:41 as the end of the limit"]),
    ("quota", {"until": "2026-09-01", "retry_after": 604_800.0}, {"host": REMOTE}, ["possible again in 7 days"]),
    ("quota", {}, {"host": REMOTE}, ["Asking again does not help"]),
    ("region", {"status": 400}, {"host": REMOTE}, ["does not serve the country or region"]),
    ("protected", {"status": 403}, {"host": REMOTE}, ["protection page answered", "key is not the reason"]),
    ("redirected", {"status": 401, "redirected_to": "https://b.example/v1/chat/completions"}, {"host": REMOTE},
     ["b.example, another server", "set the base URL in Copilot's API settings to https://b.example/v1"]),
    ("server_error", {"status": 500, "redirected_to": "https://b.example/v1"}, {"host": REMOTE}, ["led on to b.example"]),
    ("no_images", {"status": 400}, {"host": LOCAL, "model": "m1"}, ["m1 at", "takes no images", "--mmproj"]),
    ("server_memory", {"status": 500}, {"host": LOCAL, "model": "m1"}, ["too little memory for m1", "unloaded there"]),
    ("crashed", {"status": 400}, {"host": LOCAL, "model": "m1"}, ["m1 crashed in", "loads it anew"]),
    ("not_activated", {"status": 404}, {"host": REMOTE, "model": "m1"}, ["has m1, but the account has not activated it"]),
    ("unparsed_tools", {}, {"host": LOCAL, "model": "m1"}, ["plain text", "--enable-auto-tool-choice", "--jinja"]),
    ("stopped_early", {"message": "finish reason XYZ"}, {"model": "m1"}, ["unusual way", "XYZ"]),
    ("bad_http", {}, {"host": LOCAL}, ["breaks the rules of HTTP"]),
    ("bad_request", {"message": "Unsupported parameter: 'x'", "spoken": True}, {"host": REMOTE}, ["does not know an option"]),
    ("bad_request", {"message": "no such role", "spoken": True}, {"host": REMOTE}, ['"no such role"', "tell what it dislikes"]),
    ("malformed", {"type": "json.JSONDecodeError"}, {"host": REMOTE, "base_url": "https://a.example/v1"}, ["damages its answers"]),
    ("memory", {}, {}, ["out of memory", "unload models"]),
    ("unknown", {"type": "foo.BarError", "message": "odd"}, {"model": "m1"}, ["(BarError)", 'Details: "odd"']),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "facts", "about", "expected"), ADVICE, ids=[f"{i}-{a[0]}" for i, a in enumerate(ADVICE)]
)
def test_advice(kind: str, facts: dict[str, Any], about: dict[str, Any], expected: list[str]) -> None:
    """What a user needs to act on each kind of failure."""
    text = explain(cause(kind, **facts), **about)

    assert [] == [part for part in expected if part not in text], text
    assert not ("The answer above" in text and kind == "truncated")


def test_attempts_and_waits_are_told_if_there_were_any() -> None:
    """One attempt is no news; no wait is none either."""
    assert "Tried" not in explain(cause("connection"), attempts=1)
    assert "Tried 2 times." in explain(cause("connection"), attempts=2, waited=0.1)
    assert "Tried 4 times, with 2 min of waiting." in explain(cause("connection"), attempts=4, waited=121)


def test_no_secret_is_ever_told() -> None:
    """Keys in addresses, names and the server's words."""
    for language in ("en", "zh"):
        for kind in KINDS:
            text = explain(
                cause(kind, message=f"bad key {KEY}", url="http://x/y"), host="x.org", model=f"m {KEY}",
                base_url=f"https://user:{KEY}@x.org/v1?key={KEY}", language=language, where_set=f"token={KEY}",
            )  # fmt: skip

            assert "SECRET" not in text


def test_braces_in_foreign_text_are_harmless() -> None:
    """A model's name or a server's words are no format strings."""
    text = explain(cause("bad_request", message="{0} {model} {"), model="{x!r}", host="{y}", where_set="{z}")

    assert "{x!r}" in text
    assert '"{0} {model} {"' in text


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("'NoneType' object is not iterable", "\"'NoneType' object is not iterable\""),
        ('Your input was flagged for "hate"', "\"Your input was flagged for 'hate'\""),
        ('"Invalid token"', '"Invalid token"'),
        ("“模型不存在”", '"模型不存在"'),
        ("'a' is not 'b'", "\"'a' is not 'b'\""),
    ],
)
def test_quotation_marks_stay_in_pairs(message: str, shown: str) -> None:
    """A pair around the whole goes, one that belongs to the words stays, and none ends the quotation early."""
    assert f"The server says: {shown} " in explain(cause("bad_request", message=message))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_only_the_servers_words_are_quoted_as_such(language: str) -> None:
    """A sentence of ours is no quotation, and without one nothing refers to it."""
    said, own = ("The server says", "Its own words") if language == "en" else ("服务端的原话：", "原因见上面")
    judge = Classifier().classify
    bodies = ({"error": {"message": "temperature: bad"}}, {"foo": 1})
    with_words, without = (
        explain(judge(UnexpectedBody("h", "http://h/v1", body, status=400)), language=language) for body in bodies
    )

    assert said in with_words
    assert own in with_words
    assert said not in without
    assert own not in without
    assert said not in explain(judge(ContentFiltered()), language=language)


def test_an_absurd_wait_is_told_in_words() -> None:
    """Somebody sends a date as seconds: nobody counts in hours until then."""
    say = {seconds: explain(cause("rate_limited", retry_after=seconds)) for seconds in (2 * 86_400.0, 2.3e9)}

    assert "again in 2 days." in say[2 * 86_400.0]
    assert "again in more than a month." in say[2.3e9]
    assert "请在一个多月后重新发送" in explain(cause("rate_limited", retry_after=2.3e9), language="zh")


def test_chinese_keeps_its_distance_from_names() -> None:
    """A blank between Chinese and Latin letters, none at Chinese punctuation, and the server's words as they are."""
    text = explain(
        cause("bad_request", status=400, message="模型x不支持"), host=LOCAL, model="m1", language="zh", attempts=2
    )

    assert text.startswith("127.0.0.1:1234 拒绝了对模型 m1 的请求（HTTP 400）。")
    assert "“模型x不支持”" in text
    assert not re.search(r"[\u4e00-\u9fff][A-Za-z0-9]|[，。：；）] ", text.replace("模型x不", ""))


def test_long_words_of_a_server_are_cut() -> None:
    """A paragraph stays one."""
    text = explain(cause("bad_request", message="x" * 500))

    assert "x" * 239 + "…" in text
    assert "x" * 240 not in text


def test_unknown_kind_of_a_plugin_is_explained_too() -> None:
    """A rule may bring a kind of its own."""
    own = Classification(Severity.HIGH, "of-a-plugin", False, "x.OwnError", "the moon is full")

    assert 'OwnError). Details: "the moon is full"' in explain(own)


@pytest.mark.parametrize(
    ("header", "language"),
    [("zh", "zh"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("zh_TW", "zh"), ("cn", "zh"), ("en-US", "en"), ("de", "en"), ("", "en"),
     (None, "en"), ("en,zh", "en")],
)  # fmt: skip
def test_language(header: str | None, language: str) -> None:
    """All that is not Chinese reads English; the first language decides."""
    assert language == language_of(header)


def test_classification_to_advice_end_to_end() -> None:
    """From the error to the sentence, for those whose facts travel in the classification."""
    judge = Classifier().classify
    anyway = {"error": "Unexpected endpoint or method. (POST /chat/completions). Returning 200 anyway"}
    url = f"http://{LOCAL}/chat/completions"

    assert f"to http://{LOCAL}/v1 and" in explain(
        judge(UnexpectedBody(LOCAL, url, anyway, status=200)), base_url=f"http://{LOCAL}"
    )
    assert "tried again in 9 s" in explain(judge(CircuitOpen("llm:x", 9.0)))
    assert "led to login.example" in explain(
        judge(HtmlBody("x.org", "https://x.org/v1/chat/completions", "https://login.example/sso?token=1"))
    )


# --- addresses ---


@pytest.mark.parametrize(
    ("base", "right"),
    [("http://localhost:1234", "http://localhost:1234/v1"), ("http://localhost:1234/", "http://localhost:1234/v1"),
     ("http://h/v1", "http://h/v1"), ("http://h/chat/completions", "http://h/v1"), ("https://www.siliconflow.cn", "https://api.siliconflow.cn/v1"),
     ("https://chat.deepseek.com", "https://api.deepseek.com/v1"), ("https://open.bigmodel.cn", "https://open.bigmodel.cn/api/paas/v4"),
     ("https://bailian.console.aliyun.com", "https://dashscope.aliyuncs.com/compatible-mode/v1"), (None, "https://api.openai.com/v1")],
)  # fmt: skip
def test_right_base_url(base: str | None, right: str) -> None:
    """A website becomes its provider's base URL, a bare server gets its version."""
    assert right == addresses.with_version(base)


@pytest.mark.parametrize(
    ("url", "clean"),
    [(f"https://u:{KEY}@h.org/v1?key={KEY}#x", "https://h.org/v1"), ("h.org/v1", "h.org/v1"), (f"{KEY}@h.org", "h.org"),
     ("", ""), (None, ""), ("http://[::1/v1", "http://[::1/v1")],
)  # fmt: skip
def test_clean_url(url: str | None, clean: str) -> None:
    """Credentials, query and fragment go, whatever the rest looks like."""
    assert clean == addresses.clean_url(url)
    assert isinstance(addresses.host_of(url), str)
