"""No key of a user reaches Copilot's log, whatever is logged and however."""

from __future__ import annotations

import contextvars
import io
import logging
import logging.handlers
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.chats import Chat, current_chat
from backend.copilot.log import MAX_LENGTH, LogSeam, RedactingFilter, hide_urls, hosts_only
from backend.copilot.seam import CopilotModules, SeamMissing
from backend.recovery.redact import Redactor

ROOT = "custom_nodes_x_log_test"
COPILOT = CopilotModules(ROOT)
NAME = "comfyui_copilot_log_test"
KEY = "qz93LMnop-Kx81aaVV02"  # no pattern knows this shape


class Wrapper:
    """Logs as Copilot's wrapper does: makes the record itself and calls the handlers of the logger."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def write(self, message: str, *args: Any) -> None:
        """Log a message with arguments that may not belong to it."""
        record = self._logger.makeRecord(self._logger.name, logging.INFO, "here.py", 1, message, args, None, "f")
        for handler in self._logger.handlers:
            handler.handle(record)


class World:
    """A logger with a console and a file, as Copilot sets it up."""

    def __init__(self, folder: Path) -> None:
        self.console = io.StringIO()
        self.path = folder / "copilot.log"
        self.logger = logging.getLogger(NAME)
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        self.stream = logging.StreamHandler(self.console)
        self.file = logging.handlers.RotatingFileHandler(self.path, encoding="utf-8")
        for handler in (self.stream, self.file):
            handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
            self.logger.addHandler(handler)
        self.log = Wrapper(self.logger)
        self.module = ModuleType(f"{ROOT}.backend.utils.logger")
        self.module.log = self.log  # type: ignore[attr-defined]
        self.redactor = Redactor()
        self.redactor.add(KEY)
        pulse: Any = SimpleNamespace(recovery=SimpleNamespace(redactor=self.redactor))
        self.seam = LogSeam(pulse)

    @property
    def written(self) -> list[str]:
        """What stands on the console and in the file."""
        return [self.console.getvalue(), self.path.read_text(encoding="utf-8")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An attached world; its loggers are gone afterwards."""
    world = World(tmp_path)
    sys.modules[world.module.__name__] = world.module
    world.seam.attach(COPILOT)
    yield world
    world.seam.detach()
    del sys.modules[world.module.__name__]
    for name in [n for n in logging.Logger.manager.loggerDict if n.startswith(NAME)]:
        for handler in list(logging.getLogger(name).handlers):
            logging.getLogger(name).removeHandler(handler)
            handler.close()
        del logging.Logger.manager.loggerDict[name]


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What logging itself would complain to."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_a_known_key_is_in_neither_console_nor_file(world: World) -> None:
    """The whole configuration is logged, without the key's value and without its first twelve characters."""
    world.log.write(f"config: {{'openai_api_key': '{KEY}', 'model': 'm1'}}")
    world.log.write(f"key extracted and stored: {KEY[:12]}...")

    for text in world.written:
        assert KEY[:8] not in text
        assert "m1" in text
        assert "[redacted]" in text


def test_an_unknown_key_is_found_by_its_shape(world: World) -> None:
    """A key that came some other way is recognised by what keys look like."""
    world.log.write("using sk-proj-abcdef0123456789ABCDEF for this")

    assert all("abcdef0123456789" not in text for text in world.written)


def test_arguments_are_part_of_the_message(world: World) -> None:
    """%-style arguments are filled in before the line is cleaned."""
    world.log.write("key %s of %d", KEY, 2)

    assert all("key [redacted] of 2" in text for text in world.written)


@pytest.mark.parametrize("data", [{"openai_api_key": KEY}, [KEY, "plain"], KEY, {"a": 1}])
def test_data_beside_a_message_without_a_place_for_it(world: World, stderr: io.StringIO, data: Any) -> None:
    """`log.info("Request:", data)` neither prints the data in clear nor a traceback of the logging module."""
    world.log.write("Request JSON:", data)

    for text in [*world.written, stderr.getvalue()]:
        assert KEY not in text
    assert all("Request JSON:" in text for text in world.written)
    assert "" == stderr.getvalue()


def test_tracebacks_are_cleaned(world: World) -> None:
    """An exception's text and its source lines hold no key either."""
    try:
        raise ValueError(f"401 for {KEY}")
    except ValueError:
        world.logger.exception("failed with %s", KEY, stack_info=True)

    for text in world.written:
        assert "ValueError: 401 for [redacted]" in text
        assert KEY not in text


def test_a_handler_that_is_added_later_is_covered(world: World) -> None:
    """A second file added by somebody else gets no key."""
    late = io.StringIO()
    world.logger.addHandler(logging.StreamHandler(late))
    world.log.write(f"again {KEY}")

    assert "again [redacted]" in late.getvalue()


def test_children_are_covered_too(world: World) -> None:
    """A child that is there, or comes later, with handlers of its own, writes no key."""
    streams = [io.StringIO(), io.StringIO()]
    for number, stream in enumerate(streams):
        child = logging.getLogger(f"{NAME}.child{number}")
        child.setLevel(logging.DEBUG)
        child.propagate = False
        child.addHandler(logging.StreamHandler(stream))
        if number == 0:
            world.seam.cover()
        else:
            world.log.write("the next record makes the filter look")
        child.info("child %s", KEY)

    assert ["child [redacted]\n"] * 2 == [stream.getvalue() for stream in streams]


@pytest.mark.parametrize(
    "text", ["sparkles ✨ 🦄", "lone surrogate \ud83d", "中文"], ids=["emoji", "surrogate", "chinese"]
)
def test_any_console_encoding_is_survived(world: World, stderr: io.StringIO, text: str) -> None:
    """A gbk console shows what it can, escapes the rest, and logging does not complain."""
    raw = io.BytesIO()
    console = io.TextIOWrapper(raw, encoding="gbk", errors="strict", write_through=True)
    handler = logging.StreamHandler(console)
    world.logger.addHandler(handler)
    # Straight to the handler: not every reader of pytest's own captured log survives a surrogate.
    record = logging.LogRecord("n", logging.INFO, "p", 1, f"before {text} after", None, None)
    handler.handle(record)

    shown = raw.getvalue().decode("gbk")
    assert "before " in shown
    assert shown.endswith(" after\n")
    assert ("中文" in shown) == (text == "中文")
    assert "" == stderr.getvalue()


def test_a_filter_that_fails_withholds_the_line(world: World) -> None:
    """If redacting breaks, the line is not written in clear and nothing is raised."""

    def broken(text: str) -> str:
        raise RuntimeError("ours")

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(broken))
    handler.handle(logging.LogRecord("n", logging.INFO, "p", 1, f"key {KEY}", None, None))

    assert KEY not in stream.getvalue()
    assert "withheld" in stream.getvalue()


def test_arguments_with_a_hostile_repr(world: World, stderr: io.StringIO) -> None:
    """An object that cannot even be printed costs its line, nothing else."""

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError(KEY)

    world.log.write("look", Hostile())

    assert all("withheld" in text for text in world.written)
    assert "" == stderr.getvalue()


def test_a_huge_line_is_cut_at_a_blank(world: World) -> None:
    """A conversation with images does not hold the event loop; the cut does not halve a key."""
    world.log.write("messages: " + "word " * MAX_LENGTH + KEY)

    for text in world.written:
        assert len(text) < MAX_LENGTH + 100
        assert "word [" in text
        assert "more characters]" in text


def test_a_huge_word_is_cut_too(world: World) -> None:
    """A line without blanks is cut as well."""
    world.log.write("x" * 5 * MAX_LENGTH)

    assert all(len(text) < MAX_LENGTH for text in world.written)


URL = "http://user:passwordx@tools.example:8000/pathtoken/sse?k=querytoken"


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What a handler at the root is given of httpx's lines, as in ComfyUI."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    logger, level = logging.getLogger("httpx"), logging.getLogger("httpx").level
    logger.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)
    logger.setLevel(level)


def say(message: str, *args: Any, chat: bool = False, probe: bool = False) -> None:
    """Log as httpx does, in a chat of ours, in a probe, or for somebody else."""
    context = contextvars.copy_context()
    if chat:
        context.run(current_chat.set, Chat(session="s"))
    if probe:
        context.run(hide_urls.set, True)
    context.run(logging.getLogger("httpx").info, message, *args)


@pytest.mark.parametrize("where", ["chat", "probe"])
def test_an_address_in_a_librarys_line_is_cut_to_its_host(world: World, heard: list[str], where: str) -> None:
    """httpx tells of each request at INFO; an MCP server's path and a base URL's password are keys."""
    say('HTTP Request: %s %s "%s"', "GET", URL, "HTTP/1.1 200 OK", **{where: True})
    say("Client error '401' for url '%s', key %s", URL, KEY, **{where: True})

    assert 'HTTP Request: GET http://tools.example:8000/… "HTTP/1.1 200 OK"' == heard[0]
    assert "Client error '401' for url 'http://tools.example:8000/…', key [redacted]" == heard[1]


def test_lines_of_other_plugins_are_left_alone(world: World, heard: list[str]) -> None:
    """Their requests go through the same libraries, and their logs are theirs."""
    say("HTTP Request: GET %s", URL)
    world.seam.detach()
    say("HTTP Request: GET %s", URL, chat=True)

    assert [f"HTTP Request: GET {URL}"] * 2 == heard


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://[::1]:8080/v1/x", "https://[::1]:8080/…"),
        ("https://api.example/", "https://api.example"),
        ("wss://a.example:1", "wss://a.example:1"),
        ("http://a:b@h/p", "http://h/…"),
    ],
)
def test_hosts_only(url: str, shown: str) -> None:
    """Scheme, host and port say where; what follows may be anything."""
    assert f"see {shown} please" == hosts_only(f"see {url} please")


def test_attaching_twice_and_detaching(world: World) -> None:
    """One filter a handler however often it is attached; detached, handlers and loggers are as they were."""
    world.seam.attach(COPILOT)
    assert [1, 1] == [len(handler.filters) for handler in (world.stream, world.file)]

    world.seam.detach()
    assert [0, 0] == [len(handler.filters) for handler in (world.stream, world.file)]
    assert "addHandler" not in vars(world.logger)
    assert all("format" not in vars(handler) for handler in (world.stream, world.file))
    world.log.write("plain %s", KEY)
    assert KEY in world.written[0]
    world.seam.attach(COPILOT)


def test_a_copilot_without_a_logger_is_a_missing_seam(world: World) -> None:
    """Another kind of logging is left alone, with a reason."""
    world.module.log = object()  # type: ignore[attr-defined]
    with pytest.raises(SeamMissing, match="logger"):
        world.seam.attach(COPILOT)


async def test_aclose_has_nothing_to_do(world: World) -> None:
    """The seam runs no task."""
    await world.seam.aclose()
