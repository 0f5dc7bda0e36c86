"""The oracle finds each kind of violation, and none where there is none."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from demo.outcome.airflow_api import Try, TryKey
from lambda_executor.engine.poller import hand_back_delay_s
from lambda_executor.engine.unclaimed import NOTED_FROM
from tests.chaos.attack import table
from tests.chaos.attack.__main__ import content, verdict
from tests.chaos.attack.evidence import Evidence, Window
from tests.chaos.attack.faults import FAULTS, TIMED, Fault, moments
from tests.chaos.attack.gathering import EMPTY_S, older_without_record
from tests.chaos.attack.kinds import BY_NAME, KINDS, Spec, plan
from tests.chaos.attack.oracle import DEAD_LETTER_S, PROMISES, Violation, violations
from tests.chaos.attack.recorder import Event, Line
from tests.chaos.attack.run import Settings
from tests.chaos.attack.site import SCHEDULERS

DAG = "attacked_0"
KILLED = next(fault for fault in FAULTS if fault.name == "killed processes")
AWAY = next(fault for fault in FAULTS if fault.name == "API server away")
PAUSED = next(fault for fault in FAULTS if fault.name == "function paused")
COPIED = next(fault for fault in FAULTS if fault.name == "late duplicated events")


def tried(kind: str, number: int = 1, state: str = "success", index: int = 0) -> Try:
    """One try of a task."""
    return Try(TryKey(DAG, "demo", kind, index, number), state, "host")


def said(kind: str, *events: Event, number: int = 1) -> list[Line]:
    """What a try has recorded."""
    return [Line(DAG, kind, 0, number, event, 7, 0.0) for event in events]


def evidence(kind: str, tries: list[Try], lines: list[Line], **more: object) -> Evidence:
    """Of a plan with one task."""
    return replace(Evidence([Spec(DAG, kind, 0, 0.0)], tries, lines), **more)  # type: ignore[arg-type]


def of(found: list[Violation]) -> list[str]:
    """The broken promises."""
    return [violation.promise for violation in found]


@pytest.mark.parametrize(
    ("kind", "tries", "lines"),
    [
        ("works", [tried("works")], said("works", "start", "end")),
        ("skipped", [tried("skipped", state="skipped")], said("skipped", "start", "end")),
        ("deferred", [tried("deferred")], said("deferred", "start", "leave", "resume", "end")),
        (
            "raises_once",
            [tried("raises_once", 1, "failed"), tried("raises_once", 2)],
            said("raises_once", "start", "raise") + said("raises_once", "start", "end", number=2),
        ),
        (
            "always_raises",
            [tried("always_raises", state="failed")],
            said("always_raises", "start", "raise", "callback"),
        ),
    ],
)
def test_what_ends_as_its_kind_does_is_no_violation(
    kind: str, tries: list[Try], lines: list[Line]
) -> None:
    """Without any fault."""
    assert violations(evidence(kind, tries, lines)) == []


@pytest.mark.parametrize(
    ("kind", "tries", "lines", "promise"),
    [
        ("works", [], [], "lost"),
        ("works", [tried("works", state="queued")], [], "stuck"),
        ("works", [tried("works", state="running")], said("works", "start"), "stuck"),
        ("works", [tried("works")], said("works", "start", "start", "end"), "twice"),
        (
            "deferred",
            [tried("deferred")],
            said("deferred", "start", "leave", "resume", "resume", "end"),
            "twice",
        ),
        (
            "works",
            [tried("works", state="failed")],
            said("works", "start", "raise"),
            "healthy failed",
        ),
        ("works", [tried("works")], said("works", "start"), "untrue"),
        ("always_raises", [tried("always_raises")], said("always_raises", "start", "end"), "lost"),
        (
            "exits",
            [tried("exits", 1, "failed"), tried("exits", 2)],
            said("exits", "start") + said("exits", "start", "end", number=2),
            "untrue",
        ),
        (
            "works",
            [tried("works")],
            said("works", "start", "end") + said("works", "start", number=2),
            "untrue",
        ),
    ],
)
def test_each_violation_is_found(
    kind: str, tries: list[Try], lines: list[Line], promise: str
) -> None:
    """One at a time."""
    assert of(violations(evidence(kind, tries, lines))) == [promise]


def lost_once(reason: str, faults: tuple[Fault, ...], *, ran_to_its_end: bool = False) -> Evidence:
    """A healthy task whose first try failed, and whose second succeeded."""
    first = tried("works", 1, "failed")
    events: tuple[Event, ...] = ("start", "end") if ran_to_its_end else ("start",)
    return evidence(
        "works",
        [first, tried("works", 2)],
        said("works", *events) + said("works", "start", "end", number=2),
        reasons={first.key: reason},
        faults=dict.fromkeys(faults, 1),
    )


def test_a_failure_needs_a_reason_that_a_fault_explains() -> None:
    """The reason is true if that fault happened in this run."""
    killed = "the workload's process was killed by SIGKILL"
    assert violations(lost_once(killed, (KILLED,))) == []
    assert of(violations(lost_once(killed, ()))) == ["untrue"]
    assert of(violations(lost_once("", (KILLED,)))) == ["untrue"]
    assert of(violations(lost_once("the DAG is missing", (KILLED,)))) == ["untrue"]


def test_a_lost_result_explains_what_airflow_noticed_itself() -> None:
    """Not any failure whose log speaks of heartbeats."""
    (lost,) = (fault for fault in FAULTS if fault.name == "lost results")
    assert violations(lost_once("heartbeat timeout: Task did not emit heartbeat", (lost,))) == []
    assert of(violations(lost_once("Failed to send heartbeat", (lost,)))) == ["untrue"]


def test_the_failure_of_a_try_that_was_queued_needs_a_cause_too() -> None:
    """Airflow keeps no record of such a try, but of its failure."""
    (second,) = tries = [tried("works", 2)]
    queued = replace(second.key, try_number=1)
    assert older_without_record(tries) == {queued}
    run = evidence(
        *("works", tries, said("works", "start", "end", number=2)),
        unrecorded=[queued],
        reasons={queued: "Lambda gave up: Rate Exceeded"},
        failed_at_s={queued: 120.0},
        windows=[Window(PAUSED.name, 100, 102)],
    )
    assert of(violations(run)) == ["untrue"]
    run = replace(run, faults={PAUSED: 1})
    assert violations(run) == []
    assert of(violations(replace(run, failed_at_s={queued: 160.0}))) == ["untrue"]
    assert violations(replace(run, faults={}, is_reference=True)) == []


def test_a_task_may_use_up_its_time_while_the_api_is_away() -> None:
    """Airflow's client waits longer and longer between its calls."""
    reason = "stopped 14.9975 s before the end of the function's time-out, which left 60.0 s"
    assert violations(lost_once(reason, (AWAY,))) == []
    assert of(violations(lost_once(reason, (KILLED,)))) == ["untrue"]


def test_a_late_copy_of_an_event_runs_as_the_newest_try() -> None:
    """Airflow has no record of the older try; the one between them never ran."""
    tries = [tried("works", 3, "failed"), tried("works", 4)]
    first, _ = (each.key for each in tries)
    late = said("works", "start", "end", number=2)
    run = evidence("works", tries, late, reasons={first: "Rate Exceeded"}, faults={COPIED: 1})
    assert of(violations(run)) == ["untrue"]  # That failure has no cause.
    run = replace(run, faults={PAUSED: 1, COPIED: 1})
    assert violations(run) == []
    twice = replace(run, lines=[*late, *said("works", "start", "end", number=4)])
    assert of(violations(twice)) == ["untrue"]  # Airflow does not know of the copy.


def test_code_that_ran_to_its_end_fails_if_its_process_was_killed_then() -> None:
    """It may have been killed before Airflow was told; a failure long after has another cause."""
    run = lost_once("killed by SIGKILL", (KILLED,), ran_to_its_end=True)
    ended_s = next(line.at_s for line in run.lines if line.event == "end")
    (key,) = run.reasons
    window = Window(KILLED.name, ended_s - 50, ended_s + 50)
    soon = replace(run, windows=[window], failed_at_s={key: ended_s + 3})
    assert violations(soon) == []
    late = replace(soon, failed_at_s={key: ended_s + DEAD_LETTER_S + 1})
    assert of(violations(late)) == ["untrue"]
    other = replace(soon, reasons={key: "the DAG is missing"})
    assert of(violations(other)) == ["untrue", "untrue"], "of the end, and of the reason"


def test_code_that_ran_to_its_end_fails_while_airflow_is_away() -> None:
    """Then Airflow could not be told: not before, and not long after."""
    reason = "the Execution API cannot be reached"
    run = lost_once(reason, (KILLED, AWAY), ran_to_its_end=True)
    ended_s = run.lines[0].at_s
    during = Window(AWAY.name, ended_s - 5, ended_s + 5)
    assert violations(replace(run, windows=[during])) == []
    before = Window(AWAY.name, ended_s - AWAY.after_s - 9, ended_s - AWAY.after_s - 5)
    assert of(violations(replace(run, windows=[before]))) == ["untrue"]


def test_code_that_ends_after_its_try_has_failed_was_not_only_untold() -> None:
    """Airflow was told that it had failed, while it ran on."""
    run = lost_once("the Execution API cannot be reached", (AWAY,), ran_to_its_end=True)
    ended_s = run.lines[0].at_s
    run = replace(run, windows=[Window(AWAY.name, ended_s - 20, ended_s + 5)])
    (key,) = run.reasons
    assert violations(replace(run, failed_at_s={key: ended_s + 1})) == []
    assert of(violations(replace(run, failed_at_s={key: ended_s - 1}))) == ["untrue"]


def test_a_start_runs_on_if_another_one_of_its_event_was_killed() -> None:
    """Nothing in a dead letter says which start it is of; one that was never started is another."""
    killed = "Lambda gave up: RequestId: 1 Error: Runtime exited with error: signal: killed"
    environments = next(fault for fault in FAULTS if fault.name == "killed environments")
    run = lost_once(killed, (environments, COPIED), ran_to_its_end=True)
    ended_s = run.lines[0].at_s
    (key,) = run.reasons
    run = replace(run, failed_at_s={key: ended_s - 1})
    assert violations(run) == []
    assert of(violations(replace(run, failed_at_s={key: ended_s - 6}))) == ["untrue"]
    assert of(violations(replace(run, faults={environments: 1}))) == ["untrue"]
    never_started = {key: "Lambda gave up: Rate Exceeded."}
    assert of(violations(replace(run, reasons=never_started))) == ["untrue"]


def test_a_try_that_runs_beside_its_own_retry_is_found() -> None:
    """Whatever explains its failure."""
    run = lost_once("the Execution API cannot be reached", (AWAY,), ran_to_its_end=True)
    times_s = (10.0, 95.0, 60.0, 90.0)
    lines = [replace(line, at_s=at_s) for line, at_s in zip(run.lines, times_s, strict=True)]
    (key,) = run.reasons
    run = replace(run, windows=[Window(AWAY.name, 0, 10)], failed_at_s={key: 50.0})
    assert "twice" in of(violations(replace(run, lines=lines)))
    # A callback of the failure may come at any time.
    lines = [replace(line, at_s=at_s) for line, at_s in zip(run.lines, (5, 8, 60, 90), strict=True)]
    late = replace(lines[0], event="callback", at_s=70.0)
    assert "twice" not in of(violations(replace(run, lines=[*lines, late])))


def failures(count: int, **more: Any) -> Evidence:
    """So many healthy tasks whose first try was killed."""
    specs = [Spec(DAG, "works", index, 0.0) for index in range(count)]
    tries = [tried("works", n, state, spec.map_index) for spec in specs for n, state in BOTH]
    events: tuple[tuple[int, Event], ...] = ((1, "start"), (2, "start"), (2, "end"))
    lines = [
        Line(DAG, "works", spec.map_index, n, event, 7, 0.0)
        for spec in specs
        for n, event in events
    ]
    reasons = {each.key: "killed by SIGKILL" for each in tries if each.state == "failed"}
    return replace(Evidence(specs, tries, lines, reasons), **more)


BOTH = ((1, "failed"), (2, "success"))


def test_a_fault_explains_only_so_many_failures() -> None:
    """One killed process fails one try."""
    assert violations(failures(3, faults={KILLED: 3})) == []
    assert of(violations(failures(3, faults={KILLED: 2}))) == ["untrue"]
    # Either of two faults may be the cause of each.
    other = next(fault for fault in FAULTS if fault.name == "killed environments")
    assert violations(failures(3, faults={KILLED: 1, other: 2})) == []
    assert of(violations(failures(4, faults={KILLED: 1, other: 2}))) == ["untrue"]


def test_a_fault_explains_what_comes_during_it() -> None:
    """An action, by its time; a rule may hit at any time."""
    run = failures(1, faults={KILLED: 1})
    (key,) = run.reasons
    late = replace(run, failed_at_s={key: 500.0}, windows=[Window(KILLED.name, 100, 110)])
    assert of(violations(late)) == ["untrue"]
    assert violations(replace(late, failed_at_s={key: 115.0})) == []


@pytest.mark.parametrize(
    ("fault", "reason", "opened_s", "failed_s", "is_explained"),
    [
        (PAUSED, "Lambda gave up", 98, 101, True),
        (PAUSED, "Lambda gave up", 98, 160, False),
        (PAUSED, "Lambda gave up", 103, 104, False),
        (AWAY, "the Execution API cannot be reached", 99, 110, True),
        (AWAY, "the Execution API cannot be reached", 99, 172, False),
        (AWAY, "without a heartbeat", 99, 172, True),
        (AWAY, "without a heartbeat", 99, 222, False),
        (AWAY, "state mismatch: failed", 99, 101, False),
        (AWAY, "Runtime.ExitError", 99, 101, False),
    ],
)
def test_a_wide_fault_explains_the_tries_that_were_open_while_it_lasted(
    fault: Fault, reason: str, opened_s: float, failed_s: float, *, is_explained: bool
) -> None:
    """Any number of them, but with its own reasons, and not for long."""
    run = failures(300, faults={fault: 1}, windows=[Window(fault.name, 100, 102)])
    run = replace(
        run,
        reasons=dict.fromkeys(run.reasons, reason),
        opened_at_s=dict.fromkeys(run.reasons, float(opened_s)),
        failed_at_s=dict.fromkeys(run.reasons, float(failed_s)),
    )
    assert len(violations(run)) == (0 if is_explained else 300)


def test_what_a_task_leaves_is_met_by_one_other_task() -> None:
    """Then the execution environment is given up."""
    leaves = [Spec(DAG, "full_disk", 0, 0.0)]
    tries = [tried("full_disk", 1, "failed"), tried("full_disk", 2)]
    said_of_it = said("full_disk", "start", "raise") + said("full_disk", "start", "end", number=2)

    def run(count: int) -> Evidence:
        found = failures(count)
        return replace(
            found,
            plan=[*found.plan, *leaves],
            tries=[*found.tries, *tries],
            lines=[*found.lines, *said_of_it],
            reasons=dict.fromkeys(found.reasons, "the function's disk is full"),
        )

    assert violations(run(1)) == []
    assert of(violations(run(2))) == ["untrue"]


def test_the_own_failure_of_a_task_is_of_its_first_try() -> None:
    """A second one needs another cause."""
    tries = [tried("segfault", n, state) for n, state in ((1, "failed"), (2, "failed"))]
    tries.append(tried("segfault", 3))
    lines = [line for n in (1, 2) for line in said("segfault", "start", number=n)]
    lines += said("segfault", "start", "end", number=3)
    reasons = {each.key: "killed by SIGSEGV" for each in tries[:2]}
    assert of(violations(evidence("segfault", tries, lines, reasons=reasons))) == ["untrue"]


def test_callbacks_run_once() -> None:
    """The callback of a task that fails for good by its own exception."""
    failed = [tried("always_raises", state="failed")]
    none = said("always_raises", "start", "raise")
    assert of(violations(evidence("always_raises", failed, none))) == ["lost"]
    two = [*none, *said("always_raises", "callback", "callback")]
    run = evidence("always_raises", failed, two, faults={AWAY: 1})
    assert of(violations(run)) == ["twice"]
    # Airflow was away when the first one was called, so its scheduler calls it, too.
    assert violations(replace(run, windows=[Window(AWAY.name, 0.0, 9.0)])) == []


def test_airflow_calls_the_callback_of_a_task_without_a_heartbeat_twice() -> None:
    """When it finds it, and when its executor's event follows."""
    (silent,) = failed = [tried("always_raises", state="failed")]
    lines = said("always_raises", "start", "callback", "callback")
    run = evidence("always_raises", failed, lines, faults={KILLED: 1})
    why = "Detected a task instance without a heartbeat"
    assert violations(replace(run, reasons={silent.key: why})) == []
    why = "the DAG is missing"
    assert of(violations(replace(run, reasons={silent.key: why}))) == ["twice", "untrue"]


def test_a_try_may_have_run_from_an_event_of_the_try_before() -> None:
    """If Airflow has no record of that one; the code still has to run once, to its end."""
    second = [tried("works", 2)]
    ran = said("works", "start", "end", number=1)
    copied = {COPIED: 1}
    assert violations(evidence("works", second, ran, faults=copied)) == []
    assert of(violations(evidence("works", second, ran[:1], faults=copied))) == ["untrue"]
    assert of(violations(evidence("works", second, [*ran, *ran], faults=copied))) == ["twice"]
    both = [tried("works", 1, "failed"), *second]
    assert "untrue" in of(violations(evidence("works", both, ran, faults=copied)))


def test_no_more_tries_run_from_events_of_older_ones_than_were_delivered_again() -> None:
    """Without a second delivery a try has run under the number that it has."""
    specs = [Spec(DAG, "works", index, 0.0) for index in range(2)]
    tries = [tried("works", 2, index=spec.map_index) for spec in specs]
    lines = [
        replace(line, map_index=spec.map_index)
        for spec in specs
        for line in said("works", "start", "end")
    ]
    run = Evidence(specs, tries, lines, faults={COPIED: 2})
    assert violations(run) == []
    assert of(violations(replace(run, faults={COPIED: 1}))) == ["untrue"] * 2
    assert of(violations(replace(run, faults={KILLED: 9}))) == ["untrue"] * 4
    # Since 3.4 each try has an id of its own, so that no copy of another one can start.
    assert of(violations(replace(run, airflow=(3, 4)))) == ["untrue"] * 4


def test_what_is_left_is_found() -> None:
    """Slots, queues, secrets."""
    fine = evidence("works", [tried("works")], said("works", "start", "end"))
    assert of(violations(replace(fine, in_slots=["1 in flight"]))) == ["stuck"]
    assert of(violations(replace(fine, left=["1 message"]))) == ["left"]
    assert of(violations(replace(fine, secrets=["a token"]))) == ["secret"]


def test_violations_are_in_the_order_of_the_promises() -> None:
    """So that the worst is read first."""
    found = violations(
        evidence("works", [tried("works", state="queued")], [], secrets=["a"], left=["b"])
    )
    order = list(PROMISES)
    assert of(found) == sorted(of(found), key=order.index)


def test_a_violation_names_the_faults_of_its_reason() -> None:
    """So that the table of faults can say what became of each."""
    run = lost_once("the workload's process was killed by SIGKILL", (KILLED,), ran_to_its_end=True)
    window = Window(KILLED.name, 900, 1000)
    (found,) = violations(
        replace(run, windows=[window], failed_at_s=dict.fromkeys(run.reasons, 1000.0))
    )
    runs = [{"faults": {KILLED.name: 3}, "violations": [asdict(found)]}]
    assert table.counts(runs) == {KILLED.name: 3}
    assert table.violations_by_fault(runs) == {KILLED.name: 1}
    unexplained = asdict(Violation("stuck", "1 in flight"))
    assert table.violations_by_fault([{"violations": [unexplained]}]) == {table.UNNAMED: 1}


def test_a_run_that_did_not_do_its_faults_fails() -> None:
    """It shows less than it says, so that its file says so, too."""
    fine = evidence("works", [tried("works")], said("works", "start", "end"))
    none: list[Violation] = []
    assert content(Settings(1, 1), fine, none)["not_done"] == []
    assert verdict([content(Settings(1, 1), fine, none)]) == (0, "No promise was broken.")
    idle = replace(fine, not_done=["deploy has not happened"])
    written = content(Settings(1, 1), idle, none)
    assert written["not_done"] == ["deploy has not happened"]
    code, said_of_it = verdict([written])
    assert code == 1
    assert "not done" in said_of_it
    code, said_of_it = verdict([content(Settings(1, 1), idle, [Violation("stuck", "1 in flight")])])
    assert code == 1
    assert "1 violations" in said_of_it


def test_queues_are_waited_for_until_every_scheduler_has_noted_what_nobody_claims() -> None:
    """Each notes a message by itself, and deletes it when it comes again."""
    hidden_s = sum(map(hand_back_delay_s, range(1, NOTED_FROM + SCHEDULERS)))
    assert hidden_s + 120 < EMPTY_S < 2 * hidden_s


def test_messages_that_nobody_waited_for_are_counted() -> None:
    """They may be copies of what was taken in, or lost: the run does not know."""
    fine = evidence("works", [tried("works")], said("works", "start", "end"))
    run = replace(fine, unchecked={"results-0": 3, "dead-letters": 1})
    assert violations(run) == []
    assert content(Settings(1, 1), run, [])["unchecked"] == {"results-0": 3, "dead-letters": 1}
    assert table.kept(0, [{"unchecked": {"results-0": 3, "dead-letters": 1}}]) == (
        "0; 4 messages were left and not checked"
    )
    assert table.kept(0, [{"unchecked": {}}]) == "0"
    assert table.kept(2, [{}]) == "2; the messages that were left were not counted"


def test_a_seed_gives_the_same_run() -> None:
    """The tasks and the moments."""
    assert plan(3, 300) == plan(3, 300) != plan(4, 300)
    assert moments(FAULTS, 3) == moments(FAULTS, 3) != moments(FAULTS, 4)


def test_a_plan_has_every_kind() -> None:
    """In the smallest plan, and without what the reference's executor cannot run."""
    assert {spec.kind for spec in plan(1, len(KINDS))} == set(BY_NAME)
    of_reference = {spec.kind for spec in plan(1, 300, reference=True)}
    assert of_reference == {kind.name for kind in KINDS if not kind.needs_our_targets}
    with pytest.raises(ValueError, match="too few"):
        plan(1, len(KINDS) - 1)


def test_a_plan_numbers_the_tasks_of_a_kind_in_each_dag() -> None:
    """As Airflow numbers the instances of a mapped task."""
    specs = plan(5, 900)
    assert len({(spec.dag_id, spec.kind, spec.map_index) for spec in specs}) == 900
    for dag_id in {spec.dag_id for spec in specs}:
        indices = sorted(s.map_index for s in specs if (s.dag_id, s.kind) == (dag_id, "nothing"))
        assert indices == list(range(len(indices)))


def test_every_action_happens_in_each_round() -> None:
    """Spread over the run."""
    times = sum(len(fault.times) for fault in TIMED)
    found = moments(FAULTS, 1, rounds=3)
    assert len(found) == 3 * times
    assert all(0 <= moment.after <= 1 for moment in found)
    assert found == sorted(found, key=lambda moment: moment.after)
