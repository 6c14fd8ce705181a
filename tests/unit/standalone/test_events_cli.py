"""`python -m backend events`: what a user types, what is printed, and the exit code."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.settings import Settings
from backend.standalone.cli import main
from backend.standalone.folders import candidates, state_folder, store_folder
from tests.support.net import PATIENCE
from tests.support.stores import event, running

ROOT = Path(__file__).resolve().parents[3]
KEY = "sk-proj-A1b2C3d4E5f6G7h8I9j0"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """The events of two chats."""
    async with running(tmp_path / "events") as store:
        for chat, outcome in (("a1", "completed"), ("b2", "failed")):
            store.on_event(event("chat.started", f"s-{chat}", chat_id=chat, kind="chat"))
            store.on_event(event("chat.model", f"s-{chat}", chat_id=chat, model="qwen3", host="h", turn=1, attempt=1))
            store.on_event(event("error", None, chat_id=chat, kind="timeout", message="no \x1b[31manswer"))
            store.on_event(
                event(
                    "chat.finished", f"s-{chat}", chat_id=chat, outcome=outcome, model="qwen3", seconds=1.25, tokens=7
                )
            )
    return tmp_path / "events"


@pytest.fixture
def run(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run the command on the folder; (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["events", "--dir", str(folder), *arguments], {})
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return call


async def test_list_shows_the_newest_with_what_matters_first(run: Run) -> None:
    """One line an event, the newest last, and nothing that could steer a terminal."""
    code, out, _ = run("list", "--limit", "3")

    lines = out.splitlines()
    assert code == 0
    assert [line.split()[3] for line in lines] == ["error", "chat.finished", "store.closed"]
    assert "chat_id=b2 outcome=failed model=qwen3 seconds=1.25" in lines[1]
    assert "\x1b" not in out


async def test_list_as_json_takes_filters(run: Run) -> None:
    """NDJSON for programs."""
    code, out, _ = run("list", "--json", "--type", "chat.*", "--outcome", "failed", "--since", "1h")

    assert code == 0
    assert [json.loads(line)["data"]["chat_id"] for line in out.splitlines()] == ["b2"]


async def test_export_writes_a_private_file(run: Run, tmp_path: Path) -> None:
    """History tells who asked which model; CSV goes to the screen without an output."""
    target = tmp_path / "out.ndjson"
    code, out, err = run("export", "--output", str(target), "--chat", "a1")
    assert (code, out) == (0, "")
    assert "4 events" in err
    assert target.stat().st_mode & 0o777 == 0o600
    assert len(target.read_text("utf-8").splitlines()) == 4
    _, out, _ = run("export", "--format", "csv", "--type", "chat.finished")
    assert [row["outcome"] for row in csv.DictReader(io.StringIO(out))] == ["completed", "failed"]


async def test_stat_counts_by_type_and_outcome(run: Run) -> None:
    """And says where the events are."""
    code, out, _ = run("stat")

    assert code == 0
    assert "10 events" in out
    assert "2  chat.finished" in out
    assert "1 completed, 1 failed" in out
    assert "in 1 file" in out


async def test_story_draws_a_chat(run: Run) -> None:
    """And says so where nothing is known."""
    code, out, _ = run("story", "b2")
    assert code == 0
    assert "failed" in out.splitlines()[0]
    assert "█" in out
    assert "error: timeout" in out
    code, _, err = run("story", "nobody")
    assert code == 2
    assert "nothing is known" in err


async def test_a_narrow_code_page_ends_nothing(folder: Path) -> None:
    """Windows writes to a pipe or a file in a code page of 256 letters: what it lacks is written in another way."""
    async with running(folder) as store:
        store.on_event(event("error", None, chat_id="b2", kind="server", message="服务器繁忙 🎉"))
    for arguments in (["story", "b2"], ["list"]):
        ran = subprocess.run(
            [sys.executable, "-m", "backend", "events", "--dir", str(folder), *arguments],
            cwd=ROOT, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        )  # fmt: skip

        assert ran.returncode == 0, ran.stderr
        out = ran.stdout.decode("cp1252")
        assert "\\u7e41" in out
        assert (" # " in out) == (arguments[0] == "story")


async def test_check_finds_a_damaged_file(run: Run, folder: Path) -> None:
    """Exit code 1, for scripts; what can be read is listed all the same."""
    assert run("check")[0] == 0
    file = next(folder.glob("events-*.db"))
    file.write_bytes(b"\x00" * 100 + file.read_bytes()[100:])

    code, out, _ = run("check")
    assert code == 1
    assert "sound" not in out
    code, _, err = run("list")
    assert code == 1
    assert file.name in err


def test_forget_removes_a_session_and_asks_before(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal it wants --yes; with one it wants a y."""
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, _, err = run("forget", "--session", "s-a1")
    assert code == 2
    assert "--yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert run("forget", "--session", "s-a1")[0] == 0
    assert len(run("list", "--chat", "a1")[1].splitlines()) == 4
    code, out, _ = run("forget", "--session", "s-a1", "--yes")
    assert (code, out) == (0, "4 events are gone\n")
    assert b"a1" not in next(folder.glob("events-*.db")).read_bytes()
    run("forget", "--all", "--yes")
    assert run("list", "--type", "chat.*")[1] == ""


async def test_forget_leaves_alone_what_a_running_program_writes(run: Run, folder: Path) -> None:
    """It says who can do it instead."""
    async with running(folder) as store:
        await store.flush()
        code, _, err = await asyncio.to_thread(run, "forget", "--all", "--yes")

    assert code == 2
    assert "/copilot-pulse/events/forget" in err
    assert run("list", "--type", "chat.*")[1] != ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["list", "--since", "yesterday"], "time"),
        (["list", "--type", "chat*"], "type"),
        (["nonsense"], "invalid choice"),
        (["forget"], "--session"),
        ([], "COMMAND"),
    ],
)
async def test_mistakes_are_told_in_one_line(run: Run, arguments: list[str], word: str) -> None:
    """Exit code 2, no traceback."""
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert word in err
    assert len(err.splitlines()) == 1


def test_missing_folder_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """So that the user knows where was looked."""
    assert main(["events", "list"], {"HOME": str(tmp_path), "XDG_STATE_HOME": f"{tmp_path}/state"}) == 2
    assert f"{tmp_path}/state/copilot-pulse/events" in capsys.readouterr().err


def test_folders_are_those_of_the_platform(tmp_path: Path) -> None:
    """The user's choice goes first, and is the only one."""
    home = {"HOME": "/home/me"}
    assert state_folder(home, "linux") == Path("/home/me/.local/state")
    assert state_folder({**home, "XDG_STATE_HOME": "/state"}, "linux") == Path("/state")
    assert state_folder(home, "darwin") == Path("/home/me/Library/Application Support")
    assert state_folder({"LOCALAPPDATA": "/local"}, "win32") == Path("/local")
    assert state_folder({}, "linux") is None
    assert store_folder(Settings(), home) == Path("/home/me/.local/state/copilot-pulse/events")
    named = Settings(store_dir="/my/events")
    assert store_folder(named, home) == Path("/my/events")
    assert candidates(named, home) == [Path("/my/events")]


async def test_follow_prints_what_a_running_program_stores_until_it_is_stopped(tmp_path: Path) -> None:
    """As a user has it: another process, ended by Ctrl-C, without a traceback."""
    async with running(tmp_path) as store:
        await store.flush()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backend", "events", "--dir", str(tmp_path), "follow", "--since", "1d", "--json",
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        first = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
        store.on_event(event("error", None, message=KEY))
        second = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)

    assert first["type"] == "store.opened"
    assert second["data"] == {"message": "[redacted]"}
    assert (process.returncode, err) == (0, b"")


def test_reading_needs_neither_the_agent_library_nor_a_server() -> None:
    """It has to work on a machine where nothing else does."""
    code = (
        "import sys; sys.argv = ['x', 'events', 'list']\n"
        "from backend.standalone import cli, events_cli\n"
        "bad = {'agents', 'openai', 'aiohttp', 'psutil', 'httpx'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
