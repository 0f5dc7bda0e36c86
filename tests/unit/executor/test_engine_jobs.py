"""Workloads that run as jobs: each settles once, whatever AWS, Airflow and people do."""

from __future__ import annotations

import logging
import math
import time

import pytest

from lambda_executor.contract.errors import (
    AwsError,
    ExpiredError,
    InDoubtError,
    LambdaExecutorError,
    NoRoomError,
    RejectedError,
    RouteError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.wire import InvocationId, Outcome, Result
from lambda_executor.core.ledger import State
from lambda_executor.core.places import Limit
from lambda_executor.core.targets import FunctionTarget, Service
from lambda_executor.engine.engine import OBSOLETE_JOB_S
from lambda_executor.engine.reconciliation import CHECKS_FOR_RESULT
from tests.support.jobs import HUGE, LONG, VM, Aws, JobScheduler

KILLED = "OutOfMemoryError: Container killed due to memory usage"
ENDED = f"the job ended without a result: {KILLED}"


@pytest.fixture
def aws() -> Aws:
    """Lambda, Batch, ECS and the queues."""
    return Aws()


@pytest.fixture
def scheduler(aws: Aws) -> JobScheduler:
    """The first scheduler."""
    return JobScheduler(aws)


def running(scheduler: JobScheduler, name: str = "task", queue: str = "long") -> InvocationId:
    """A task whose job was started."""
    id = scheduler.queue(name, queue)
    scheduler.send()
    assert scheduler.engine.ledger.state(id) is State.IN_FLIGHT
    return id


# ---- out and home ----


def test_workloads_go_to_the_targets_of_their_queues(aws: Aws, scheduler: JobScheduler) -> None:
    """All services beside each other; each event says where its result is awaited."""
    ids = [scheduler.queue(queue, queue) for queue in ("default", "long", "huge", "vm")]
    scheduler.send()
    (event,) = aws.function.invocations
    services = (Service.BATCH, Service.ECS, Service.MICROVM)
    launches = [launch for service in services for launch in aws.jobs[service].launches]
    assert [event.id, *(launch.id for launch in launches)] == ids
    assert [launch.target for launch in launches] == [LONG, HUGE, VM]
    assert {launch.event.reply_to for launch in launches} == {"results-0"}
    assert len(aws.payloads.objects) == 3


def test_the_result_of_a_job_settles_it(aws: Aws, scheduler: JobScheduler) -> None:
    """As a function's does, and only once if it is delivered twice."""
    id = running(scheduler)
    scheduler.reply(id)
    scheduler.loop()
    aws.results[0].deliver_again()
    scheduler.loop()
    assert scheduler.notified == [("task", "")]
    assert scheduler.slots == set()


@pytest.mark.parametrize(
    ("outcome", "stop_requested", "late"),
    [
        (Outcome.DEADLINE, None, ["task"]),
        (Outcome.DEADLINE, True, []),  # Spot capacity was taken back.
        (Outcome.CRASHED, None, []),
    ],
)
def test_airflow_hears_of_a_task_that_ran_out_of_time(
    aws: Aws,
    scheduler: JobScheduler,
    outcome: Outcome,
    stop_requested: bool | None,
    late: list[str],
) -> None:
    """Once, also if the result is delivered twice; a larger target helps nothing else."""
    id = running(scheduler)
    state = "up_for_retry"
    aws.results[0].send(
        Result(id, 0, outcome, "why", task_state=state, stop_requested=stop_requested)
    )
    scheduler.loop()
    aws.results[0].deliver_again()
    scheduler.loop()
    assert scheduler.late == late
    assert scheduler.slots == set()


def test_the_overrides_of_a_task_get_to_the_service(aws: Aws, scheduler: JobScheduler) -> None:
    """What they mean is decided there."""
    scheduler.queue("task", "huge", ecs={"launchType": "EC2"})
    scheduler.queue("other", "vm", microvm={"imageVersion": "2"})
    scheduler.send()
    assert aws.jobs[Service.ECS].launches[0].overrides == {"launchType": "EC2"}
    assert aws.jobs[Service.MICROVM].launches[0].overrides == {"imageVersion": "2"}


@pytest.mark.parametrize(
    "error", [RejectedError("no such job queue"), RouteError("RunTask has no 'memori'")]
)
def test_a_launch_that_is_refused_has_failed_with_the_reason(
    aws: Aws, scheduler: JobScheduler, error: AwsError
) -> None:
    """Nothing runs, so nothing is stopped when Airflow revokes the rest."""
    aws.jobs[Service.BATCH].failures.append(error)
    scheduler.queue("task")
    scheduler.send()
    assert scheduler.notified == [("task", str(error))]
    scheduler.engine.revoke("task")
    scheduler.make_stops()
    assert aws.jobs[Service.BATCH].stops == []


def test_overrides_of_another_service_have_failed_with_the_reason(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """For a job, and for a function."""
    scheduler.queue("job", "long", ecs={"launchType": "EC2"})
    scheduler.queue("function", "default", batch={})
    scheduler.send()
    assert sorted(key for key, _ in scheduler.notified) == ["function", "job"]
    assert all("remove it" in reason for _, reason in scheduler.notified)
    assert aws.function.invocations == []


def test_a_service_that_the_executor_cannot_reach_refuses_its_jobs(aws: Aws) -> None:
    """The setup provides what the targets need; without it no workload waits for ever."""
    del aws.jobs[Service.ECS]
    scheduler = JobScheduler(aws)
    scheduler.queue("task", "huge")
    scheduler.send()
    ((key, reason),) = scheduler.notified
    assert key == "task"
    assert "ecs:huge is for jobs, and this executor cannot start any of them" in reason


# ---- each service has its own pace ----


@pytest.mark.parametrize("error", [ThrottledError("429"), UnreachableError("refused")])
def test_a_service_that_takes_nothing_delays_no_other(
    aws: Aws, scheduler: JobScheduler, error: AwsError
) -> None:
    """Neither functions nor the other service; what waits for it leaves when it is back."""
    aws.jobs[Service.BATCH].failures.extend([error] * 20)
    for number in range(5):
        for queue in ("long", "huge", "default"):
            scheduler.queue(f"{queue}-{number}", queue)
    scheduler.send()
    assert len(aws.jobs[Service.ECS].launches) == len(aws.function.invocations) == 5
    assert aws.jobs[Service.BATCH].launches == []
    scheduler.send(within_s=1000)
    assert len(aws.jobs[Service.BATCH].launches) == 5
    assert scheduler.notified == []


def test_functions_that_take_nothing_delay_no_job(aws: Aws, scheduler: JobScheduler) -> None:
    """The other way round."""
    aws.function.failures.extend([UnreachableError("refused")] * 100)
    for number in range(5):
        scheduler.queue(f"function-{number}", "default")
        scheduler.queue(f"job-{number}", "long")
    scheduler.send()
    assert len(aws.jobs[Service.BATCH].launches) == 5
    assert aws.function.invocations == []


def test_the_launches_of_a_second_are_its_services_quota(aws: Aws, scheduler: JobScheduler) -> None:
    """Hundreds that are queued at once are no burst of throttles."""
    for number in range(100):
        scheduler.queue(f"batch-{number}", "long")
        scheduler.queue(f"ecs-{number}", "huge")
        scheduler.queue(f"vm-{number}", "vm")
    scheduler.send(within_s=1)
    assert 4 <= len(aws.jobs[Service.MICROVM].launches) <= 6
    assert 45 <= len(aws.jobs[Service.BATCH].launches) <= 52
    assert 18 <= len(aws.jobs[Service.ECS].launches) <= 22


def test_beside_jobs_one_more_round_of_the_places_may_wait_for_a_full_function(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """Airflow does not say for which target it hands over; jobs take no part of that room."""
    engine = scheduler.engine
    assert engine.room() == math.inf
    engine.dispatcher.limit({"function": Limit("function", 2)})
    room = []
    for number in range(5):
        scheduler.queue(f"function-{number}", "default")
        running(scheduler, f"job-{number}")
        room.append(engine.room())
    assert room == [3, 2, 1, 0, 0]
    assert len(aws.function.invocations) == 2


def test_without_jobs_nothing_waits_for_a_full_function(aws: Aws) -> None:
    """It waits in Airflow instead, the highest priority first."""
    aws.jobs.clear()
    scheduler = JobScheduler(aws)
    scheduler.engine.dispatcher.limit({"function": Limit("function", 1)})
    scheduler.queue("function", "default")
    scheduler.send()
    assert scheduler.engine.room() == 0


def test_jobs_that_wait_for_their_services_rate_do_not_count_as_enough_to_send(
    scheduler: JobScheduler,
) -> None:
    """Otherwise few functions would be handed over while many jobs wait."""
    for number in range(500):
        scheduler.queue(f"job-{number}", "long")
    scheduler.queue("function", "default")
    engine = scheduler.engine
    while answer := scheduler.begin(engine.dispatcher, 1):
        engine.dispatcher._record(*answer)
    assert not engine.has_enough()


# ---- no room ----


def test_a_job_for_which_its_service_has_no_room_in_time_is_left_to_airflow(
    aws: Aws, scheduler: JobScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was wrong with it: Airflow revokes it and queues it again."""
    ecs = aws.jobs[Service.ECS]
    ecs.failures.extend(
        [UnreachableError("refused"), NoRoomError("RESOURCE:MEMORY"), ExpiredError("too late")]
    )
    scheduler.queue("task", "huge")
    scheduler.send(within_s=600)
    assert not ecs.failures
    assert (scheduler.notified, scheduler.slots) == ([], {"task"})
    assert "too late. The last send failed: RESOURCE:MEMORY" in caplog.text
    scheduler.engine.revoke("task")
    assert scheduler.slots == set()


@pytest.mark.parametrize(
    ("errors", "state"),
    [
        ([NoRoomError("no capacity"), TransientError("503")], State.SETTLED),
        ([InDoubtError("500"), NoRoomError("no capacity")], State.IN_FLIGHT),
    ],
)
def test_a_job_that_was_not_kept_by_want_of_room_alone_is_not_left_to_airflow(
    aws: Aws, scheduler: JobScheduler, errors: list[LambdaExecutorError], state: State
) -> None:
    """It failed for another reason at last, or AWS may have taken it."""
    aws.jobs[Service.ECS].failures.extend([*errors, ExpiredError("too late")])
    id = scheduler.queue("task", "huge")
    scheduler.send(within_s=600)
    assert scheduler.engine.ledger.state(id) is state


def test_a_target_without_room_delays_no_other_of_its_service(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """Fargate and Fargate Spot have quotas of their own."""
    ecs = aws.jobs[Service.ECS]
    ecs.failures.append(NoRoomError("the limit on the number of vCPUs"))
    first, second = scheduler.queue("first", "huge"), scheduler.queue("second", "huge")
    spot = scheduler.queue("spot", "spot")
    scheduler.send(within_s=0.4)
    assert [launch.id for launch in ecs.launches] == [spot]
    scheduler.send(within_s=10)
    assert {launch.id for launch in ecs.launches} == {spot, first, second}


# ---- lost answers ----


#: How often `max_invoke_attempts` of the tests' schedulers lets a launch in doubt be made.
ATTEMPTS = 2


@pytest.mark.parametrize(
    ("queue", "service"), [("long", Service.BATCH), ("huge", Service.ECS), ("vm", Service.MICROVM)]
)
@pytest.mark.parametrize("is_taken", [True, False])
def test_a_launch_in_doubt_is_repeated(
    aws: Aws, scheduler: JobScheduler, queue: str, service: Service, is_taken: bool
) -> None:
    """One lost answer costs seconds, and no second job."""
    jobs = aws.jobs[service]
    (jobs.lost_answers if is_taken else jobs.failures).append(InDoubtError("reset"))
    id = scheduler.queue("task", queue)
    scheduler.send(within_s=10)
    assert [launch.id for launch in jobs.launches] == [id]
    assert scheduler.engine.ledger.state(id) is State.IN_FLIGHT
    scheduler.reply(id)
    scheduler.loop()
    assert scheduler.notified == [("task", "")]


def in_doubt(scheduler: JobScheduler) -> InvocationId:
    """A task of Batch that stays in doubt."""
    id = scheduler.queue("task", "long")
    scheduler.send(within_s=10)
    assert scheduler.engine.ledger.state(id) is State.IN_FLIGHT
    return id


def test_a_batch_job_that_stays_in_doubt_and_died_has_failed(
    aws: Aws, scheduler: JobScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """Batch finds it by its name."""
    aws.jobs[Service.BATCH].lost_answers.extend([InDoubtError("reset")] * ATTEMPTS)
    id = in_doubt(scheduler)
    assert "AWS Batch may have taken it, so it stays in flight" in caplog.text
    assert len(aws.jobs[Service.BATCH].launches) == 1
    aws.jobs[Service.BATCH].ends[id] = KILLED
    scheduler.look()
    scheduler.look()
    assert scheduler.notified == [("task", ENDED)]


def test_a_batch_job_that_stays_in_doubt_and_was_not_taken_is_left_to_airflow(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """Batch knows nothing of it, as of one that is about to wait; Airflow revokes what is stuck."""
    aws.jobs[Service.BATCH].failures.extend([InDoubtError("500")] * ATTEMPTS)
    in_doubt(scheduler)
    for _ in range(5):
        scheduler.look()
    assert scheduler.notified == []
    assert scheduler.slots == {"task"}
    scheduler.engine.revoke("task")
    assert scheduler.slots == set()


# ---- jobs that end without a result ----


@pytest.mark.parametrize("queue", ["long", "huge"])
def test_a_job_that_dies_has_failed_with_the_reason_of_its_service(
    aws: Aws, scheduler: JobScheduler, queue: str
) -> None:
    """After two looks, and only once."""
    id = running(scheduler, queue=queue)
    aws.jobs[Service.BATCH].ends[id] = aws.jobs[Service.ECS].ends[id] = KILLED
    scheduler.look()
    assert scheduler.notified == []
    for _ in range(5):
        scheduler.look()
    assert scheduler.notified == [("task", ENDED)]


def test_the_ends_of_jobs_are_counted_by_their_service(aws: Aws, scheduler: JobScheduler) -> None:
    """Once, and only without a result."""
    for name, queue in (("a", "long"), ("b", "huge"), ("c", "huge"), ("d", "huge")):
        id = running(scheduler, name, queue)
        if name == "d":
            scheduler.reply(id)
        aws.jobs[Service.BATCH].ends[id] = aws.jobs[Service.ECS].ends[id] = KILLED
    for _ in range(4):
        scheduler.look()
    counts = scheduler.counters.counts
    assert counts["lambda_executor.job_ends batch"] == 1
    assert counts["lambda_executor.job_ends ecs"] == 2


def test_a_result_between_the_looks_counts(aws: Aws, scheduler: JobScheduler) -> None:
    """The job has ended because it has done its work."""
    id = running(scheduler)
    aws.jobs[Service.BATCH].ends[id] = "Essential container in task exited"
    scheduler.look()
    scheduler.reply(id)
    for _ in range(5):
        scheduler.look()
    assert scheduler.notified == [("task", "")]


def test_a_result_after_the_second_look_settles_nothing(aws: Aws, scheduler: JobScheduler) -> None:
    """It comes too late, and is deleted."""
    id = running(scheduler)
    aws.jobs[Service.BATCH].ends[id] = KILLED
    scheduler.look()
    scheduler.look()
    scheduler.reply(id)
    scheduler.loop()
    scheduler.loop()
    assert scheduler.notified == [("task", ENDED)]


@pytest.mark.parametrize("state", ["success", "failed", "up_for_retry", "deferred", "scheduled"])
def test_a_job_whose_result_is_lost_after_its_task_has_ended_only_frees_its_slot(
    aws: Aws, scheduler: JobScheduler, state: str
) -> None:
    """Airflow has the state from the job itself; an event would say that it failed."""
    id = running(scheduler)
    aws.jobs[Service.BATCH].ends[id] = "Essential container in task exited"
    scheduler.states_of[id] = state
    scheduler.look()
    scheduler.look()
    assert scheduler.notified == []
    assert scheduler.slots == set()
    assert scheduler.engine.ledger.state(id) is State.SETTLED


@pytest.mark.parametrize("state", ["queued", "running", "restarting"])
def test_a_job_that_dies_before_its_task_has_ended_has_failed(
    aws: Aws, scheduler: JobScheduler, state: str
) -> None:
    """Whether its task had begun or not (no such image, for example)."""
    id = running(scheduler)
    aws.jobs[Service.BATCH].ends[id] = KILLED
    scheduler.states_of[id] = state
    scheduler.look()
    scheduler.look()
    assert scheduler.notified == [("task", ENDED)]


def test_a_job_that_dies_while_the_database_is_away_fails_later(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """Without the database nobody knows whether its task continues."""
    id = running(scheduler)
    aws.jobs[Service.BATCH].ends[id] = KILLED
    scheduler.is_away = True
    scheduler.look()
    scheduler.look()
    assert scheduler.notified == []
    scheduler.is_away = False
    scheduler.look()
    scheduler.look()
    assert scheduler.notified == [("task", ENDED)]


def test_a_second_start_of_a_job_settles_nothing(aws: Aws, scheduler: JobScheduler) -> None:
    """Batch retries a job whose machine is lost, perhaps while the first start still runs."""
    id = running(scheduler)
    aws.results[0].send(Result(id=id, return_code=0, outcome=Outcome.DUPLICATE))
    scheduler.loop()
    assert scheduler.notified == []
    scheduler.reply(id)
    scheduler.loop()
    assert scheduler.notified == [("task", "")]


@pytest.mark.parametrize(
    ("state", "notified"),
    [("running", []), ("restarting", []), ("queued", [("task", ENDED)]), (None, [("task", ENDED)])],
)
def test_the_end_of_a_job_that_had_nothing_to_do_does_not_fail_the_task_that_another_runs(
    aws: Aws, scheduler: JobScheduler, state: str | None, notified: list[tuple[str, str]]
) -> None:
    """The job of an earlier invocation, whose stop failed, has begun the try before this one."""
    id = running(scheduler)
    aws.results[0].send(Result(id=id, return_code=0, outcome=Outcome.DUPLICATE))
    scheduler.loop()
    aws.jobs[Service.BATCH].ends[id] = KILLED
    if state:
        scheduler.states_of[id] = state
    for _ in range(5):
        scheduler.look()
    assert scheduler.notified == notified


def test_a_job_whose_workload_is_gone_fails_its_task_with_what_the_job_said(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """The service only knows that its program ended well. It settles once."""
    id = running(scheduler)
    gone = Result(id=id, return_code=0, outcome=Outcome.DUPLICATE, reason="its workload is gone")
    aws.results[0].send(gone)
    scheduler.loop()
    aws.jobs[Service.BATCH].ends[id] = "the Batch job has succeeded"
    scheduler.states_of[id] = "queued"
    for _ in range(5):
        scheduler.look()
    reason = "the Batch job has succeeded. It ran nothing: its workload is gone"
    assert scheduler.notified == [("task", f"the job ended without a result: {reason}")]


def test_the_task_of_two_jobs_frees_its_slot_when_it_has_ended(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """The other job's result is about an invocation that was revoked, so it settles nothing."""
    id = running(scheduler)
    aws.results[0].send(Result(id=id, return_code=0, outcome=Outcome.DUPLICATE))
    aws.jobs[Service.BATCH].ends[id] = KILLED
    scheduler.states_of[id] = "running"
    for _ in range(5):
        scheduler.look()
    assert scheduler.slots == {"task"}
    scheduler.states_of[id] = "success"
    scheduler.look()
    scheduler.look()
    assert (scheduler.notified, scheduler.slots) == ([], set())
    assert scheduler.engine._arrivals._did_nothing == {}


# ---- revoked and obsolete jobs ----


@pytest.mark.parametrize(
    ("queue", "service"), [("long", Service.BATCH), ("huge", Service.ECS), ("vm", Service.MICROVM)]
)
def test_a_revoked_job_is_stopped_and_its_result_settles_nothing(
    aws: Aws, scheduler: JobScheduler, queue: str, service: Service
) -> None:
    """It would run on, and cost money."""
    id = running(scheduler, queue=queue)
    scheduler.engine.revoke("task")
    assert aws.jobs[service].stops == []  # Not on the scheduler's thread.
    scheduler.make_stops()
    assert aws.jobs[service].stops == [(id, "Airflow has revoked its task")]
    scheduler.reply(id, return_code=1)
    scheduler.loop()
    assert (scheduler.notified, scheduler.slots) == ([], set())


def test_a_start_on_the_former_target_settles_nothing(aws: Aws, scheduler: JobScheduler) -> None:
    """A job that could not be stopped starts when the retry runs on another target."""
    former = running(scheduler, "try-1")
    aws.jobs[Service.BATCH].stop_failures.append(RejectedError("not permitted"))
    scheduler.engine.revoke("try-1")
    scheduler.make_stops()
    retry = running(scheduler, "try-2", "huge")
    aws.results[0].send(Result(id=former, return_code=0, outcome=Outcome.DUPLICATE))
    scheduler.loop()
    assert (scheduler.notified, scheduler.slots) == ([], {"try-2"})
    scheduler.reply(retry)
    scheduler.loop()
    assert (scheduler.notified, scheduler.slots) == ([("try-2", "")], set())


def test_a_job_that_waits_to_be_started_is_not_started_after_it_was_revoked(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """Nor is there anything to stop."""
    scheduler.queue("task")
    scheduler.engine.revoke("task")
    scheduler.engine.step()
    assert scheduler.engine.jobs.pending() == 0
    scheduler.send()
    scheduler.make_stops()
    assert aws.jobs[Service.BATCH].launches == []
    assert aws.jobs[Service.BATCH].stops == []


def test_a_job_that_is_revoked_before_its_answer_is_taken_in_is_stopped(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """Batch has it, though the ledger does not know that yet."""
    id = scheduler.queue("task")
    dispatcher = scheduler.engine.jobs.dispatchers[Service.BATCH]
    answer = scheduler.begin(dispatcher, 1)
    assert answer
    scheduler.engine.revoke("task")
    scheduler.engine.step()
    dispatcher._record(*answer)
    scheduler.engine.step()
    scheduler.make_stops()
    assert [stopped for stopped, _ in aws.jobs[Service.BATCH].stops] == [id]
    assert scheduler.slots == set()


def test_a_job_for_which_airflow_does_not_wait_any_more_is_stopped(
    aws: Aws, scheduler: JobScheduler
) -> None:
    """A person has marked its task; two checks of the reconciler see that.

    Its process may have the log to upload, and callbacks to call.
    """
    id = running(scheduler, queue="huge")
    scheduler.idle.add(id)
    scheduler.check(2)
    assert scheduler.slots == set()
    scheduler.make_stops(within_s=OBSOLETE_JOB_S - 1)
    assert aws.jobs[Service.ECS].stops == []
    scheduler.make_stops(within_s=OBSOLETE_JOB_S)
    reason = "Airflow does not wait for its task any more"
    assert aws.jobs[Service.ECS].stops == [(id, reason)]


def test_a_scheduler_that_ends_leaves_a_job_to_its_heartbeat_if_its_stop_is_not_due(
    aws: Aws, scheduler: JobScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """The job may have its log to upload, here too; a revoked one is stopped."""
    revoked, marked = running(scheduler, "revoked"), running(scheduler, "marked")
    scheduler.engine.revoke("revoked")
    scheduler.idle.add(marked)
    scheduler.check(2)
    watch = scheduler.engine.jobs.watches[Service.BATCH]
    watch.start()
    scheduler.engine.jobs.close(10)
    assert [id for id, _ in aws.jobs[Service.BATCH].stops] == [revoked]
    assert "could not be stopped" not in caplog.text


def test_a_job_may_run_for_longer_than_any_function(scheduler: JobScheduler) -> None:
    """The reconciler gives up a function's workload that Airflow does not end, but not a job."""
    job, function = scheduler.queue("test-1", "long"), scheduler.queue("test-2", "default")
    scheduler.send()
    scheduler.check(2 * CHECKS_FOR_RESULT)
    ((key, reason),) = scheduler.notified
    assert (key, reason) == ("test-2", "no result came, and none is in a results queue")
    ledger = scheduler.engine.ledger
    assert [ledger.state(job), ledger.state(function)] == [State.IN_FLIGHT, State.SETTLED]


# ---- the end of a scheduler, and adoption ----


def test_a_scheduler_that_ends_stops_no_job_and_another_adopts_it(
    aws: Aws, scheduler: JobScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """The heir hears its result, from the queue of the scheduler that has ended."""
    caplog.set_level(logging.INFO)
    id = running(scheduler)
    scheduler.engine.drain(0)
    scheduler.engine.close(0)
    assert "1 invocations stay in flight" in caplog.text
    assert aws.jobs[Service.BATCH].stops == []
    heir = JobScheduler(aws, 1)
    heir.engine.adopt(id, "task", LONG)
    heir.loop()
    heir.reply(id)
    heir.loop()
    assert heir.notified == [("task", "")]
    assert len(aws.jobs[Service.BATCH].launches) == 1


def test_an_ending_scheduler_knows_what_was_not_sent(aws: Aws, scheduler: JobScheduler) -> None:
    """What waits, and what was just refused; not what was revoked, or just sent."""
    running(scheduler, "running")
    scheduler.queue("revoked")
    scheduler.engine.revoke("revoked")
    dispatcher = scheduler.engine.jobs.dispatchers[Service.BATCH]
    for name, failures in {"sent": [], "refused": [RejectedError("no such queue")]}.items():
        aws.jobs[Service.BATCH].failures.extend(failures)
        scheduler.queue(name)
        one = scheduler.begin(dispatcher, aws.now_s + 1)
        assert one is not None
        dispatcher._record(*one)
    scheduler.queue("job")
    scheduler.queue("function", "default")
    assert set(scheduler.engine.stop_sending(0).values()) == {"refused", "job", "function"}


def test_an_interrupted_step_loses_no_outcome(
    scheduler: JobScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's handler of SIGTERM raises SystemExit wherever its scheduler is."""
    dispatcher = scheduler.engine.jobs.dispatchers[Service.BATCH]
    for name in ("first", "second", "third"):
        scheduler.queue(name)
        one = scheduler.begin(dispatcher, 1)
        assert one is not None
        dispatcher._record(*one)
    sent, seen = scheduler.engine.ledger.sent, []

    def interrupted(id: InvocationId) -> None:
        seen.append(id)
        if len(seen) == 2:
            raise SystemExit
        sent(id)

    monkeypatch.setattr(scheduler.engine.ledger, "sent", interrupted)
    with pytest.raises(SystemExit):
        scheduler.engine.step()
    assert scheduler.engine.stop_sending(0) == {}
    assert scheduler.engine.ledger.count(State.IN_FLIGHT) == 3


def test_an_adopted_job_that_dies_has_failed(aws: Aws, scheduler: JobScheduler) -> None:
    """Its dispatch id is all that the service needs."""
    id = running(scheduler)
    heir = JobScheduler(aws, 1)
    heir.engine.adopt(id, "task", LONG)
    aws.jobs[Service.BATCH].ends[id] = KILLED
    heir.look()
    heir.look()
    assert heir.notified == [("task", ENDED)]


def test_an_adopted_job_that_is_revoked_is_stopped(aws: Aws, scheduler: JobScheduler) -> None:
    """The heir has not started it, and knows that somebody has."""
    id = running(scheduler)
    heir = JobScheduler(aws, 1)
    heir.engine.adopt(id, "task", LONG)
    heir.engine.revoke("task")
    heir.make_stops()
    assert [stopped for stopped, _ in aws.jobs[Service.BATCH].stops] == [id]


def test_an_adopted_job_takes_no_place_of_a_function(scheduler: JobScheduler) -> None:
    """An adopted invocation of the function does."""
    engine = scheduler.engine
    engine.dispatcher.limit({"function": Limit("function", 2)})
    engine.adopt(InvocationId("job"), "job", LONG)
    assert engine.dispatcher.room() == {Limit("function", 2): 2}
    engine.adopt(InvocationId("function"), "function", FunctionTarget("function"))
    assert engine.dispatcher.room() == {Limit("function", 2): 1}


def test_an_ending_scheduler_launches_what_it_has_accepted(aws: Aws) -> None:
    """With its threads; the next one would not know that it was not launched."""
    scheduler = JobScheduler(aws)
    for dispatcher in scheduler.engine.jobs.dispatchers.values():
        dispatcher._clock = time.monotonic
        dispatcher.start()
    for number in range(5):
        scheduler.queue(f"batch-{number}", "long")
        scheduler.queue(f"ecs-{number}", "huge")
        scheduler.queue(f"vm-{number}", "vm")
    assert scheduler.engine.jobs.drain(10) == 0
    scheduler.engine.jobs.close(10)
    assert [len(jobs.launches) for jobs in aws.jobs.values()] == [5, 5, 5]


def test_nothing_is_remembered_of_jobs_that_have_settled(aws: Aws, scheduler: JobScheduler) -> None:
    """However they ended."""
    first, second, third = (running(scheduler, name) for name in ("a", "b", "c"))
    scheduler.reply(first)
    aws.jobs[Service.BATCH].ends[second] = KILLED
    scheduler.engine.revoke("c")
    scheduler.make_stops()
    for _ in range(3):
        scheduler.look()
    watch = scheduler.engine.jobs.watches[Service.BATCH]
    assert (watch._targets, watch._started) == ({}, set())
    assert [stopped for stopped, _ in aws.jobs[Service.BATCH].stops] == [third]
