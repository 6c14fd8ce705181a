"""What a host is by its name: one decision for prices, sentences, Redis, and for who may ask."""

from __future__ import annotations

import pytest

from backend.hosts import bare_host, is_address, is_local, is_loopback, is_private_name

LOOPBACK, ADDRESS, NAME, PUBLIC_ADDRESS, PUBLIC_NAME, NONE = range(6)
"""This machine; an address or a name of the network around it; an address or a name of anybody's; no host."""

HOSTS = [
    ("localhost", LOOPBACK), ("LOCALHOST.", LOOPBACK), ("localhost:11434", LOOPBACK), ("app.localhost", LOOPBACK),
    ("127.0.0.1", LOOPBACK), ("127.9.9.9:1", LOOPBACK), ("::1", LOOPBACK), ("[::1]", LOOPBACK),
    ("[::1]:8080", LOOPBACK), ("::ffff:127.0.0.1", LOOPBACK), ("[::ffff:127.0.0.1]:80", LOOPBACK),
    ("0.0.0.0", ADDRESS), ("10.0.0.2", ADDRESS), ("192.168.1.5:11434", ADDRESS), ("172.20.1.1", ADDRESS),
    ("169.254.1.1", ADDRESS), ("100.100.1.2:8000", ADDRESS), ("::ffff:10.0.0.1", ADDRESS),
    ("[fd00::1]", ADDRESS), ("fe80::1%eth0", ADDRESS), ("[fe80::1%eth0]:1234", ADDRESS),
    ("gpu-box", NAME), ("gpu-box:8000", NAME), ("nas.local", NAME), ("NAS.Local.:80", NAME), ("gpu.lan", NAME),
    ("gpu.home", NAME), ("gpu.home.arpa.", NAME), ("metadata.internal", NAME), ("host.docker.internal:1234", NAME),
    ("172.32.0.1", PUBLIC_ADDRESS), ("11.0.0.1", PUBLIC_ADDRESS), ("8.8.8.8:443", PUBLIC_ADDRESS),
    ("[2606:4700::1111]:443", PUBLIC_ADDRESS), ("::ffff:8.8.8.8", PUBLIC_ADDRESS),
    ("api.openai.com", PUBLIC_NAME), ("localhost.evil.example", PUBLIC_NAME), ("nas.local.evil.example", PUBLIC_NAME),
    ("127.0.0.1.evil.example", PUBLIC_NAME), ("10.example.com", PUBLIC_NAME), ("192.168.evil.example:80", PUBLIC_NAME),
    ("thelan", NAME), ("the-local.example", PUBLIC_NAME),
    ("", NONE), (".", NONE), (":80", NONE), ("[", NONE), ("invalid URL", NONE),
]  # fmt: skip


@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_what_a_host_is(host: str, kind: int) -> None:
    """Names that only look like an address, or like one of our network, are not taken for it."""
    told = (is_loopback(host), is_local(host), is_address(host))

    assert told[0] is (kind == LOOPBACK)
    assert told[1] is (kind in (LOOPBACK, ADDRESS, NAME))
    assert is_private_name(host) is (told[1] and not told[2])
    assert kind not in (ADDRESS, PUBLIC_ADDRESS) or told[2]
    assert kind not in (NAME, PUBLIC_NAME, NONE) or not told[2]


@pytest.mark.parametrize(
    ("host", "bare"),
    [("GPU.Local.:80", "gpu.local"), ("[FE80::1%eth0]:1", "fe80::1%eth0"), ("::1", "::1"), ("x", "x"), ("", "")],
)
def test_the_name_alone(host: str, bare: str) -> None:
    """Without port, brackets and the dot at its end: as it is compared and told."""
    assert bare_host(host) == bare
