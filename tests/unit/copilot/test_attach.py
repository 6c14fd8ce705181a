"""What attaching leaves for later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
import backend.plugin
names = "call watch shapes.normalise shapes.finish_reasons shapes.tool_markup".split()
late = {f"backend.copilot.model.{name}" for name in names}
assert not late & set(sys.modules), late & set(sys.modules)
from backend.copilot.model.seam import read_ahead
read_ahead()
assert late <= set(sys.modules), late - set(sys.modules)
"""


def test_comfyuis_start_does_not_wait_for_what_only_chats_need() -> None:
    """The rooms of a model call, a sixth of all that there is to import, are imported in a thread after the start."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
