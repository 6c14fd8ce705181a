"""Where Redis is, how it is waited for, and that no URL is ever quoted."""

from __future__ import annotations

import asyncio
import errno
import ssl

import pytest

from backend.fleet_redis.redis_link import PERMANENT_WAIT, WORDS, Backoff, Link, LinkError, Target, explain, pack
from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    ("url", "shown", "database", "tls"),
    [
        ("redis://host", "host:6379", 0, False),
        ("redis://user:p%40ss@host:7000/3", "host:7000", 3, False),
        ("REDISS://:pw@[::1]:7000", "[::1]:7000", 0, True),
        ("rediss://host/?db=2&ssl_ca_certs=/ca.pem", "host:6379", 2, True),
    ],
)
def test_a_url_is_read(url: str, shown: str, database: int, tls: bool) -> None:
    """Host and port are all that is shown of it."""
    target = Target(url)

    assert (repr(target), target.database, target.tls) == (shown, database, tls)


def test_a_name_that_only_begins_like_loopback_is_elsewhere() -> None:
    """A connection without TLS that leaves this machine is warned of, whatever its name looks like."""
    assert Target("redis://127.0.0.1").is_loopback
    assert Target("redis://[::ffff:127.0.0.1]").is_loopback
    assert not Target("redis://127.0.0.1.example.com").is_loopback


def test_a_password_is_decoded() -> None:
    """Special characters are written percent-encoded."""
    target = Target("redis://us%3Aer:p%40s%2Fs@host")

    assert (target.user, target.password) == ("us:er", "p@s/s")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://:hush@host", "Sentinel"),
        ("redis+cluster://:hush@host", "cluster"),
        ("redis://:hush@one:1,two:2", "Sentinel and cluster"),
        ("http://:hush@host", "redis:// or rediss://"),
        ("unix:///tmp/hush.sock", "redis:// or rediss://"),
        ("redis://", "no host"),
        ("redis://:hush/x@host", "percent-encoded"),
        ("redis://user:77/hush@host", "percent-encoded"),
        ("redis://hush:77#hush@host/0", "percent-encoded"),
        ("redis://hush:77?hush@host/0", "percent-encoded"),
        ("redis://:x@hush?hush@host/0", "percent-encoded"),
        ("redis://:x@hush?hush=hush@host/0", "known options"),
        ("redis://:hush\udcff@host", "percent-encoded"),
        ("redis://:hush@host:99999", "below 65536"),
        ("rediss://:hush@host?ssl_cert_reqs=hush", "required, optional, none"),
        ("redis://:hush@host/zero", "number"),
        ("redis://:hush@host?protocol=3", "known options"),
        ("rediss://:hush@host?hush=1", "known options"),
    ],
)
def test_what_is_not_supported_is_refused_in_words(url: str, said: str) -> None:
    """The words say what to change, and quote nothing of the URL."""
    with pytest.raises(LinkError) as caught:
        Target(url)

    assert (caught.value.kind, caught.value.permanent) == ("url", True)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_waits_double_to_two_seconds_and_begin_anew() -> None:
    """With jitter of half; after a write has worked the first wait is short again."""
    backoff = Backoff(lambda: 1.0)
    lost = LinkError("lost")

    assert [round(backoff.wait(lost), 2) for _ in range(8)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    backoff.reset()
    assert backoff.wait(lost) == 0.05
    assert Backoff(lambda: 0.0).wait(lost) == 0.025


@pytest.mark.parametrize("kind", ["password", "rights", "tls", "version", "keys", "library"])
def test_what_only_a_person_can_mend_is_left_alone_for_long(kind: str) -> None:
    """A wrong password is not hammered."""
    assert Backoff(lambda: 0.5).wait(LinkError(kind)) == PERMANENT_WAIT


def test_every_kind_has_its_words() -> None:
    """Each is a sentence with nothing left to fill in."""
    for kind in WORDS:
        text = str(LinkError(kind, "host:6379", "detail"))
        assert text.endswith(".")
        assert "{" not in text


REFUSED, UNREACHABLE = (
    "[Errno 111] Connect call failed ('::1', 1, 0, 0)",
    "[Errno 101] Connect call failed ('1.2.3.4', 1)",
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(f"Multiple exceptions: {REFUSED}, {REFUSED}"), "1: connection refused."),
        (OSError(f"Multiple exceptions: {UNREACHABLE}, {REFUSED}"), "1: network is unreachable, connection refused."),
        (OSError("Multiple exceptions: [WinError 1225] Nobody, [WinError 1231] Nowhere"), "none of its addresses"),
        (OSError("getaddrinfo() returned empty list"), "the name is not known"),
        (UnicodeError("label empty or too long"), "the name is not known"),
        (UnicodeEncodeError("idna", "a..b", 2, 2, "label empty"), "the name is not known"),
        (ConnectionResetError("Connection lost"), "the server hung up"),
        (ValueError("invalid literal for int()"), "no Redis"),
    ],
)
def test_why_a_connection_did_not_come_about_is_told(error: Exception, said: str) -> None:
    """Also of a name with several addresses, whose errors asyncio tells in one without a number."""
    outer = pytest.importorskip("redis.exceptions").ConnectionError("The library wraps whatever happens.")
    outer.__cause__ = error

    assert said in str(explain(outer, Target("redis://name:1"), connecting=True))


def test_the_members_of_a_group_of_errors_are_looked_at() -> None:
    """As asyncio raises with `all_errors`, and other libraries do by habit."""

    class Group(Exception):  # Python's own came with 3.11
        exceptions = (OSError(errno.ECONNREFUSED, "Connect call failed"),)

    assert "connection refused" in str(explain(Group(), Target("redis://name:1"), connecting=True))


def test_a_server_that_asks_for_a_certificate_names_the_option() -> None:
    """Where its alert is read before it hangs up, which is a matter of luck."""
    error = ssl.SSLError(1, "an alert")
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    told = explain(error, Target("rediss://name:1"))

    assert (told.kind, told.detail) == ("tls", "tlsv13 alert certificate required (ssl_certfile)")


def test_commands_are_packed_as_the_library_packs_them() -> None:
    """Text, numbers and bytes with anything in them."""
    commands = [
        ("XADD", "{p}:i:ü", "MINID", "~", "7-0", "9-2", "v", 1, "b", b"\r\n$3\x00\xff"),
        ("PING",),
        ("SET", "", b""),
    ]
    library = pytest.importorskip("redis.asyncio.connection").Connection()

    assert pack(commands) == b"".join(library.pack_commands(commands))


@pytest.mark.parametrize("stood_still", [False, True])
async def test_a_process_that_stood_still_while_it_connected_does_not_blame_redis(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, stood_still: bool
) -> None:
    """A laptop that wakes up tries again at once, and complains of nothing; a Redis that is silent is told."""
    target = Target("redis://127.0.0.1")

    async def open_() -> None:
        clock.advance(60.0 if stood_still else 0.0)
        await asyncio.Event().wait()

    monkeypatch.setattr(target, "open", open_)
    monkeypatch.setattr(target, "prepare", lambda: asyncio.sleep(0))
    link = Link(target, "reader", 0.01, clock)
    tries: list[str] = []

    def last(error: LinkError) -> bool:
        tries.append(error.kind)
        return False

    await link.keep(lambda: asyncio.sleep(0), last)

    assert tries == ["timeout"]
    assert (link.problem is None) == stood_still
