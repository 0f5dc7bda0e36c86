"""RunTask runs the commands of containers, and ends as on AWS."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.container_programs import ENVIRONMENT, OBEY, WAIT, assert_acts_as
from tests.support.local_aws import (
    ACCOUNT,
    REGION,
    RUNTIME_PYTHON,
    Server,
    eventually,
    interrupt,
)
from tests.support.service_model import assert_fits_model

IGNORE = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"


@dataclass(frozen=True)
class Tasks:
    """A cluster, a log group and a role of their own, and tasks of one image of Python."""

    aws: Server
    name: str

    @property
    def ecs(self) -> Any:
        """The ECS client."""
        return self.aws.client("ecs")

    def register(self, *containers: dict[str, Any], **settings: Any) -> None:
        """Register the task definition; a container without settings is the image's."""
        image = self.aws.image(entry_point=[str(RUNTIME_PYTHON)], command=["-c", ENVIRONMENT])
        options = {
            "awslogs-group": self.name,
            "awslogs-region": REGION,
            "awslogs-stream-prefix": "test",
        }
        common = {
            "name": "main",
            "image": image,
            "essential": True,
            "logConfiguration": {"logDriver": "awslogs", "options": options},
        }
        self.ecs.register_task_definition(
            family=self.name,
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            containerDefinitions=[{**common, **container} for container in containers or [{}]],
            **settings,
        )

    def run(self, *, request: dict[str, Any] | None = None, **overrides: Any) -> str:
        """Run a task, with overrides of the container `main`; its ARN."""
        of_containers = {"containerOverrides": [{"name": "main", **overrides}]}
        answer = self.ecs.run_task(
            **{
                "cluster": self.name,
                "taskDefinition": self.name,
                "overrides": of_containers if overrides else {},
                **(request or {"launchType": "FARGATE"}),
            }
        )
        assert_fits_model("ecs", "RunTask", answer)
        (task,) = answer["tasks"]
        assert task["lastStatus"] == "PROVISIONING"
        return str(task["taskArn"])

    def describe(self, task: str) -> dict[str, Any]:
        """Its description now."""
        answer = self.ecs.describe_tasks(cluster=self.name, tasks=[task])
        assert_fits_model("ecs", "DescribeTasks", answer)
        (described,) = answer["tasks"]
        return dict(described)

    def stopped(self, task: str) -> dict[str, Any]:
        """Its description once it has stopped."""

        def description() -> dict[str, Any] | None:
            described = self.describe(task)
            return described if described["lastStatus"] == "STOPPED" else None

        return eventually(description)

    def log(self, task: str, container: str = "main") -> list[str]:
        """The lines in its log stream."""
        stream = f"test/{container}/{task.rpartition('/')[2]}"
        logs = self.aws.client("logs")
        try:
            answer = logs.get_log_events(
                logGroupName=self.name, logStreamName=stream, startFromHead=True
            )
        except logs.exceptions.ResourceNotFoundException:
            return []  # The first line makes it.
        return [event["message"] for event in answer["events"]]

    def waiting(self, task: str) -> None:
        """Wait until its command says that it waits."""
        eventually(lambda: "waiting" in self.log(task) or None)


def tasks_of(aws: Server) -> Tasks:
    """A new cluster with a new log group."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    aws.client("ecs").create_cluster(clusterName=name)
    aws.client("logs").create_log_group(logGroupName=name)
    return Tasks(aws, name)


@pytest.fixture
def tasks(local_aws: Server) -> Tasks:
    """What a test runs."""
    return tasks_of(local_aws)


def code(program: str) -> dict[str, Any]:
    """The override that runs a program."""
    return {"command": ["-c", program]}


def test_the_command_runs_and_its_output_is_logged(tasks: Tasks) -> None:
    """The image's own command, with the variables of definition and override."""
    tasks.register({"environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]})
    task = tasks.run(environment=[{"name": "B", "value": "2"}])
    ended = tasks.stopped(task)
    assert (ended["stopCode"], ended["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert [container["exitCode"] for container in ended["containers"]] == [0]
    (line,) = tasks.log(task)
    found = json.loads(line)
    assert (found["A"], found["B"], found["AWS_REGION"]) == ("1", "2", REGION)
    assert "AWS_LAMBDA_RUNTIME_API" not in found
    assert "AWS_ACCESS_KEY_ID" not in found


def test_a_task_acts_as_its_role(tasks: Tasks) -> None:
    """Its variables hold a session of the task role, for this AWS."""
    role = tasks.aws.client("iam").create_role(RoleName=tasks.name, AssumeRolePolicyDocument="{}")
    tasks.register(taskRoleArn=role["Role"]["Arn"])
    task = tasks.run()
    tasks.stopped(task)
    found = json.loads(tasks.log(task)[0])
    assert_acts_as(tasks.name, found)


def test_secrets_are_variables(tasks: Tasks) -> None:
    """A parameter's value reaches the command under the name that the definition gives it."""
    tasks.aws.client("ssm").put_parameter(Name=f"/{tasks.name}", Type="String", Value="v")
    tasks.register({"secrets": [{"name": "SECRET", "valueFrom": f"/{tasks.name}"}]})
    task = tasks.run()
    tasks.stopped(task)
    assert json.loads(tasks.log(task)[0])["SECRET"] == "v"


def test_an_entry_point_replaces_the_images(tasks: Tasks) -> None:
    """With the definition's entry point, nothing of the image's command is left."""
    tasks.register({"entryPoint": ["/bin/echo", "hello"], "command": ["world"]})
    task = tasks.run()
    assert tasks.stopped(task)["containers"][0]["exitCode"] == 0
    assert tasks.log(task) == ["hello world"]


def test_a_failing_command_stops_the_task_with_its_exit_code(tasks: Tasks) -> None:
    """The exit code is the command's, and its last words are logged before the task has stopped."""
    tasks.register()
    task = tasks.run(**code("import sys; sys.exit('this went wrong')"))
    assert tasks.stopped(task)["containers"][0]["exitCode"] == 1
    assert tasks.log(task) == ["this went wrong"]


def test_stop_task_asks_the_command_to_end(tasks: Tasks) -> None:
    """A command that obeys SIGTERM ends by itself, and the task has the caller's reason."""
    tasks.register()
    task = tasks.run(**code(OBEY))
    tasks.waiting(task)
    answer = tasks.ecs.stop_task(cluster=tasks.name, task=task, reason="enough")["task"]
    assert (answer["lastStatus"], answer["desiredStatus"]) == ("RUNNING", "STOPPED")
    ended = tasks.stopped(task)
    assert (ended["stopCode"], ended["stoppedReason"]) == ("UserInitiated", "enough")
    assert ended["containers"][0]["exitCode"] == 5


def test_stop_task_kills_what_does_not_end(tasks: Tasks) -> None:
    """After the definition's stop time-out the command is killed: 128 and SIGKILL's number."""
    tasks.register({"stopTimeout": 2})
    task = tasks.run(**code(IGNORE))
    tasks.waiting(task)
    tasks.ecs.stop_task(cluster=tasks.name, task=task)
    assert tasks.stopped(task)["containers"][0]["exitCode"] == 137


def test_spot_takes_the_capacity_of_a_task_back(tasks: Tasks) -> None:
    """The command is asked to end, and the task has AWS's words; it is described once stopped."""
    tasks.register()
    spot = {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}], "startedBy": "me"}
    task = tasks.run(request=spot, **code(OBEY))
    tasks.waiting(task)
    by_me = {"cluster": tasks.name, "startedBy": "me"}
    assert tasks.ecs.list_tasks(**by_me)["taskArns"] == [task]
    assert interrupt(tasks.aws, task) == 204
    ended = tasks.stopped(task)
    assert (ended["stopCode"], ended["stoppedReason"]) == (
        "SpotInterruption",
        "Your Spot Task was interrupted.",
    )
    assert (ended["capacityProviderName"], ended["startedBy"]) == ("FARGATE_SPOT", "me")
    assert ended["containers"][0]["exitCode"] == 5
    assert tasks.ecs.list_tasks(**by_me)["taskArns"] == []
    assert tasks.ecs.list_tasks(**by_me, desiredStatus="STOPPED")["taskArns"] == [task]
    assert interrupt(tasks.aws, task) == 404


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"arn": "task"}', '{"arn": "arn:aws:ecs"}'])
def test_an_interruption_names_what_it_interrupts(local_aws: Server, body: str) -> None:
    """Anything else is refused, and so are unknown services and paths."""
    url = f"{local_aws.url}/_local_aws/spot-interruptions"
    assert httpx.post(url, content=body, trust_env=False).status_code == 400
    assert interrupt(local_aws, f"arn:aws:s3:{REGION}:{ACCOUNT}:bucket") == 404
    assert httpx.get(url, trust_env=False).status_code == 404


def test_too_much_memory_kills_a_container(tasks: Tasks) -> None:
    """Its limit is the smaller one of the task and of the container, here the override's."""
    tasks.register()
    task = tasks.run(**code(f"fill = b'x' * 200 * 1024 * 1024; {WAIT}"), memory=64)
    ended = tasks.stopped(task)
    (container,) = ended["containers"]
    assert (container["exitCode"], container["reason"]) == (
        137,
        "OutOfMemoryError: Container killed due to memory usage",
    )
    assert ended["stopCode"] == "EssentialContainerExited"


def test_all_containers_end_with_an_essential_one(tasks: Tasks) -> None:
    """A companion that would run on is killed."""
    companion = {"name": "companion", "essential": False, **code(WAIT)}
    tasks.register({}, companion)
    ended = tasks.stopped(tasks.run())
    assert [container["exitCode"] for container in ended["containers"]] == [0, 137]


def test_a_missing_image_fails_the_task(tasks: Tasks) -> None:
    """It never starts, and the reason is AWS's word for it."""
    tasks.register({"image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/nothing:latest"})
    ended = tasks.stopped(tasks.run())
    assert ended["stopCode"] == "TaskFailedToStart"
    assert ended["stoppedReason"].startswith("CannotPullContainerError")


def test_a_missing_log_group_fails_the_task(tasks: Tasks) -> None:
    """As on AWS, a container whose output could not be logged does not start."""
    tasks.register()
    tasks.aws.client("logs").delete_log_group(logGroupName=tasks.name)
    ended = tasks.stopped(tasks.run())
    assert ended["stopCode"] == "TaskFailedToStart"
    assert f"log group {tasks.name} does not exist" in ended["stoppedReason"]


def test_the_tasks_of_a_service_are_records(tasks: Tasks) -> None:
    """They count as running, and nothing runs."""
    tasks.register(code(WAIT))
    tasks.ecs.create_service(
        cluster=tasks.name, serviceName="s", taskDefinition=tasks.name, desiredCount=1
    )
    (task,) = tasks.ecs.list_tasks(cluster=tasks.name)["taskArns"]
    assert tasks.describe(task)["lastStatus"] == "RUNNING"
    streams = tasks.aws.client("logs").describe_log_streams(logGroupName=tasks.name)["logStreams"]
    assert streams == []
