"""Every row of the fault table, on real openai-agents over real sockets, through the stand-in Copilot.

Each asserts what the user reads in the end, how often the model and each tool were called, and that no task and
no socket is left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backend.copilot.notices import strip
from tests.integration.fault_rows import ENVIRONMENT, ROWS, Row
from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.leaks import no_leaks
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer
from tests.support.page import API_KEY, Chat


@pytest.fixture
async def llm() -> AsyncIterator[FaultServer]:
    """A model server that misbehaves as it is told."""
    async with FaultServer() as server:
        yield server


async def _ask(host: Host, row: Row, session: str, llm: FaultServer) -> Chat:
    url = row.url(llm) if row.url is not None else None
    ask = host.debug if row.kind == "debug" else host.chat
    return await ask(session=session, llm=url, language=row.language)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_fault(row: Row, llm: FaultServer) -> None:
    """The answer is complete and exact, or it ends in a notice that says what to do; nothing runs twice."""
    async with Host([PLUGIN, STANDIN], llm=llm, env=ENVIRONMENT) as host:
        assert not host.failed
        expected = row.text
        llm.plan(answer(1))
        for session in ("like", "fault"):  # opens the page's connection, and tells about the dead tool servers
            await host.chat(session=session)
        if row.like:
            llm.plan(*row.like)
            expected = (await _ask(host, row, "like", llm)).text
        llm.reset_counts()
        llm.plan(*row.plans)

        async with no_leaks():
            chat = await _ask(host, row, "fault", llm)

        assert chat.finished, "the page would wait for ever"
        assert chat.lines[-1]["finished"] is True
        if expected is not None:
            assert expected == chat.text
        else:
            assert row.partial.strip() == strip(chat.text).strip()
            notice = chat.text[len(strip(chat.text)) :]
            assert notice.strip(), "nothing tells the user what happened"
            assert [] == [words for words in row.says if words not in notice], notice
        assert API_KEY not in chat.raw.decode()
        assert row.requests == len(llm.chats), [r.path for r in llm.chats]
        assert row.tools == dict(host.tool_counts("fault"))
        assert 0 == llm.active
