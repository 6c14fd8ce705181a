"""The command line of the standalone host: checked in full before anything is started."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import urlsplit

from ..copilot.model.endpoint import Endpoint

PORT = 8188  # ComfyUI's own, so that what is written for one works with the other
NO_KEY = "not-needed"  # local servers want some key, and do not look at it


class UsageError(Exception):
    """Something that the user has to change; the text is one line that says what."""


@dataclass(frozen=True)
class ModelServer:
    """An OpenAI-compatible server. The key stays out of the repr, and so out of every log."""

    base_url: str
    model: str
    api_key: str = field(repr=False)
    scripted: bool = False


@dataclass(frozen=True)
class Options:
    """What the user asked for. Without an endpoint the scripted model answers.

    `fleet`: so many hosts behind one address; 0: one host.
    `open_page`: show the page in the user's browser.
    `fixed_port`: the user named the port; otherwise a port that is in use gives way to the next free one.
    """

    host: str
    port: int
    endpoint: ModelServer | None
    fixed_port: bool = True
    fleet: int = 0
    open_page: bool = False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options of a command line. UsageError if they cannot work, SystemExit after --help."""
    parser = _Parser(
        prog="python -m backend",
        description="Copilot Pulse without ComfyUI and Copilot: a page to chat on, and its live panel. "
        "A scripted model answers unless --llm names a real one. "
        "`python -m backend events --help`: the events of former runs, on disk.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, help=f"port to listen on (default: {PORT}, or the next one that is free; 0: any)"
    )
    parser.add_argument("--llm", metavar="URL", help="base URL of an OpenAI-compatible server")
    parser.add_argument("--model", metavar="NAME", help="the model to ask there")
    parser.add_argument("--api-key-env", metavar="VAR", help="environment variable that holds its key")
    parser.add_argument(
        "--fleet", type=_hosts, default=0, metavar="N",
        help="start N hosts (2 to 9) behind one address, with a private redis-server if it is installed",
    )  # fmt: skip
    parser.add_argument("--open", action="store_true", help="open the page in your browser")
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise UsageError(_unknown(unknown))
    endpoint = _model_server(given.llm, given.model, given.api_key_env, environ)
    fixed = given.port is not None
    return Options(
        given.host, given.port if fixed else PORT, endpoint, fixed_port=fixed, fleet=given.fleet, open_page=given.open
    )


def _unknown(arguments: Sequence[str]) -> str:
    """Names the options and no value: people give the key itself."""
    names = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    key = "; a key is read from the environment: --api-key-env VAR" if "key" in " ".join(names) else ""
    return f"there is no option {', '.join(names)}{key}" if names else "there is an argument without an option"


def _hosts(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hosts; allowed are 2 to 9")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; allowed are 0 to 65535")
    return int(text)


def _model_server(
    url: str | None, model: str | None, variable: str | None, environ: Mapping[str, str]
) -> ModelServer | None:
    if url is None:
        alone = "--model" if model is not None else "--api-key-env" if variable is not None else None
        if alone:
            raise UsageError(f"{alone} needs --llm URL: without it the scripted model answers")
        return None
    _check_url(url)
    if not model or not model.strip():
        raise UsageError("--llm needs --model NAME: which model is to be asked there?")
    key = NO_KEY
    if variable is not None:
        key = environ.get(variable, "").strip()
        if not key:
            # What was given may be the key.
            shown = f" {variable}" if re.fullmatch(r"[A-Z][A-Z0-9_]*", variable) else ""
            raise UsageError(f"the environment variable{shown} that --api-key-env names is not set or empty")
        if not key.isascii() or not key.isprintable():
            raise UsageError(f"the value of {variable} (--api-key-env) has characters that no key has")
    return ModelServer(url.rstrip("/"), model.strip(), key)


def _check_url(url: str) -> None:
    if "@" in url:  # not echoed: what stands before the @ is a secret
        raise UsageError("--llm must not hold a user name or a password; name the key's variable by --api-key-env")
    example = "such as http://127.0.0.1:1234/v1"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and " " not in url
    except ValueError:  # a port that is no number, or a broken IPv6 address
        usable = False
    if not usable:
        # What was pasted may be the key.
        shown = f" {url!r}" if Endpoint.of(url).shown == url else ""
        raise UsageError(f"--llm{shown} is no URL of a web server, {example}")
    if parts.query or parts.fragment:
        raise UsageError("--llm must end with the path: a base URL has no question mark and no # in it")
