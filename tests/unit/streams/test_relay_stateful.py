"""Any order of writes, reads, cuts of the connection and resumes: each frame once, in order, and the text whole."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from backend.streams import relay as relay_module
from backend.streams.relay import Relay, RelayReader
from backend.streams.wire import Shortener, encode
from tests.support.stream_reading import Page

WORDS = st.text(alphabet="ab 😀é\ud83d\n", max_size=400)


class Reading:
    """A page with the connection that it has now, if it has one."""

    def __init__(self, relay: Relay) -> None:
        self.page = Page()
        self.reader: RelayReader | None = relay.read()
        self.short = Shortener()
        self.items: list[Any] = []

    def take(self) -> bool:
        """Read one frame; whether there was one."""
        frame = self.reader.next_nowait() if self.reader is not None else None
        if frame is None:
            return False
        if frame["type"] == "item":
            assert ("at" in frame) == ("text" in frame["line"])
            if frame["line"].get("ext"):
                self.items.append(frame["line"]["ext"][0])
        self.page.take(json.loads(encode(self.short(frame))))
        return True


class RelayMachine(RuleBasedStateMachine):
    """Writes to one relay, and readers that lose their connection when they like."""

    readings = Bundle("readings")

    def __init__(self) -> None:
        super().__init__()
        self.relay = Relay()
        self.text = ""
        self.items: list[int] = []
        self.all: list[Reading] = []
        self.relay.head(200, {})

    def write(self, ext: Any = None, finished: bool = False) -> None:
        self.relay.line({"text": self.text, "finished": finished, "ext": ext})

    @precondition(lambda self: not self.relay.finished)
    @rule(more=WORDS)
    def text_grows(self, more: str) -> None:
        self.text += more
        self.write()

    @precondition(lambda self: not self.relay.finished)
    @rule(keep=st.integers(0, 500), more=WORDS)
    def text_is_cut(self, keep: int, more: str) -> None:
        self.text = self.text[:keep] + more
        self.write()

    @precondition(lambda self: not self.relay.finished)
    @rule(more=WORDS)
    def item_with_data(self, more: str) -> None:
        self.text += more
        self.items.append(len(self.items) + 1)
        self.write(ext=[self.items[-1]])

    @precondition(lambda self: not self.relay.finished)
    @rule()
    def not_a_line(self) -> None:
        self.relay.raw("?")

    @precondition(lambda self: not self.relay.finished)
    @rule(size=st.integers(0, 300))
    def line_without_text(self, size: int) -> None:
        self.items.append(len(self.items) + 1)
        self.relay.line({"error": "x" * size, "ext": [self.items[-1]]})

    @precondition(lambda self: not self.relay.finished)
    @rule(more=WORDS)
    def ends(self, more: str) -> None:
        self.text += more
        self.write(finished=True)
        self.relay.end("completed")

    @rule(target=readings)
    def reader_comes(self) -> Reading:
        self.all.append(Reading(self.relay))
        return self.all[-1]

    @rule(reading=readings, count=st.integers(1, 5))
    def reads(self, reading: Reading, count: int) -> None:
        for _ in range(count):
            reading.take()

    @rule(reading=readings)
    def connection_breaks(self, reading: Reading) -> None:
        if reading.reader is not None:
            reading.reader.close()
            reading.reader = None

    @rule(reading=readings)
    def resumes(self, reading: Reading) -> None:
        if reading.reader is not None:
            reading.reader.close()
        reading.reader, reading.short = self.relay.read(reading.page.seq), Shortener()

    @rule(reading=consumes(readings))
    def reads_all(self, reading: Reading) -> None:
        if reading.reader is None:
            reading.reader, reading.short = self.relay.read(reading.page.seq), Shortener()
        while reading.take():
            pass
        assert reading.page.text == self.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if not reading.page.gaps:
            assert reading.items == self.items
        assert reading.items == sorted(set(reading.items))
        assert (reading.page.outcome is not None) == self.relay.finished
        assert reading.page.seq == self.relay.seq
        assert not reading.reader.pending

    @invariant()
    def each_frame_came_once_and_in_order(self) -> None:
        assert all(reading.page.in_order for reading in self.all)


class SmallRelayMachine(RelayMachine):
    """The same with bounds so small that gaps and merged cuts happen all the time."""

    def __init__(self) -> None:
        self._bounds = {
            "MAX_ITEMS": 3, "MAX_CUTS": 2, "MAX_INDEX": 4, "INDEX_STEP": 8, "PIECE": 20, "PIECES": 8,
            "MAX_ITEM_CHARS": 200,
        }  # fmt: skip
        self._before = {name: getattr(relay_module, name) for name in self._bounds}
        for name, value in self._bounds.items():
            setattr(relay_module, name, value)
        super().__init__()

    def teardown(self) -> None:
        for name, value in self._before.items():
            setattr(relay_module, name, value)


TestRelay = RelayMachine.TestCase
TestRelay.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestSmallRelay = SmallRelayMachine.TestCase
TestSmallRelay.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
