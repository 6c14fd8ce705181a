"""The command line of the standalone host: what works, and one clear line for what does not."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.standalone.cli import main
from backend.standalone.options import NO_KEY, UsageError, parse

URL = "http://127.0.0.1:1234/v1"


def test_defaults_need_nothing() -> None:
    """Without a word on the command line the scripted model answers on loopback, at a port that may give way."""
    options = parse([], {})

    assert (options.host, options.port, options.endpoint) == ("127.0.0.1", 8188, None)
    assert not options.fixed_port
    assert parse(["--port", "8188"], {}).fixed_port


def test_a_real_endpoint() -> None:
    """URL, model and key arrive; a slash at the end does no harm; a local server needs no key."""
    endpoint = parse(["--llm", URL + "/", "--model", "m", "--api-key-env", "K"], {"K": " sk-1 \n"}).endpoint
    local = parse(["--llm", URL, "--model", "m"], {"OPENAI_API_KEY": "sk-not-meant-for-this"}).endpoint

    assert endpoint is not None
    assert local is not None
    assert (endpoint.base_url, endpoint.model, endpoint.api_key) == (URL, "m", "sk-1")
    assert local.api_key == NO_KEY


def test_the_key_is_not_in_the_repr() -> None:
    """An endpoint that ends up in a log or a traceback does not give its key away."""
    options = parse(["--llm", URL, "--model", "m", "--api-key-env", "K"], {"K": "sk-secret"})

    assert "sk-secret" not in repr(options)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "99999"], "0 to 65535"),
        (["--port", "eighty"], "'eighty' is no port"),
        (["--llm", "not a url", "--model", "m"], "is no URL"),
        (["--llm", "ftp://host/v1", "--model", "m"], "is no URL"),
        (["--llm", "http://", "--model", "m"], "is no URL"),
        (["--llm", "http://host:port/v1", "--model", "m"], "is no URL"),
        (["--llm", "http://[::1/v1", "--model", "m"], "is no URL"),
        (["--llm", "http://host/v1?key=x", "--model", "m"], "question mark"),
        (["--llm", URL], "--model NAME"),
        (["--llm", URL, "--model", " "], "--model NAME"),
        (["--model", "m"], "needs --llm"),
        (["--api-key-env", "K"], "needs --llm"),
        (["--llm", URL, "--model", "m", "--api-key-env", "UNSET"], "UNSET"),
        (["--llm", URL, "--model", "m", "--api-key-env", "ODD"], "ODD"),
        (["--wrong"], "--wrong"),
    ],
)
def test_what_cannot_work_ends_in_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake ends with code 2 and exactly one line on stderr that names it."""
    code = main(arguments, {"ODD": "a\nb"})

    streams = capsys.readouterr()
    assert code == 2
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert says in streams.err


def test_a_password_in_the_url_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """A URL with credentials is refused without its secret being printed, however broken it is."""
    for url in ("http://me:hunter2@host/v1", "http://me:hunter2@host:port/v1", "me:hunter2@host"):
        assert main(["--llm", url, "--model", "m"], {}) == 2
        assert "hunter2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--llm", "pr1vateKeyWord99", "--model", "m"], "is no URL"),
        (["--llm", "http://host:pr1vateKeyWord99/v1", "--model", "m"], "is no URL"),
        (["--llm", URL, "--model", "m", "--api-key-env", "pr1vateKeyWord99"], "not set"),
        (["--llm", URL, "--model", "m", "--api-key", "pr1vateKeyWord99"], "--api-key-env VAR"),
        (["--llm", URL, "--model", "m", "--api-key=pr1vateKeyWord99"], "--api-key-env VAR"),
        (["pr1vateKeyWord99"], "without an option"),
    ],
)
def test_a_key_in_the_wrong_place_is_not_repeated(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a terminal shows goes into logs of services."""
    assert main(arguments, {}) == 2

    said = capsys.readouterr().err
    assert says in said
    assert "pr1vate" not in said


@given(st.text())
def test_any_url_is_taken_or_refused(url: str) -> None:
    """No text in place of the URL ends in a traceback."""
    with suppress(UsageError):
        parse([f"--llm={url}", "--model=m"], {})
