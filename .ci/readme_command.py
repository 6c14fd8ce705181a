"""Prints the command by which README.md tells a newcomer to run the tests, exactly as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_commands(readme: str) -> list[str]:
    """Every command of the README's shell blocks that installs what the tests need and runs them.

    A line that ends in a backslash goes on in the next one, as in a shell.
    """
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.strip() for line in lines if "requirements-dev.txt" in line and "pytest" in line]


def main() -> int:
    """Print the one command; fail if there is none, or more than one."""
    found = test_commands((ROOT / "README.md").read_text("utf-8"))
    if len(found) != 1:
        sys.stderr.write(f"README.md should hold one test command, found {len(found)}: {found}\n")
        return 1
    sys.stdout.write(found[0] + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
