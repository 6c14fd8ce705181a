"""The texts and settings of web/: both languages say the same things, and the settings are the server's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backend.events import EVENTS
from backend.metrics.checks.builtin import builtin
from backend.monitoring import Monitor
from backend.recovery.kinds import KINDS
from backend.settings import describe

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
FILES = ("main", "settings", "commands")


def read(language: str, file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "locales" / language / f"{file}.json").read_text("utf-8"))
    return loaded


def leaves(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, text) of every text; plural forms count as one."""
    for key, value in node.items():
        if isinstance(value, Mapping) and "other" in value:
            yield f"{path}{key}", value["other"]
        elif isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_text_stands_once(language: str, file: str) -> None:
    """Of two texts under one name the first is never shown, and whoever mends it wonders."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(name for name in set(names) if names.count(name) > 1)
        return dict(pairs)

    json.loads((ROOT / "locales" / language / f"{file}.json").read_text("utf-8"), object_pairs_hook=once)

    assert [] == twice


@pytest.mark.parametrize("file", FILES)
def test_both_languages_have_the_same_texts(file: str) -> None:
    """Nothing is told in one language only, and each text names the same values."""
    english, chinese = (dict(leaves(read(language, file))) for language in ("en", "zh"))
    for texts in (english, chinese):
        texts.pop("menuLabels.Copilot Pulse: Open or close the panel", None)
        texts.pop("menuLabels.Copilot Pulse: Copy diagnostics", None)

    assert set(english) == set(chinese)
    values = {
        key: (set(re.findall(r"{\w+}", english[key])), set(re.findall(r"{\w+}", chinese[key]))) for key in english
    }
    assert {key: pair for key, pair in values.items() if not pair[1] <= pair[0] | {"{n}"}} == {}


def test_no_text_breaks_the_host_s_translator() -> None:
    """ComfyUI compiles all texts: a lone brace, a bar or an at sign would be syntax to it."""
    texts = [text for language in ("en", "zh") for file in FILES for _, text in leaves(read(language, file))]

    assert [text for text in texts if re.search(r"[|@]|{(?!\w+})", text)] == []


def test_only_own_names_are_in_the_host_s_tree() -> None:
    """The files are merged with every other custom node's, so all names in them are ours."""
    for language in ("en", "zh"):
        assert set(read(language, "main")) <= {"copilotPulse", "menuLabels"}
        for file in ("settings", "commands"):
            assert all(key.startswith("CopilotPulse_") for key in read(language, file))


def test_every_text_in_the_code_exists() -> None:
    """Each key that the modules ask for by name has a text."""
    known = dict(leaves(read("en", "main")["copilotPulse"]))
    asked = set()
    for module in WEB.rglob("*.js"):
        asked |= set(re.findall(r"""\bt\((?:frozen \? )?["']([\w.]+)["']""", module.read_text("utf-8")))

    assert asked
    assert {key for key in asked if key not in known} == set()


def test_every_kind_of_failure_has_words() -> None:
    """Whatever the recovery can classify is told in words, not as a type's name."""
    assert set(read("en", "main")["copilotPulse"]["kinds"]) >= set(KINDS)


def test_every_health_code_has_words() -> None:
    """Every code that a health check gives is worded in the reader's language."""
    given = set()
    for path in (ROOT / "backend").rglob("*.py"):
        if "Finding(" in (source := path.read_text("utf-8")):
            given |= set(re.findall(r'"(\w+)", \{"', source))

    assert len(given) > 10
    assert given - set(read("en", "main")["copilotPulse"]["health"]) == set()


def test_every_health_check_has_a_name() -> None:
    """A change of health in the log names the check in the reader's language."""
    names = set(builtin(Monitor()))
    for path in (ROOT / "backend").rglob("*.py"):
        names |= set(re.findall(r'add_check\(\s*"([\w:]+)"', path.read_text("utf-8")))

    assert len(names) > 12
    assert {name.replace(":", "_") for name in names} - set(read("en", "main")["copilotPulse"]["checks"]) == set()


def test_event_summaries_know_their_events() -> None:
    """The log's short forms are for events that exist."""
    source = (WEB / "panel/view-log.js").read_text("utf-8")
    forms = set(re.findall(r'^    "([\w.]+)": \(\) =>', source, re.MULTILINE))

    assert len(forms) > 10
    assert forms <= set(EVENTS)


def test_every_setting_has_words_and_a_place() -> None:
    """Each setting of the server has a name and a tooltip in the dialog, and stands in a section."""
    source = (WEB / "comfy/settings.js").read_text("utf-8")
    placed = set(re.findall(r"^  (\w+): \{ section:", source, re.MULTILINE))
    served = {row["name"] for row in describe() if row["panel"]}
    texts = read("en", "settings")

    assert served <= placed
    for name in served:
        text = texts["CopilotPulse_" + "".join(part.capitalize() for part in name.split("_"))]
        assert text["name"]
        assert text["tooltip"]
