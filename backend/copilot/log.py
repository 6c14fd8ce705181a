"""The log seam: API keys no longer reach Copilot's log.

Copilot logs the whole request configuration, keys in clear, to the console and to a file in its own folder.
This puts a filter on every handler of the logger `comfyui_copilot` and of its children (Copilot's wrapper
calls the handlers itself, so a filter on the logger would be passed by). Handlers that are added later get it
too: `addHandler` of these loggers is wrapped, and loggers that appear later are found with the next record.
The filter runs in whatever thread logs, changes the record in place, and never raises: a line that cannot be
cleaned is withheld. Handlers with a stream also get a `format` whose text their encoding can hold, because on
a console with, say, gbk one emoji in a message otherwise costs the whole chat.

The libraries that a chat goes through log addresses: httpx each request's URL at INFO, which ComfyUI shows, and the
agent library what went wrong with one. The path of an MCP server's URL may be a key, and a base URL may carry a
user with a password. These loggers get a filter of their own that leaves no more of a URL than the host. Lines that
another plugin causes are left alone: only what is logged in a chat, or while an MCP server is probed, is changed.
"""

from __future__ import annotations

import contextvars
import logging
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..aio import fail_open, in_front
from ..chats import current_chat
from .seam import CopilotModules, SeamMissing

if TYPE_CHECKING:
    from ..pulse import Pulse

_MODULE: Final = "backend.utils.logger"
LOGGER: Final = "comfyui_copilot"
Format = Callable[[logging.LogRecord], str]
# Redacting takes 0.2 ms per 1,000 characters on the event loop, and Copilot logs whole
# conversations with their images.
MAX_LENGTH: Final = 16_384
_CLEAN: Final = "copilot_pulse_clean"
LIBRARIES: Final = ("httpx", "httpx2", "mcp.client.sse", "mcp.client.streamable_http", "openai.agents")
_URL: Final = re.compile(
    r"\b(?P<scheme>https?|wss?)://(?:[^\s/?#\"']*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/?#\"'<>()\[\]@:]*)(?P<port>:\d+)?"
    r"(?P<rest>[^\s\"'<>)\]]*)"
)

# Set where work of ours runs outside of any chat.
hide_urls: contextvars.ContextVar[bool] = contextvars.ContextVar("copilot_pulse_hide_urls", default=False)


class RedactingFilter(logging.Filter):
    """Takes secrets out of a record: message, arguments, traceback, stack. Always lets the record pass."""

    def __init__(self, redact: Callable[[str], str], before: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._redact = redact
        self._before = before

    @fail_open("a line of the log that could not be cleaned", default=False)
    def filter(self, record: logging.LogRecord) -> bool:
        """Clean `record` in place; a record that went through another handler's filter is left alone."""
        if getattr(record, _CLEAN, False):
            return True
        try:
            if self._before is not None:
                self._before()
            self._clean(record)
        except Exception as error:
            record.msg = f"[withheld: this line could not be cleaned of secrets ({type(error).__name__})]"
            record.args = None
            record.exc_info = record.exc_text = record.stack_info = None
        setattr(record, _CLEAN, True)
        return True

    def _clean(self, record: logging.LogRecord) -> None:
        record.msg = self._redact(_shorten(_message(record)))
        record.args = None
        if record.exc_info and not record.exc_text:
            # Formatters reuse a text that is already there.
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if record.exc_text:
            record.exc_text = self._redact(_shorten(record.exc_text))
        if record.stack_info:
            record.stack_info = self._redact(_shorten(record.stack_info))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # log.info("Request:", data): logging would print a traceback with `data` in clear.
        return f"{record.msg} {record.args}"


def _shorten(text: str) -> str:
    if len(text) <= MAX_LENGTH:
        return text
    # Cut at white space: half a key might not be known for one.
    end = max(text.rfind(" ", 0, MAX_LENGTH), text.rfind("\n", 0, MAX_LENGTH))
    if end <= 0:
        end = MAX_LENGTH // 2
    return f"{text[:end]} [{len(text) - end} more characters]"


class LogSeam:
    """Keeps the filter on every handler of Copilot's loggers. Any thread may log meanwhile."""

    name = "log"

    def __init__(self, pulse: Pulse) -> None:
        redactor = pulse.recovery.redactor
        self._filter = RedactingFilter(redactor.redact, self._look_again)
        self._urls = InOurs(RedactingFilter(lambda text: redactor.redact(hosts_only(text))))
        self._lock = threading.RLock()
        self._names: set[str] = set()
        self._known = -1
        self._handlers: list[logging.Handler] = []
        self._formats: list[tuple[logging.Handler, Any]] = []
        self._loggers: list[tuple[logging.Logger, Any]] = []

    def attach(self, copilot: CopilotModules) -> None:
        """Cover the logger of this Copilot; a second call changes nothing. Raises SeamMissing."""
        module = copilot.module(_MODULE)
        logger = getattr(getattr(module, "log", None), "_logger", None)
        if not isinstance(logger, logging.Logger):
            named = logging.Logger.manager.loggerDict.get(LOGGER)
            # Somebody may only have asked for the name: Copilot's own has handlers.
            logger = named if isinstance(named, logging.Logger) and named.handlers else None
        if not isinstance(logger, logging.Logger):
            raise SeamMissing(f"{_MODULE} has no logger")
        with self._lock:
            self._names.add(logger.name)
            self.cover()
            for name in LIBRARIES:
                logging.getLogger(name).addFilter(self._urls)  # twice changes nothing

    def detach(self) -> None:
        """Take the filter off again, and the wrapped methods with it."""
        with self._lock:
            self._names.clear()
            for name in LIBRARIES:
                logging.getLogger(name).removeFilter(self._urls)
            for handler in self._handlers:
                handler.removeFilter(self._filter)
            for handler, ours in self._formats:
                if vars(handler).get("format") is ours:
                    del vars(handler)["format"]
            for logger, ours in self._loggers:
                if vars(logger).get("addHandler") is ours:
                    del vars(logger)["addHandler"]
            self._handlers.clear()
            self._formats.clear()
            self._loggers.clear()
            self._known = -1

    async def aclose(self) -> None:
        """Nothing runs."""

    def cover(self) -> None:
        """Put the filter on every handler of the attached loggers and their children that lacks it."""
        with self._lock:
            for logger in self._covered():
                for handler in list(logger.handlers):
                    self._cover_handler(handler)
                if not any(logger is known for known, _ in self._loggers):
                    self._watch(logger)

    def _covered(self) -> Iterator[logging.Logger]:
        known = logging.Logger.manager.loggerDict
        self._known = len(known)
        for name, logger in list(known.items()):
            if isinstance(logger, logging.Logger) and any(
                name == own or name.startswith(f"{own}.") for own in self._names
            ):
                yield logger

    def _look_again(self) -> None:
        # A logger that was made since the last look may have handlers of its own.
        if len(logging.Logger.manager.loggerDict) != self._known:
            self.cover()

    def _cover_handler(self, handler: logging.Handler) -> None:
        if self._filter in handler.filters:
            return
        handler.addFilter(self._filter)
        self._handlers.append(handler)
        if isinstance(handler, logging.StreamHandler) and "format" not in vars(handler):
            ours = _encodable(handler, handler.format)
            handler.format = ours  # type: ignore[method-assign, assignment]
            self._formats.append((handler, ours))

    def _watch(self, logger: logging.Logger) -> None:
        original = logger.addHandler

        def add_handler(hdlr: logging.Handler) -> None:
            original(hdlr)
            with self._lock:
                if self._names:
                    self._cover_handler(hdlr)

        logger.addHandler = add_handler  # type: ignore[method-assign]
        self._loggers.append((logger, add_handler))


def _encodable(handler: Any, original: Format) -> Format:
    """`handler.format`, with what its stream cannot encode written as escapes."""

    def format_record(record: logging.LogRecord) -> str:
        text = original(record)
        stream = getattr(handler, "stream", None)
        encoding = getattr(stream, "encoding", None) or getattr(handler, "encoding", None)
        if not encoding or getattr(stream, "errors", "strict") not in ("strict", None):
            return text
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding, "replace")
        except LookupError:  # a stream with a codec of its own
            return text
        return text

    return in_front(format_record, original, "the encoding of the log")


class InOurs(logging.Filter):
    """Asks `inner` about the records of a chat or of a probe, in whose context they are made; others pass."""

    def __init__(self, inner: logging.Filter) -> None:
        super().__init__()
        self._inner = inner

    @fail_open("a line of the log that could not be cleaned", default=False)
    def filter(self, record: logging.LogRecord) -> bool:
        """Any thread; never raises if `inner` does not."""
        if current_chat.get() is None and not hide_urls.get():
            return True
        return bool(self._inner.filter(record))


def hosts_only(text: str) -> str:
    """`text` with each URL cut down to scheme, host and port."""
    return _URL.sub(_host_only, text)


def _host_only(found: re.Match[str]) -> str:
    more = "/…" if found["rest"] not in ("", "/") else ""
    return f"{found['scheme']}://{found['host']}{found['port'] or ''}{more}"
