"""SubmitJob runs the command of a container, in the order of queues, and ends as on AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from local_aws.batch_service.attempt import OUT_OF_MEMORY
from tests.support.container_programs import ENVIRONMENT, OBEY, WAIT, assert_acts_as
from tests.support.local_aws import (
    REGION,
    REGISTRY,
    RUNTIME_PYTHON,
    Server,
    eventually,
    interrupt,
)
from tests.support.service_model import assert_fits_model

#: Fails in the first attempt.
SECOND = "import os, sys; sys.exit(os.environ['AWS_BATCH_JOB_ATTEMPT'] != '2')"
ENDED = ("SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class Jobs:
    """A compute environment with two vCPUs, a job queue and a job definition of one image."""

    aws: Server
    name: str

    @property
    def batch(self) -> Any:
        """The Batch client."""
        return self.aws.client("batch")

    def register(self, *, image: str = "", **settings: Any) -> None:
        """Register the job definition; containers are the image's and need one vCPU."""
        container = settings.pop("container", {})
        self.batch.register_job_definition(
            jobDefinitionName=self.name,
            type="container",
            containerProperties={
                "image": image
                or self.aws.image(entry_point=[str(RUNTIME_PYTHON)], command=["-c", ENVIRONMENT]),
                "resourceRequirements": [
                    {"type": "VCPU", "value": "1"},
                    {"type": "MEMORY", "value": "512"},
                ],
                **container,
            },
            **settings,
        )

    def queue(self, priority: int = 1, name: str = "") -> str:
        """Make a job queue of the environment."""
        name = name or f"{self.name}-{priority}"
        order = [{"order": 1, "computeEnvironment": self.name}]
        self.batch.create_job_queue(
            jobQueueName=name, priority=priority, computeEnvironmentOrder=order
        )
        return name

    def submit(self, program: str = "", queue: str = "", **settings: Any) -> str:
        """Submit a job, which runs the program instead of the image's; its id."""
        overrides = settings.pop("overrides", {})
        if program:
            overrides = {"command": ["-c", program], **overrides}
        answer = self.batch.submit_job(
            **{
                "jobName": self.name,
                "jobQueue": queue or self.name,
                "jobDefinition": self.name,
                "containerOverrides": overrides,
                **settings,
            }
        )
        assert_fits_model("batch", "SubmitJob", answer)
        return str(answer["jobId"])

    def describe(self, job: str) -> dict[str, Any]:
        """Its description now."""
        answer = self.batch.describe_jobs(jobs=[job])
        (described,) = answer["jobs"]
        absent = set() if "startedAt" in described else {"startedAt"}
        assert_fits_model("batch", "DescribeJobs", answer, absent=absent)
        return dict(described)

    def once(self, job: str, *states: str) -> dict[str, Any]:
        """Its description once it is in one of these states."""

        def description() -> dict[str, Any] | None:
            described = self.describe(job)
            return described if described["status"] in states else None

        return eventually(description)

    def ended(self, job: str) -> dict[str, Any]:
        """Its description once it has ended."""
        return self.once(job, *ENDED)

    def log(self, job: dict[str, Any], group: str = "/aws/batch/job") -> list[str]:
        """The lines in its log stream."""
        answer = self.aws.client("logs").get_log_events(
            logGroupName=group, logStreamName=job["container"]["logStreamName"], startFromHead=True
        )
        return [event["message"] for event in answer["events"]]

    def waiting(self, job: str) -> dict[str, Any]:
        """Its description once its command says that it waits."""
        running = self.once(job, "RUNNING")

        def says_so() -> bool | None:
            try:
                return "waiting" in self.log(running) or None
            except ClientError:
                return None

        eventually(says_so)
        return running

    def listed(self, **request: Any) -> list[str]:
        """The ids that ListJobs returns."""
        answer = self.batch.list_jobs(jobQueue=self.name, **request)
        assert_fits_model("batch", "ListJobs", answer)
        return [job["jobId"] for job in answer["jobSummaryList"]]

    def named(self, name: str) -> list[str]:
        """The ids of the jobs of a name."""
        return self.listed(filters=[{"name": "JOB_NAME", "values": [name]}])


def jobs_of(aws: Server, kind: str = "FARGATE") -> Jobs:
    """A new environment with a job queue of its own."""
    jobs = Jobs(aws, f"b-{uuid.uuid4().hex[:12]}")
    jobs.batch.create_compute_environment(
        computeEnvironmentName=jobs.name,
        type="MANAGED",
        computeResources={"type": kind, "maxvCpus": 2, "subnets": [], "securityGroupIds": []},
    )
    jobs.queue(name=jobs.name)
    return jobs


@pytest.fixture
def jobs(local_aws: Server) -> Jobs:
    """What a test runs."""
    return jobs_of(local_aws)


def refusal(call: Callable[..., Any], **request: Any) -> str:
    """The message of a ClientException."""
    with pytest.raises(ClientError) as refused:
        call(**request)
    assert refused.value.response["Error"]["Code"] == "ClientException"
    return str(refused.value.response["Error"]["Message"])


def post(aws: Server, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request that boto3 would not send."""
    scope = f"test/20260101/{REGION}/batch/aws4_request"
    answer = httpx.post(
        f"{aws.url}/v1/{operation}",
        json=request,
        headers={"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}"},
        trust_env=False,
    )
    found: dict[str, Any] = answer.json()
    return found


def test_the_command_runs_and_its_output_is_logged(jobs: Jobs) -> None:
    """The image's own command, with the variables of definition, override and Batch."""
    a, b = {"name": "A", "value": "1"}, {"name": "B", "value": "1"}
    jobs.register(container={"environment": [a, b]})
    job = jobs.ended(jobs.submit(overrides={"environment": [{"name": "B", "value": "2"}]}))
    assert (job["status"], job["statusReason"], job["container"]["exitCode"]) == (
        "SUCCEEDED",
        "Essential container in task exited",
        0,
    )
    assert job["createdAt"] <= job["startedAt"] <= job["stoppedAt"]
    assert len(job["attempts"]) == 1
    assert job["container"]["logStreamName"].startswith(f"{jobs.name}/default/")
    found = json.loads(jobs.log(job)[0])
    assert (found["A"], found["B"]) == ("1", "2")
    assert {name: value for name, value in found.items() if name.startswith("AWS_BATCH_")} == {
        "AWS_BATCH_JOB_ID": job["jobId"],
        "AWS_BATCH_JQ_NAME": jobs.name,
        "AWS_BATCH_CE_NAME": jobs.name,
        "AWS_BATCH_JOB_ATTEMPT": "1",
    }
    assert "AWS_ACCESS_KEY_ID" not in found


def test_role_secrets_parameters_and_log_are_the_definitions(jobs: Jobs) -> None:
    """The command acts as the job role, and its log goes where the definition says."""
    role = jobs.aws.client("iam").create_role(RoleName=jobs.name, AssumeRolePolicyDocument="{}")
    jobs.aws.client("ssm").put_parameter(Name=f"/{jobs.name}", Type="String", Value="v")
    jobs.aws.client("logs").create_log_group(logGroupName=jobs.name)
    options = {"awslogs-group": jobs.name, "awslogs-stream-prefix": "p"}
    jobs.register(
        container={
            "command": ["-c", "Ref::program"],
            "jobRoleArn": role["Role"]["Arn"],
            "secrets": [{"name": "SECRET", "valueFrom": f"/{jobs.name}"}],
            "logConfiguration": {"logDriver": "awslogs", "options": options},
        },
        parameters={"program": "nothing"},
    )
    job = jobs.ended(jobs.submit(parameters={"program": ENVIRONMENT}))
    assert job["container"]["logStreamName"].startswith("p/default/")
    found = json.loads(jobs.log(job, jobs.name)[0])
    assert found["SECRET"] == "v"
    assert_acts_as(jobs.name, found)


def test_a_job_is_retried_as_its_strategy_says(jobs: Jobs) -> None:
    """The second attempt succeeds; a condition can forbid it."""
    jobs.register(retryStrategy={"attempts": 2})
    exit_code_1 = [{"onExitCode": "1", "action": "EXIT"}]
    strict = {"attempts": 2, "evaluateOnExit": exit_code_1}
    retried, given_up = jobs.submit(SECOND), jobs.submit(SECOND, retryStrategy=strict)
    job = jobs.ended(retried)
    assert job["status"] == "SUCCEEDED"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [1, 0]
    assert jobs.ended(given_up)["status"] == "FAILED"
    assert len(jobs.describe(given_up)["attempts"]) == 1


def test_a_job_that_takes_too_long_is_stopped_for_good(jobs: Jobs) -> None:
    """It ends when it is asked to, and is not retried; AWS allows no less than a minute."""
    jobs.register(retryStrategy={"attempts": 2})
    job = jobs.ended(jobs.submit(OBEY, timeout={"attemptDurationSeconds": 2}))
    assert (job["status"], job["statusReason"], len(job["attempts"])) == (
        "FAILED",
        "Job attempt duration exceeded timeout",
        1,
    )


def test_too_much_memory_kills_the_container(jobs: Jobs) -> None:
    """With the words of ECS; the limit is the override's."""
    jobs.register()
    limit = {"resourceRequirements": [{"type": "MEMORY", "value": "64"}]}
    job = jobs.ended(jobs.submit(f"fill = b'x' * 200 * 1024 * 1024; {WAIT}", overrides=limit))
    container = job["container"]
    assert (job["status"], container["exitCode"], container["reason"]) == (
        "FAILED",
        137,
        OUT_OF_MEMORY,
    )


def test_terminate_asks_a_running_job_to_end(jobs: Jobs) -> None:
    """It fails with the given reason, whatever its exit code, and is not retried."""
    jobs.register(retryStrategy={"attempts": 2})
    job_id = jobs.submit(OBEY)
    jobs.waiting(job_id)
    jobs.batch.terminate_job(jobId=job_id, reason="enough")
    job = jobs.ended(job_id)
    assert (job["status"], job["statusReason"], job["container"]["exitCode"]) == (
        "FAILED",
        "enough",
        5,
    )
    assert job["isTerminated"]
    jobs.batch.terminate_job(jobId=job_id, reason="again")
    assert jobs.describe(job_id)["statusReason"] == "enough"


def test_a_job_starts_when_there_is_room(jobs: Jobs) -> None:
    """The environment's vCPUs are taken; jobs of the queue with the higher priority start first."""
    jobs.register()
    first, second = jobs.submit(WAIT), jobs.submit(WAIT)
    for job in (first, second):
        jobs.once(job, "RUNNING")
    high = jobs.queue(priority=9)
    waiting, favoured = jobs.submit(WAIT), jobs.submit(WAIT, queue=high)
    cancelled, unstarted = jobs.submit(WAIT), jobs.submit(WAIT)
    jobs.once(unstarted, "RUNNABLE")
    jobs.batch.cancel_job(jobId=cancelled, reason="not needed")
    jobs.batch.terminate_job(jobId=unstarted, reason="not needed either")
    for job, reason in ((cancelled, "not needed"), (unstarted, "not needed either")):
        given_up = jobs.describe(job)
        assert (given_up["status"], given_up["statusReason"]) == ("FAILED", reason)
        assert "startedAt" not in given_up
    jobs.batch.cancel_job(jobId=first, reason="it has started")
    jobs.batch.terminate_job(jobId=second, reason="make room")
    jobs.once(favoured, "RUNNING")
    assert (jobs.describe(waiting)["status"], jobs.describe(first)["status"]) == (
        "RUNNABLE",
        "RUNNING",
    )
    for job in (first, favoured, waiting):
        jobs.batch.terminate_job(jobId=job, reason="the test is over")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("FARGATE_SPOT", "Your Spot Task was interrupted."), ("SPOT", "Host EC2 (instance i-")],
)
def test_spot_takes_its_capacity_back(local_aws: Server, kind: str, words: str) -> None:
    """The command is asked to end; the attempt has AWS's words, and the next one may follow."""
    jobs = jobs_of(local_aws, kind)
    jobs.register(retryStrategy={"attempts": 2})
    job_id = jobs.submit(f"import os\nif os.environ['AWS_BATCH_JOB_ATTEMPT'] == '1':\n    {OBEY}")
    running = jobs.waiting(job_id)
    assert interrupt(local_aws, running["jobArn"]) == 204
    job = jobs.ended(job_id)
    assert job["status"] == "SUCCEEDED"
    assert job["attempts"][0]["statusReason"].startswith(words)
    assert job["attempts"][0]["container"].get("exitCode") == (5 if "FARGATE" in kind else None)
    assert interrupt(local_aws, running["jobArn"]) == 404


@pytest.mark.parametrize(("kind", "of_job"), [("FARGATE", True), ("EC2", False)])
def test_a_missing_image_fails_the_job(local_aws: Server, kind: str, of_job: bool) -> None:
    """It never starts, and the reason is ECS's: on Fargate the job's, else the container's."""
    jobs = jobs_of(local_aws, kind)
    jobs.register(image=f"{REGISTRY}/nothing:latest")
    job = jobs.ended(jobs.submit())
    reason = job["statusReason"] if of_job else job["container"]["reason"]
    assert reason.startswith("CannotPullContainerError")
    assert "startedAt" not in job
    assert "exitCode" not in job["container"]


def test_a_missing_secret_fails_the_job(jobs: Jobs) -> None:
    """It never starts; the reason is ECS's."""
    jobs.register(container={"secrets": [{"name": "S", "valueFrom": f"/{jobs.name}"}]})
    job = jobs.ended(jobs.submit())
    assert job["statusReason"].startswith("ResourceInitializationError")
    assert f"/{jobs.name}" in job["statusReason"]


def test_a_disabled_queue_takes_no_jobs(jobs: Jobs) -> None:
    """And none is accepted for what does not exist, or is of a kind that is not there."""
    jobs.register()
    request = {"jobName": "j", "jobQueue": jobs.name, "jobDefinition": jobs.name}
    submit = jobs.batch.submit_job
    assert "disabled" not in refusal(submit, **{**request, "jobName": "not a name"})
    assert "not found" in refusal(submit, **{**request, "jobQueue": "none"})
    assert "not found" in refusal(submit, **{**request, "jobDefinition": f"{jobs.name}:2"})
    assert "arrayProperties" in refusal(submit, **request, arrayProperties={"size": 2})
    assert "larger" in refusal(submit, **request, parameters={"p": "x" * 30 * 1024})
    vcpus = {"resourceRequirements": [{"type": "VCPU", "value": "many"}]}
    assert "many" in refusal(submit, **request, containerOverrides=vcpus)
    jobs.batch.update_job_queue(jobQueue=jobs.name, state="DISABLED")
    assert "disabled" in refusal(submit, **request)


@pytest.mark.parametrize(
    "settings",
    [
        {"dependsOn": [{"type": "SEQUENTIAL"}]},
        {"dependsOn": ["a-job"]},
        {"retryStrategy": {"attempts": "twice"}},
        {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onExitCode": "1"}]}},
        {"timeout": {"attemptDurationSeconds": "long"}},
        {"containerOverrides": {"environment": [{"value": "v"}]}},
    ],
)
def test_a_job_with_an_invalid_value_is_refused(jobs: Jobs, settings: dict[str, Any]) -> None:
    """Before it waits for anything."""
    jobs.register()
    request = {"jobName": "j", "jobQueue": jobs.name, "jobDefinition": jobs.name}
    assert "invalid" in post(jobs.aws, "submitjob", {**request, **settings})["message"]


def test_a_null_is_no_value(jobs: Jobs) -> None:
    """As in all of AWS's JSON."""
    jobs.register()
    request = {"jobName": "j", "jobQueue": jobs.name, "jobDefinition": jobs.name}
    job = post(jobs.aws, "submitjob", {**request, "dependsOn": None, "retryStrategy": None})
    assert jobs.ended(job["jobId"])["status"] == "SUCCEEDED"


def test_an_invalid_environment_ends_its_own_jobs_only(bare_aws: Server) -> None:
    """Without the fix that refuses it; the job is given up, and those of other queues run."""
    bad, good = jobs_of(bare_aws), jobs_of(bare_aws)
    bad.batch.update_compute_environment(
        computeEnvironment=bad.name, computeResources={"maxvCpus": "many"}
    )
    for jobs in (bad, good):
        jobs.register()
    given_up, other = bad.submit(), good.submit()
    assert "many" in bad.ended(given_up)["statusReason"]
    assert good.ended(other)["status"] == "SUCCEEDED"


def test_an_attempt_that_cannot_run_gives_its_vcpus_back(jobs: Jobs) -> None:
    """Here its role is no text; the job ends with the reason, and another one has its place."""
    jobs.register(container={"jobRoleArn": 5})
    whole = {"resourceRequirements": [{"type": "VCPU", "value": "2"}]}
    job = jobs.submit(overrides=whole)

    def description() -> dict[str, Any] | None:
        (described,) = jobs.batch.describe_jobs(jobs=[job])["jobs"]
        return described if described["status"] in ENDED else None

    failed = eventually(description)
    assert failed["status"] == "FAILED"
    assert failed["statusReason"].startswith("the embedded AWS cannot run it: AttributeError")
    jobs.register()
    assert jobs.ended(jobs.submit(overrides=whole))["status"] == "SUCCEEDED"


def test_a_deleted_queue_ends_the_jobs_that_wait_in_it(jobs: Jobs) -> None:
    """Nothing would ever start them."""
    jobs.register()
    jobs.batch.update_compute_environment(computeEnvironment=jobs.name, state="DISABLED")
    job = jobs.submit()
    jobs.once(job, "RUNNABLE")
    jobs.batch.update_job_queue(jobQueue=jobs.name, state="DISABLED")
    jobs.batch.delete_job_queue(jobQueue=jobs.name)
    ended = jobs.ended(job)
    assert ended["status"] == "FAILED"
    assert ended["statusReason"].endswith("not found.")


def test_jobs_wait_for_a_disabled_environment(jobs: Jobs) -> None:
    """They start once it is enabled again."""
    jobs.register()
    jobs.batch.update_compute_environment(computeEnvironment=jobs.name, state="DISABLED")
    job = jobs.submit()
    jobs.once(job, "RUNNABLE")
    jobs.batch.update_compute_environment(computeEnvironment=jobs.name, state="ENABLED")
    assert jobs.ended(job)["status"] == "SUCCEEDED"


def test_a_job_follows_the_success_of_another(jobs: Jobs) -> None:
    """It is pending until then, and fails with it."""
    jobs.register()
    first = jobs.submit(OBEY)
    second = jobs.submit(dependsOn=[{"jobId": first}])
    jobs.waiting(first)
    jobs.once(second, "PENDING")
    jobs.batch.terminate_job(jobId=first, reason="enough")
    assert jobs.ended(second)["statusReason"] == "Dependent Job failed"


def test_jobs_are_listed_by_name_and_by_status(jobs: Jobs) -> None:
    """A name in any case, or how it begins; the most recent first, in pages."""
    jobs.register()
    ids = [jobs.submit(jobName=name) for name in ("Load-1", "load-2", "other")]
    for job in ids:
        jobs.ended(job)
    assert jobs.named("LOAD-1") == ids[:1]
    assert sorted(jobs.named("load-*")) == sorted(ids[:2])
    assert jobs.named("load") == []
    assert jobs.listed() == []
    assert sorted(jobs.listed(jobStatus="SUCCEEDED")) == sorted(ids)
    everything = [{"name": "JOB_NAME", "values": ["*"]}]
    page = jobs.batch.list_jobs(jobQueue=jobs.name, filters=everything, maxResults=2)
    rest = jobs.listed(filters=everything, maxResults=2, nextToken=page["nextToken"])
    assert [*(job["jobId"] for job in page["jobSummaryList"]), *rest] == jobs.named("*")


def test_a_hundred_jobs_can_be_described_at_once(jobs: Jobs) -> None:
    """Unknown ones are left out; one more is refused."""
    ids = [str(uuid.uuid4()) for _ in range(101)]
    assert jobs.batch.describe_jobs(jobs=ids[:100])["jobs"] == []
    assert "100" in refusal(jobs.batch.describe_jobs, jobs=ids)
