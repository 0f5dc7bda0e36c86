"""What is done to the environment while tasks run: a table, with rates and times from one seed.

What tasks do to themselves is in `kinds.py`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.attack.kinds import KERNEL

#: A run of so many tasks is long.
LONG = 1000
#: What the names of the attacked roles begin with: the harness itself calls as the account's root.
ATTACKED = "airflow-lambda"
#: Reasons of a try that is lost with its process.
LOST = (
    rf"{KERNEL}|"
    r"Runtime\.ExitError|Runtime exited|signal: killed|killed by SIG|exit code -?\d+|"
    r"ended without a result|did not start|process that (starts|runs)|heartbeat|Heartbeat"
)
#: Reasons of a try that Lambda or a service did not start.
NOT_STARTED = r"Lambda gave up|Rate Exceeded|EventAgeExceeded|RetriesExhausted|ReservedFunction"
#: Reasons of a try from which nothing is heard, because its dead letter or its result is lost:
#: Airflow itself notices that, so many seconds later at most, because it waits for heartbeats.
SILENT = r"without a heartbeat|heartbeat timeout|stuck in queued"
SILENT_S = 90.0
#: Reasons of a try that could not reach Airflow.
NO_API = r"Execution API|cannot be reached|API server|server error"
#: Reasons of a try whose time was over while Airflow's client called the API again and again, with
#: longer and longer waits.
OUT_OF_TIME = r"stopped [\d.]+ s before the end of"
#: Reasons of a try while the API, or the database behind it, was away: after some heartbeats that
#: fail, Airflow's supervisor kills the task's process.
API_AWAY = rf"{NO_API}|{OUT_OF_TIME}|killed by SIG|exit code -?\d+|heartbeat|Heartbeat"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: In the table, and of the embedded AWS's rule.
        does: What it is, for people.
        rule: The embedded AWS's rule (docs/reference/local-aws.md#faults); empty: it is an action.
        action: The function in `actions.py`; empty: it is a rule.
        times: When an action happens: the shares of the tasks that have started.
        seconds: How long an action lasts.
        excuses: What the reason of a try's failure may match because of it; empty: no task may
            fail because of it.
        repeats: Whether a task's code may run again in a try of its own because of it, although it
            ran to its end: Airflow could not be told.
        after_s: So long after it Airflow may hear of a failure, in seconds: handlers repeat their
            calls, a message whose receipt was lost is hidden for 20 s, and a task that waited for
            the API is stopped at its end of time.
        kills: Whether it ends a process, perhaps after the last line of the task's code and before
            Airflow is told.
        copies: Whether it makes a message that no scheduler may claim.
        keeps: Whether a payload may stay in its bucket because of it.
        delivers_again: Whether a function gets an event again because of it.
        is_wide: Whether one of it may fail every try that is open while it lasts.
        is_long: Whether it lasts too long for a run of a few hundred tasks.
        is_of_targets: Whether it needs the jobs, tasks and MicroVMs that the reference's executor
            cannot run.
    """

    name: str
    does: str
    rule: Mapping[str, Any] = field(default_factory=dict, hash=False)
    action: str = ""
    times: tuple[float, ...] = ()
    seconds: float = 0.0
    excuses: str = ""
    repeats: bool = False
    kills: bool = False
    copies: bool = False
    keeps: bool = False
    delivers_again: bool = False
    is_long: bool = False
    is_of_targets: bool = False
    is_wide: bool = False
    after_s: float = 45.0

    def is_possible(self, tasks: int, *, reference: bool) -> bool:
        """Whether a run of so many tasks can have it, of this executor or of the reference's."""
        return (tasks >= LONG or not self.is_long) and not (reference and self.is_of_targets)


def _rule(name: str, does: str, api: str, fault: str, share: float, **more: Any) -> Fault:
    ours: dict[str, Any] = {
        key: more.pop(key)
        for key in ("excuses", "copies", "kills", "keeps", "delivers_again")
        if key in more
    }
    service, _, operation = api.partition(":")
    ours["is_of_targets"] = service in {"batch", "ecs"} or operation.endswith("Microvm")
    rule = {"name": name, "api": api, "fault": fault, "share": share, "by": ATTACKED, **more}
    return Fault(name, does, rule=rule, **ours)


#: Of each API by itself. Handlers and scheduler meet them alike.
RULES = (
    _rule(
        *(
            "duplicated events",
            "Lambda delivers an event twice",
            "lambda:Invoke",
            "duplicated",
            0.1,
        ),
        delivers_again=True,
    ),
    _rule("throttled invokes", "429", "lambda:Invoke", "throttle", 0.05),
    _rule("failing invokes", "500", "lambda:Invoke", "error", 0.02),
    _rule("reset invokes", "connection closed", "lambda:Invoke", "reset", 0.02),
    _rule(
        *("lost answers", "taken, answer lost", "lambda:Invoke", "lost_answer", 0.03),
        copies=True,
        delivers_again=True,
    ),
    _rule("slow invokes", "answered after 3 s", "lambda:Invoke", "delay", 0.01, delay_s=3),
    _rule("throttled receives", "throttled", "sqs:ReceiveMessage", "throttle", 0.05),
    _rule("failing receives", "500 or 503", "sqs:ReceiveMessage", "error", 0.02),
    _rule("lost receives", "received, answer lost", "sqs:ReceiveMessage", "lost_answer", 0.02),
    _rule(
        "redelivered",
        "received, and visible again",
        "sqs:ReceiveMessage",
        "redelivered",
        0.05,
        copies=True,
    ),
    _rule("failing deletes", "500 or 503", "sqs:DeleteMessage", "error", 0.1),
    _rule("throttled sends", "throttled", "sqs:SendMessage", "throttle", 0.05),
    _rule("reset sends", "connection closed", "sqs:SendMessage", "reset", 0.03),
    _rule(
        "doubtful sends", "stored, answer lost", "sqs:SendMessage", "lost_answer", 0.03, copies=True
    ),
    _rule(
        "lost results",
        "acknowledged, never stored",
        "sqs:SendMessage",
        "lost",
        0.02,
        excuses=SILENT,
    ),
    _rule("duplicated results", "stored twice", "sqs:SendMessage", "duplicated", 0.1, copies=True),
    _rule("late results", "visible after 4 s", "sqs:SendMessage", "delayed", 0.05, delay_s=4),
    _rule("cut results", "cut in the middle", "sqs:SendMessage", "malformed", 0.03, excuses=SILENT),
    _rule("throttled jobs", "429", "batch:SubmitJob", "throttle", 0.2),
    _rule("lost answers of Batch", "taken", "batch:SubmitJob", "lost_answer", 0.2),
    _rule("throttled tasks", "throttled", "ecs:RunTask", "throttle", 0.2),
    _rule("lost answers of ECS", "taken", "ecs:RunTask", "lost_answer", 0.2),
    _rule("throttled MicroVMs", "throttled", "lambda:RunMicrovm", "throttle", 0.2),
    _rule("lost answers of MicroVMs", "taken", "lambda:RunMicrovm", "lost_answer", 0.2),
    _rule("failing looks at jobs", "500", "batch:DescribeJobs", "error", 0.1),
    _rule("failing lists of jobs", "500", "batch:ListJobs", "error", 0.1),
    _rule("failing looks at tasks", "500", "ecs:DescribeTasks", "error", 0.1),
    _rule("failing looks at MicroVMs", "500", "lambda:GetMicrovm", "error", 0.1),
    _rule("failing removals of payloads", "500", "s3:DeleteObject", "error", 0.1, keeps=True),
    _rule("failing hand-backs", "500", "sqs:ChangeMessageVisibility", "error", 0.1),
    _rule("hanging receives", "no answer for 5 s", "sqs:ReceiveMessage", "hang", 0.01, delay_s=5),
    _rule(
        *("late duplicated events", "the second delivery 6 s later", "lambda:Invoke", "duplicated"),
        *(0.03,),
        delay_s=6,
        copies=True,
        delivers_again=True,
    ),
    _rule("failing payloads", "500", "s3:PutObject", "error", 0.1),
    _rule("failing fetches", "500", "s3:GetObject", "error", 0.05),
    _rule("failed inits", "killed in its init", "lambda:Init", "init_error", 0.05, excuses=LOST),
    _rule(
        *("killed environments", "the runtime is killed", "lambda:Environment", "killed", 0.03),
        delay_s=0.2,
        excuses=f"{LOST}|{NOT_STARTED}",
        kills=True,
    ),
    _rule("frozen", "stopped for 3 s", "lambda:Environment", "frozen", 0.02, delay_s=3),
)

#: What happens at a time.
TIMED = (
    Fault(
        "scheduler killed",
        "kill -9, another one starts after 3 s",
        action="kill_scheduler",
        times=(0.2,),
        seconds=3,
    ),
    Fault(
        "scheduler paused",
        "stopped for longer than Airflow waits for its heartbeat, and woken: a zombie",
        action="pause_scheduler",
        times=(0.45,),
        seconds=35,
    ),
    Fault(
        "API server away",
        "killed, and started again after 10 s",
        action="api_server_away",
        times=(0.6,),
        seconds=10,
        excuses=API_AWAY,
        repeats=True,
        is_wide=True,
    ),
    Fault(
        "API server away for two minutes",
        "killed, and started again after 120 s; only in long runs",
        action="api_server_away",
        times=(0.9,),
        seconds=120,
        excuses=API_AWAY,
        repeats=True,
        is_wide=True,
        is_long=True,
    ),
    Fault(
        "database restarted",
        "ended with every connection, and started again",
        action="restart_database",
        times=(0.75,),
        excuses=API_AWAY,
        repeats=True,
        is_wide=True,
    ),
    Fault(
        "scheduler's network away",
        "connections to AWS are refused for 4 s",
        action="cut_network",
        times=(0.3,),
        seconds=4,
    ),
    Fault(
        "permissions withdrawn",
        "the scheduler's role may do nothing for 4 s",
        action="withdraw_permissions",
        times=(0.5,),
        seconds=4,
    ),
    Fault(
        "credentials expired",
        "all calls answer ExpiredToken for 3 s",
        action="expire_credentials",
        times=(0.66,),
        seconds=3,
    ),
    Fault(
        "function paused",
        "reserved concurrency 0 for 2 s",
        action="pause_function",
        times=(0.35,),
        seconds=2,
        excuses=NOT_STARTED,
        is_wide=True,
        after_s=30,
    ),
    Fault(
        "deploy",
        "a new version of the function while tasks run",
        action="deploy",
        times=(0.55,),
    ),
    Fault(
        "queue purged",
        "every message of a results queue is deleted",
        action="purge_results",
        times=(0.4,),
        excuses=SILENT,
        is_wide=True,
    ),
    Fault(
        "forged messages",
        "results and dead letters of invocations that nobody made, garbage, 250 KB",
        action="forge_messages",
        copies=True,
        times=(0.1, 0.5, 0.8),
    ),
    Fault(
        "Spot interruption",
        "AWS takes back the capacity of what runs",
        action="interrupt_spot",
        is_of_targets=True,
        times=(0.15, 0.3, 0.45, 0.6),
        excuses=r"asked (this|the) job to stop|asked to stop|Spot|ended without a result",
    ),
    Fault(
        "vanished job",
        "the process of a job, task or MicroVM is killed",
        action="kill_job",
        is_of_targets=True,
        times=(0.25, 0.5, 0.7),
        excuses=LOST,
        kills=True,
    ),
    Fault(
        "killed processes",
        "a handler, a zygote or a task's process is killed",
        action="kill_in_environment",
        times=(0.12, 0.22, 0.33, 0.44, 0.57, 0.64, 0.73, 0.85),
        excuses=LOST,
        kills=True,
    ),
)
FAULTS = (*RULES, *TIMED)


@dataclass(frozen=True, slots=True)
class Moment:
    """An action that is due once this share of all tasks has started."""

    after: float
    fault: Fault


def moments(faults: Sequence[Fault], seed: int, rounds: int = 1) -> list[Moment]:
    """When actions happen, earliest first; the times are moved a little by the seed.

    Args:
        faults: Rules among them have no moment.
        seed: The same seed gives the same moments.
        rounds: How often the whole list happens, spread over the run.
    """
    chance = random.Random(f"moments {seed}")
    found = [
        Moment((number + min(0.95, max(0.02, time + chance.uniform(-0.04, 0.04)))) / rounds, fault)
        for number in range(rounds)
        for fault in faults
        for time in fault.times
    ]
    return sorted(found, key=lambda moment: moment.after)
