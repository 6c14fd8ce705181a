"""How far the estimate of tokens is off: `python -m tests.bench.tokens FOLDER...`, in an environment with transformers.

Each folder holds a tokenizer, such as ComfyUI's `comfy/text_encoders/qwen25_tokenizer` and `llama_tokenizer`. The texts
are this repository's: prose, Markdown, code and JSON, English and Chinese.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from backend.copilot.model.tokens import Written

ROOT = Path(__file__).parents[2]
TEXTS = {
    "README, English": ("README.md", ""),
    "README, Chinese": ("README.zh.md", ""),
    "Markdown, English": ("docs/protocol.md", ""),
    "prose, English": ("backend/recovery/advice_en.py", r'"([^"]{30,})"'),
    "prose, Chinese": ("backend/recovery/advice_zh.py", r'"([^"]*[\u4e00-\u9fff][^"]*)"'),
    "Python": ("backend/chats.py", ""),
    "JavaScript": ("web/panel/panel.js", ""),
    "JSON": ("docs/grafana-dashboard.json", ""),
}
LONGEST = 30_000


def text_of(name: str, pattern: str) -> str:
    """The beginning of a file, or what a pattern finds in it."""
    text = (ROOT / name).read_text("utf-8")
    return (" ".join(re.findall(pattern, text)) if pattern else text)[:LONGEST]


def main(folders: list[str]) -> int:
    """Print a line for each text: the estimate as a share of what each tokenizer counts."""
    from transformers import AutoTokenizer

    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in folders]
    worst = 0.0
    for title, (name, pattern) in TEXTS.items():
        text = text_of(name, pattern)
        written = Written()
        for at in range(0, len(text), 4):
            written.add(text[at : at + 4])
        shares = [written.tokens / len(one.encode(text, add_special_tokens=False)) for one in tokenizers]
        worst = max(worst, *(abs(share - 1) for share in shares))
        sys.stdout.write(f"{title:20} {written.tokens:7,} " + " ".join(f"{share:7.0%}" for share in shares) + "\n")
    sys.stdout.write(f"at most {worst:.0%} off\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
