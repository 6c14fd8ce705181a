"""No secret gets through, ordinary text does, and no text makes it slow."""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

import contextvars
import json
import string
from base64 import b64encode
from typing import Any, cast
from urllib.parse import quote, unquote

import pytest

from backend.error_handling import RecoveryManager
from backend.recovery import advice_en, advice_zh
from backend.recovery.advice import explain
from backend.recovery.classify import Classifier
from backend.recovery.redact import _PLACEHOLDERS, MARK, Redactor, redact, redact_value, secret_name
from tests.support.clock import FakeClock

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

ALNUM = string.ascii_letters + string.digits


def token(low: int = 20, high: int = 60, extra: str = "") -> st.SearchStrategy[str]:
    """Random characters of which at least one is a digit, as every generator of keys makes them."""
    return st.text(ALNUM + extra, min_size=low, max_size=high).map(lambda t: f"{t[:5]}7{t[5:]}x")


words = st.lists(
    st.sampled_from(["the", "model answered", "with an error,", "please try again.", "模型", "出错\n"]),
    max_size=8,
)
prose = words.map(" ".join)

keys = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["sk-", "sk-proj-", "sk-ant-api03-", "sk-or-v1-", "sk_live_", "rk-"]), token(extra="-_")),
    st.builds("{}{}".format, st.sampled_from(["gsk_", "hf_", "ghp_", "github_pat_", "r8_", "xai-", "nvapi-", "pplx-", "xoxb-"]), token()),
    st.builds("AIza{}".format, token(extra="-_")),
    st.builds("AKIA{}".format, st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16)),
    st.builds("eyJ{}.{}.{}".format, token(extra="-_"), token(extra="-_"), token(extra="-_")),
    st.builds("{}.{}".format, st.text("0123456789abcdef", min_size=32, max_size=32), st.text(ALNUM, min_size=16, max_size=16)),
)  # fmt: skip


@given(prose, keys, prose)
def test_key_is_known_by_its_looks(before: str, key: str, after: str) -> None:
    """A key anywhere in a sentence is gone, whichever provider made it."""
    assert key not in redact(f"{before} {key} {after}")
    assert key not in redact(f"{before}\nkey={key}, {after}")


header_names = st.sampled_from(["Authorization", "authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"])
field_names = st.sampled_from(
    ["api_key", "api-key", "API Key", "apiKey", "openaiApiKey", "OPENAI_API_KEY", "x-api-key", "Workflow-LLM-Api-Key",
     "access_token", "accessToken", "refresh_token", "client_secret", "password", "passwd", "secret", "token", "credential"]
)  # fmt: skip
plain_secrets = st.text(ALNUM + "-_.~+/=!$%^", min_size=8, max_size=40).map(lambda t: f"Zq{t}9Zq")


@given(
    header_names,
    st.sampled_from(["Bearer ", "Basic ", "", "session="]),
    plain_secrets,
    st.sampled_from(["\n", "\r\n"]),
)
def test_header_dump(name: str, scheme: str, secret: str, end: str) -> None:
    """A dump of headers, one a line, keeps its names and loses the values."""
    dump = f"POST /v1 HTTP/1.1{end}{name}: {scheme}{secret}; path=/; b={secret}{end}Host: example.org{end}"
    cleaned = redact(dump)

    assert secret not in cleaned
    assert name in cleaned
    assert "Host: example.org" in cleaned


@given(field_names, plain_secrets)
def test_field_in_json_repr_query_and_raw_headers(name: str, secret: str) -> None:
    """The same field in every notation that a log uses."""
    shapes = [
        json.dumps({name: secret, "model": "m"}),
        json.dumps({"body": json.dumps({name: secret})}),
        repr({name: secret}),
        repr((name.encode(), secret.encode())),
        f"{name}={secret}",
        f"{name}: {secret}",
        f"{name} = '{secret}'",
        f"https://example.org/v1?{name.replace(' ', '_')}={quote(secret)}&model=m",
    ]

    assert [] == [shape for shape in shapes if secret in redact(shape) or quote(secret) in redact(shape)]


@given(st.text(min_size=1, max_size=40), field_names)
def test_any_json_string_under_a_telling_name(secret: str, name: str) -> None:
    """Whatever characters a secret has, escaped quotes too: nothing of it stays in the JSON text."""
    secret = f"<<{secret}>>"
    for ascii_only in (True, False):
        text = json.dumps({"a": 1, name: secret, "z": 2}, ensure_ascii=ascii_only)
        written = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]

        assert written not in redact(text)
        assert MARK in redact(text)


@given(st.sampled_from(["http", "https", "socks5", "postgres"]), token(3, 12), token(3, 30, "!@$%-"), prose)
def test_url_with_credentials(scheme: str, user: str, password: str, after: str) -> None:
    """Name and password of an address are gone; the host stays."""
    cleaned = redact(f"proxy {scheme}://{user}:{password}@proxy.example:8080/path {after}")

    assert password not in cleaned
    assert user not in cleaned
    assert "proxy.example:8080/path" in cleaned


@given(plain_secrets, st.sampled_from(["Bearer", "bearer", "BEARER"]))
def test_bearer_token_anywhere(secret: str, scheme: str) -> None:
    """Also outside a header."""
    token_like = "".join(c for c in secret if c in ALNUM + "-_.~+/=")

    assert token_like not in redact(f"sent {scheme} {token_like} to the server")


def test_basic_credentials_and_private_keys() -> None:
    """Base64 and PEM blocks, finished or cut off."""
    basic = b64encode(b"user:correct horse battery").decode()
    pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"

    assert basic not in redact(f"curl -H 'Basic {basic}'")
    assert f"key {MARK} end" == redact(f"key {pem} end")
    assert "MIIEow" not in redact(pem[:45])


@given(st.text(max_size=300))
def test_any_text_is_safe_and_redacting_twice_changes_nothing(text: str) -> None:
    """It never raises, and what is clean stays as it is."""
    once = redact(text)

    assert once == redact(once)


pieces = st.sampled_from(
    ["api_key", "token", "Authorization", "Cookie", "Bearer ", "=", ": ", ":", '"', "'", "\\", "\\\"", "sk-abc", "1234567890",
     "://", "@", "[redacted]", "\n", " ", ",", "(", "b'", "{", "password", "?key=", "eyJabcdefgh1.", "xoxb-", "-----BEGIN PRIVATE KEY-----"]
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(pieces, max_size=25).map("".join))
def test_redacting_twice_changes_nothing_also_for_nasty_text(text: str) -> None:
    """The same for text made of the very pieces that the patterns look for."""
    once = redact(text)

    assert once == redact(once)


ORDINARY = [
    "Bearer tokens are described in the basic authentication chapter.",
    "The risk-adjusted return of desk-based task-forces; scikit-learn, sk-learn-based and flask-restful.",
    "max_tokens: 4096, completion_tokens=12, total tokens: 5",
    '{"first_token": 0.52, "tokens": 17, "token": 3, "tokens_per_second": 41.5, "max_tokens": 400}',
    "API key: set it in Copilot's settings. The token: it is missing. Password reset is done by mail.",
    "Send the message again in 20 s (HTTP 429), or choose another model in the chat's model list.",
    "http://127.0.0.1:1234/v1/chat/completions at user@example.org",
    "模型 qwen3:8b（127.0.0.1:11434）没有及时响应，API 密钥：请检查。",
    "w0000 w0001 w0002 def f(key: str) -> None: cookie jar, secretary, tokenizer.json, passport: Germany",
    "Error code: 404 - model `llama-3.1-8b-instruct-q4_k_m` not found",
    "basic understanding, author: Jane, keyboard=us, monkey=1",
    "commit 5f3c2a1b9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a, uuid 123e4567-e89b-12d3-a456-426614174000",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    """Prose, counters, addresses and our own sentences are left alone."""
    assert text == redact(text)


def test_every_advice_survives_redaction() -> None:
    """No sentence that we write ourselves is taken for a secret."""
    for texts in (advice_en, advice_zh):
        every = [*texts.PHRASES.values(), *(part for pair in texts.TEXTS.values() for part in pair)]

        assert every == [redact(text) for text in every]


HOSTILE = [
    "a" * 200_000, "sk-" * 60_000, "://" * 60_000, "a:b@" * 50_000, "authorization" * 15_000, "api_key=" * 25_000,
    "api_key" + " " * 200_000, "api_key: \\" + "\\" * 200_000, '"token": "' * 20_000, "eyJ" * 60_000, "eyJabcdefgh." * 15_000,
    "-----BEGIN PRIVATE KEY-----" * 7_000, "Bearer " * 28_000, "b'" * 100_000, "0123456789abcdef" * 12_000, "?key=" * 40_000,
    "cookie:" * 28_000, ("cookie:" + " " * 9) * 12_000, "x-api-key\\\\\"" * 16_000, "xoxb-" * 40_000, "sk-." * 50_000, "\n" * 200_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=[t[:16].strip() or "spaces" for t in HOSTILE])
def test_time_grows_with_the_length_only(text: str) -> None:
    """Half a megabyte of what a pattern begins with; a quadratic one would run into the suite's time limit."""
    text *= 500_000 // len(text) + 1

    assert isinstance(redact(text), str)


class Unprintable:
    """An object whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_values() -> None:
    """Telling names hide what they hold, at any depth; numbers, names and order stay."""
    value = {
        "model": "m", "apiKey": "abc", "max_tokens": 5, "first_token": 0.5, "token": 3, "password": 12.5, "secret": None,
        "headers": [("Authorization", "Bearer x"), (b"cookie", b"a=b"), ("Host", "h")],
        "nested": {"client_secret": {"a": ["b"]}, "text": "key sk-abcdefgh12345678"}, "raw": b"token=abc1",
        "empty": {"api_key": ""}, "other": Unprintable(), ("a", 1): {1, 2},
    }  # fmt: skip

    assert {
        "model": "m", "apiKey": MARK, "max_tokens": 5, "first_token": 0.5, "token": 3, "password": 12.5, "secret": None,
        "headers": [("Authorization", MARK), (b"cookie", MARK), ("Host", "h")],
        "nested": {"client_secret": MARK, "text": f"key {MARK}"}, "raw": f"token={MARK}",
        "empty": {"api_key": ""}, "other": "<Unprintable>", ("a", 1): [1, 2],
    } == redact_value(value)  # fmt: skip


def test_values_are_copied_and_cycles_end() -> None:
    """The original is not touched; a structure that holds itself is cut."""
    loop: dict[str, Any] = {"api_key": "abcdefgh"}
    loop["self"] = loop
    cleaned = redact_value(loop)

    assert "abcdefgh" == loop["api_key"]
    assert MARK == cleaned["self"]["self"]["api_key"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_redacted_values_are_stable_and_stay_json(value: Any) -> None:
    """Any JSON in, JSON out, and a second pass changes nothing."""
    once = redact_value(value)
    json.dumps(once)

    assert once == redact_value(once)


def test_secret_names() -> None:
    """Names of headers, fields and variables, in any spelling; names of counters are none."""
    yes = [
        "Openai-Api-Key",
        "api_key",
        "apiKey",
        "OPENAI_API_KEY",
        "authorization",
        "Cookie",
        "accessToken",
        "password",
    ]
    no = ["max_tokens", "tokens", "model", "key", "monkey", "tokenizer", "author", "session_id", "chat_id"]

    assert (yes, []) == ([n for n in yes if secret_name(n)], [n for n in no if secret_name(n)])


# --- secrets that are known by value ---


@given(
    st.text(min_size=8, max_size=60).filter(
        lambda t: len(t.strip()) >= 8 and t.strip().lower() not in _PLACEHOLDERS and "://" not in t and MARK not in t
    ),
    prose,
    st.data(),
)
def test_known_secret_and_its_prefixes_are_gone(secret: str, around: str, data: st.DataObject) -> None:
    """Any value, also cut to twelve characters as Copilot's log cuts it, or percent-encoded."""
    secret = secret.strip()
    redactor = Redactor()
    redactor.add(secret)
    length = data.draw(st.integers(8, len(secret)))
    cleaned = redactor.redact(f"{around}|{secret}|{secret[:length]}...|{quote(secret, safe='')}|")

    assert secret not in cleaned.replace(MARK, "\0")
    assert secret[:length] not in cleaned.replace(MARK, "\0") or secret[:length] in around


def test_key_with_a_known_beginning_does_not_leave_its_tail() -> None:
    """Two keys that begin alike: each is taken out whole."""
    redactor = Redactor()
    redactor.add("sk-proj-aaaabbbbcccc")
    redactor.add("Bearer sk-proj-aaaaddddeeee")

    text = "a sk-proj-aaaabbbbcccc b sk-proj-aaaaddddeeee c sk-proj-zzzzyyyy d sk-proj-aaaabb... e"

    assert f"a {MARK} b {MARK} c {MARK} d {MARK}... e" == redactor.redact(text)


def test_placeholders_and_scraps_are_no_secrets() -> None:
    """What people type where a local server wants no key would otherwise be cut out of every sentence."""
    redactor = Redactor()
    for value in ("lm-studio", "ollama", "EMPTY", "none", "x", "", "   ", None, 5, MARK):
        redactor.add(value)

    assert "Start lm-studio, ollama; EMPTY x 5" == redactor.redact("Start lm-studio, ollama; EMPTY x 5")


def test_keys_of_headers_and_of_the_environment_are_learnt() -> None:
    """By the names under which they come, whatever they look like; other values stay readable."""
    redactor = Redactor()
    redactor.learn_headers(
        {"Openai-Api-Key": "my-first-key", "Openai-Base-Url": "http://me:my-word@host/v1", "Accept": "text/html"}
    )
    redactor.learn_environment(
        {
            "OPENAI_API_KEY": "my-second-key",
            "KEYBOARD": "qwerty-layout",
            "GATEWAY_KEYS_2": "one-of-two, two-of-two",
            "WORKFLOW_LLM_BASE_URL": "https://gateway.example/v1?api_key=word-in-query",
            "HTTPS_PROXY": "http://alice:proxy%2Bword@proxy.example:3128",
        }
    )

    said = redactor.redact("my-first-key, my-word, text/html, my-second-key, qwerty-layout, proxy+word, proxy.example")
    assert f"{MARK}, {MARK}, text/html, {MARK}, qwerty-layout, {MARK}, proxy.example" == said
    assert f"{MARK} {MARK} {MARK}" == redactor.redact("one-of-two two-of-two word-in-query")


def test_a_strangers_key_takes_no_word_of_our_own_from_others() -> None:
    """Any header may say anything: what the program itself says, and the names in its records, stay as they are."""
    redactor = RecoveryManager(lambda *_: None, settings=cast(Any, None)).redactor
    redactor.spare(lambda: ("chat.finished", "completed"))
    keys = ("completed", "complete-1a2b3c4d", "chat.finABC123456", "Check the key", "refused", "my-own-key1")
    redactor.learn_headers({f"Openai-Api-Key-{i}": key for i, key in enumerate(keys)})
    said = 'chat.finished: "completed". It refused; Check the key in Copilot'

    assert said == redactor.redact(said)
    assert {"outcome": "completed"} == redactor.redact_value({"outcome": "completed"})
    assert f"{MARK}, {MARK} and {MARK}" == redactor.redact("complete-1a2b3c4d, chat.finABC123456 and my-own-key1")
    assert "completed" not in redactor.redact("not-completed!")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("deepseek-chat", "deepseek-chat at api.deepseek.com"),
        ("deepseek9f8e7d6c5b4a3210", "deepseek-reasoner"),
        ("claude-3-5-sonnet-20241022-x9f8e7d6c5b4", "claude-3-5-sonnet-20241022"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-20241022"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "Qwen/Qwen2.5-72B-Instruct-AWQ"),
        ("ep-20250101123456-abcde", "ep-20250101123456-abcde"),
        ("api.openai.com", "POST https://api.openai.com/v1/chat/completions"),
        ("search_node", "the tool search_node of bing-mcp"),
        ("BadRequestError", "openai.BadRequestError"),
        ("APIResponseValidationError", "openai.APIResponseValidationError"),
        ("Processing", "Processing the request"),
        ("%E6%B2%A1%E6%9C%89%E5%8F%8A%E6%97%B6%E5%93%8D%E5%BA%94", "模型没有及时响应，请检查网络。"),
    ],
)
def test_a_strangers_key_hides_no_name_from_others(key: str, said: str) -> None:
    """Whoever sends a model's name as a key does not see it in the echo of his own chat; everybody else reads on."""
    redactor = Redactor()
    theirs = contextvars.copy_context()
    theirs.run(redactor.learn_headers, {"Openai-Api-Key": key})
    theirs.run(redactor.hold, key)

    assert said == redactor.redact(said)
    assert MARK == theirs.run(redactor.redact, unquote(key))
    redactor.learn_headers({"Openai-Api-Key": "my-first-key"})
    assert said == redactor.redact(said)


@pytest.mark.parametrize(
    "key",
    ["sk-proj-aaaabbbbcccc", "123e4567-e89b-12d3-a456-426614174000", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"]
    + ["Zk9xQ2mT7vLp4RwY8sNbA1cE", "q1W2e3R4t5Y6", "Zk9Qm2-local+word/key=77", "AIzaSyB-1234567890abcdefghij"],
)
def test_what_looks_like_a_key_is_hidden_from_everybody(key: str) -> None:
    """A server may remember a key and give it back to somebody else."""
    redactor = Redactor()
    contextvars.copy_context().run(redactor.learn_headers, {"Openai-Api-Key": key})

    assert f"key {MARK}!" == redactor.redact(f"key {key}!")


def test_a_key_in_use_is_hidden_in_all_that_its_request_starts() -> None:
    """A password without looks, told in a task of its own by who makes use of it, is hidden in the request too."""
    redactor = Redactor()
    request = contextvars.copy_context()
    request.run(redactor.learn_headers, {})
    request.copy().run(redactor.hold, "correct-horse")

    assert f"no {MARK}" == request.run(redactor.redact, "no correct-horse")
    assert "no correct-horse" == redactor.redact("no correct-horse")


def test_a_strangers_beginning_of_a_key_leaves_no_rest_of_others() -> None:
    """With what the keys of a provider begin with as a key, the rest of another's would be left in the clear."""
    redactor = Redactor()
    redactor.hold("abcd-efgh-9x8y7z6w5v4u")
    redactor.hold("abcd-efgh")

    assert f"bad {MARK}..." == redactor.redact("bad abcd-efgh-9x8y...")


def test_our_sentences_in_chinese_stay_beside_a_secret_of_their_words() -> None:
    """A key that is a word of them tears no notice, even in its own chat."""
    redactor = RecoveryManager(lambda *_: None, settings=cast(Any, None)).redactor
    keys = ("没有及时响应", "请检查网络、", "ComfyUI", "Copilot", "密码是春天来了")
    redactor.learn_headers({f"X-Api-Key-{i}": key for i, key in enumerate(keys)})
    said = "服务没有及时响应。请检查网络、代理或 VPN，以及ComfyUI中的设置，或在Copilot中换一个模型。"

    assert said == redactor.redact(said)
    assert f"{MARK}！" == redactor.redact("密码是春天来了！")


def test_names_are_short_lines_without_keys() -> None:
    """A tool server's names of tools, a page's name of a model: cut behind the redaction, so that no half key stays."""
    redactor = Redactor()
    redactor.add("my-own-key1")

    assert f"a {MARK} b" == redactor.name("a\u202e my-\u200bown-key1\n\x1b[31m b")
    assert f"{'x' * 190} {MARK[:9]}" == redactor.name("x" * 190 + " my-own-key1")
    assert 200 == len(redactor.name("n" * 1_000_000))


def test_an_address_in_the_keys_field_is_no_secret() -> None:
    """One slip must not hide every address, for every user, for a day; a password in it is still one."""
    redactor = Redactor()
    redactor.add("https://user:hunter2!@api.example.com/v1")
    redactor.add("Bearer https://api.example.com/v1")
    text = "Set the base URL to https://api.openai.com/v1, not https://user:hunter2!@api.example.com/v1"

    assert "to https://api.openai.com/v1, not" in redactor.redact(text)
    assert "hunter2" not in redactor.redact(text)


def test_short_secret_counts_as_a_whole_word_only() -> None:
    """A password of six characters is hidden without tearing words apart."""
    redactor = Redactor()
    redactor.add("abc123")

    assert f"({MARK}) xabc123x" == redactor.redact("(abc123) xabc123x")


def test_last_256_are_kept_and_a_day_old_ones_forgotten(clock: FakeClock) -> None:
    """Bounded in number and time; being seen again counts as new."""
    redactor = Redactor(clock=clock)
    for i in range(300):
        redactor.add(f"{i:04d}-secretvalue")
    assert "0043-secretvalue" == redactor.redact("0043-secretvalue")
    assert MARK == redactor.redact("0044-secretvalue")

    redactor.add("0044-secretvalue")
    redactor.add("0300-secretvalue")
    assert MARK == redactor.redact("0044-secretvalue")

    clock.advance(90_000)
    redactor.add("another-secret")
    assert "0299-secretvalue" == redactor.redact("0299-secretvalue")
    assert MARK == redactor.redact("another-secret")


def test_known_secrets_are_hidden_in_values_classifications_and_advice() -> None:
    """A key without any shape, such as a UUID, is hidden wherever the redactor is used."""
    redactor = Redactor()
    redactor.add("123e4567-e89b-12d3-a456-426614174000")
    cause = Classifier(redact=redactor.redact).classify(RuntimeError("bad 123e4567-e89b-12d3-a456-426614174000"))

    assert {"a": f"x {MARK}"} == redactor.redact_value({"a": "x 123e4567-e89b-12d3-a456-426614174000"})
    assert "4567" not in explain(cause)
    assert "secrets" in repr(redactor)
    assert "4567" not in repr(redactor)


@pytest.mark.parametrize(
    "url", ["not a url", "localhost/v1", "ollama", "my server", "modelserver/v1", "MyModelServer", "gpu-server-01/v1"]
)
def test_what_is_no_key_in_the_place_of_a_base_url_hides_nothing(url: str) -> None:
    """A name or a sentence that somebody types as the base URL stays readable, for everybody."""
    redactor = Redactor()
    redactor.add_url(url)

    assert f"asked {url} for it" == redactor.redact(f"asked {url} for it")


def test_a_key_in_the_place_of_a_base_url_is_hidden() -> None:
    """People paste what they have."""
    redactor = Redactor()
    redactor.add_url("fireworkskey-plain-0042/v1")
    redactor.add_url("https://host/v1?api-version=preview&api_key=word-in-query")
    redactor.add_url("http://me%3APassW9%40h/v1")

    assert "plain-0042" not in redactor.redact("asked fireworkskey-plain-0042 for it")
    assert f"preview {MARK}" == redactor.redact("preview word-in-query")
    assert "passw9" not in redactor.redact("cannot connect to host me%3apassw9%40h")
