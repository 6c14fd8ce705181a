"""Ports of the tests' own."""

from __future__ import annotations

import socket

import pytest

from tests.support.net import closed_port


def test_a_closed_port_is_free_and_never_given_away_by_the_system() -> None:
    """Whoever binds port 0 or connects gets another one, so it is there again for a server that comes back."""
    ours = {closed_port() for _ in range(50)}
    given = set()
    for _ in range(200):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            given.add(one.getsockname()[1])

    assert len(ours) > 40
    assert max(ours) < min(given)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ours.pop()))
