"""The task of one chat."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backend.chats import current_chat
from backend.copilot.chat import ChatSeam
from backend.event_bus import EventBus
from backend.pulse import Pulse
from backend.settings import LiveSettings, Settings


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_a_chat_knows_its_task_from_the_first_step_on() -> None:
    """Also where that is taken while the task is made: a run that begins then is one of the chat's."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    pulse = Pulse(LiveSettings(Settings()), EventBus())
    pulse.before_chat.clear()
    known: list[bool] = []

    async def answer(messages: Any) -> AsyncIterator[Any]:
        chat = current_chat.get()
        known.append(chat is not None and chat.pump_task is asyncio.current_task())
        yield "hi", {"data": None, "finished": True}

    chat = ChatSeam(pulse).wrap(answer, "chat", lambda: "s", lambda: None)

    assert [("hi", {"data": None, "finished": True})] == [item async for item in chat([])]
    assert [True] == known
