"""A logger that hands records straight to its handlers: the logger's own filters and level see nothing."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

NAME = "comfyui_copilot"
FORMAT = "%(asctime)s | %(levelname)-8s | %(place)s | %(message)s"


def _open() -> None:
    """Make the handlers; once, for a task that outlives its test must not open the next one's."""
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.DEBUG)
    if not logger.handlers:
        made: list[logging.Handler] = [
            logging.NullHandler() if os.getenv("COPILOT_STANDIN_QUIET") else logging.StreamHandler(sys.stderr)
        ]
        path = os.getenv("COPILOT_STANDIN_LOG")
        if path:
            made.append(logging.FileHandler(path, encoding="utf-8"))
        for handler in made:
            handler.setLevel(logging.DEBUG)
            handler.setFormatter(logging.Formatter(FORMAT))
            logger.addHandler(handler)


class Log:
    """`log.info(text, *args)` and its like."""

    def _write(self, level: int, text: str, args: tuple[Any, ...]) -> None:
        caller = sys._getframe(2)
        code = caller.f_code
        record = logging.getLogger(NAME).makeRecord(
            NAME, level, code.co_filename, caller.f_lineno, text, args, None, code.co_name
        )
        record.place = f"{os.path.basename(code.co_filename)}:{code.co_name}:{caller.f_lineno}"
        for handler in list(logging.getLogger(NAME).handlers):
            if level >= handler.level:
                handler.handle(record)

    def debug(self, text: str, *args: Any) -> None:
        """Log for those who look closely."""
        self._write(logging.DEBUG, text, args)

    def info(self, text: str, *args: Any) -> None:
        """Log what happens."""
        self._write(logging.INFO, text, args)

    def warning(self, text: str, *args: Any) -> None:
        """Log what is odd."""
        self._write(logging.WARNING, text, args)

    def error(self, text: str, *args: Any) -> None:
        """Log what failed."""
        self._write(logging.ERROR, text, args)


_open()
log = Log()
