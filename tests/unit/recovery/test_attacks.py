"""What a stranger sends, or a server echoes: keys in other forms, nesting without end, keys pushed out of mind."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from backend.error_handling import Redactor, Severity
from backend.pulse import Pulse
from backend.recovery.advice import explain
from backend.recovery.bodies import wrong_body
from backend.recovery.classify import Classifier

KEY = "zx+Kq/93hfLmT7wPbN2vRc8sYd4gJ6aE"
NESTED = "[" * 100_000


@pytest.mark.parametrize(
    "echo",
    [
        base64.b64encode(KEY.encode()).decode(),
        base64.b64encode(f"user:{KEY}".encode()).decode(),
        base64.b64encode(f"a:{KEY}".encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode(),
        KEY.encode().hex(),
        KEY.encode().hex().upper(),
        KEY.upper(),
        KEY.lower(),
        quote(quote(KEY, safe=""), safe=""),
        html.escape(KEY),
        "".join(f"\\u{ord(c):04x}" for c in KEY),
        "".join(f"&#{ord(c)};" for c in KEY),
    ],
)
def test_a_known_key_is_taken_out_in_the_forms_of_an_echo(echo: str) -> None:
    """A server may give a key back in another form; nobody may read that either."""
    redactor = Redactor()
    redactor.hold(KEY)
    shown = redactor.redact(f"no such key {echo} here")
    assert echo not in shown
    assert "[redacted]" in shown
    assert "no such key" in shown
    assert "here" in shown


SLASHES = "qT9vX2mK7p/L4wZ8r+B3nY/6cD1fG5hJ0/sAE2uI9oP7kM4="


@pytest.mark.parametrize(
    "form",
    [
        lambda key: key.replace("/", "\\/"),
        lambda key: key.replace("/", "\\\\\\/"),
        lambda key: key.replace("/", "\\/").replace("+", "\\u002B"),
        lambda key: key.replace("/", "&sol;").replace("+", "&plus;"),
        lambda key: "".join(f"%{ord(c):02x}" for c in key),
        lambda key: "".join(f"%25{ord(c):02X}" for c in key),
        lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
        lambda key: "".join(f"\\{ord(c):03o}" for c in key),
        lambda key: "".join(f"\\\\u{ord(c):04x}" for c in key),
        lambda key: "".join(f"\\u{{{ord(c):x}}}" for c in key),
        lambda key: "".join(f"&#{ord(c):04};" for c in key),
        lambda key: "".join(f"&#x{ord(c):04X};" for c in key),
        lambda key: "".join(f"&amp;#{ord(c)};" for c in key),
        lambda key: "".join(f"%5Cu{ord(c):04x}" for c in key),
        lambda key: key[:9] + "".join(f"%{ord(c):02x}" for c in key[9:]),
    ],
    ids=[
        "slash",
        "slash in JSON in JSON",
        "slash and JSON",
        "names of HTML",
        "URL",
        "URL twice",
        "bytes",
        "octal",
        "JSON in JSON",
        "braces",
        "HTML",
        "HTML hex",
        "HTML twice",
        "JSON in URL",
        "its end in URL",
    ],
)
@pytest.mark.parametrize("key", [KEY, SLASHES, "pass+w/1"], ids=["key", "slashes", "short"])
def test_a_known_key_is_read_behind_any_escape(key: str, form: Callable[[str], str]) -> None:
    """It is taken out whole, and no letter of what stands beside it."""
    redactor = Redactor()
    redactor.hold(key)
    assert 'no \\"such\\" key: "[redacted]", R&amp;D%20' == redactor.redact(
        f'no \\"such\\" key: "{form(key)}", R&amp;D%20'
    )


def test_base64_is_read_behind_escapes_too() -> None:
    """Each form of a key is."""
    redactor = Redactor()
    redactor.hold(KEY)
    echo = "".join(f"&#{ord(c):03};" for c in base64.b64encode(f"user:{KEY}".encode()).decode())

    shown = redactor.redact(f"no such key {echo} here")
    assert shown.endswith("[redacted] here")
    assert len(shown) < 100


@pytest.mark.parametrize("key", ["ab%41cd%2Fef\\nghijkl", "41cdefgh\\\\u0041\\/&lt;ij"])
def test_a_key_that_looks_like_an_escape_is_known(key: str) -> None:
    """As it is and escaped; also behind a sign that makes an escape of its first letters."""
    redactor = Redactor()
    redactor.hold(key)
    for echo in (key, json.dumps(key), quote(key, safe=""), html.escape(key), f"100%{key}"):
        shown = redactor.redact(f"no such key {echo} here")
        assert "no such key" in shown
        assert "cd" not in shown
        assert shown.endswith(" here")


@pytest.mark.parametrize("cut", [28, 36, 50])
def test_an_echo_that_is_cut_off_gives_no_part_of_the_key_away(cut: int) -> None:
    """Texts are shortened before they are redacted; beside a letter whose small form is longer, too."""
    redactor = Redactor()
    redactor.hold(KEY)
    for echo in (KEY.encode().hex(), base64.b64encode(f"user:{KEY}".encode()).decode(), KEY.upper()):
        shown = redactor.redact(f"İ page: '{echo[:cut]}")
        assert echo[cut // 2 : cut] not in shown
        assert shown.startswith("İ page: '")
    assert "[redacted]" in redactor.redact(f"damaged: \x00{KEY[3:cut]}\x1b")


@pytest.mark.parametrize("gap", ["\n", "\r\n", "\\n", " ", "\n    ", "%0A"])
@pytest.mark.parametrize("width", [8, 12, 20, 31])
def test_a_key_that_is_broken_into_lines_is_taken_out_whole(gap: str, width: int) -> None:
    """A server wraps what it says; a log, a mail or Base64 in it does so at each so many letters."""
    redactor = Redactor()
    redactor.hold(KEY)
    for form in (KEY, base64.b64encode(KEY.encode()).decode(), KEY.encode().hex()):
        if form != KEY and width < 16:
            continue  # no piece of it is long enough to be known for one
        lines = [form[at : at + width] for at in range(0, len(form), width)]
        shown = redactor.redact(f"no such key {gap.join(lines)} was found here")
        assert not any(line in shown for line in lines if len(line) > 3)
        assert shown.startswith("no such key ")
        assert shown.endswith(" was found here")


LONG = "".join(base64.b64encode(bytes([n % 251, n % 13, n % 7])).decode() for n in range(2_000))


@pytest.mark.parametrize(
    "echo",
    [
        LONG,
        LONG.lower(),
        base64.b64encode(LONG.encode()).decode(),
        LONG.encode().hex(),
        quote(quote(LONG, safe=""), safe=""),
        "".join(f"\\u{ord(c):04x}" for c in LONG),
        "".join(f"&#{ord(c)};" for c in LONG),
    ],
    ids=["as it is", "other case", "Base64", "hex", "URL", "JSON", "HTML"],
)
def test_a_token_of_kilobytes_is_taken_out_whole(echo: str) -> None:
    """Its beginning is known in each form, and what hangs on to it goes with it."""
    redactor = Redactor()
    redactor.hold(LONG)

    assert "no such token [redacted] here" == redactor.redact(f"no such token {echo} here")


def test_the_keys_of_strangers_cost_little() -> None:
    """However long they are and however many are alike: 8 KB in a header took four megabytes and half a second."""
    redactor = Redactor()
    for number in range(30):
        redactor.add(f"{number:05}{LONG}")

    assert len(redactor._ours._echoes) < 30 * 1_000
    assert max(map(len, redactor._ours._echoes.values())) < 10


def test_innocent_text_stays() -> None:
    """A long word, a hash and a file's path are no key."""
    redactor = Redactor()
    redactor.hold(KEY)
    text = f"{KEY[:5]} {KEY[9:20]}"
    assert text == redactor.redact(text)
    text = "internationalisation of /models/checkpoints/sdxl_base_1.0.safetensors, revision 9f86d081884c7d659a2feaa0"
    assert text == redactor.redact(text)


def test_keys_in_use_are_neither_pushed_out_nor_forgotten() -> None:
    """Strangers' headers push strangers' out, and a key is known for as long as it is used."""
    now = [0.0]
    redactor = Redactor(clock=lambda: now[0])
    environment = "env-0123456789-abcdefghij"
    redactor.hold(environment, for_good=True)
    redactor.hold(KEY)
    for number in range(2_000):
        redactor.add(f"stranger-{number:06d}-xyz")
    assert "[redacted]" == redactor.redact(KEY)
    for _ in range(5):
        now[0] += 80_000.0
        redactor.hold(KEY)
    assert "[redacted]" == redactor.redact(KEY)
    assert "[redacted]" == redactor.redact(environment)
    for number in range(2_000):
        redactor.hold(f"used-{number:06d}-by-a-stranger")
    now[0] += 90_000.0
    redactor.add("one-more-key-0001")
    assert KEY == redactor.redact(KEY)
    assert "[redacted]" == redactor.redact(environment)


@pytest.mark.parametrize("field", ["localhost:1234", "127.0.0.1:8080", "llm.example.org:443/v1"])
def test_an_address_in_the_keys_field_hides_nobodys_host(field: str) -> None:
    """It is no secret, and everybody's errors name the host."""
    redactor = Redactor()
    redactor.add(field)
    assert f"cannot reach {field}" == redactor.redact(f"cannot reach {field}")


def test_the_keys_of_the_environment_are_known_from_the_start() -> None:
    """Copilot reads keys from there, and no header tells of them."""
    pulse = Pulse.create({"CC_OPENAI_API_KEY": KEY, "WORKFLOW_LLM_API_KEY": KEY[::-1], "LANG": "en_GB.UTF-8"})
    assert "[redacted] [redacted]" == pulse.recovery.redactor.redact(f"{KEY} {KEY[::-1]}")
    assert "en_GB.UTF-8" == pulse.recovery.redactor.redact("en_GB.UTF-8")


def test_nesting_without_end_is_the_servers_fault() -> None:
    """A body of brackets is malformed and asked again; it is no critical error of this program."""
    assert wrong_body("application/json", NESTED[:4000], url="http://llm.example.org/v1") is not None
    with pytest.raises(RecursionError) as caught:
        json.loads(NESTED)
    cause = Classifier().classify(caught.value)
    assert "malformed" == cause.kind
    assert cause.severity is not Severity.CRITICAL
    assert cause.retryable


@pytest.mark.parametrize(
    "words",
    [
        "![seen](http://evil.example.org/pixel.png)",
        "[sign in again](http://evil.example.org/)",
        "![seen][1] [1]: http://evil.example.org/pixel.png",
        '<img src="http://evil.example.org/pixel.png">',
        "<script>evil.example.org</script>",
    ],
)
def test_a_servers_words_are_no_markup_in_a_notice(words: str) -> None:
    """Copilot's page renders Markdown: an image in an error text would tell its server who has read it."""
    cause = Classifier().classify(RuntimeError("x"))._replace(message=words, spoken=True)
    told = explain(cause, host="llm.example.org", model=words, language="en")
    assert "evil.example.org" in told
    for sign in ("](", "][", "]:", "<i", "<s", "</"):
        assert sign not in told


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://alice:p/w#1?x@llm.example.org/v1", "p/w#1?x"),
        ("https://alice:p[\"w]'1@llm.example.org/v1", "p[\"w]'1"),
        ("alice:pass-word-1@llm.example.org", "pass-word-1"),
        ("https://llm.example.org/key0123456789abcdefgh/v1", "key0123456789abcdefgh"),
        ("http://q1w2e3r4t5y6u7i8o9p0a1s2", "q1w2e3r4t5y6u7i8o9p0a1s2"),
        ("q1w2e3r4t5y6u7i8o9p0a1s2", "q1w2e3r4t5y6u7i8o9p0a1s2"),
    ],
)
def test_what_a_base_url_holds_is_taken_out_of_the_log(url: str, secret: str) -> None:
    """Copilot logs the address as it was typed, and a metrics label holds its host."""
    redactor = Redactor()
    redactor.add_url(url)
    assert secret not in redactor.redact(f"Configuration: {{'base_url': '{url}'}}")
    assert secret not in redactor.redact(secret)


@pytest.mark.parametrize("url", ["http://localhost:11434/v1", "https://api.example.org/compatible-mode/v1", "ollama"])
def test_a_plain_base_url_stays(url: str) -> None:
    """An address is no secret."""
    redactor = Redactor()
    redactor.add_url(url)
    assert url == redactor.redact(url)


@pytest.mark.parametrize("code", ["²²²", "٤٠٤", "9" * 4_000, "4.4"])
def test_a_code_that_only_looks_like_a_status_is_none(code: str) -> None:
    """Digits of other scripts, and numbers without end, are read as words."""
    error = wrong_body("application/json", json.dumps({"error": {"message": "no", "code": code}}), url="http://h/v1")
    assert error is not None
    assert not Classifier().classify(error).message.startswith("unreadable")
