"""`python -m backend` starts the standalone host."""

from __future__ import annotations

import sys

from .standalone.cli import main

if __name__ == "__main__":
    sys.exit(main())
