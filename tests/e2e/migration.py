"""An environment made for `AwsLambdaExecutor`: not by our stacks, and it knows nothing of us.

A function, two queues, and an Airflow with options in `[aws_lambda_executor]` alone. The image is
the reference's own, as its documentation says: its `app.py` beside an installed Airflow.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import httpx

from demo import paths
from demo.installation import airflow_programs
from demo.installation.environment import REGION, free_port, sole_use
from demo.machine import embedded_aws, stand_in_image
from demo.machine import postgres as database
from demo.machine.embedded_aws import ACCOUNT, EmbeddedAws
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.machine.processes import Child, Children
from demo.outcome.airflow_api import FINAL, Api
from lambda_executor.contract.names import EXECUTOR
from local_aws.images.store import DESCRIPTION, ImageStore

T = TypeVar("T")

HOME = paths.Home(paths.ROOT / "build" / "migration")
DAGS = [Path(__file__).parent / "dags" / name for name in ("migration.py", "side_by_side.py")]
OURS = EXECUTOR
SIDE_BY_SIDE = f"LocalExecutor,lambda:{EXECUTOR}"
REFERENCE = "airflow.providers.amazon.aws.executors.aws_lambda.AwsLambdaExecutor"
REFERENCE_HANDLER = "airflow.providers.amazon.aws.executors.aws_lambda.docker.app"
#: An interpreter with what an image has: Airflow, boto3 and `awslambdaric`.
IMAGE_PYTHON = paths.ROOT / "build" / "venv" / "image" / "bin" / "python"
#: What the reference's executor asks of AWS; the scheduler's role allows nothing else.
CALLS_OF_REFERENCE = (
    *("lambda:GetFunction", "lambda:InvokeFunction", "sqs:GetQueueAttributes"),
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
)
#: What the reference's executor logs for each result, and each handler for each that was sent.
TAKEN_BY_REFERENCE = "Successful Lambda invocation for workload"
_SENT = re.compile(r'Sent result to SQS|"reported": ?true')
#: A folder, for a sandbox sees folders; a file in it opens the gate.
GATE = HOME.path / "gate"
#: Seconds without a heartbeat after which a scheduler counts as dead.
DEAD_AFTER_S = 10
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Site:
    """The running environment. Its scheduler comes and goes.

    Attributes:
        queues: URL by name: `results` and `dead`.
        function: The one that the environment was made with; it runs the reference's handler.
        variables: What a function needs to know of the environment.
    """

    aws: EmbeddedAws
    airflow: airflow_programs.Airflow
    schedulers: Children
    queues: Mapping[str, str]
    function: str
    variables: Mapping[str, str]

    def start_scheduler(self, name: str, executor: str, function: str | None = None) -> Child:
        """Start a scheduler with nothing changed but its executor, or its function too."""
        changed = {"AIRFLOW__CORE__EXECUTOR": executor}
        if function:
            changed["AIRFLOW__AWS_LAMBDA_EXECUTOR__FUNCTION_NAME"] = function
        return self._start("scheduler", name, changed)

    def start_dag_processor(self, name: str, executor: str) -> None:
        """Start one more, which accepts the DAGs whose tasks name these executors."""
        self._start("dag-processor", name, {"AIRFLOW__CORE__EXECUTOR": executor})

    def _start(self, kind: str, name: str, changed: Mapping[str, str]) -> Child:
        program = self.airflow.program(kind)
        environment = {**program.environment, **changed}
        return self.schedulers.start(
            replace(program, name=f"airflow-{kind}-{name}", environment=environment)
        )

    def messages_left(self) -> dict[str, int]:
        """Messages in each queue, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs = self.aws.client("sqs")
        return {
            name: sum(
                int(count)
                for count in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)[
                    "Attributes"
                ].values()
            )
            for name, url in self.queues.items()
        }

    def function_log(self, function: str) -> str:
        """Everything that a function has printed; kept beside the other logs."""
        pages = self.aws.client("logs").get_paginator("filter_log_events")
        text = "\n".join(
            event["message"]
            for page in pages.paginate(logGroupName=f"/aws/lambda/{function}")
            for event in page["events"]
        )
        (HOME.logs / f"function-{function}.log").write_text(text)
        return text

    def wait_until_taken(self, function: str, results: int) -> None:
        """Wait until a function has sent so many results and an executor has deleted them all.

        A task's state is final a moment before its handler reports.
        """

        def taken() -> bool | None:
            sent = len(_SENT.findall(self.function_log(function)))
            return (sent == results and not any(self.messages_left().values())) or None

        until(taken, f"{results} results of {function} are taken")

    def make_function_of_ours(self) -> str:
        """A function of our image, built from its Dockerfile, that answers to the same queue."""
        store = ImageStore(HOME.aws / "images")
        directory = store.new_directory()
        stand_in_image.build(
            paths.ROOT,
            paths.ROOT / "lambda_image" / "Dockerfile",
            directory,
            {"DAGS": str(HOME.dags.relative_to(paths.ROOT))},
        )
        # Where its DAGs are is the image's to know.
        variables = {k: v for k, v in self.variables.items() if not k.endswith("DAGS_FOLDER")}
        return make_function(self.aws, "our-image", _push(self.aws, store, directory), variables)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """The environment, up to a healthy Airflow without a scheduler; ends with the block."""
    with sole_use(HOME), termination_as_interrupt():
        groups = [Children(HOME.logs, outlive_us=False) for _ in range(4)]
        cloud, postgres, control_plane, schedulers = groups
        HOME.make_empty()
        for file in DAGS:
            shutil.copy(file, HOME.dags)
        GATE.mkdir()
        installation = database.Installation.make(HOME)
        try:
            aws = embedded_aws.start(cloud, HOME, REGION)
            address = database.Address(
                "127.0.0.1", free_port(), "airflow", "airflow", secrets.token_hex(16)
            )
            database.start(postgres, installation, address)
            yield _furnish(aws, address, control_plane, schedulers)
        finally:
            with interrupts_held_off():
                for group in reversed(groups):
                    group.end_all()
                shutil.rmtree(installation.folder, ignore_errors=True)


def api(site: Site) -> Api:
    """Its REST API, as soon as it answers."""

    def answer() -> Api | None:
        try:
            return Api(site.airflow.url)
        except httpx.TransportError:
            return None

    return until(answer, "the API server answers")


def crash(scheduler: Child) -> None:
    """Kill a scheduler and its children, as a lost machine would."""
    os.killpg(scheduler.identity.pid, signal.SIGKILL)
    scheduler.end()


def run(api: Api, dag_id: str) -> str:
    """Run a DAG to its end; its state."""
    start(api, dag_id)
    return end_of(api, dag_id)


def start(api: Api, dag_id: str) -> None:
    """Start a run of a DAG."""
    api.unpause(dag_id)
    api.trigger(dag_id)


def end_of(api: Api, dag_id: str) -> str:
    """Wait for the end of a DAG's run; its state."""

    def state() -> str | None:
        (run,) = (run for run in api.progress().runs if run.dag_id == dag_id)
        return run.state if run.state in FINAL else None

    return until(state, f"the run of {dag_id} ends")


def until(probe: Callable[[], T | None], what: str, timeout_s: float = TIMEOUT_S) -> T:
    """Ask a few times each second until there is an answer."""
    deadline_s = time.monotonic() + timeout_s
    while (answer := probe()) is None:
        assert time.monotonic() < deadline_s, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.2)
    return answer


def _furnish(
    aws: EmbeddedAws, address: database.Address, control_plane: Children, schedulers: Children
) -> Site:
    """What the reference's documentation tells its users to make and to set."""
    port = free_port()
    sqs = aws.client("sqs")
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("results", "dead")}
    variables = {
        "QUEUE_URL": queues["results"],
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__DAGS_FOLDER": str(HOME.dags),
        "MIGRATION_GATE": str(GATE),
    }
    image = reference_image(aws, ImageStore(HOME.aws / "images"), HOME.dags, GATE)
    function = make_function(aws, "reference-image", image, variables)
    options = {
        "FUNCTION_NAME": function,
        "QUEUE_URL": queues["results"],
        "DEAD_LETTER_QUEUE_URL": queues["dead"],
        "REGION_NAME": aws.region,
    }
    prefix = "AIRFLOW__AWS_LAMBDA_EXECUTOR__"
    first, *others = (f"{prefix}{name}={value}" for name, value in options.items())
    role_arn = _make_role(aws, "scheduler", *CALLS_OF_REFERENCE)
    as_scheduler = aws.environment_as(role_arn, HOME.airflow)
    settings = {
        **airflow_programs.settings(HOME, port, address.url, first, as_scheduler),
        **dict(other.split("=", 1) for other in others),
        "AIRFLOW__CORE__EXECUTOR": REFERENCE,
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": str(DEAD_AFTER_S),
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    }
    installed = airflow_programs.Airflow(HOME, port, settings)
    installed.migrate(control_plane)
    for name in ("api-server", "dag-processor"):
        control_plane.start(installed.program(name))
    return Site(aws, installed, schedulers, queues, function, variables)


def open_gate() -> None:
    """Let the task in flight end."""
    (GATE / "open").touch()


def reference_image(aws: EmbeddedAws, store: ImageStore, *folders: Path) -> str:
    """What the reference's Dockerfile makes: Airflow and its `app.py`; the image's URI.

    Its tasks read the folders where they are.
    """
    directory = store.new_directory()
    handler = importlib.util.find_spec(REFERENCE_HANDLER)
    assert handler
    assert handler.origin
    shutil.copy(handler.origin, directory / "app.py")
    described = {
        "command": [str(IMAGE_PYTHON), "-m", "awslambdaric", "app.lambda_handler"],
        "working_directory": str(directory),
        "readable": [str(IMAGE_PYTHON.parents[1]), *map(str, folders)],
        "environment": {
            # It starts `python` for each task.
            "PATH": f"{IMAGE_PYTHON.parent}:{os.defpath}",
            # As its Dockerfile has them: nothing else can be written to.
            "AIRFLOW_HOME": "/tmp/airflow-of-reference",
            "HOME": "/tmp/home-of-reference",
            # Airflow starts no task as a user without a name, and its Dockerfile names none.
            "LOGNAME": "lambda",
        },
    }
    (directory / DESCRIPTION).write_text(json.dumps(described))
    return _push(aws, store, directory)


def _push(aws: EmbeddedAws, store: ImageStore, directory: Path) -> str:
    repository, tag = directory.name, "latest"
    ecr = aws.client("ecr")
    ecr.create_repository(repositoryName=repository)
    ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=json.dumps({"of": tag}))
    store.name(f"{repository}:{tag}", directory)
    return f"{ACCOUNT}.dkr.ecr.{aws.region}.amazonaws.com/{repository}:{tag}"


def _make_role(aws: EmbeddedAws, name: str, *actions: str) -> str:
    """A role that may do no more than that; its ARN."""
    iam = aws.client("iam")
    anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    trust, policy = (
        json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        for statement in (anybody, allowed)
    )
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=policy)
    arn: str = role["Role"]["Arn"]
    return arn


def make_function(aws: EmbeddedAws, name: str, image: str, variables: Mapping[str, str]) -> str:
    """A function that may send results; its name."""
    role_arn = _make_role(aws, name, "sqs:SendMessage")
    aws.client("lambda").create_function(
        FunctionName=name,
        Role=role_arn,
        PackageType="Image",
        Code={"ImageUri": image},
        Environment={"Variables": dict(variables)},
        Timeout=300,
        MemorySize=2048,
    )
    return name
