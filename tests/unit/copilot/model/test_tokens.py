"""Tokens: the servers' counts under all their names, who is asked for them, and the estimate where nobody tells."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.copilot.model.answers import prompt_texts
from backend.copilot.model.shapes.chunks import _usage_of
from backend.copilot.model.tokens import Asking, Counts, UsageMemory, Written, counts_of, estimate, estimate_prompt

# Texts and their lengths by the tokenizers of Qwen 2.5 and Llama 3.
KNOWN = [
    (
        "Sure! Here is how you can use a ControlNet in ComfyUI. First, load the model with the Load ControlNet Model "
        "node, then connect it to Apply ControlNet. Set strength to about 0.8.",
        (46, 46),
    ),
    (
        "好的！下面介绍如何在 ComfyUI 中使用 ControlNet。首先用“加载 ControlNet 模型”节点加载模型，然后连接到“应用 "
        "ControlNet”节点，把强度设为 0.8 左右。如果显存不够，可以降低分辨率。",
        (59, 63),
    ),
    (
        "このワークフローは、入力画像を高解像度に拡大し、細部を保持することを目的としています。まず、サンプラーのステップ数と"
        "ノイズ除去の強さを確認してください。",
        (51, 53),
    ),
    (
        "## Steps\n\n1. **Load Checkpoint** - pick `sd_xl_base_1.0.safetensors`.\n2. **CLIP Text Encode** - write the "
        "prompt.\n3. **KSampler** - `steps=20`, `cfg=7.0`, `sampler_name=euler`.\n4. **VAE Decode** and **Save Image**."
        "\n\n| node | input |\n|---|---|\n| KSampler | model, positive, negative, latent_image |\n",
        (102, 101),
    ),
]


@pytest.mark.parametrize(("text", "known"), KNOWN, ids=["English", "Chinese", "Japanese", "Markdown"])
def test_an_estimate_is_within_15_percent_of_two_tokenizers(text: str, known: tuple[int, int]) -> None:
    """However the text was cut into pieces."""
    written = Written()
    for at in range(0, len(text), 3):
        written.add(text[at : at + 3])

    for tokens in known:
        assert tokens * 0.85 <= estimate(text) <= tokens * 1.15
        assert tokens * 0.85 <= written.tokens <= tokens * 1.15


def test_what_is_written_is_counted_while_it_comes() -> None:
    """Also past the pieces that are kept; nothing is nothing, and a single letter is one."""
    written = Written()
    assert 0 == written.tokens
    written.add("a")
    assert 1 == written.tokens
    for _ in range(2_000):
        written.add(" word")

    assert 1_990 <= written.tokens <= 2_010


def test_a_prompt_is_counted_by_its_texts() -> None:
    """Pictures are none, and a text without end costs no more than its beginning."""
    messages = [
        {"role": "user", "content": [{"text": "how are you"}, {"image_url": "data:image/png;base64," + "A" * 999}]}
    ]

    assert 4 <= estimate_prompt(prompt_texts("hello", messages, None)) <= 6
    assert 190_000 <= estimate_prompt(["word " * 200_000]) <= 210_000


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ({"prompt_tokens": 7, "completion_tokens": 3}, Counts(7, 3, None, None)),
        ({"input_tokens": 7, "output_tokens": 3.0}, Counts(7, 3, None, None)),
        ({"completion_tokens": 3}, Counts(None, 3, None, None)),
        ({"prompt_tokens": 7, "completion_tokens": 0}, Counts(7, None, None, None)),
        ({"prompt_tokens": True, "completion_tokens": "3", "output_tokens": 4}, Counts(None, 4, None, None)),
        (
            {
                "prompt_tokens": 7, "completion_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Counts(7, 9, 5, 4),
        ),
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_cache_hit_tokens": 6}, Counts(7, 3, 6, None)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": None}, Counts(7, 3, None, None)),
    ],
)  # fmt: skip
def test_counts_are_read_under_every_name(usage: dict[str, Any] | None, counts: Counts | None) -> None:
    """What is no number is not told."""
    assert counts == counts_of(usage)


class Refusal(Exception):
    """As the client raises it."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status_code = status


class Server:
    """Refuses what it is told to refuse, in its own words."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.asked: list[Any] = []

    async def create(self, **kwargs: Any) -> str:
        """As the client's method."""
        self.asked.append(kwargs.get("stream_options"))
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return "answer"


ASKED = {"include_usage": True}


async def test_the_counts_are_asked_for() -> None:
    """With every request that streams, beside other options; never where nothing streams."""
    server, asking = Server(), Asking(UsageMemory(), "a")
    await asking.ask(server.create, (), {"stream": True})
    await asking.ask(server.create, (), {"stream": True, "stream_options": {"include_usage": False, "x": 1}})
    await asking.ask(server.create, (), {})

    assert [ASKED, {"x": 1, **ASKED}, None] == server.asked


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(400, "Unrecognized request argument supplied: stream_options"),
        Refusal(422, '{"type": "extra_forbidden", "loc": ["body", "stream_options"]}'),
        Refusal(400, "unknown field `include_usage`"),
        Refusal(422, "Extra inputs are not permitted"),
    ],
    ids=str,
)
async def test_a_host_that_refuses_is_asked_once(refusal: Refusal) -> None:
    """The request is made again at once, and that host is never asked again; another one is."""
    memory, server = UsageMemory(), Server(refusal)
    assert "answer" == await Asking(memory, "a").ask(server.create, (), {"stream": True})
    await Asking(memory, "a").ask(server.create, (), {"stream": True, "stream_options": {"include_usage": True}})
    await Asking(memory, "b").ask(server.create, (), {"stream": True})

    assert [ASKED, None, None, ASKED] == server.asked


async def test_other_errors_are_none_of_its_business() -> None:
    """A refused key, a model that is not there, words about something else."""
    for error in (
        Refusal(401, "stream_options"),
        Refusal(400, "the model does not exist"),
        Refusal(400, "Extra inputs are not permitted: messages.2.reasoning_content"),
        Refusal(400, "User location is not supported for the API use."),
        ConnectionError("gone"),
    ):
        memory, server = UsageMemory(), Server(error)
        with pytest.raises(type(error)):
            await Asking(memory, "a").ask(server.create, (), {"stream": True})
        assert [ASKED] == server.asked
        assert not memory.refuses("a")


async def test_nothing_is_learnt_from_a_refusal_of_something_else() -> None:
    """An unknown field that is refused again without ours was not ours; one that is named was."""
    for words, learnt in (("extra inputs are not permitted", False), ("stream_options: no", True)):
        memory, server = UsageMemory(), Server(Refusal(400, words), Refusal(400, "the context is too long"))
        asking = Asking(memory, "a")
        with pytest.raises(Refusal, match="too long"):
            await asking.ask(server.create, (), {"stream": True})
        assert learnt is memory.refuses("a")
        await asking.ask(server.create, (), {"stream": True})
        assert [ASKED, None, None] == server.asked


def test_the_memory_of_hosts_is_bounded() -> None:
    """A user who tries a thousand addresses."""
    memory = UsageMemory()
    for n in range(1_000):
        memory.note(f"h{n}")

    assert not memory.refuses("h0")
    assert memory.refuses("h999")
    assert 256 == len(memory._refused)


@pytest.mark.parametrize("odd", ["1e999", "-1e999", "NaN", "1e300", "-1"])
def test_a_count_that_is_none_is_no_count(odd: str) -> None:
    """JSON has no bounds for a number; what a server makes of that costs no answer."""
    usage = json.loads(f'{{"prompt_tokens": {odd}, "completion_tokens": 5, "total_tokens": {odd}}}')
    counts = counts_of(usage)
    assert counts is not None
    assert counts.input is None
    assert {"prompt_tokens": 0, "completion_tokens": 5, "total_tokens": 5} == _usage_of(usage)
    assert None is _usage_of({"prompt_tokens": float("inf")})
