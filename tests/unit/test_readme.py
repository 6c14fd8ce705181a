"""The READMEs and docs/: generated parts are current, and what they name exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend import event_bus
from backend.settings import Settings

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh.md")


PAGES = sorted(str(page.relative_to(ROOT)) for folder in (ROOT, ROOT / "docs") for page in folder.glob("*.md"))


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link and picture is a file of the repository, and what stands behind a # is a heading there."""
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text) + [
        (source, "") for source in re.findall(r'src="([^":]+)"', text)
    ]
    targets = [((path.parent / file) if file else path, anchor) for file, anchor in links]

    assert [file for file, _ in targets if not file.exists()] == []
    assert [
        (file.name, anchor)
        for file, anchor in targets
        if anchor and file.suffix == ".md" and anchor not in headings(file)
    ] == []


def test_every_picture_is_shown_and_can_be_taken_again() -> None:
    """Nobody downloads a picture that no page shows, and each that is shown is one that a script takes."""
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    pictures = {file.name for file in (ROOT / "docs").rglob("*") if file.suffix in (".png", ".webp", ".svg")}
    taken = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "browser").glob("*.py"))

    assert pictures == set(re.findall(r"[\w-]+\.(?:png|webp|svg)(?=[)\"])", text))
    assert [name for name in sorted(pictures) if not name.endswith(".svg") and f'"{name}"' not in taken] == []
    assert set(re.findall(r'"([\w-]+\.(?:png|webp))"', taken)) <= pictures


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_rooms_that_are_named_exist(name: str) -> None:
    """Who looks for the place where something is decided is sent to a file that is there."""
    named = set(re.findall(r"`([\w/]+\.(?:py|js))`", (ROOT / name).read_text(encoding="utf-8")))
    found = (
        ROOT.glob(where) for where in ("backend/**/*.[jp][sy]", "web/**/*.js", "tests/*/*.py", "tests/unit/**/*.py")
    )
    files = [f"/{file.relative_to(ROOT)}" for some in found for file in some]

    assert named
    # A room that stands beside one that was just named goes by its last name.
    assert [
        room
        for room in sorted(named)
        if not (ROOT / room).exists() and not any(file.endswith(f"/{room}") for file in files)
    ] == []


def test_pictures_speak_the_readers_language() -> None:
    """The panel and the page in the Chinese README are in Chinese."""
    chinese = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.zh.md").read_text(encoding="utf-8"))

    assert chinese
    assert [picture for picture in chinese if not picture.endswith(("-zh.png", "-zh.webp"))] == []


def test_both_languages_give_the_same_commands() -> None:
    """What one README tells the reader to type, the other does, too."""
    english, chinese = (
        re.findall(r"```(?:sh|bash|powershell|python)\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
        for name in READMES
    )

    assert [_code(block) for block in english] == [_code(block) for block in chinese]


def test_the_snippet_for_plugin_authors_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin author copies from the README receives the end of a chat."""
    bus = event_bus.EventBus()
    monkeypatch.setitem(sys.modules, "copilot_pulse", SimpleNamespace(get_event_bus=lambda: bus))
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    shown: list[float] = []
    names: dict[str, Any] = {"show": shown.append}

    assert block is not None
    exec(block.group(1), names)
    names["start"]()
    bus.publish_nowait(event_bus.Event(type="chat.finished", data={"seconds": 1.5}, source="test"))

    assert shown == [1.5]


def _code(block: str) -> list[str]:
    """A block without its comments, which are in the README's language."""
    return [line.partition("  #")[0].rstrip() for line in block.splitlines()]


@pytest.mark.parametrize(
    ("name", "stall", "first"),
    [
        ("README.md", "after {stall} minutes ({first} before the first word)", None),
        ("README.zh.md", "{stall}分钟后（第一个字之前为{first}分钟）", None),
        ("backend/standalone/answers/en.md", "({stall} minutes in ComfyUI", "In ComfyUI it is {first} minutes"),
        ("backend/standalone/answers/zh.md", "在 ComfyUI 里是{stall}分钟", "在 ComfyUI 里是{first}分钟"),
    ],
)
def test_waits_that_are_told_are_those_of_the_settings(name: str, stall: str, first: str | None) -> None:
    """How long a silent model is waited for, as a reader is told."""
    words = {180.0: ("three", "三"), 300.0: ("five", "五")}
    settings = Settings()
    known = {"stall": words[settings.stall_timeout], "first": words[settings.first_token_timeout]}
    language = int("zh" in name)
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())

    for sentence in filter(None, (stall, first)):
        assert sentence.format(**{wait: both[language] for wait, both in known.items()}) in text
