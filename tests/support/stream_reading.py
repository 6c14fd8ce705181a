"""A page that reads frames (docs/protocol.md) and shows what Copilot's page would show."""

from __future__ import annotations

from typing import Any


class Page:
    """Puts frames together. `lines` are Copilot's lines as far as they were not conflated."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: list[dict[str, Any]] = []
        self.seqs: list[int] = []
        self.outcome: str | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.gaps = 0
        self._line: dict[str, Any] = {}

    @property
    def seq(self) -> int:
        """The number after which to go on."""
        return self.seqs[-1] if self.seqs else 0

    @property
    def in_order(self) -> bool:
        """Whether each frame came once, and in order."""
        return all(a < b for a, b in zip(self.seqs, self.seqs[1:], strict=False))

    def _long(self, wire: Any) -> dict[str, Any]:
        if not isinstance(wire, list):
            frame: dict[str, Any] = wire
            return frame
        at = len(self.text.encode("utf-16-le", "surrogatepass")) // 2
        return {"type": "delta", "seq": self.seq + wire[-2], "at": at, "text": wire[-1]}

    def take_plain(self, line: dict[str, Any]) -> None:
        """One of Copilot's own lines, which has all the text so far."""
        self.lines.append(line)
        self.text = line["text"]
        if line["finished"]:
            self.outcome = "completed"

    def take(self, wire: Any) -> None:
        """One frame, in its long or its short form."""
        frame = self._long(wire)
        if "seq" in frame and frame["type"] != "state":
            self.seqs.append(frame["seq"])
        if "at" in frame:
            units = self.text.encode("utf-16-le", "surrogatepass")[: 2 * frame["at"]]
            assert len(units) == 2 * frame["at"], "a piece is missing"
            self.text = units.decode("utf-16-le", "surrogatepass") + frame["text"]
        kind = frame["type"]
        if kind == "head":
            self.status, self.headers = frame["status"], frame["headers"]
        elif kind == "item":
            line = dict(frame["line"])
            if "at" in frame:
                self._line = line = {**line, "text": self.text}
            self.lines.append(line)
        elif kind == "delta":
            plain = {name: value for name, value in (("ext", None), ("finished", False)) if name in self._line}
            self.lines.append({**self._line, **plain, "text": self.text})
        elif kind == "body":
            self.text = frame["data"]
        elif kind == "gap":
            self.gaps += 1
        elif kind == "end":
            self.outcome = frame["outcome"]
