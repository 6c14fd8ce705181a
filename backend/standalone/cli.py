"""`python -m backend`: runs the host until Ctrl-C, or says in one line why it cannot."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..aio import cancel_all
from .options import ModelServer, Options, UsageError, parse

if TYPE_CHECKING:
    from .host import Host

# What needs a library is imported where it is used, so that a missing one can be told in a line.
FAILED: Final = 2
# New objects until the young ones are searched for garbage. Those of hundreds of chats in flight are no garbage, and
# with Python's 700 they grow old so fast that a full search comes every few seconds.
YOUNG_OBJECTS: Final = 20_000


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the program; returns the exit code: 0 after Ctrl-C, 2 if it could not start."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _escape_what_the_terminal_lacks()
    if arguments[:1] == ["events"]:
        from .events_cli import main as events

        return events(arguments[1:], environ)
    try:
        options = parse(arguments, environ)
    except UsageError as error:
        return _fail(str(error))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    run = _run if not options.fleet else partial(_run_fleet, arguments=sys.argv[1:] if arguments is None else arguments)
    try:
        return asyncio.run(run(options, environ))
    except KeyboardInterrupt:  # a second Ctrl-C, or one before the loop listens for it
        return 0


def _escape_what_the_terminal_lacks() -> None:
    """Windows writes to files and pipes in its old code pages: a letter that these lack must not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


async def _run(options: Options, environ: Mapping[str, str]) -> int:
    stop = asyncio.Event()
    _listen(stop)
    try:
        from .agent import AgentsMissing
        from .host import Host
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__package__.partition(".")[0]):
            raise  # one of our own: no pip install would help
        return _fail(f"{error.name} is missing: pip install -r requirements-standalone.txt")
    try:
        host = Host(options, environ)
        for problem in host.pulse.settings.problems:
            _warn(str(problem))
        await host.start()
    except AgentsMissing as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_why(error, options))
    spare_collector()
    try:
        await _serve(host, stop)
    finally:
        await host.close()
    return 0


def spare_collector() -> None:
    """Keep all that is imported by now out of garbage collections, and make these rarer. For a process of our own.

    The collector holds the loop; with 500 chats a full collection took a quarter of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


async def _run_fleet(options: Options, environ: Mapping[str, str], arguments: Sequence[str]) -> int:
    stop = asyncio.Event()
    _listen(stop)
    from ..hosts import is_loopback
    from .fleet import CannotStart, LocalFleet, arguments_of_host

    if not is_loopback(options.host):
        return _fail("--fleet is for trying things on this machine: it listens on 127.0.0.1 only")

    def say(sentence: str) -> None:
        sys.stdout.write(f"{sentence}\n")
        sys.stdout.flush()

    fleet = LocalFleet(options.fleet, options.host, options.port, arguments_of_host(arguments), environ, say)
    try:
        await fleet.start()
    except CannotStart as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_why(error, options))
    try:
        say(f"Copilot Pulse is at {fleet.url}, {options.fleet} hosts behind it (Ctrl-C ends them)")
        for member in fleet.members:
            say(member.line)
        say(fleet.told)
        if options.open_page:
            open_page(fleet.url)
        await stop.wait()
    finally:
        await fleet.close()
    return 0


async def _serve(host: Host, stop: asyncio.Event) -> None:
    from ..hosts import is_loopback

    options = host.options
    taken = options.port not in (0, urlsplit(host.url).port)
    why = f"port {options.port} is in use; " if taken else ""
    sys.stdout.write(f"Copilot Pulse is at {host.url} ({why}Ctrl-C ends it)\n")
    sys.stdout.flush()
    if not is_loopback(options.host):
        _warn(f"anybody who reaches {options.host} can chat here; there is no password")
    if options.open_page:
        open_page(host.url)
    asking = (
        asyncio.create_task(_tell_doubts(options.endpoint, host.pulse.recovery.redactor.redact))
        if options.endpoint
        else None
    )
    await stop.wait()
    await cancel_all([asking])


def open_page(url: str) -> None:
    """Show the page in the user's browser, or say that there is none. Never waits: some run in the terminal."""
    threading.Thread(target=_open, args=(url,), name="copilot-pulse browser", daemon=True).start()


def _open(url: str) -> None:
    import webbrowser

    try:
        opened = webbrowser.open(url)
    except Exception:  # whatever a system's browser does: the page can be opened by hand
        opened = False
    if not opened:
        _warn(f"no browser could be opened; open {url} yourself")


async def _tell_doubts(endpoint: ModelServer, redact: Callable[[str], str]) -> None:
    from .endpoint_check import doubt

    doubtful = await doubt(endpoint)
    if doubtful:
        _warn(redact(doubtful))


def _listen(stop: asyncio.Event) -> None:
    """Set `stop` at the first Ctrl-C or SIGTERM; the second Ctrl-C interrupts at once."""
    loop = asyncio.get_running_loop()

    def asked() -> None:
        stop.set()
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt there
            loop.add_signal_handler(number, asked)


def _why(error: OSError, options: Options) -> str:
    place = f"port {options.port} on {options.host}"
    # asyncio words some of these anew and keeps the number only.
    if error.errno == errno.EADDRINUSE:
        more = "" if options.fixed_port else " and so are those after it"
        return f"{place} is in use{more}; choose another one with --port"
    if error.errno == errno.EACCES:
        return f"{place} is not allowed for this user; choose one above 1023 with --port"
    return f"cannot listen on {place}: {error.strerror or error}; see --host and --port"


def _warn(message: str) -> None:
    sys.stderr.write(f"copilot-pulse: {' '.join(message.split())}\n")
    sys.stderr.flush()


def _fail(message: str) -> int:
    _warn(message)
    return FAILED
