"""The provider's executors for Batch and ECS: beside ours, and then replaced by it.

The job queue, the cluster and the definitions are the same for all; their containers run our image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo import paths
from demo.outcome.airflow_api import Api
from tests.e2e import job_resources, migration
from tests.e2e.migration import OUR_FUNCTION, OURS, Site
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(1200)  # The first test waits for all of it, on any machine.

HOME = paths.Home(paths.ROOT / "build" / "migration-of-jobs")
DAGS = [Path(__file__).parent / "dags" / "migration_of_jobs.py"]
NAME = "jobs"
BUCKET = "payloads"
SERVICES = ("batch", "ecs")
EXECUTORS = "airflow.providers.amazon.aws.executors"
REFERENCES = {
    "batch": f"{EXECUTORS}.batch.batch_executor.AwsBatchExecutor",
    "ecs": f"{EXECUTORS}.ecs.ecs_executor.AwsEcsExecutor",
}
TOGETHER = f"{OURS},batch:{REFERENCES['batch']},ecs:{REFERENCES['ecs']}"
#: What the options of the references say, in their own sections.
SECTIONS = {
    "batch": {
        "AIRFLOW__AWS_BATCH_EXECUTOR__JOB_NAME": "airflow",
        "AIRFLOW__AWS_BATCH_EXECUTOR__JOB_QUEUE": NAME,
        "AIRFLOW__AWS_BATCH_EXECUTOR__JOB_DEFINITION": NAME,
    },
    "ecs": {
        "AIRFLOW__AWS_ECS_EXECUTOR__CLUSTER": NAME,
        "AIRFLOW__AWS_ECS_EXECUTOR__TASK_DEFINITION": NAME,
        "AIRFLOW__AWS_ECS_EXECUTOR__CONTAINER_NAME": "task",
        "AIRFLOW__AWS_ECS_EXECUTOR__LAUNCH_TYPE": "FARGATE",
        "AIRFLOW__AWS_ECS_EXECUTOR__SUBNETS": "subnet-1",
    },
}
#: What the page `migrate.md` lists for the scheduler's role, and what the references need.
ACTIONS = (
    *("batch:SubmitJob", "batch:ListJobs", "batch:DescribeJobs", "batch:TerminateJob"),
    *("ecs:RunTask", "ecs:ListTasks", "ecs:DescribeTasks", "ecs:StopTask"),
    *("ecs:DescribeTaskDefinition", "iam:PassRole", "s3:PutObject"),
    "ecs:DescribeClusters",
)
#: What the provider's command needs in our image beside the variables of our own.
FOR_THE_PROVIDERS_COMMAND = {
    "AIRFLOW_HOME": "/tmp/airflow",
    "HOME": "/tmp",
    "LOGNAME": "airflow",
    "AIRFLOW__CORE__EXECUTOR": TOGETHER,
}


@dataclass(frozen=True)
class Story:
    """The observations that the tests check.

    Attributes:
        states: How the run of each DAG ended.
        tries: Every try of every task that did not succeed at first.
        words: The first word of the command of each job so far, after each phase.
        messages_left: In each queue.
    """

    states: dict[str, str]
    tries: list[tuple[str, str, int, str]]
    words: dict[str, list[str]]
    messages_left: dict[str, int]


@pytest.fixture(scope="module")
def story() -> Story:
    """Three executors of one scheduler; then each reference, and ours in its place."""
    # The environment of `AwsLambdaExecutor` is not part of this.
    lambda_unset = {
        f"AIRFLOW__AWS_LAMBDA_EXECUTOR__{name}": ""
        for name in ("FUNCTION_NAME", "QUEUE_URL", "DEAD_LETTER_QUEUE_URL")
    }
    changed = {**lambda_unset, "AIRFLOW__CORE__EXECUTOR": TOGETHER}
    states, words = {}, {}
    with migration.site(HOME, DAGS, changed) as site, migration.api(site) as api:
        ours = _make_jobs(site)
        api.wait_for_dags(_dag_ids(), migration.TIMEOUT_S)
        together = site.start_program("scheduler", "together", {**ours, **_all_sections()})
        states["three_executors"] = migration.run(api, "three_executors")
        words["three_executors"] = _words(site)
        _wait_until_taken(site)
        together.end()
        for service in SERVICES:
            states |= _migrate(site, api, service)
            words[service] = _words(site)
        return Story(
            states,
            [
                (each.key.dag_id, each.key.task_id, each.key.try_number, each.state)
                for each in api.tries()
                if each.state != "success" or each.key.try_number != 1
            ],
            words,
            site.messages_left(),
        )


def _dag_ids() -> list[str]:
    phases = ("before", "after", "in_flight")
    return ["three_executors", *(f"{service}_{phase}" for service in SERVICES for phase in phases)]


def _all_sections() -> dict[str, str]:
    return {name: value for section in SECTIONS.values() for name, value in section.items()}


def _make_jobs(site: Site) -> dict[str, str]:
    """Make what runs jobs and a function, all with our image; the options of ours."""
    image = site.make_image_of_ours()
    site.aws.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": site.aws.region}
    )
    allowed = ("sqs:SendMessage", "s3:GetObject", "s3:DeleteObject")
    role = migration.make_role(site.aws, NAME, *allowed)
    variables = {
        **site.variables_of_ours,
        **FOR_THE_PROVIDERS_COMMAND,
        "AIRFLOW__LAMBDA_EXECUTOR__PAYLOAD_BUCKET": BUCKET,
    }
    container = {
        "image": image,
        "environment": [{"name": name, "value": value} for name, value in variables.items()],
    }
    job_resources.make_batch(site.aws, NAME, role, container)
    job_resources.make_ecs(site.aws, NAME, role, container)
    statement = {"Effect": "Allow", "Action": list(ACTIONS), "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    site.aws.client("iam").put_role_policy(
        RoleName="scheduler", PolicyName="jobs", PolicyDocument=json.dumps(policy)
    )
    return {
        "AIRFLOW__LAMBDA_EXECUTOR__FUNCTION_NAME": site.make_function_of_ours(image),
        "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL": site.queues["our-results"],
        "AIRFLOW__LAMBDA_EXECUTOR__DEAD_LETTER_QUEUE_URL": site.queues["our-dead"],
    }


def _migrate(site: Site, api: Api, service: str) -> dict[str, str]:
    """Crash the scheduler of a reference and start ours with one changed line; the DAGs' ends."""
    environment = {
        **SECTIONS[service],
        # They are there before the change, for they change nothing for the reference.
        "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL": site.queues["our-results"],
        "AIRFLOW__LAMBDA_EXECUTOR__PAYLOAD_BUCKET": BUCKET,
    }
    executor = "AIRFLOW__CORE__EXECUTOR"
    before = {**environment, executor: REFERENCES[service]}
    first = site.start_program("scheduler", f"{service}-before", before)
    states = {f"{service}_before": migration.run(api, f"{service}_before")}
    dag_id = f"{service}_in_flight"
    migration.start(api, dag_id)
    until(lambda: _is_running(api, dag_id), "the task in flight runs", migration.TIMEOUT_S)
    migration.crash(first)
    second = site.start_program("scheduler", f"{service}-after", {**environment, executor: OURS})
    states[f"{service}_after"] = migration.run(api, f"{service}_after")
    until(
        lambda: "Adopted 1 " in second.log.read_text() or None,
        "it is adopted",
        migration.TIMEOUT_S,
    )
    gate = {"key": f"{service}_gate", "value": "open"}
    httpx.post(f"{site.airflow.url}/api/v2/variables", json=gate, trust_env=False, timeout=30)
    states[dag_id] = migration.end_of(api, dag_id)
    _wait_until_taken(site)
    second.end()
    return states


def _wait_until_taken(site: Site) -> None:
    """Wait until every job has ended and the executor has deleted every result.

    A task's state is final a moment before its process reports; nobody takes a result that comes
    after the scheduler's end.
    """

    def taken() -> bool | None:
        running = site.aws.client("batch").list_jobs(jobQueue=NAME, jobStatus="RUNNING")
        tasks = site.aws.client("ecs").list_tasks(cluster=NAME, desiredStatus="RUNNING")
        busy = running["jobSummaryList"] or tasks["taskArns"]
        return not (busy or any(site.messages_left().values())) or None

    until(taken, "every job has ended and every result is taken", migration.TIMEOUT_S)
    # Of `three_executors`.
    site.wait_until_taken(OUR_FUNCTION, 1)


def _is_running(api: Api, dag_id: str) -> bool | None:
    tries = api.progress().tries
    return any(t.state == "running" and t.key.dag_id == dag_id for t in tries) or None


def _words(site: Site) -> list[str]:
    """The first word of the command of every job so far, `job` or `python`, in order."""
    return sorted([*_of_batch(site), *_of_ecs(site)])


def _of_batch(site: Site) -> list[str]:
    batch = site.aws.client("batch")
    ids = [
        job["jobId"]
        for status in ("RUNNING", "SUCCEEDED", "FAILED")
        for job in batch.list_jobs(jobQueue=NAME, jobStatus=status)["jobSummaryList"]
    ]
    jobs = batch.describe_jobs(jobs=ids)["jobs"] if ids else []
    return [f"batch {job['container']['command'][0]}" for job in jobs]


def _of_ecs(site: Site) -> list[str]:
    ecs = site.aws.client("ecs")
    arns = [
        arn
        for status in ("RUNNING", "STOPPED")
        for arn in ecs.list_tasks(cluster=NAME, desiredStatus=status)["taskArns"]
    ]
    tasks: list[Mapping[str, Any]] = (
        ecs.describe_tasks(cluster=NAME, tasks=arns)["tasks"] if arns else []
    )
    return [f"ecs {t['overrides']['containerOverrides'][0]['command'][0]}" for t in tasks]


def test_three_executors_share_a_dag(story: Story) -> None:
    """A task runs on what it names, with the overrides that the provider's executor takes."""
    assert story.states["three_executors"] == "success"
    theirs = ["batch python", "batch python", "ecs python", "ecs python"]
    assert story.words["three_executors"] == theirs


@pytest.mark.parametrize("service", SERVICES)
def test_only_the_executors_name_has_to_change(story: Story, service: str) -> None:
    """The DAG with the provider's `executor_config` ends alike under both."""
    assert story.states[f"{service}_before"] == story.states[f"{service}_after"] == "success"
    of_ours = [word for word in story.words[SERVICES[-1]] if word == f"{service} job"]
    assert len(of_ours) == 2


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_in_flight_at_the_switch_is_adopted(story: Story, service: str) -> None:
    """A task that the provider's executor has started goes on to its end."""
    assert story.states[f"{service}_in_flight"] == "success"


def test_nothing_ran_twice(story: Story) -> None:
    """Every task succeeded in its first try, and every job had a task of its own."""
    assert story.tries == []
    jobs = ["batch job", "batch python", "ecs job", "ecs python"]
    assert {word: story.words["ecs"].count(word) for word in jobs} == {
        "batch job": 2,
        "batch python": 5,
        "ecs job": 2,
        "ecs python": 5,
    }


def test_nothing_is_left_in_the_queues(story: Story) -> None:
    """Every result was deleted."""
    assert story.messages_left == dict.fromkeys(story.messages_left, 0)
