"""Health checks: evaluated once a second, told once when they change, in the shape of health+json.

A check is a function that returns a `Finding`, or None while it has nothing to say. A check gets worse at
once and gets better only after it has been better for `HOLD` seconds; a threshold is left only well below
it (`Level`). So a value that trembles around a threshold is one change, not twenty.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

log = logging.getLogger("copilot_pulse.monitoring")

Status = Literal["pass", "warn", "fail"]
RANK: Final[Mapping[Status, int]] = {"pass": 0, "warn": 1, "fail": 2}
HOLD: Final = 5.0
WELL: Final = "Copilot Pulse is well."


class Finding(NamedTuple):
    """What a check found. `output` says what is wrong, `advice` what to do; both are empty for a pass.

    `{program}` stands in both for the program that we run in. `code` and `values` say the same for the panel, which
    can say it in another language. `threshold` is the limit that `value` is held against, in the same `unit`.
    `impact` is "none" if chats go on and nobody need act, such as a service that is known to be suspended; "" for
    real trouble.
    """

    status: Status = "pass"
    value: float | str | None = None
    unit: str = ""
    threshold: float | None = None
    output: str = ""
    advice: str = ""
    code: str = ""
    values: Mapping[str, Any] = MappingProxyType({})
    impact: Literal["", "none"] = ""


Check = Callable[[], "Finding | None"]


def check_of(
    read: Callable[[], Mapping[str, Any] | None], judge: Callable[[Mapping[str, Any]], Finding | None]
) -> Check:
    """The check of a part by the figures that it gives of itself; it has nothing to say while `read()` is None."""

    def check() -> Finding | None:
        figures = read()
        return None if figures is None else judge(figures)

    return check


class Level:
    """A value against one or two thresholds, left only when it has fallen below `release` of them."""

    def __init__(self, *, warn: float, fail: float | None = None, release: float = 0.8) -> None:
        self.warn = warn
        self.fail = fail
        self._release = release
        self._status: Status = "pass"

    def of(self, value: float) -> Status:
        """The status of `value`, given where it came from."""
        status = self._plain(value, 1.0)
        if RANK[status] < RANK[self._status]:
            held = self._plain(value, self._release)
            status = held if RANK[held] <= RANK[self._status] else self._status
        self._status = status
        return status

    def threshold(self) -> float:
        """The threshold that the present status is measured against."""
        return self.fail if self._status == "fail" and self.fail is not None else self.warn

    def _plain(self, value: float, share: float) -> Status:
        if self.fail is not None and value >= self.fail * share:
            return "fail"
        return "warn" if value >= self.warn * share else "pass"


class _State:
    __slots__ = ("better_since", "check", "component", "finding", "name", "time")

    def __init__(self, name: str, check: Check, component: str) -> None:
        self.name = name
        self.check = check
        self.component = component
        self.finding: Finding | None = None
        self.better_since: float | None = None
        self.time = 0.0


class HealthBoard:
    """All checks and their last findings. For the loop's thread.

    `publish(type, data)` is called with `health.changed` for each change of a check's status. `program` is what the
    user calls the program that we run in.
    """

    program = "ComfyUI"

    def __init__(self, publish: Callable[[str, dict[str, Any]], None], *, hold: float = HOLD) -> None:
        self._publish = publish
        self._hold = hold
        self._states: dict[str, _State] = {}

    def add(self, name: str, check: Check, component: str = "component") -> None:
        """Add a check, or replace the one of that name. Names are `component:measurement`.

        It is called once a second and must not wait; if it raises, that is a warning of its own.
        """
        self._states[name] = _State(name, check, component)

    def remove(self, name: str) -> None:
        """Take a check away; unknown names are fine."""
        self._states.pop(name, None)

    def evaluate(self, now: float, wall: float) -> None:
        """Run all checks; `now` is monotonic, `wall` the time to show."""
        for state in list(self._states.values()):
            self._evaluate(state, now, wall)

    def _evaluate(self, state: _State, now: float, wall: float) -> None:
        try:
            found = self._named(state.check())
        except Exception as error:
            # A check is somebody's plug-in; that it broke is itself a finding.
            if state.finding is None or state.finding.code != "check_failed":
                log.warning("the health check %s failed", state.name, exc_info=True)
            found = Finding(
                "warn",
                output=f"The check itself failed ({type(error).__name__}).",
                advice="See the log for where, and report it.",
                code="check_failed",
            )
        before = state.finding
        was: Status = before.status if before is not None else "pass"
        status: Status = found.status if found is not None else "pass"
        if RANK[status] < RANK[was]:
            if state.better_since is None:
                state.better_since = now
            if now - state.better_since < self._hold:
                return  # the worse finding stands until the better one has lasted
        state.better_since = None
        state.finding = found
        state.time = wall
        if status != was:
            output = "" if found is None else _sentence(found)
            log.log(
                logging.INFO if status == "pass" else logging.WARNING,
                "health: %s is now %s (was %s). %s", state.name, status, was, output,
            )  # fmt: skip
            told = before if status == "pass" else found  # what is over again has the impact that it had
            impact = told.impact if told is not None else ""
            self._publish(
                "health.changed",
                {"check": state.name, "status": status, "was": was, "output": output, "impact": impact},
            )

    def _named(self, found: Finding | None) -> Finding | None:
        if found is None or not (found.output or found.advice):
            return found
        output, advice = (text.replace("{program}", self.program) for text in (found.output, found.advice))
        return found._replace(output=output, advice=advice)

    def problems(self) -> list[tuple[str, Finding]]:
        """The checks that do not pass, the worst first, what nobody need act on last, else as they were added."""
        found = [(s.name, f) for s in self._states.values() if (f := s.finding) and f.status != "pass"]
        return sorted(found, key=lambda row: (-RANK[row[1].status], row[1].impact))

    @property
    def status(self) -> Status:
        """The worst status of all checks."""
        problems = self.problems()
        return problems[0][1].status if problems else "pass"

    def verdict(self) -> dict[str, Any]:
        """The `health` part of the metrics JSON: one sentence, what to do, and each problem."""
        problems = self.problems()
        if not problems:
            well = {"status": "pass", "summary": WELL, "advice": "", "check": None, "code": "", "impact": ""}
            return {**well, "problems": []}
        name, worst = problems[0]
        return {
            "status": worst.status,
            "summary": worst.output,
            "advice": worst.advice,
            "check": name,
            "code": worst.code,
            "impact": worst.impact,
            "problems": [
                {
                    "check": check,
                    "status": finding.status,
                    "code": finding.code,
                    "output": finding.output,
                    "advice": finding.advice,
                    "values": dict(finding.values),
                    "impact": finding.impact,
                }
                for check, finding in problems
            ],
        }

    def rows(self) -> list[tuple[str, Status]]:
        """(name, status) of each check that has something to say."""
        return [(s.name, s.finding.status) for s in self._states.values() if s.finding is not None]

    def body(self, version: str) -> dict[str, Any]:
        """The body of `application/health+json` (draft-inadarei-api-health-check-06)."""
        problems = self.problems()
        body: dict[str, Any] = {
            "status": self.status,
            "version": version.partition(".")[0],
            "releaseId": version,
            "serviceId": "copilot-pulse",
            "description": f"The chats of {self.program} as Copilot Pulse sees them",
        }
        if problems:
            body["output"] = _sentence(problems[0][1])
            body["notes"] = [f"{name}: {_sentence(finding)}" for name, finding in problems]
        checks: dict[str, list[dict[str, Any]]] = {}
        for state in self._states.values():
            finding = state.finding
            if finding is None:
                continue
            row: dict[str, Any] = {"componentType": state.component, "status": finding.status}
            if finding.value is not None:
                row["observedValue"] = finding.value
                row["observedUnit"] = finding.unit
            if finding.threshold is not None:
                row["threshold"] = finding.threshold
            row["time"] = _iso(state.time)
            if finding.status != "pass":
                row["output"] = _sentence(finding)
            checks[state.name] = [row]
        body["checks"] = checks
        return body


def _sentence(finding: Finding) -> str:
    return f"{finding.output} {finding.advice}".strip()


def _iso(wall: float) -> str:
    moment = datetime.fromtimestamp(wall, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
