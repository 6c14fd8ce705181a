"""Every row of the fault table, on real openai-agents over real sockets, through the stand-in Copilot.

Each asserts what the user reads in the end, how often the model and each tool were called, and that no task and
no socket is left. All rows share one running host; each has a model server of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backend.copilot.notices import strip
from tests.integration.fault_rows import ENVIRONMENT, ROWS, Row
from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.leaks import no_leaks
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer
from tests.support.loop_time import stalls_skipped
from tests.support.page import API_KEY, Chat

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[Host]:
    """The plugin and the stand-in; both MCP servers are dead, and the session has been told about it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        async with Host([PLUGIN, STANDIN], env=ENVIRONMENT) as running, FaultServer() as llm:
            assert not running.failed
            llm.plan(answer(1))
            await running.chat(session="faults", llm=llm.base_url)
            yield running


async def _ask(host: Host, row: Row, llm: FaultServer) -> Chat:
    url = row.url(llm) if row.url is not None else llm.base_url
    ask = host.debug if row.kind == "debug" else host.chat
    return await ask(session="faults", llm=url, language=row.language)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_fault(row: Row, host: Host) -> None:
    """The answer is complete and exact, or it ends in a notice that says what to do; nothing runs twice."""
    async with FaultServer() as llm, stalls_skipped(llm):
        expected = row.text
        if row.like:
            llm.plan(*row.like)
            expected = (await _ask(host, row, llm)).text
            llm.reset_counts()
        llm.plan(*row.plans)
        tools = Counter(host.tool_counts("faults"))

        async with no_leaks():
            chat = await _ask(host, row, llm)

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
        assert row.requests == len(llm.chats), [request.path for request in llm.chats]
        assert row.tools == Counter(host.tool_counts("faults")) - tools
        assert 0 == llm.active
