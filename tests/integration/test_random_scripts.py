"""For any script of deltas, tool calls and faults, the answer is that of the undisturbed run, and tools run once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backend.copilot.notices import strip
from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import (
    Cut,
    Eof,
    ErrorObject,
    Pause,
    Plan,
    Raw,
    Reasoning,
    Reset,
    SplitText,
    Stall,
    Step,
    Text,
    ToolCall,
    status,
)
from tests.support.loop_time import stalls_skipped

_sessions = itertools.count()

# Each takes the text that the turn would have sent; some of it may arrive before the fault.
_BREAKS: tuple[Step, ...] = (
    Reset(), Cut(), Stall(), ErrorObject(), Raw(b"data: {broken\n\n"),
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One model turn: the faults that come first, then its text, then its tool calls (none: the run ends)."""

    faults: tuple[Plan, ...]
    good: Plan


texts = st.text(alphabet=st.sampled_from("ab é你🎉.\n"), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)


@st.composite
def turns(draw: st.DrawFn, last: bool) -> Turn:
    """A turn with up to two faults of any kind."""
    text = draw(texts)
    faults: list[Plan] = []
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["status", "break", "eof"]))
        got = text[: draw(st.integers(0, len(text)))]
        steps: list[Step] = [Text(got)] if got else []
        if kind == "status":
            faults.append(status(draw(st.sampled_from([408, 429, 500, 503]))))
        elif kind == "break":
            faults.append(Plan(*steps, draw(st.sampled_from(_BREAKS))))
        elif not any(isinstance(step, Eof) for plan in faults for step in plan.steps):
            faults.append(Plan(*steps, Eof()))
    steps = [Reasoning("hm ")] if draw(st.booleans()) else []
    steps.append(SplitText(text, size=draw(st.integers(1, 5))) if draw(st.booleans()) else Text(text))
    if draw(st.booleans()):
        steps.append(Pause(0.01, heartbeat=0.005))
    if not last:
        for n in range(draw(st.integers(1, 2))):
            steps.append(ToolCall("count_up", {"note": f"call {n}"}, parts=draw(st.integers(1, 3)), id=f"c{n}"))
    return Turn(tuple(faults), Plan(*steps))


@st.composite
def scripts(draw: st.DrawFn) -> tuple[Turn, ...]:
    """One to three turns; all but the last call tools."""
    count = draw(st.integers(1, 3))
    return tuple(draw(turns(last=n == count - 1)) for n in range(count))


async def _check(host: Host, llm: FaultServer, script: tuple[Turn, ...]) -> None:
    number = next(_sessions)
    calm, faulty = f"calm-{number}", f"faulty-{number}"

    llm.plan(*(turn.good for turn in script))
    expected = await host.chat(session=calm)
    llm.plan(*(plan for turn in script for plan in (*turn.faults, turn.good)))
    actual = await host.chat(session=faulty)

    assert strip(expected.text) == strip(actual.text)
    assert host.tool_counts(calm) == host.tool_counts(faulty)
    # A notice that the model is silent comes and goes, and with it a space at the end; of the answer nothing does.
    lengths = [len(strip(text).rstrip()) for text in actual.shown[:-1]]
    assert sorted(lengths) == lengths, "the page saw less than before"


def test_faults_change_nothing_that_the_user_reads() -> None:
    """Random scripts, each run with and without its faults, end in the same text and the same tool calls."""
    loop = asyncio.new_event_loop()

    world = contextlib.AsyncExitStack()

    async def start() -> tuple[Host, FaultServer]:
        llm = await world.enter_async_context(FaultServer())
        await world.enter_async_context(stalls_skipped(llm))
        host = await world.enter_async_context(Host([PLUGIN, STANDIN], llm=llm, env=ENVIRONMENT))
        # The first chat is told once that tool servers are down, and so differs from any other.
        llm.plan(Plan(Text("hello")))
        await host.chat(session="first")
        return host, llm

    host, llm = loop.run_until_complete(start())

    @example(script=(Turn((Plan(Text("a "), Stall()),), Plan(Text("a "))),))
    @example(script=(Turn((Plan(Text("a"), Reset()), Plan(Stall())), Plan(Text("a"))),))
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(script=scripts())
    def check(script: tuple[Turn, ...]) -> None:
        loop.run_until_complete(_check(host, llm, script))

    try:
        check()
    finally:
        loop.run_until_complete(world.aclose())
        loop.close()
