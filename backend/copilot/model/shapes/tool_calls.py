"""Puts tool calls together from their pieces, where the server's indexes and ids may say nothing.

All pieces are kept until the answer has ended, and only then it is decided which belong together: a whole JSON object
followed by a name or by another object ends a call; the same call once more is a repetition; pieces of a name are
joined where they make a tool's name. So what the runner gets is one complete piece for each call, with an index and
an id of its own.
"""

from __future__ import annotations

import ast
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_decode = json.JSONDecoder().raw_decode
# What may follow the arguments and is none of them: special tokens, closing marks, fences.
_NOISE: Final = re.compile(r"(?:\s|<[|｜][^>]{0,60}[|｜]>|</?[a-z_]{1,30}>|[`}\]]){1,40}$", re.IGNORECASE)
_TOKEN: Final = re.compile(r"<[|｜]?[a-z_▁/ ]{1,40}[|｜]?>", re.IGNORECASE)
_BETWEEN: Final = re.compile(r"[ \t\r\n,;]*")
_LAST_COMMA: Final = re.compile(r",(?=\s{0,40}[}\]])")
_FEW: Final = 4
_EXTRAS: Final = ("extra_content", "thought_signature", "provider_specific_fields")


class _Piece:
    """A piece as it came. `apart` tells that its place in the stream makes it a call of its own."""

    __slots__ = ("apart", "arguments", "extras", "id", "index", "name")

    def __init__(self, entry: Mapping[str, Any], apart: bool) -> None:
        function = entry.get("function")
        told: Mapping[str, Any] = function if isinstance(function, dict) else entry
        name = function if isinstance(function, str) else told.get("name") or entry.get("name")
        self.name = name if isinstance(name, str) else ""
        arguments = told.get("arguments", told.get("parameters", told.get("input")))
        if arguments is None:
            arguments = ""
        self.arguments = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        self.id = str(entry.get("id") or "")
        index = entry.get("index")
        self.index = index if isinstance(index, (int, str)) else None
        self.apart = apart
        self.extras = {key: value for key in _EXTRAS if (value := entry.get(key) or told.get(key))}


class _Call:
    """A call that is being put together."""

    __slots__ = ("_whole", "extras", "id", "index", "name", "parts")

    def __init__(self, piece: _Piece) -> None:
        self.name = piece.name
        self._whole: str | None = None
        self.parts = [piece.arguments] if piece.arguments else []
        self.id = piece.id
        self.index = piece.index
        self.extras = piece.extras

    @property
    def arguments(self) -> str:
        """All of them so far."""
        if self._whole is None:
            self._whole = "".join(self.parts)
        return self._whole

    def add(self, piece: _Piece, known: frozenset[str]) -> None:
        """A further piece of this call."""
        self.name = _joined(self.name, piece.name, known)
        if piece.arguments:
            if len(self.parts) < _FEW and self.arguments.strip() == "{}":  # a placeholder: the arguments come only now
                self.parts = []
            self.parts.append(piece.arguments)
            self._whole = None
        self.id = self.id or piece.id
        self.extras = {**self.extras, **piece.extras}


class ToolCalls:
    """The tool calls of one attempt. `known` are the names that may be called, `taken` the ids of earlier turns."""

    def __init__(self, known: Iterable[str] = (), taken: Iterable[str] = ()) -> None:
        self._known = frozenset(known)
        self._taken = set(taken)
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, entries: Any) -> bool:
        """The entries of one chunk, in the server's shape; whether there was anything in them."""
        if isinstance(entries, dict):
            entries = [entries]
        if not isinstance(entries, list):
            return False
        before: _Piece | None = None
        for entry in entries:
            if not isinstance(entry, dict):
                continue
            piece = _Piece(entry, False)
            if not (piece.name or piece.arguments or piece.id):
                continue
            # Two entries of one chunk, both with a name, are two calls unless their index says otherwise.
            piece.apart = (
                before is not None
                and bool(piece.name and before.name)
                and (piece.index is None or piece.index != before.index or piece.id != before.id)
            )
            self._place(piece)
            before = piece
        return before is not None

    def _place(self, piece: _Piece) -> None:
        call = None if piece.apart else self._owner(piece)
        if call is None or ((piece.name or piece.arguments) and self._begins(call, piece)):
            piece.name = piece.name or (call.name if call is not None else "")
            self._calls.append(_Call(piece))
        else:
            call.add(piece, self._known)

    def _owner(self, piece: _Piece) -> _Call | None:
        """The call that a piece would continue, by id, then by index, then as the last one; None if it has a new
        index and a name."""
        calls = self._calls
        if not calls:
            return None
        if piece.id:
            same = [call for call in calls if call.id == piece.id]
            if same and (piece.index is None or same[-1].index in (None, piece.index) or not piece.name):
                return same[-1]
        if piece.index is not None:
            same = [call for call in calls if call.index == piece.index]
            if same:
                return same[-1]
            if piece.name:
                return None
        return calls[-1]

    def _begins(self, call: _Call, piece: _Piece) -> bool:
        """Whether a piece begins a call of its own although it seems to continue `call`."""
        other_id = bool(piece.id and call.id and piece.id != call.id)
        if not call.parts:
            if not piece.name or not call.name or piece.name == call.name:
                return other_id and bool(piece.name) and not piece.arguments
            both = call.name + piece.name
            grows = piece.name.startswith(call.name) or any(one.startswith(both) for one in self._known)
            return not grows and (piece.name in self._known or other_id)
        if not piece.name and piece.arguments.lstrip()[:1] != "{":
            return (
                False  # nearly all pieces; a look at all the arguments for each would take the square of their length
            )
        if is_object(call.arguments):
            # The arguments are whole. A bare name may repeat, or name the call late.
            if not piece.arguments:
                return bool(piece.name) and bool(call.name) and (other_id or piece.name != call.name)
            placeholder = call.arguments.strip() == "{}" and not other_id and piece.name in ("", call.name)
            return not placeholder and (bool(piece.name) or piece.arguments.lstrip()[:1] == "{")
        if not piece.name or not call.name:
            return False
        if piece.name == call.name:
            # A server that repeats the name in each piece, unless the arguments begin anew.
            return other_id and piece.arguments.lstrip()[:1] in ("", "{")
        return piece.name in self._known or other_id

    def finished(self, *, whole: bool) -> list[dict[str, Any]]:
        """The calls, each complete: index, id, name and arguments.

        `whole` tells that the server has said that it is done: then a call without arguments has none, else they may
        be missing and stay "".
        """
        made: list[dict[str, Any]] = []
        seen: dict[tuple[str, str], list[tuple[Any, str]]] = {}
        for call in self._calls:
            name = meant_name(call.name, self._known)
            for number, arguments in enumerate(_split(call)):
                arguments = tidy(arguments) or ("{}" if whole else "")
                same, told = seen.setdefault((name, _canonical(arguments)), []), (call.index, call.id)
                if any(_repeats(told, other) for other in same):
                    continue
                same.append(told)
                own = self._own_id(call.id if not number else "")
                function = {"name": name, "arguments": arguments}
                made.append({"index": len(made), "id": own, "type": "function", "function": function, **call.extras})
        return made

    def _own_id(self, told: str) -> str:
        # An id has nine letters and digits, because one provider takes no others back.
        own = told if told and told not in self._taken else secrets.token_hex(5)[:9]
        self._taken.add(own)
        return own


def _repeats(one: tuple[Any, str], other: tuple[Any, str]) -> bool:
    """Of two calls that say the same: whether nothing tells them apart, not even an index or an id of the server's."""
    if one[1] and other[1]:
        return one[1] == other[1]
    return one[0] == other[0] or one[0] is None or other[0] is None


def is_object(text: str) -> bool:
    """Whether a text is one whole JSON object."""
    text = text.strip()
    if text[:1] != "{" or text[-1:] != "}":
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _split(call: _Call) -> Iterator[str]:
    """The arguments of the call, or of the calls whose objects were glued; cumulative pieces give the last."""
    text = call.arguments
    if not text.strip() or is_object(text):
        yield text
        return
    objects: list[str] = []
    text, at = text.strip(), 0
    while text.startswith("{", at):
        try:
            value, end = _decode(text, at)
            objects.append(json.dumps(value, ensure_ascii=False))
        except (ValueError, RecursionError):
            break
        at = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]  # it matches nothing as well
    if objects and (at == len(text) or _NOISE.match(text, at)):
        yield from objects
    elif len(call.parts) > 1 and is_object(call.parts[-1]):
        yield call.parts[-1]  # each piece held all of the arguments so far
    else:
        yield text


def tidy(arguments: str) -> str:
    """Arguments as an object in JSON, where they are one in disguise: a JSON text of JSON, null, with noise around."""
    text = _TOKEN.sub("", arguments).strip() if "<" in arguments and not is_object(arguments) else arguments.strip()
    if text.startswith("```"):
        text = text.strip("`").removeprefix("json").strip()
    for _ in range(2):
        if text[:1] != '"':
            break
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            break
        text = inner if isinstance(inner, str) else text
    if text in ("null", "None", '""', "[]"):
        return ""
    return text if text[:1] != "{" or is_object(text) else _mended(text)


def _mended(text: str) -> str:
    """An object that is nearly JSON, as JSON: with line ends in its texts, a comma too many, or written in Python."""
    try:
        value = json.loads(_LAST_COMMA.sub("", text), strict=False)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
            return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else text
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return text
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else text


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _joined(name: str, more: str, known: frozenset[str]) -> str:
    """The name so far and a further piece of it: joined, repeated, or the whole name given again."""
    if not more or more == name:
        return name
    if not name:
        return more
    both = name + more
    if both in known:
        return both
    if more.startswith(name) or more in known:
        return more
    if name in known and not any(one.startswith(both) for one in known):
        return name
    return both


def meant_name(name: str, known: frozenset[str]) -> str:
    """The tool that a name means, if it is noisy and only one can be meant; else the name as it is."""
    if name in known or not known:
        return name
    bare = _TOKEN.sub(" ", name.partition("<|")[0] or name).strip(" \"'`()[]{}:.,;\n\t")
    for candidate in (bare, re.split(r"[./:\s]", bare)[-1] if bare else ""):
        if candidate in known:
            return candidate
    flat = _flat(bare)
    alike = [one for one in known if _flat(one) == flat and flat]
    if len(alike) == 1:
        return alike[0]
    words = set(re.findall(r"[\w-]+", name))
    inside = [one for one in known if one in words]
    if len(inside) == 1:
        return inside[0]
    # Its pieces may have been joined with something between or twice over.
    parts = [
        one for one in known if len(one) >= 4 and (bare == one * 2 or re.sub(r":\d+$", "", bare).endswith("." + one))
    ]
    return parts[0] if len(parts) == 1 else bare or name


def _flat(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def call_ids(messages: Any) -> set[str]:
    """The ids of the tool calls in a model's input."""
    items = messages if isinstance(messages, list) else []
    return {str(item["call_id"]) for item in items if isinstance(item, dict) and item.get("call_id")}
