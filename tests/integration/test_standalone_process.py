"""`python -m backend` as a user starts it: what it prints, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backend.standalone.options import PORT

ROOT = Path(__file__).parents[2]
WITHOUT_AGENTS = "import sys; sys.modules['agents'] = None; from backend.standalone.cli import main; sys.exit(main([]))"


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "backend", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COPILOT_PULSE_LOOP_STALL": "60"},  # that the machine is busy need not be told
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_it_says_where_it_is_and_ends_at_ctrl_c() -> None:
    """One line with the URL, a page there, and a clean end without a word on stderr."""
    with running("--port", "0") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http://"))
        with urllib.request.urlopen(url, timeout=60) as page:
            assert b"Copilot Pulse" in page.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)

    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_in_use_is_one_clear_line() -> None:
    """A port that somebody else has: exit code 2, the port and the way out in one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with running("--port", port) as process:
            out, err = process.communicate(timeout=240)

    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1
    assert port in err
    assert "--port" in err


def test_the_default_port_gives_way_to_the_next_free_one() -> None:
    """Where ComfyUI has port 8188 the first command works all the same, and its one line says where the page is."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else has it: as good
            taken.bind(("127.0.0.1", PORT))
            taken.listen()
        with running() as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = next(word for word in line.split() if word.startswith("http://"))
            with urllib.request.urlopen(url, timeout=60) as page:
                assert b"Copilot Pulse" in page.read()

    assert f"port {PORT} is in use" in line
    assert int(url.rpartition(":")[2]) > PORT


def test_a_host_that_is_not_ours_is_one_clear_line() -> None:
    """An address that this machine does not have is told without a traceback."""
    with running("--host", "192.0.2.1", "--port", "0") as process:
        out, err = process.communicate(timeout=240)

    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert "192.0.2.1" in err


def test_without_the_agent_library_it_says_what_to_install() -> None:
    """A missing openai-agents ends with the pip line."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_AGENTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install -r requirements-standalone.txt" in done.stderr
