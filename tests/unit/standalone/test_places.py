"""The standalone host names its own places in every advice, and none of Copilot's or ComfyUI's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backend.recovery import advice_en, advice_zh
from backend.recovery.advice import explain
from backend.recovery.classify import Classification
from backend.recovery.kinds import KINDS
from backend.standalone.places import PLACES

ROOT = Path(__file__).parents[3]
# Copilot Pulse is the host's own name. What ComfyUI holds on a graphics card may be unloaded there, wherever one chats.
ELSEWHERE = re.compile(r"Copilot(?! Pulse)|model list|模型列表|WORKFLOW_LLM|ComfyUI(?! holds)(?!\s*占用)(?!\s*中卸载)")


def cause(kind: str) -> Classification:
    """A failure of a kind, with everything that a sentence may ask for."""
    spec = KINDS[kind]
    return Classification(
        spec.severity, kind, spec.retryable, "openai.APIStatusError", "unsupported parameter", spoken=True,
        status=401, retry_after=7.0, redirected_to="https://b.example/v1/chat/completions",
    )  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"memory"}))
def test_no_advice_leads_to_a_place_that_is_not_there(kind: str, language: str) -> None:
    """Whatever fails, a user of this host is never sent to Copilot's settings, its model list or ComfyUI."""
    for host in ("127.0.0.1:1234", "api.deepseek.com"):
        text = explain(
            cause(kind), host=host, model="m1", base_url=f"http://{host}/v1", where_set="chat", language=language,
            host_words=PLACES,
        )  # fmt: skip

        assert not ELSEWHERE.search(text), text
        assert not re.search(r"[{}]|  | [,.;:)]", text), text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("auth", "Check the key that --api-key-env names: "),
        ("missing_v1", "Set the base URL with --llm to "),
        ("model_not_found", "It was given by --model: start this program again"),
    ],
)
def test_advice_names_the_option(kind: str, said: str) -> None:
    """What can be changed is an option of the command line, and it is named."""
    assert said in explain(cause(kind), host="h", model="m1", where_set="chat", host_words=PLACES)


def test_both_languages_name_the_same_places() -> None:
    """A place without words of this host would be Copilot's."""
    assert set(PLACES["en"]) == set(PLACES["zh"])
    assert set(PLACES["en"]) >= set(advice_en.PLACES) == set(advice_zh.PLACES)
    assert set(PLACES["en"]) <= {*advice_en.PLACES, *advice_en.PHRASES}


def test_the_panel_of_this_host_names_the_same_options() -> None:
    """The panel's short advice has words for this host, too."""
    for language in ("en", "zh"):
        texts = json.loads((ROOT / "locales" / language / "main.json").read_text("utf-8"))["copilotPulse"]
        names = texts["names"]

        assert "--api-key-env" in names["standalone"]["atKey"]
        assert "--llm" in names["standalone"]["atUrl"]
        assert set(names["standalone"]) <= set(names)
