"""Health: each check says what is wrong and what to do, and a change is told once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.metrics.health import HOLD, Finding, HealthBoard, Level, Status
from backend.metrics.loop_watch import PAUSED
from backend.monitoring import Monitor
from backend.store import _PROBLEMS
from tests.support.clock import FakeClock
from tests.support.figures import bus_figures

BAD = Finding("warn", 9, "items", 5, "Too many items.", "Remove some.", "too_many", {"n": 9})


class Board:
    """A board whose one check says what the test wants, second by second."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.finding: Finding | None = Finding()
        self.now = 1000.0
        self.board = HealthBoard(lambda type_, data: self.told.append({"type": type_, **data}))
        self.board.add("test:items", lambda: self.finding)

    def seconds(self, *findings: Finding | None) -> None:
        """Evaluate once a second with these findings."""
        for self.finding in findings:
            self.now += 1
            self.board.evaluate(self.now, self.now)

    def statuses(self) -> list[tuple[str, str]]:
        """(was, status) of each change that was told."""
        return [(row["was"], row["status"]) for row in self.told]


def test_a_change_is_told_once() -> None:
    """Ten bad seconds are one alert, with the sentence that says what to do."""
    board = Board()
    board.seconds(*[BAD] * 10)

    assert board.told == [
        {"type": "health.changed", "check": "test:items", "status": "warn", "was": "pass",
         "output": "Too many items. Remove some.", "impact": ""}
    ]  # fmt: skip


def test_a_trembling_value_is_one_change() -> None:
    """Good for a moment is not well: better counts only after it has lasted."""
    board = Board()
    board.seconds(*[BAD, Finding(), Finding()] * 5)

    assert board.statuses() == [("pass", "warn")]
    board.seconds(*[Finding()] * (int(HOLD) + 1))
    assert board.statuses() == [("pass", "warn"), ("warn", "pass")]


def test_worse_is_told_at_once() -> None:
    """A fail is not held back by the rule for getting better."""
    board = Board()
    board.seconds(BAD, Finding("fail", output="Broken.", advice="Repair it."))

    assert board.statuses() == [("pass", "warn"), ("warn", "fail")]
    assert board.board.status == "fail"


def test_a_check_with_nothing_to_say_is_not_shown() -> None:
    """No figure yet is neither well nor ill."""
    board = Board()
    board.seconds(None)

    assert board.board.body("1.2.3")["checks"] == {}
    assert board.board.status == "pass"


def test_a_check_that_raises_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A plug-in check that breaks is shown, logged once, and harms no other."""
    board = Board()

    def broken() -> Finding:
        raise KeyError("x")

    board.board.add("plug:in", broken)
    board.seconds(Finding("pass", 1), Finding("pass", 1))
    body = board.board.body("1.2.3")

    assert "KeyError" in body["checks"]["plug:in"][0]["output"]
    assert body["checks"]["test:items"][0]["status"] == "pass"
    assert sum("plug:in failed" in record.getMessage() for record in caplog.records) == 1


def test_the_body_is_health_json() -> None:
    """The keys of draft-inadarei-api-health-check, with the threshold beside the value."""
    board = Board()
    board.seconds(BAD)
    body = board.board.body("1.2.3")

    assert (body["status"], body["version"], body["releaseId"]) == ("warn", "1", "1.2.3")
    assert body["output"] == "Too many items. Remove some."
    assert body["notes"] == ["test:items: Too many items. Remove some."]
    assert body["checks"] == {
        "test:items": [
            {"componentType": "component", "status": "warn", "observedValue": 9, "observedUnit": "items",
             "threshold": 5, "time": "1970-01-01T00:16:41.000Z", "output": "Too many items. Remove some."}
        ]
    }  # fmt: skip
    json.dumps(body)


def test_the_worst_check_makes_the_verdict() -> None:
    """One sentence for the top of the panel: what is worst and what to do, with a code to translate it by."""
    board = Board()
    board.board.add("b", lambda: Finding("fail", output="Broken.", advice="Repair it.", code="broken"))
    board.seconds(BAD)
    verdict = board.board.verdict()

    assert (verdict["status"], verdict["summary"], verdict["advice"]) == ("fail", "Broken.", "Repair it.")
    assert (verdict["check"], verdict["code"]) == ("b", "broken")
    assert [p["code"] for p in verdict["problems"]] == ["broken", "too_many"]
    assert verdict["problems"][1]["values"] == {"n": 9}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 0.7, 0.6, 0.55], ["pass", "warn", "warn", "pass"]),
        ([0.95, 0.85, 0.7, 0.1], ["fail", "fail", "warn", "pass"]),
        ([0.7, 0.9, 0.69], ["warn", "fail", "warn"]),
        ([0.69, 0.69], ["pass", "pass"]),
    ],
)
def test_a_level_is_left_well_below_its_threshold(values: list[float], expected: list[Status]) -> None:
    """Crossing 70 % up is a warning; only below 56 % it is over."""
    level = Level(warn=0.7, fail=0.9)

    assert expected == [level.of(value) for value in values]


class Case:
    """A monitor with its clock, told what a check should notice."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.monitor = Monitor(clock=self.clock, wall=self.clock, sampler=self)
        self.memory = 10.0

    def sample(self) -> dict[str, float | None]:
        """The process, as the test wants it."""
        return {"rss_bytes": 1.0, "memory_used_percent": self.memory}

    def event(self, type_: str, **data: Any) -> None:
        """Tell the monitor of an event."""
        self.monitor.on_event(Happened(type_, data))

    def status(self, check: str) -> str:
        """The status of one check after a tick; `none` if it has nothing to say."""
        self.monitor.tick()
        found = self.monitor.health()["checks"].get(check)
        return str(found[0]["status"]) if found else "none"

    def output(self, check: str) -> str:
        """What it says."""
        self.monitor.tick()
        return str(self.monitor.health()["checks"][check][0]["output"])


class Happened:
    """An event as far as the monitor looks at it."""

    def __init__(self, type_: str, data: dict[str, Any]) -> None:
        self.type = type_
        self.data = data


@pytest.fixture
def case() -> Case:
    """A monitor of a healthy plugin."""
    return Case()


def lost(case: Case, n: int, **data: Any) -> None:
    """`n` chats that failed."""
    for _ in range(n):
        told = {"severity": "high", "type": "AuthenticationError", "kind": "auth", "message": "the key was refused"}
        case.event("error", outcome="gave_up", **{**told, **data})
        case.event("chat.finished", outcome="failed", seconds=1.0, kind="chat")


def test_a_missing_copilot_is_a_warning_that_says_so(case: Case) -> None:
    """Someone who installed the wrong thing reads it in the verdict."""
    case.monitor.add_source("seams", lambda: [{"name": "chat", "attached": False, "detail": "not installed"}])

    assert "ComfyUI-Copilot is not attached: not installed" in case.output("copilot:seams")


@pytest.mark.parametrize("detail", ["Copilot Pulse is switched off in the settings", "switched off by COPILOT_PULSE"])
def test_switched_off_is_not_taken_for_missing(case: Case, detail: str) -> None:
    """Who has switched it off is not told to install Copilot, and is not alarmed."""
    case.monitor.add_source("seams", lambda: [{"name": "chat", "attached": False, "detail": detail}])

    assert "switched off" in case.output("copilot:seams")
    assert "Install" not in case.output("copilot:seams")
    health = case.monitor.snapshot()["health"]
    assert ("switched_off", "none") == (health["code"], health["impact"])


def test_a_missing_seam_is_named(case: Case) -> None:
    """Another version of Copilot: what works on, what does not."""
    case.monitor.add_source("seams", lambda: [{"name": "chat", "attached": True}, {"name": "mcp", "attached": False}])

    assert "not attached: mcp" in case.output("copilot:seams")


def test_one_failed_chat_is_a_warning_and_tells_why(case: Case) -> None:
    """The verdict carries the last cause, so that nobody has to search."""
    case.event("chat.finished", outcome="completed", seconds=1.0, kind="chat")
    lost(case, 1)

    assert case.status("chat:failures") == "warn"
    assert "1 of the last 2 chats failed. Last: the key was refused." in case.output("chat:failures")


def test_one_chat_that_failed_is_told_in_a_sentence(case: Case) -> None:
    """Nobody reads of "1 of the last 1 chats", in the terminal, in the webhook or at another machine."""
    lost(case, 1)

    assert case.output("chat:failures").startswith("The last chat failed. Last: the key was refused.")


@pytest.mark.parametrize(
    ("kind", "status"),
    [("fault", "fail"), ("system", "fail"), ("internal", "warn"), ("server_error", "warn"), ("auth", "warn")],
)
def test_when_no_chat_works_health_fails_if_the_fault_is_here(case: Case, kind: str, status: str) -> None:
    """Three failures in a row and no success: nobody gets an answer. Neither a remote server nor three messages that
    Copilot's library cannot read ("internal") have ComfyUI restarted."""
    lost(case, 3, kind=kind)

    assert case.status("chat:failures") == status
    assert "All of the last 3 chats failed" in case.output("chat:failures")


def test_a_failure_before_an_answer_is_no_alarm(case: Case) -> None:
    """Once the newest chat was answered nobody need act on an older failure; a new one is an alarm again."""

    def impact() -> str:
        case.monitor.tick()
        return str(case.monitor.snapshot()["health"]["impact"])

    lost(case, 1)
    assert impact() == ""
    case.event("chat.finished", outcome="completed", seconds=1.0, kind="chat")
    assert impact() == "none"
    lost(case, 1)

    assert impact() == ""


def test_failures_are_forgotten_after_five_minutes(case: Case) -> None:
    """Yesterday's trouble is in the history, not in the verdict."""
    lost(case, 3)
    assert case.status("chat:failures") == "warn"
    case.clock.advance(301)
    case.monitor.tick()
    case.clock.advance(HOLD)

    assert case.status("chat:failures") == "pass"


def test_cancelled_chats_are_no_failures(case: Case) -> None:
    """A user who stops a chat does not make the plugin ill."""
    case.event("chat.finished", outcome="cancelled", seconds=1.0, kind="chat")

    assert case.status("chat:failures") == "pass"


def test_a_low_recovery_rate_warns(case: Case) -> None:
    """Retries that hardly ever help are worth a look."""
    for outcome in ("recovered", "gave_up", "gave_up", "gave_up", "gave_up"):
        case.event("error", severity="medium", type="T", kind="timeout", outcome=outcome, attempt=4)

    assert "in only 20%" in case.output("errors:recoveryRate")


def test_refused_keys_do_not_lower_the_recovery_rate(case: Case) -> None:
    """What is never asked again is no retry that failed."""
    lost(case, 6, attempt=1)

    assert case.status("errors:recoveryRate") == "none"


@pytest.mark.parametrize(
    ("kind", "type_", "advice"),
    [
        ("memory", "MemoryError", "Free memory"),
        ("system", "OSError", "free disk space"),
    ],
)
def test_a_critical_error_is_a_sentence_with_its_own_advice(case: Case, kind: str, type_: str, advice: str) -> None:
    """The name of the error and what helps against it, not the data of its record."""
    case.event("error", severity="critical", type=type_, kind=kind, outcome="gave_up")
    output = case.output("errors:critical")

    assert output.startswith(f"A critical error stopped a chat: {type_}. ")
    assert advice in output
    assert "{" not in output
    assert {"cause": type_} == case.monitor.snapshot()["health"]["problems"][0]["values"]


def test_a_critical_error_fails_until_a_minute_after_the_last(case: Case) -> None:
    """Each new one starts the minute anew."""
    for _ in range(2):
        case.event("error", severity="critical", type="MemoryError", kind="system", outcome="gave_up")
        case.clock.advance(59)
        assert case.status("errors:critical") == "fail"
    case.clock.advance(1)
    case.monitor.tick()
    case.clock.advance(HOLD)

    assert case.status("errors:critical") == "pass"


@pytest.mark.parametrize(("used", "status"), [(99.0, "fail"), (80.0, "pass"), (None, "pass")])
def test_out_of_memory_stays_until_memory_is_back(case: Case, used: float | None, status: str) -> None:
    """Time alone heals nothing, unless the memory cannot be read here."""
    case.event("error", severity="critical", type="MemoryError", kind="memory", outcome="gave_up")
    assert case.status("errors:critical") == "fail"
    case.clock.advance(1_000)
    case.monitor.system.process = {"memory_used_percent": used}
    for _ in range(2):
        case.monitor.board.evaluate(case.clock(), 0.0)
        case.clock.advance(HOLD)

    assert status == dict(case.monitor.board.rows())["errors:critical"]


@pytest.mark.parametrize(
    ("retry_in", "says", "code"),
    [
        (11.3, "In 12 s the next chat tries it", "breaker_open"),
        (0.0, "The next chat tries it", "breaker_due"),
    ],
)
def test_an_open_breaker_tells_when_it_tries_again(case: Case, retry_in: float, says: str, code: str) -> None:
    """The user learns that waiting helps and how long, and that a chat must ask: nothing else does."""
    row = {"name": "llm:api.x.com", "state": "open", "retry_in": retry_in}
    case.monitor.add_source("breakers", lambda: [row])

    assert "api.x.com" in case.output("breakers:open")
    assert says in case.output("breakers:open")
    assert case.monitor.snapshot()["health"]["code"] == code


def test_dead_mcp_servers_are_a_warning_that_nobody_need_act_on(case: Case) -> None:
    """Their tools are gone, the chat is not; a host is named once; real trouble stands above it."""
    rows = [{"server": name, "host": "a", "state": "down"} for name in ("a", "a (2)")]
    case.monitor.add_source("mcp", lambda: rows)

    assert "Not reachable: a." in case.output("mcp:connections")
    assert case.status("mcp:connections") == "warn"
    health = case.monitor.snapshot()["health"]
    assert ("warn", "mcp_down", "none") == (health["status"], health["code"], health["impact"])

    case.memory = 97.0
    case.monitor.tick()
    health = case.monitor.snapshot()["health"]
    assert ["", "none"] == [problem["impact"] for problem in health["problems"]]
    assert ("memory_low", "") == (health["code"], health["impact"])


def test_a_silent_mcp_server_does_not_come_and_go(case: Case) -> None:
    """While it is probed for half a minute it is still down."""
    row = {"server": "a", "host": "a", "state": "down", "probing": False}
    case.monitor.add_source("mcp", lambda: [row])
    statuses = []
    for second in range(30):
        row["probing"] = second > 5
        case.clock.advance(1)
        statuses.append(case.status("mcp:connections"))

    assert {"warn"} == set(statuses)


def test_a_full_queue_names_itself(case: Case) -> None:
    """Which queue, how full, and what happens next."""
    case.monitor.add_source("bus", lambda: bus_figures({"name": "panel", "size": 80, "capacity": 100}))

    assert "panel is 80% full" in case.output("events:queueFill")


def test_dropped_events_are_news_for_a_minute(case: Case) -> None:
    """A drop is told while it is fresh."""
    dropped = [0]
    case.monitor.add_source("bus", lambda: bus_figures({"name": "q", "size": 0, "capacity": 9, "dropped": dropped[0]}))
    assert case.status("events:dropped") == "pass"
    dropped[0] = 3
    assert case.status("events:dropped") == "warn"
    case.clock.advance(61)
    case.monitor.tick()
    case.clock.advance(HOLD)
    assert case.status("events:dropped") == "pass"


def test_slow_delivery_warns(case: Case) -> None:
    """Events that take a second to arrive are late for a live panel."""
    case.monitor.on_latency([1.0] * 10)

    assert case.status("events:latency") == "warn"


def test_a_lagging_loop_warns_only_with_enough_beats(case: Case) -> None:
    """One late beat while plugins load is no illness; a steady lag is, and a heavy one fails."""
    case.monitor.system.on_lag(3.0, case.clock())
    assert case.status("loop:lag") == "none"
    for _ in range(200):
        case.monitor.system.on_lag(0.7, case.clock())
    assert case.status("loop:lag") == "warn"
    for _ in range(200):
        case.monitor.system.on_lag(3.0, case.clock())
    assert case.status("loop:lag") == "fail"


def test_a_stall_names_the_code_for_a_minute(case: Case) -> None:
    """The verdict says who froze ComfyUI."""
    case.monitor._on_stall({"seconds": 2.0, "frame": "p/a.py:1 f", "stack": []})

    assert "2.0 s in p/a.py:1 f" in case.output("loop:stall")
    case.clock.advance(61)
    case.monitor.tick()
    case.clock.advance(HOLD)
    assert case.status("loop:stall") == "pass"


def test_a_process_that_slept_blames_no_code(case: Case) -> None:
    """A laptop that was closed is not a plugin's fault."""
    case.monitor._on_stall({"seconds": 9.0, "cause": "paused", "frame": PAUSED, "stack": []})

    assert case.output("loop:stall").startswith("The whole process stood still for 9.0 s.")


@pytest.mark.parametrize("cause", ["paused", "code"])
def test_a_hiccup_is_no_verdict(case: Case, cause: str) -> None:
    """A third of a second on a busy machine is an event, not an illness."""
    case.monitor._on_stall({"seconds": 0.3, "cause": cause, "frame": "f", "stack": []})

    assert case.status("loop:stall") == "pass"


def test_a_machine_without_memory_warns(case: Case) -> None:
    """Before the system kills ComfyUI, somebody is told."""
    case.memory = 97.0

    assert "97 %" in case.output("system:memory")


@pytest.mark.parametrize("program", ["ComfyUI", "this program"])
def test_an_advice_names_the_program_that_is_there(case: Case, program: str) -> None:
    """On the standalone host there is no ComfyUI that could be restarted."""
    case.monitor.board.program = program
    case.memory = 99.0
    case.event("error", severity="critical", type="MemoryError", kind="memory", outcome="gave_up")
    case.monitor._on_stall({"seconds": 2.0, "cause": "blocked", "frame": "f", "stack": []})
    problem = {"code": "damaged", "text": "Damaged.", "advice": _PROBLEMS["damaged"][1], "values": {}}
    figures = {"stored": 1, "lost": {}, "with_text": False, "problem": problem}
    case.monitor.add_source("store", lambda: figures)

    for check in ("system:memory", "errors:critical", "loop:stall", "store:writable"):
        assert program in case.output(check)
        assert (program == "ComfyUI") is ("ComfyUI" in case.output(check))
        assert "{" not in case.output(check)


def test_every_problem_says_what_to_do(case: Case) -> None:
    """No check may cry without advice, a code and a sentence."""
    lost(case, 3)
    case.memory = 99.0
    case.event("error", severity="critical", type="MemoryError", kind="memory", outcome="gave_up")
    case.monitor.add_source("seams", list)
    case.monitor.add_source("mcp", lambda: [{"server": "a", "state": "down"}])
    case.monitor.add_source("breakers", lambda: [{"name": "b", "state": "half_open"}])
    queue = {"name": "q", "size": 9, "capacity": 9, "dropped": 1}
    case.monitor.add_source("bus", lambda: bus_figures(queue))
    case.monitor.on_latency([1.0])
    case.monitor._on_stall({"seconds": 2.0, "frame": "f", "stack": []})
    case.monitor.tick()
    problems = case.monitor.snapshot()["health"]["problems"]

    assert len(problems) >= 9
    for problem in problems:
        assert problem["output"].endswith(".")
        assert problem["advice"].endswith(".")
        assert problem["code"]
