"""Settings: defaults, then the environment, then the panel; a bad value is named and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from backend.plugin import user_settings
from backend.settings import LiveSettings, Secret, Settings, describe, env_name, from_environment, parse


def test_the_environment_overrides_the_defaults() -> None:
    """Numbers, whole numbers and switches are read as what they are."""
    settings, problems = from_environment(
        {"COPILOT_PULSE": "off", "COPILOT_PULSE_QUEUE_SIZE": "50", "COPILOT_PULSE_STALL_TIMEOUT": " 2.5 ", "PATH": "x"}
    )

    assert (False, 50, 2.5) == (settings.enabled, settings.queue_size, settings.stall_timeout)
    assert [] == problems


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("COPILOT_PULSE", "maybe", "on and off"),
        ("COPILOT_PULSE_QUEUE_SIZE", "1e9", "a whole number from 10 to 100000"),
        ("COPILOT_PULSE_QUEUE_SIZE", "12.5", "a whole number"),
        ("COPILOT_PULSE_QUEUE_SIZE", "many", "a whole number"),
        ("COPILOT_PULSE_STALL_TIMEOUT", "nan", "a number from 0 to 3600 (s)"),
        ("COPILOT_PULSE_STALL_TIMEOUT", "-1", "a number from 0"),
        ("COPILOT_PULSE_STALL_TIMEOUT", "inf", "a number from 0"),
    ],
)
def test_a_bad_value_is_named_and_the_default_stands(variable: str, value: str, said: str) -> None:
    """The problem names the variable, the value and what is allowed."""
    settings, problems = from_environment({variable: value})

    assert Settings() == settings
    assert 1 == len(problems)
    assert all(part in str(problems[0]) for part in (variable, repr(value), said)), str(problems[0])


def test_an_unknown_variable_is_named_without_its_value() -> None:
    """A misspelt name is told; what stands in it may be a key, and is not."""
    _, problems = from_environment({"COPILOT_PULSE_API_KEY": "sk-abcdefghijklmnop"})

    assert "COPILOT_PULSE_API_KEY" in str(problems[0])
    assert "sk-" not in str(problems[0])


def test_an_empty_variable_is_no_value() -> None:
    """`COPILOT_PULSE_MAX_RETRIES=` in a script means that nothing was chosen."""
    assert (Settings(), []) == from_environment({"COPILOT_PULSE_MAX_RETRIES": " "})


def test_a_change_is_taken_over_whole_or_not_at_all() -> None:
    """One bad value among several changes none of them, and nobody is told of a change."""
    live = LiveSettings()
    told: list[list[str]] = []
    live.on_change(told.append)

    problems = live.update({"max_retries": 5, "queue_size": 3, "colour": "red"})

    assert ["queue_size", "colour"] == [problem.name for problem in problems]
    assert Settings() == live.current
    assert [] == told


def test_listeners_hear_what_really_changed_until_they_leave() -> None:
    """An equal value is no change; the function that `on_change` returns ends it."""
    live = LiveSettings()
    told: list[list[str]] = []
    remove = live.on_change(told.append)

    assert [] == live.update({"max_retries": 5, "stall_timeout": Settings().stall_timeout})
    remove()
    remove()
    live.update({"max_retries": 6})

    assert [["max_retries"]] == told
    assert 6 == live.current.max_retries


@pytest.mark.parametrize("raw", [True, None, [], {}, "0x10"])
def test_what_is_no_number_is_refused(raw: Any) -> None:
    """JSON from the panel may hold anything."""
    with pytest.raises(ValueError, match="allowed is a whole number"):
        parse("max_retries", raw)


def test_every_setting_is_described_and_within_its_own_range() -> None:
    """The docs and the panel get name, type, default, range and text of each."""
    for row in describe():
        assert row["doc"].endswith(".")
        assert env_name(row["name"]) == row["env"]
        assert row["default"] == parse(row["name"], row["default"])


def test_comfyuis_stored_settings_are_ours_by_their_prefix() -> None:
    """`CopilotPulse.QueueSize` in ComfyUI's file is `queue_size`; others are not looked at.

    Any page may write that file, so what only the environment may set is not taken from it.
    """
    stored = {"CopilotPulse.QueueSize": 50, "CopilotPulse.FirstTokenPer1000Chars": 2, "Comfy.Locale": "zh"}
    stored |= {"CopilotPulse.Transport": "post", "CopilotPulse.ExposeText": True}

    assert {"queue_size": 50, "first_token_per_1000_chars": 2} == user_settings(stored)
    assert {} == user_settings(["not", "a", "dict"])


def test_a_secret_is_shown_by_nothing_but_reveal() -> None:
    """A URL with a password must not reach a log, a route or a bug report by an accident of formatting."""
    settings, problems = from_environment({"COPILOT_PULSE_REDIS_URL": " redis://:hush@host:6379/0 "})

    shown = f"{settings} {settings.redis_url!s} {settings.redis_url!r} {[settings.redis_url]} {problems}"
    assert "hush" not in shown
    assert "redis://:hush@host:6379/0" == settings.redis_url.reveal()
    assert settings.redis_url
    assert not Settings().redis_url
    assert Secret("a") != Secret("b")


def test_a_rejected_secret_is_not_told() -> None:
    """The problem names the variable and what is allowed, and not the value."""
    _, problems = from_environment({"COPILOT_PULSE_REDIS_URL": "redis://:hush\x00@host"})

    assert "COPILOT_PULSE_REDIS_URL" in str(problems[0])
    assert "hush" not in str(problems[0])


@pytest.mark.parametrize("name", [row["name"] for row in describe() if not row["panel"]])
def test_what_guards_the_user_is_the_environments_alone(name: str) -> None:
    """Neither the panel nor ComfyUI's file of settings, which any page may write, can change it."""
    live = LiveSettings()
    default = getattr(live.current, name)
    problems = live.update({name: "on" if isinstance(default, bool) else "redis://:hush@host"})

    assert [name] == [problem.name for problem in problems]
    assert "hush" not in str(problems) or name != "redis_url"
    assert Settings() == live.current


@pytest.mark.parametrize(
    ("name", "bad"),
    [("redis_prefix", "a b"), ("redis_prefix", "{x}"), ("redis_events", "chat.*;x"), ("instance", "x" * 65)],
)
def test_a_text_has_to_have_its_form(name: str, bad: str) -> None:
    """What would make a strange key or pattern is refused with what is allowed."""
    with pytest.raises(ValueError, match="allowed is"):
        parse(name, bad)
