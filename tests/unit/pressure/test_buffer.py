"""Layers 1 and 3 alone: the buffer, and making room in it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backend.pressure.buffer import Buffer, Marked, RoomMaker


def full(entries: list[Any], **kwargs: Any) -> tuple[Buffer[Any], RoomMaker[Any]]:
    buffer: Buffer[Any] = Buffer(len(entries))
    buffer.items.extend(entries)
    return buffer, RoomMaker(buffer, **kwargs)


def test_a_newer_item_takes_the_place_of_the_newest_with_its_key() -> None:
    """In place, so that the order among the rest is kept; older ones with that key stay."""
    buffer, room = full(["a1", "b1", "a2", "b2"], key=lambda item: item[0])

    assert room.conflate("a3")
    assert ["a1", "b1", "a3", "b2"] == list(buffer.items)
    assert not room.conflate("c1")
    assert 1 == room.conflated


def test_a_key_that_was_taken_is_not_found() -> None:
    """What has left the buffer cannot be replaced any more."""
    buffer, room = full(["a1", "b1"], key=lambda item: item[0])
    room.build_index()
    buffer.take()

    assert not room.conflate("a2")
    assert room.conflate("b2")
    assert ["b2"] == list(buffer.items)


def test_the_oldest_item_goes_unless_it_is_essential() -> None:
    """Essential items stay, whether their mark or the predicate says so; drops are counted by type."""
    entries = ["E", Marked("m", None, True), "x", "F", "y"]
    told: list[str] = []
    buffer, room = full(entries, essential=str.isupper, label=str.lower, on_drop=told.append)

    assert room.drop_oldest()
    assert room.drop_oldest()
    assert not room.drop_oldest()
    assert ["E", "m", "F"] == [entry.item if isinstance(entry, Marked) else entry for entry in buffer.items]
    assert {"x": 1, "y": 1} == room.dropped_by_type
    assert ["x", "y"] == told


def test_keys_are_found_after_a_drop_from_the_middle() -> None:
    """Dropping from behind essential items must not shift what the index knows."""
    buffer, room = full(["E", "a1", "b1", "c1"], key=lambda item: item[0], essential=lambda item: item == "E")

    assert room.drop_oldest()
    assert room.conflate("c2")
    assert ["E", "b1", "c2"] == list(buffer.items)
    assert not room.conflate("a2")


def test_an_essential_item_is_never_replaced() -> None:
    """Not by one with the same key; and an older one with its key may not jump ahead of it."""
    buffer, room = full([Marked("old", "k", False), Marked("end", "k", True)])

    assert not room.conflate(Marked("new", "k", False))
    assert ["old", "end"] == [entry.item for entry in buffer.items]


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "take", "conflate", "drop", "rest"]), st.sampled_from("abcABC")),
        max_size=60,
    )
)
def test_making_room_agrees_with_a_list(steps: list[tuple[str, str]]) -> None:
    """Against the plain model: a list searched from one end or the other. Upper case is essential."""
    buffer: Buffer[str] = Buffer(10)
    room: RoomMaker[str] = RoomMaker(buffer, key=lambda item: item[0].lower(), essential=lambda item: item[0].isupper())
    model: list[str] = []
    for number, (step, letter) in enumerate(steps):
        item = f"{letter}{number}"
        if step == "append":
            buffer.items.append(item)
            model.append(item)
            if room.active:
                room.added(item)
        elif step == "take" and model:
            assert model.pop(0) == buffer.take()
        elif step == "conflate":
            same = [at for at, other in enumerate(model) if other[0].lower() == letter.lower()]
            possible = bool(same) and model[same[-1]][0].islower()
            assert possible is room.conflate(item)
            if possible:
                model[same[-1]] = item
        elif step == "drop":
            at = next((at for at, other in enumerate(model) if other[0].islower()), None)
            assert (at is not None) is room.drop_oldest()
            if at is not None:
                del model[at]
        elif step == "rest":
            room.drop_index()
        assert model == list(buffer.items)


def test_the_index_of_keys_does_not_grow_for_ever() -> None:
    """A stream of ever new keys, each taken at once, leaves a bounded index."""
    buffer: Buffer[int] = Buffer(10)
    room: RoomMaker[int] = RoomMaker(buffer, key=lambda item: item)
    room.build_index()
    for item in range(1000):
        buffer.items.append(item)
        room.added(item)
        buffer.take()

    assert len(room._index) <= 40
