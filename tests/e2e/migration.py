"""An environment made for `AwsLambdaExecutor`: not by our stacks, and it knows nothing of us.

A function, two queues, and an Airflow with options in `[aws_lambda_executor]` alone. The image is
the reference's own, as its documentation says: its `app.py` beside an installed Airflow. At last
ours runs beside three other executors, the reference's among them.
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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import httpx

from demo import paths
from demo.installation import airflow_programs
from demo.installation.environment import REGION, free_port, sole_use
from demo.machine import embedded_aws, stand_in_image
from demo.machine import postgres as database
from demo.machine.embedded_aws import ACCOUNT, EmbeddedAws
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.machine.processes import Child, Children, Program
from demo.outcome.airflow_api import FINAL, Api
from lambda_executor.contract.names import EXECUTOR
from local_aws.images.store import DESCRIPTION, ImageStore
from tests.support.waiting import until

HOME = paths.Home(paths.ROOT / "build" / "migration")
DAGS = [Path(__file__).parent / "dags" / name for name in ("migration.py", "side_by_side.py")]
OURS = EXECUTOR
REFERENCE = "airflow.providers.amazon.aws.executors.aws_lambda.AwsLambdaExecutor"
SIDE_BY_SIDE = f"LocalExecutor,celery:CeleryExecutor,provider:{REFERENCE},lambda:{EXECUTOR}"
#: The function that `make_function_of_ours` makes.
OUR_FUNCTION = "our-image"
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
SENT = re.compile(r'Sent result to SQS|"reported": ?true')
#: A folder, for a sandbox sees folders; a file in it opens the gate.
GATE = HOME.path / "gate"
#: Seconds without a heartbeat after which a scheduler counts as dead.
DEAD_AFTER_S = 10
TIMEOUT_S = 120.0
#: How a task ends must not depend on how busy this machine is.
SLOW_MACHINE = {"AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60"}
#: One process, and nothing that talks to other workers.
CELERY_ARGUMENTS = (
    *("--concurrency", "1", "--skip-serve-logs"),
    *("--without-gossip", "--without-mingle"),
)


@dataclass(frozen=True)
class Site:
    """The running environment. Its scheduler comes and goes.

    Attributes:
        queues: URL by name: `results` and `dead`, and those of ours beside the reference.
        function: The one that the environment was made with; it runs the reference's handler.
        image: The URI of that function's image.
        variables: What a function needs to know of the environment.
        database_url: Of Airflow's database, in which Celery keeps its results too.
    """

    aws: EmbeddedAws
    airflow: airflow_programs.Airflow
    schedulers: Children
    queues: Mapping[str, str]
    function: str
    image: str
    variables: Mapping[str, str]
    database_url: str

    def start_scheduler(self, name: str, executor: str, function: str | None = None) -> Child:
        """Start a scheduler with nothing changed but its executor, or its function too."""
        changed = {"AIRFLOW__CORE__EXECUTOR": executor}
        if function:
            changed["AIRFLOW__AWS_LAMBDA_EXECUTOR__FUNCTION_NAME"] = function
        return self.start_program("scheduler", name, changed)

    def start_side_by_side(self, name: str, ours: str) -> tuple[Child, str]:
        """Start a scheduler with four executors and what they need; the reference's function.

        Ours gets a function and queues of its own. A function of the reference's handler refuses a
        DAG file that names an executor which is not in its own list.
        """
        broker = self.airflow.home.path / "broker"
        broker.mkdir()
        shared = {
            "AIRFLOW__CORE__EXECUTOR": SIDE_BY_SIDE,
            "AIRFLOW__CELERY__BROKER_URL": "filesystem://",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self.database_url}",
            **{
                f"AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__{name}": str(broker)
                for name in ("DATA_FOLDER_IN", "DATA_FOLDER_OUT", "CONTROL_FOLDER")
            },
        }
        theirs = "reference-beside-us"
        names = {"AIRFLOW__CORE__EXECUTOR": SIDE_BY_SIDE}
        make_function(self.aws, theirs, self.image, {**self.variables, **names})
        self.start_program("dag-processor", name, shared)
        worker = self.airflow.program("celery", "worker", *CELERY_ARGUMENTS)
        self._start(worker, name, {**shared, "PLACE": "worker"})
        own = "AIRFLOW__LAMBDA_EXECUTOR__"
        options = {
            "AIRFLOW__AWS_LAMBDA_EXECUTOR__FUNCTION_NAME": theirs,
            f"{own}FUNCTION_NAME": ours,
            f"{own}QUEUE_URL": self.queues["our-results"],
            f"{own}DEAD_LETTER_QUEUE_URL": self.queues["our-dead"],
        }
        return self.start_program("scheduler", name, {**shared, **options}), theirs

    def start_program(self, kind: str, name: str, changed: Mapping[str, str]) -> Child:
        """Start one of Airflow's programs with some of its variables changed."""
        return self._start(self.airflow.program(kind), name, changed)

    def _start(self, program: Program, name: str, changed: Mapping[str, str]) -> Child:
        environment = {**program.environment, **changed}
        return self.schedulers.start(
            replace(program, name=f"{program.name}-{name}", environment=environment)
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
        (self.airflow.home.logs / f"function-{function}.log").write_text(text)
        return text

    def wait_until_taken(self, function: str, results: int) -> None:
        """Wait until a function has sent so many results and an executor has deleted them all.

        A task's state is final a moment before its handler reports.
        """

        def taken() -> bool | None:
            sent = len(SENT.findall(self.function_log(function)))
            return (sent == results and not any(self.messages_left().values())) or None

        until(taken, f"{results} results of {function} are taken", TIMEOUT_S)

    def make_image_of_ours(self) -> str:
        """Our image, built from its Dockerfile; its URI."""
        home = self.airflow.home
        store = ImageStore(home.aws / "images")
        directory = store.new_directory()
        stand_in_image.build(
            paths.ROOT,
            paths.ROOT / "lambda_image" / "Dockerfile",
            directory,
            {"DAGS": str(home.dags.relative_to(paths.ROOT))},
        )
        return _push(self.aws, store, directory)

    @property
    def variables_of_ours(self) -> dict[str, str]:
        """What our image needs to know of the environment; where its DAGs are it knows."""
        return {k: v for k, v in self.variables.items() if not k.endswith("DAGS_FOLDER")}

    def make_function_of_ours(self, image: str | None = None) -> str:
        """A function of our image that answers to the same queue."""
        uri = image or self.make_image_of_ours()
        return make_function(self.aws, OUR_FUNCTION, uri, self.variables_of_ours)


@contextlib.contextmanager
def site(
    home: paths.Home = HOME,
    files: Iterable[Path] = DAGS,
    changed: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Site]:
    """The environment, up to a healthy Airflow without a scheduler; ends with the block.

    Args:
        home: Its folder.
        files: The DAG files and folders.
        changed: Variables of all of Airflow's programs that are different.
    """
    with sole_use(home), termination_as_interrupt():
        groups = [Children(home.logs, outlive_us=False) for _ in range(4)]
        cloud, postgres, control_plane, schedulers = groups
        home.make_empty()
        for file in files:
            copy = shutil.copytree if file.is_dir() else shutil.copy
            copy(file, home.dags / file.name)
        (home.path / GATE.name).mkdir()
        installation = database.Installation.make(home)
        try:
            aws = embedded_aws.start(cloud, home, REGION)
            address = database.Address(
                "127.0.0.1", free_port(), "airflow", "airflow", secrets.token_hex(16)
            )
            database.start(postgres, installation, address)
            yield _furnish(home, aws, address, control_plane, schedulers, changed=changed)
        finally:
            with interrupts_held_off():
                for group in reversed(groups):
                    group.end_all()
                shutil.rmtree(installation.folder, ignore_errors=True)


def api(site: Site) -> Api:
    """Its REST API, as soon as it answers, and the Execution API too."""

    def answer() -> Api | None:
        try:
            return Api(site.airflow.url)
        except httpx.TransportError:
            return None

    found = until(answer, "the API server answers", TIMEOUT_S)
    until(site.airflow.serves_functions, "it answers on its Execution API", TIMEOUT_S)
    return found


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

    return until(state, f"the run of {dag_id} ends", TIMEOUT_S)


def _furnish(  # noqa: PLR0913 - the parts of an environment
    home: paths.Home,
    aws: EmbeddedAws,
    address: database.Address,
    control_plane: Children,
    schedulers: Children,
    *,
    changed: Mapping[str, str],
) -> Site:
    """What the reference's documentation tells its users to make and to set."""
    port = free_port()
    sqs = aws.client("sqs")
    names = ("results", "dead", "our-results", "our-dead")
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in names}
    variables = {
        "QUEUE_URL": queues["results"],
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home.dags),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        **SLOW_MACHINE,
        "MIGRATION_GATE": str(home.path / GATE.name),
    }
    image = reference_image(aws, ImageStore(home.aws / "images"), home.dags, home.path / GATE.name)
    function = make_function(aws, "reference-image", image, variables)
    options = {
        "FUNCTION_NAME": function,
        "QUEUE_URL": queues["results"],
        "DEAD_LETTER_QUEUE_URL": queues["dead"],
        "REGION_NAME": aws.region,
    }
    prefix = "AIRFLOW__AWS_LAMBDA_EXECUTOR__"
    first, *others = (f"{prefix}{name}={value}" for name, value in options.items())
    role_arn = make_role(aws, "scheduler", *CALLS_OF_REFERENCE)
    as_scheduler = aws.environment_as(role_arn, home.airflow)
    settings = {
        **airflow_programs.settings(home, port, address.url, first, as_scheduler),
        **dict(other.split("=", 1) for other in others),
        "AIRFLOW__CORE__EXECUTOR": REFERENCE,
        **SLOW_MACHINE,
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": str(DEAD_AFTER_S),
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
        **changed,
    }
    installed = airflow_programs.Airflow(home, port, settings)
    installed.migrate(control_plane)
    for name in ("api-server", "dag-processor"):
        control_plane.start(installed.program(name))
    return Site(aws, installed, schedulers, queues, function, image, variables, address.url)


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


def make_role(aws: EmbeddedAws, name: str, *actions: str) -> str:
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
    role_arn = make_role(aws, name, "sqs:SendMessage")
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
