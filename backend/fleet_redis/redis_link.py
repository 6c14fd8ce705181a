"""One connection to Redis, what can go wrong with it, and when it is tried again. The only file that imports redis.

A `Link` is owned by one task. It uses the library for the protocol alone: no pool, no retry, RESP2, deadlines of our
own. It is thrown away at the first error, because a connection that heals by itself would hide that Redis was
restarted, and an answer that came too late would be taken for the next one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ..hosts import is_address, is_loopback

if sys.version_info >= (3, 11):
    from asyncio import timeout as _deadline
else:  # the package redis brings it there
    from async_timeout import timeout as _deadline

log = logging.getLogger("copilot_pulse.fleet")

Command = tuple[Any, ...]
Ask = Callable[[list[Any], list[Any], int], Awaitable[list[Any]]]
Alone = Callable[[Any, Any, "LinkError"], Awaitable[list[Any]]]

_LIBRARY: Final = "redis.asyncio.connection"
FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 2.0
PERMANENT_WAIT: Final = 30.0
"""Seconds between two tries where only a person can help: a wrong password is not hammered."""

WORDS: Final = {
    "url": "The Redis URL is not usable: {detail}.",
    "library": 'The Python package redis is {detail}. Install it with: pip install "redis>=5.0.1", and restart.',
    "address": "Redis cannot be reached at {target}: {detail}. Check the address, and that the server runs.",
    "password": "Redis at {target} refuses the user or the password ({detail}).",
    "protected": "Redis at {target} takes connections of its own machine only (protected mode): set a password.",
    "rights": "The user of Redis at {target} lacks a right ({detail}). docs/fleet.md has the ACL line.",
    "tls": "TLS with Redis at {target} fails: {detail}. Check rediss:// against redis://, and the CA.",
    "version": "Redis at {target} lacks what the fleet needs ({detail}). It takes Redis 6.2 or newer, or Valkey; a "
    "Sentinel is neither.",
    "cluster": "Redis at {target} is a node of a cluster ({detail}). Name a server of its own, or a proxy.",
    "keys": "A key at {target} belongs to something else ({detail}). Set another COPILOT_PULSE_REDIS_PREFIX.",
    "full": "Redis at {target} is out of memory.",
    "loading": "Redis at {target} is not ready ({detail}).",
    "readonly": "Redis at {target} takes no writes: {detail}.",
    "busy": "Redis at {target} has no time for us: {detail}.",
    "quota": "Redis at {target} does nothing more for us: {detail}. Another plan of its provider helps, or to wait.",
    "timeout": "Redis at {target} does not answer in time ({detail}).",
    "lost": "The connection to Redis at {target} was lost.",
    "refused": "Redis at {target} refuses a command ({detail}).",
}
"""What is wrong, by kind. The text of Redis' own errors is not told, for it may quote what was sent."""
PERMANENT: Final = frozenset(
    {"url", "library", "password", "protected", "rights", "tls", "version", "cluster", "keys", "quota"}
)
RECENT_SECONDS: Final = 60.0
"""Seconds for which a command that was refused is told, if nobody has tried it again."""
MOST_REFUSALS: Final = 20
MOST_CAUSES: Final = 16
_OF_ANY_KEY: Final = frozenset({"PEXPIRE", "EXISTS"})
"""Commands that succeed on the key of somebody else, too."""
HANG_UPS: Final = 3
"""After so many in a row at a value beyond SURELY_TAKEN, or at a reply that may be large, its size is the reason."""
STOOD_STILL: Final = 0.5
"""Seconds after a deadline from which on it is not Redis that was late."""
NEXT_ADDRESS: Final = 0.25
"""Seconds after which the next address of a host name is tried beside the one that is silent."""

# The code of an error reply -> its kind, and what is told of it if that is not the code.
_REPLIES: Final = {
    "WRONGPASS": ("password", ""), "NOAUTH": ("password", "none was given"), "DENIED": ("protected", ""),
    "NOPERM": ("rights", ""), "WRONGTYPE": ("keys", ""), "OOM": ("full", ""), "LOADING": ("loading", ""),
    "MASTERDOWN": ("loading", ""), "CLUSTERDOWN": ("loading", ""), "TRYAGAIN": ("loading", ""),
    "MOVED": ("cluster", ""), "ASK": ("cluster", ""), "CROSSSLOT": ("cluster", ""),
    "READONLY": ("readonly", "it is a replica"),
    "NOREPLICAS": ("readonly", "it has too few replicas (min-replicas-to-write)"),
    "MISCONF": ("readonly", "it cannot save its data; its log says why, often a full disk (MISCONF)"),
    "BUSY": ("busy", "a script keeps it from all else"),
}  # fmt: skip
# The library takes the code off the text where it has a class for it; which classes, depends on its version.
_CODES: Final = {
    "BusyLoadingError": "LOADING", "ReadOnlyError": "READONLY", "OutOfMemoryError": "OOM", "MovedError": "MOVED",
    "AskError": "ASK", "ClusterCrossSlotError": "CROSSSLOT", "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN", "TryAgainError": "TRYAGAIN", "NoPermissionError": "NOPERM",
    "AuthorizationError": "NOPERM", "AuthenticationError": "WRONGPASS",
    "AuthenticationWrongNumberOfArgsError": "WRONGPASS",
}  # fmt: skip
# What a stream says behind the last id that there is, which somebody else has given to an entry.
_EXHAUSTED: Final = "exhausted the last possible ID"
# Parts of the text of replies whose code is no more than ERR. Providers, such as Upstash, have limits of their own.
_TEXTS: Final = (
    ("max number of clients", "busy", "it takes no more connections (maxclients)"),
    ("max concurrent connections exceeded", "busy", "it takes no more connections"),
    ("max daily request limit exceeded", "quota", "the requests of its plan are used up for today"),
    ("max requests limit exceeded", "quota", "the requests of its plan are used up for this month"),
    ("capacity quota exceeded", "full", ""),
    ("without any password configured", "password", "none is set there"),
    ("no password is set", "password", "none is set there"),
    ("Authentication required", "password", "none was given"),
    ("DB index is out of range", "url", "there is no database of this number"),
    ("SELECT is not allowed in cluster mode", "cluster", "which has database 0 alone"),
    (_EXHAUSTED, "keys", "it takes no more entries"),
)
# What a server, a proxy or a plan says of a command, or of the answer to it, that it takes to be too large.
_TOO_LARGE: Final = re.compile(
    r"(?:request|string|bulk|element|entry|value|payload|message|command|argument)s?\b.{0,30}"
    r"(?:too (?:large|big|long)|size exceeded|exceeds? .{0,20}\bsize)|invalid bulk length",
    re.IGNORECASE,
)
SURELY_TAKEN: Final = 1_000_000
"""Bytes of one value that each Redis takes: none can be set to less than 1 MiB, nor is a plan known that is."""
UNKNOWN_NAME: Final = "the name is not known"
HUNG_UP: Final = (
    "the server hung up, as one does that expects TLS (rediss://), is in protected mode or has no connection left "
    "(maxclients)"
)
_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"})
_VERIFY: Final = ("required", "optional", "none")


class LinkError(Exception):
    """Something is wrong with Redis: `kind` is a key of WORDS, the text is fit for a user and holds no secret."""

    def __init__(self, kind: str, target: str = "", detail: str = "") -> None:
        super().__init__(WORDS[kind].format(target=target or "the given address", detail=detail or "no reason given"))
        self.kind = kind
        self.detail = detail
        self.is_old_id = False  # an entry with this id, or a newer one, is there already
        self.too_large = False  # it will never be taken as it is, however often it is tried
        self.ours = False  # this process stood still, as a laptop does that sleeps; Redis may have answered meanwhile

    @property
    def permanent(self) -> bool:
        """Whether only a person can help."""
        return self.kind in PERMANENT


class Target:
    """Where Redis is and how to log in. Shows host and port only."""

    def __init__(self, url: str) -> None:
        """Raises LinkError ("url") for what is not supported, in words that do not quote the URL."""
        if "," in url.rpartition("@")[2] or url.lower().startswith(("redis+", "rediss+", "redis-", "sentinel")):
            raise LinkError(
                "url", detail="Sentinel and cluster are not supported; give the one address of a server or a proxy"
            )
        encode = "special characters of a password have to be percent-encoded"
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            url.encode()  # an environment may hold bytes that are no text
        except ValueError as error:  # its text quotes the URL
            large = str(error).startswith("Port out of range")
            raise LinkError("url", detail="a port is a number below 65536" if large else encode) from None
        scheme = parts.scheme.lower()
        if scheme not in ("redis", "rediss"):
            raise LinkError("url", detail="it has to begin with redis:// or rediss://")
        options = parse_qsl(parts.query, keep_blank_values=True)
        half = "@" in url and ("@" not in parts.netloc or any("@" in name for name, _ in options))
        if parts.fragment or half:  # what looks like the host is half a password
            raise LinkError("url", detail=encode)
        if not host:
            raise LinkError("url", detail="it names no host")
        query = {name: value for name, value in options if value or name not in _OPTIONS}
        self.database = _whole(query.pop("db", "") or parts.path.strip("/") or "0")
        unknown = sorted(set(query) - _OPTIONS)
        if unknown or (query and scheme == "redis"):
            raise LinkError("url", detail=f"known options are {', '.join(sorted(_OPTIONS))}, with rediss:// only")
        if query.get("ssl_cert_reqs", "required") not in _VERIFY:
            raise LinkError("url", detail=f"ssl_cert_reqs is one of {', '.join(_VERIFY)}")
        self.host, self.port, self.tls = host, port or 6379, scheme == "rediss"
        self.options = query
        self.user = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password else None
        self._tls: Any = None

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent stays on this machine."""
        return is_loopback(self.host)

    async def open(self) -> Any:
        """A new connection of the library, logged in; `prepare()` comes first. Raises what the library raises."""
        library = sys.modules[_LIBRARY]
        common: dict[str, Any] = {
            "host": self.host, "port": self.port, "db": self.database, "username": self.user,
            "password": self.password, "protocol": 2, "socket_timeout": None, "socket_connect_timeout": None,
            "socket_keepalive": True,
        }  # fmt: skip
        if self.tls:
            verified = self.options.get("ssl_cert_reqs") != "none"
            connection: Any = library.SSLConnection(**common, ssl_check_hostname=verified, **self.options)
            if self._tls is None:
                # Reading the certificates takes 20 ms, too long for the loop, and at each reconnect.
                await asyncio.to_thread(self._read_certificates, connection.ssl_context)
                self._tls = connection.ssl_context
            connection.ssl_context = self._tls
        else:
            connection = library.Connection(**common)
        if not is_address(self.host) and isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
            # A name may have several addresses, and the first may be one that nothing answers at.
            arguments = connection._connection_arguments
            connection._connection_arguments = lambda: {**arguments(), "happy_eyeballs_delay": NEXT_ADDRESS}
        try:
            await connection.connect()
        except BaseException:
            abort(connection)
            raise
        return connection

    async def is_otherwise(self) -> bool:
        """Whether it speaks without TLS where the URL has TLS, or the other way round. May raise OSError."""
        context = None
        if not self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=context)
        try:
            if self.tls:
                writer.write(b"PING\r\n")
            return not self.tls or await reader.read(1) in (b"+", b"-")
        finally:
            writer.transport.abort()

    def _read_certificates(self, context: Any) -> None:
        try:
            context.get()
        except ssl.SSLError:
            raise LinkError("tls", str(self), "a file named in the URL is no certificate or not its key") from None
        except OSError:
            raise LinkError("tls", str(self), "a file named in the URL is missing or cannot be read") from None

    async def prepare(self) -> None:
        """Import the library, beside the loop, for it takes 0.1 s and more. Raises LinkError if it cannot be used."""
        try:
            if _LIBRARY not in sys.modules:
                await asyncio.to_thread(import_module, _LIBRARY)
        except ImportError:
            raise LinkError("library", detail="missing") from None
        version = str(getattr(sys.modules["redis"], "__version__", ""))
        if re.match(r"[0-4]\.", version):  # another custom node may have brought it
            raise LinkError("library", detail=f"too old ({version})")

    def __repr__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise LinkError("url", detail="the database has to be a number")
    return int(text)


class Backoff:
    """How long to wait before the next try: doubling with jitter, long where only a person can help."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._next = FIRST_WAIT

    def wait(self, error: LinkError) -> float:
        """Seconds to wait after `error`."""
        if error.permanent:
            return PERMANENT_WAIT * (0.9 + 0.2 * self._draw())
        wait, self._next = self._next, min(2 * self._next, LONGEST_WAIT)
        return wait * (0.5 + 0.5 * self._draw())

    def reset(self) -> None:
        """Redis has done what we need it for."""
        self._next = FIRST_WAIT


class _Refusal:
    """A command that Redis refuses until a person changes something."""

    __slots__ = ("error", "last", "since")

    def __init__(self, error: LinkError, now: float) -> None:
        self.error = error
        self.since = self.last = now


class Link:
    """The connection of one role (writer, reader, groups). For the loop's thread and one task.

    `problem` is what is wrong now, or None; `down_since` is when it began (monotonic), or None.
    """

    def __init__(self, target: Target, role: str, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.role = role
        self.target = target
        self.problem: LinkError | None = None
        self.down_since: float | None = clock()
        self.reconnects: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._timeout = timeout
        self._clock = clock
        self._backoff = Backoff()
        self._connection: Any = None
        self._told: set[str] = set()
        self._refusals: dict[str, _Refusal] = {}
        # How often in a row it broke at a value that not every Redis takes, or at a reply that may be large.
        self._hung_up = 0

    @property
    def timeout(self) -> float:
        """Seconds that Redis may take."""
        return self._timeout

    @property
    def up(self) -> bool:
        """Whether Redis does what this role needs."""
        return self.down_since is None

    @property
    def trouble(self) -> tuple[LinkError, float | None] | None:
        """What is wrong and since when (monotonic): the connection, or a command that Redis refuses to us."""
        if self.problem is not None:
            return self.problem, self.down_since
        now = self._clock()
        for name in [name for name, one in self._refusals.items() if now - one.last > RECENT_SECONDS]:
            del self._refusals[name]
        return next(((one.error, one.since) for one in self._refusals.values()), None)

    async def keep(
        self, serve: Callable[[], Awaitable[object]], go_on: Callable[[LinkError], bool] = lambda error: True
    ) -> None:
        """Connect, run `serve()`; if either raises LinkError, wait and do it again as long as `go_on(error)`.

        A cancel leaves nothing.
        """
        while True:
            try:
                await self._connect()
                await serve()
                return
            except LinkError as caught:
                error = caught
            finally:
                self.drop()
            wait = self._failed(error)
            if not go_on(error):
                return
            await asyncio.sleep(wait)

    def proved(self) -> None:
        """Redis did what this role needs it for; connecting alone proves nothing."""
        if self.down_since is not None:
            if self._told:
                log.info("fleet: Redis at %s works again (%s)", self.target, self.role)
            self.down_since = self.problem = None
            self._told.clear()
        self._backoff.reset()

    def complain(self, error: LinkError) -> None:
        """Redis did not do what this role needs; the connection may still be good."""
        if self.down_since is None:
            self.down_since = self._clock()
        self.problem = error
        self.errors[error.kind] += 1
        if error.kind not in self._told:
            self._told.add(error.kind)
            log.warning("fleet: %s Chats are not affected. (%s)", error, self.role)

    def _failed(self, error: LinkError) -> float:
        """Note what happened; returns how long to leave Redis alone."""
        self.reconnects[error.kind] += 1
        if error.ours:
            return 0.0
        self.complain(error)
        return self._backoff.wait(error)

    async def _connect(self) -> None:
        await self.target.prepare()
        late = self._clock() + self._timeout + STOOD_STILL
        try:
            async with _deadline(self._timeout):
                self._connection = await self.target.open()
        except LinkError:
            raise
        except Exception as error:
            told = explain(error, self.target, connecting=True)
            told.ours = told.kind == "timeout" and self._clock() > late
            raise await self._tell_tls(told) from None

    async def _tell_tls(self, told: LinkError) -> LinkError:
        """The same, or that only one side speaks TLS: then the other is silent, or hangs up, without a word."""
        suspected = told.kind == "timeout" if self.target.tls else told.detail == HUNG_UP
        with suppress(asyncio.TimeoutError, OSError):
            async with _deadline(self._timeout):
                if suspected and await self.target.is_otherwise():
                    says = "without TLS" if self.target.tls else "TLS only"
                    return LinkError("tls", str(self.target), f"the server speaks {says}")
        return told

    async def again(self) -> None:
        """Connect anew if the connection is gone, and see that Redis answers. Raises LinkError if it does not."""
        if self._connection is None:
            await self._connect()
        await self.ask("TIME")

    async def call(self, *commands: Command, wait: float = 0.0, bulky: bool = False) -> list[Any]:
        """Send all commands at once and return their replies, a LinkError in place of one that was refused.

        A Redis that finds a command too large says so and hangs up: those behind it have "lost" for a reply then.
        `wait`: seconds that a command may block on top of the usual limit. `bulky`: the replies may be large; if the
        connection ends or time runs out again and again, they are told as too large. Raises LinkError if the
        connection is gone or too slow; it is thrown away then, as it is by a cancel, and what was sent may have been
        done.
        """
        connection = self._connection
        if connection is None:
            raise LinkError("lost", str(self.target))
        replies: list[Any] = []
        late = self._clock() + self._timeout + wait + STOOD_STILL
        try:
            async with _deadline(self._timeout + wait):
                await connection.send_packed_command(pack(commands), check_health=False)
                for _ in commands:
                    replies.append(await self._reply(connection))
            self._note_refusals(commands, replies)
            if self._hung_up and _has_large(commands):
                self._hung_up = 0
            return replies
        except LinkError:
            self.drop()
            raise
        except Exception as error:
            self.drop()
            told = explain(error, self.target)
            if told.kind == "timeout" and self._clock() > late:
                told.ours = True
                raise told from None
            if told.kind == "lost" and replies and isinstance(replies[-1], LinkError) and replies[-1].too_large:
                return replies + [told] * (len(commands) - len(replies))
            # What Redis said may have been lost with the connection; of a reply that is too large it says nothing.
            if (told.kind == "lost" and _has_large(commands)) or (bulky and told.kind in ("lost", "timeout")):
                self._hung_up += 1
                told.too_large = self._hung_up >= HANG_UPS
            raise told from None
        except BaseException:
            self.drop()
            raise

    async def ask(self, *command: Any, wait: float = 0.0, bulky: bool = False) -> Any:
        """One command's reply. Raises LinkError, also if Redis refused it."""
        (reply,) = await self.call(command, wait=wait, bulky=bulky)
        if isinstance(reply, LinkError):
            raise reply
        return reply

    async def in_parts(self, ask: Ask, alone: Alone, streams: list[Any], ids: list[Any], count: int) -> list[Any]:
        """What `ask(streams, ids, count)` gives. If that is too large: fewer entries, then fewer streams at a time.

        Fewer streams, too, if one of them is a key of somebody else. `alone(stream, id, error)` gives what is told of
        the one stream that cannot be read at all. Raises LinkError.
        """
        try:
            found = await ask(streams, ids, count)
            self._hung_up = 0
            return found
        except LinkError as error:
            return await self._in_smaller_parts(error, ask, alone, streams, ids, count)

    async def _in_smaller_parts(
        self, error: LinkError, ask: Ask, alone: Alone, streams: list[Any], ids: list[Any], count: int
    ) -> list[Any]:
        if not error.too_large and error.kind != "keys":
            raise error
        await self.again()
        half = len(streams) // 2
        parts = [slice(half), slice(half, None)]
        if error.too_large and count > 1:
            parts, count = [slice(None)], count // 2
        elif not half:
            return [[streams[0], await alone(streams[0], ids[0], error)]]
        found = []
        for part in parts:
            try:
                found += await ask(streams[part], ids[part], count)
            except LinkError as smaller:
                found += await self._in_smaller_parts(smaller, ask, alone, streams[part], ids[part], count)
        return found

    async def _reply(self, connection: Any) -> Any:
        try:
            return await connection.read_response()
        except Exception as error:
            if type(error).__module__ == "redis.exceptions" and _is_reply(error):
                told = explain(error, self.target)
                if told.kind not in ("loading", "readonly", "busy", "password", "quota"):
                    return told
                raise told from None
            raise

    def _note_refusals(self, commands: Iterable[Command], replies: Iterable[Any]) -> None:
        """Whoever asked may do without a reply that was refused; a user has to know of it, until it works."""
        now = self._clock()
        for command, reply in zip(commands, replies, strict=False):
            if reply.__class__ is LinkError and reply.permanent:
                # A right is lacked for a command, a type is wrong for a key.
                name = str(command[1 if reply.kind == "keys" else 0])
                self.errors[reply.kind] += 1
                if name in self._refusals:
                    self._refusals[name].last = now
                elif len(self._refusals) < MOST_REFUSALS:
                    self._refusals[name] = _Refusal(reply, now)
                    log.warning("fleet: %s Chats are not affected. (%s)", reply, self.role)
            elif self._refusals and not isinstance(reply, LinkError):
                for word in command[: 1 if command[0] in _OF_ANY_KEY else 2]:
                    self._refusals.pop(str(word), None)

    def drop(self) -> None:
        """Throw the connection away, at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            abort(connection)


def _has_large(commands: Iterable[Command]) -> bool:
    return any(word.__class__ is bytes and len(word) > SURELY_TAKEN for command in commands for word in command)


def pack(commands: Iterable[Command]) -> bytes:
    """Commands as Redis reads them. The library's own way takes four times as long, which a small batch shows."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            raw = word if word.__class__ is bytes else str(word).encode()
            parts += (b"$%d\r\n" % len(raw), raw, b"\r\n")
    return b"".join(parts)


def abort(connection: Any) -> None:
    """Close a connection of the library without a farewell: nobody waits for it."""
    writer = getattr(connection, "_writer", None)
    if writer is not None:
        connection._writer = connection._reader = None
        writer.transport.abort()


def _is_reply(error: BaseException) -> bool:
    return any(base.__name__ == "ResponseError" for base in type(error).__mro__)


def explain(error: BaseException, target: Target, *, connecting: bool = False) -> LinkError:
    """What an error of the library, of TLS or of the network means to a user."""
    name = str(target)
    chain = _chain(error)
    for one in chain:
        if isinstance(one, ssl.SSLError):
            reason = getattr(one, "verify_message", "") or getattr(one, "reason", "") or "handshake failed"
            words = str(reason).lower().replace("_", " ").rstrip(".")
            return LinkError("tls", name, words + " (ssl_certfile)" * words.endswith("certificate required"))
    kind, text = type(error).__name__, str(error)
    if type(error).__module__ == "redis.exceptions":
        for part, known, detail in _TEXTS:
            if part in text:
                told = LinkError(known, name, detail)
                told.is_old_id = part == _EXHAUSTED
                return told
        if _TOO_LARGE.search(text):
            large = LinkError("refused", name, "it is larger than the server or its plan allows")
            large.too_large = True
            return large
        if _is_reply(error) or kind in _CODES:
            return _explain_reply(kind, text, name)
    if any(
        isinstance(one, (asyncio.TimeoutError, TimeoutError)) or type(one).__name__ == "TimeoutError" for one in chain
    ):
        return LinkError("timeout", name, _why_silent(target) if connecting else "COPILOT_PULSE_REDIS_TIMEOUT")
    if connecting:
        return _explain_refusal(chain, name, target)
    return LinkError("lost", name)


def _chain(error: BaseException) -> list[BaseException]:
    """The error, what it came from, and the members of groups among them: the nearest first, no more than a few."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting and len(chain) < MOST_CAUSES:
        one = waiting.pop(0)
        if one is not None and one not in chain:
            chain.append(one)
            waiting += [one.__cause__ or one.__context__, *getattr(one, "exceptions", ())]
    return chain


def _why_silent(target: Target) -> str:
    if target.tls:
        return "a firewall may be between, or it is one without TLS, which is silent too"
    return "a firewall may be between, or something else than Redis may listen there"


def _explain_reply(kind: str, text: str, target: str) -> LinkError:
    """What an error reply means; of its own text only a command's name is told, which is one of ours."""
    word = text.split(" ", 1)[0].rstrip(":,.")
    if kind == "NoScriptError" or "unknown command" in text:
        command = text.partition("command ")[2].strip("`' ").split(" ")[0].strip("`',")
        return LinkError(
            "version", target, f"unknown command {command[:20]}" if command.isalpha() else "unknown command"
        )
    if "equal or smaller" in text:
        error = LinkError("refused", target, "old id")
        error.is_old_id = True
        return error
    if word in ("syntax", "wrong"):
        return LinkError("version", target, "syntax error")
    code = _CODES.get(kind) or (word if word.isupper() else "")
    known, detail = _REPLIES.get(code, ("refused", ""))
    if known == "rights":
        run = re.search(r"run the '([a-z|]{1,30})'", text)
        detail = run[1].upper() if run else "keys that begin with COPILOT_PULSE_REDIS_PREFIX"
    return LinkError(known, target, detail or code[:30] or kind)


def _explain_refusal(chain: list[BaseException], name: str, target: Target) -> LinkError:
    """Why a connection did not come about."""
    for one in chain:
        # A reset is a hang-up, too: what the server had not read when it closed.
        if isinstance(one, OSError) and one.errno and not isinstance(one, ConnectionResetError | BrokenPipeError):
            known = one.errno > 0 and not isinstance(one, socket.gaierror)
            return LinkError("address", name, os.strerror(one.errno).lower() if known else UNKNOWN_NAME)
        if type(one) is OSError:  # asyncio's sum of what happened at the addresses of a name, or that it has none
            numbers = dict.fromkeys(int(number) for number in re.findall(r"\[Errno (\d{1,5})\]", str(one)))
            reasons = ", ".join(os.strerror(number).lower() for number in numbers)
            none = UNKNOWN_NAME if "empty list" in str(one) else "none of its addresses can be reached"
            return LinkError("address", name, reasons or none)
        if isinstance(one, UnicodeEncodeError) or type(one) is UnicodeError:  # a label that is empty or too long
            return LinkError("address", name, UNKNOWN_NAME)
    if not isinstance(chain[-1], OSError) and type(chain[-1]).__name__ not in (
        "ConnectionError",
        "IncompleteReadError",
    ):
        return LinkError("address", name, "what answers there is no Redis")
    # The library says that the server hung up: at the first bytes, that is TLS on one side only, as a rule.
    if target.tls:
        return LinkError(
            "tls",
            name,
            "the server hung up, as one without TLS does, or one that asks for a certificate (ssl_certfile)",
        )
    return LinkError("address", name, HUNG_UP)
