"""What waits to be written: rows, and losses that a row is to tell of, in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .layout import chat_of
from .rows import Row, Shape, dumps

OWN: Final = "store"  # the source of the store's own rows
MAX_WAITING: Final = 20_000
MAX_WAITING_BYTES: Final = 16_000_000
_OVERHEAD: Final = 100  # bytes of a waiting row beside its data


class Loss(NamedTuple):
    """What was lost: told in a `store.gap` row. `by_type` may say less than `lost` where types are unknown."""

    reason: str
    lost: int
    by_type: dict[str, int]
    since: float
    until: float


def own_row(type_: str, time: float, data: dict[str, Any]) -> Row:
    """A row of the store's own."""
    return (None, time, Shape(type_, OWN, 1), None, dumps(data))


def _gap_row(loss: Loss) -> Row:
    data = {"reason": loss.reason, "lost": loss.lost, "by_type": loss.by_type}
    return own_row("store.gap", loss.until, {**data, "since": loss.since, "until": loss.until})


class Waiting:
    """Rows and losses that wait. Their ids come when they are written: what is lost meanwhile leaves no hole.

    For the writer's thread.
    """

    def __init__(self) -> None:
        self._items: list[Row | Loss] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, rows: list[Row]) -> int:
        """Take as many rows as there is room for; how many those are."""
        taken = 0
        room, size = MAX_WAITING - len(self._items), self._bytes
        for row in rows[: max(room, 0)]:
            if size >= MAX_WAITING_BYTES:
                break
            size += len(row[4]) + _OVERHEAD
            taken += 1
        self._items += rows[:taken]
        self._bytes = size
        return taken

    def add_own(self, row: Row) -> None:
        """A row of the store's own has room always."""
        self._items.append(row)
        self._bytes += len(row[4]) + _OVERHEAD

    def lose(self, loss: Loss) -> None:
        """Let a row tell of a loss, right here in the order of things."""
        last = self._items[-1] if self._items else None
        if isinstance(last, Loss) and last.reason == loss.reason:
            by_type = dict(Counter(last.by_type) + Counter(loss.by_type))
            self._items[-1] = Loss(loss.reason, last.lost + loss.lost, by_type, last.since, loss.until)
        else:
            self._items.append(loss)

    def put_first(self, item: Row | Loss) -> None:
        """What has to be told before all that waits."""
        self._items.insert(0, item)
        self._bytes += 0 if isinstance(item, Loss) else len(item[4]) + _OVERHEAD

    def first(self, number: int) -> list[Row]:
        """The rows of the first `number` that wait, which stay."""
        return [_gap_row(one) if isinstance(one, Loss) else one for one in self._items[:number]]

    def written(self, number: int) -> int:
        """The first `number` are written; how many events of others were among them."""
        part = self._items[:number]
        del self._items[:number]
        rows = [one for one in part if not isinstance(one, Loss)]
        self._bytes -= sum(len(row[4]) + _OVERHEAD for row in rows)
        return sum(row[2].source != OWN for row in rows)

    def take_out(self, goes: Callable[[Row], bool] = lambda row: True) -> list[Row]:
        """Remove and return rows; losses stay."""
        gone = [one for one in self._items if not isinstance(one, Loss) and goes(one)]
        if gone:
            self._items = [one for one in self._items if isinstance(one, Loss) or not goes(one)]
            self._bytes -= sum(len(row[4]) + _OVERHEAD for row in gone)
        return gone

    def forget(self, session: str, chats: set[str]) -> list[Row]:
        """Remove and return the rows of a session and of its chats."""
        return self.take_out(lambda row: row[3] == session or chat_of(row) in chats)

    def clear(self) -> list[Row]:
        """Remove all, and return the rows."""
        rows = self.take_out()
        self._items = []
        return rows

    def rows(self) -> int:
        """How many rows wait, losses not among them."""
        return sum(not isinstance(one, Loss) for one in self._items)
