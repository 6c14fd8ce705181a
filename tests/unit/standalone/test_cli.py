"""The command line: `--open` shows the page in the user's browser; garbage is collected rarely."""

from __future__ import annotations

import gc
import threading
import webbrowser
from collections.abc import Iterator

import pytest

from backend.standalone.cli import YOUNG_OBJECTS, open_page, spare_collector
from backend.standalone.options import parse


def opened(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[str]:
    """Call `open_page()` with a browser that does `answer`, and wait for its thread; the URLs that it was given."""
    urls: list[str] = []

    def fake(url: str) -> bool:
        urls.append(url)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    monkeypatch.setattr(webbrowser, "open", fake)
    open_page("http://127.0.0.1:1")
    for thread in threading.enumerate():
        if thread.name == "copilot-pulse browser":
            thread.join(30)
    return urls


def test_it_is_off_unless_asked_for() -> None:
    """Nobody's browser is opened by surprise."""
    assert not parse([], {}).open_page
    assert parse(["--open"], {}).open_page


def test_the_page_is_opened(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The address that the host really has, and no word about it."""
    assert opened(monkeypatch, True) == ["http://127.0.0.1:1"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("answer", [False, webbrowser.Error("no browser"), OSError(2, "gone")])
def test_without_a_browser_a_sentence_says_so(
    answer: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server without a screen: the host runs on, and the user knows what to open."""
    opened(monkeypatch, answer)

    assert capsys.readouterr().err == "copilot-pulse: no browser could be opened; open http://127.0.0.1:1 yourself\n"


@pytest.fixture
def _collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("_collector")
def test_imports_are_left_out_of_collections_and_garbage_is_not_kept() -> None:
    """What was there before is not looked at again; a cycle made before or after is freed."""

    class Cycle:
        freed = 0

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            Cycle.freed += 1

    Cycle()

    spare_collector()

    assert Cycle.freed == 1
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == YOUNG_OBJECTS
    Cycle()
    gc.collect()
    assert Cycle.freed == 2
