"""The list of chats, the newest first, those that a crash interrupted included: searched, and read page by page.

Made from the events in reverse: who wants the newest hundred need not go through the ten thousand before them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from .rows import Stored
from .stories import FIGURES, INTERRUPTED

CHAT_EVENTS: Final = ("chat.started", "chat.finished", "store.opened")
UNDER_WAY: Final = ("chat.model", "chat.first_token", "chat.retrying", "error")
"""What tells of a chat that has no end."""
_KNOWN: Final = ("kind", "outcome", "model", "host", "seconds", "error_kind", "error_type", *FIGURES)


class ChatSearch(NamedTuple):
    """Which chats: all that is given has to fit. `retried`: a call was made again, or none was; `slower`: took more
    seconds than this; `text`: stands in the words, kind or class of one of its errors, whatever the case."""

    session: str | None = None
    model: str | None = None
    outcome: str | None = None
    retried: bool | None = None
    slower: float | None = None
    text: str | None = None

    def fits(self, data: dict[str, Any], session: str | None, outcome: str | None) -> bool:
        """Whether a chat is one of these, by the data of its last event; `text` is not looked at."""
        seconds, retries = data.get("seconds"), data.get("retries")
        return (
            (self.session is None or session == self.session)
            and (self.model is None or data.get("model") == self.model)
            and (self.outcome is None or outcome == self.outcome)
            and (self.retried is None or bool(retries) is self.retried)
            and (self.slower is None or (isinstance(seconds, (int, float)) and seconds > self.slower))
        )

    def tells(self, error: Stored) -> bool:
        """Whether an error holds the text that is looked for."""
        wanted = (self.text or "").casefold()
        return any(wanted in str(error.data.get(name, "")).casefold() for name in ("message", "kind", "type"))


class Chats:
    """Takes the events of chats, the newest first, until it is full. `among`: no other chats, None for all.

    `told(chat, since, until)` gives the events `UNDER_WAY` of one chat, the oldest first: asked for those that have no
    end. `restarted`: when the program started next after these events, by slot; `over(slot)`: whether it runs no more.
    A row has `at`, its place in the list: the time of the chat's last event, or of its start if it has no end.
    """

    def __init__(
        self,
        search: ChatSearch,
        limit: int,
        among: Collection[str] | None = None,
        *,
        told: Callable[[str, float, float | None], Iterable[Stored]] = lambda chat, since, until: (),
        restarted: Mapping[int, float] | None = None,
        over: Callable[[int], bool] = lambda slot: False,
    ) -> None:
        self._search = search
        self._limit = limit
        self._among = among
        self._told = told
        self._ended: set[str] = set()
        self._restarted = dict(restarted or {})
        self._over = cache(over)
        self.rows: list[dict[str, Any]] = []

    @property
    def full(self) -> bool:
        """Whether there are as many as were asked for."""
        return len(self.rows) >= self._limit

    def apply(self, event: Stored) -> None:
        """Take the event before the last one."""
        data = event.data
        chat_id = data.get("chat_id")
        if event.type == "store.opened":
            self._restarted[event.slot] = event.time
        elif not isinstance(chat_id, str) or (self._among is not None and chat_id not in self._among):
            return
        elif event.type == "chat.finished":
            self._ended.add(chat_id)
            if self._search.fits(data, event.session, data.get("outcome")):
                self.rows.append(_finished(chat_id, event))
        elif event.type == "chat.started" and chat_id not in self._ended:
            row = self._unended(chat_id, event)
            if self._search.fits(row, event.session, row["outcome"]):
                self.rows.append(row)

    def _unended(self, chat_id: str, event: Stored) -> dict[str, Any]:
        """A chat that runs, or that the end of the program interrupted: what is known by what it did. How long it ran
        is not: nobody was there to see its end."""
        until = self._restarted.get(event.slot)
        runs = until is None and not self._over(event.slot)
        row: dict[str, Any] = {
            "chat_id": chat_id, "session": event.session, "kind": event.data.get("kind"),
            "outcome": None if runs else INTERRUPTED, "started": event.time, "seconds": None, "at": event.time,
            "retries": 0,
        }  # fmt: skip
        for one in self._told(chat_id, event.time, until):
            data = one.data
            if one.type == "chat.model":
                row |= {name: data[name] for name in ("model", "host") if name in data}
            elif one.type == "chat.first_token":
                row.setdefault("first_token", one.time - event.time)
            elif one.type == "chat.retrying":
                row["retries"] += 1
            elif one.type == "error":
                row |= {f"error_{name}": data[name] for name in ("kind", "type") if name in data}
        return row


def _finished(chat_id: str, event: Stored) -> dict[str, Any]:
    data, seconds = event.data, event.data.get("seconds")
    row: dict[str, Any] = {name: data[name] for name in _KNOWN if name in data}
    row |= {"chat_id": chat_id, "session": event.session, "at": event.time}
    row["started"] = event.time - seconds if isinstance(seconds, (int, float)) else event.time
    return row
