"""The embedded AWS as a subprocess, and functions whose handler is `local_aws_handlers.py`.

Sessions share a server; every test makes its own functions and queues.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import boto3
import httpx
import pytest
from botocore.config import Config

from local_aws.images.store import ImageStore

_T = TypeVar("_T")

ROOT = Path(__file__).parents[2]
SERVER_PYTHON = ROOT / "build/venv/local-aws/bin/python"
RUNTIME_PYTHON = ROOT / "build/venv/image/bin/python"
REGION = "us-east-1"
ACCOUNT = "000000000000"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
DEADLINE_S = 90.0

#: Nothing of the machine's own AWS settings reaches the programs under test.
CLEAN_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Server:
    """A running embedded AWS.

    Args:
        state_dir: Its state.
        options: More command-line options.
        trust: The certificate, if it serves TLS.
        program: Python's arguments that run it.
    """

    def __init__(
        self,
        state_dir: Path,
        *options: str,
        trust: Path | None = None,
        program: tuple[str, str] = ("-m", "local_aws"),
    ) -> None:
        self.state_dir = state_dir
        self.trust = trust
        self.process = subprocess.Popen(
            [
                *(str(SERVER_PYTHON), *program, "--port", "0"),
                *("--state-dir", str(state_dir), "--retry-delay", "0.05", *options),
            ],
            cwd=ROOT,
            env=CLEAN_ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        assert ready.startswith(f"embedded AWS ready: http{'s' if trust else ''}://127.0.0.1:"), (
            ready
        )
        self.url = ready.rpartition(" ")[2].strip()
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """A boto3 client of the account's root."""
        if service not in self._clients:
            self._clients[service] = client(service, self.url, "test", "test", trust=self.trust)
        return self._clients[service]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        for boto_client in self._clients.values():
            boto_client.close()
        self.process.send_signal(number)
        with self.process:
            return self.process.wait(DEADLINE_S)

    def image(self, *command: str, tag: str = "", **changes: object) -> str:
        """Push an image that runs a handler of the tests; return its URI."""
        repository, tag = "handlers", tag or uuid.uuid4().hex
        store = ImageStore(self.state_dir / "images")
        directory = store.new_directory()
        described = {
            "command": [str(RUNTIME_PYTHON), "-m", "awslambdaric", *command],
            "working_directory": str(Path(__file__).parent),
            "environment": {"PYTHONDONTWRITEBYTECODE": "1"},
            "readable": [str(ROOT)],
            # The tests' handlers write files beside the server's state.
            "writable": [str(self.state_dir.parent)],
            **changes,
        }
        (directory / "image.json").write_text(json.dumps(described))
        ecr = self.client("ecr")
        with contextlib.suppress(ecr.exceptions.RepositoryAlreadyExistsException):
            ecr.create_repository(repositoryName=repository)
        ecr.put_image(
            repositoryName=repository, imageTag=tag, imageManifest=json.dumps(str(directory))
        )
        store.name(f"{repository}:{tag}", directory)
        return f"{REGISTRY}/{repository}:{tag}"

    def function(
        self, handler: str = "local_aws_handlers.handle", *, name: str = "", **settings: Any
    ) -> Function:
        """Make a function with its own role."""
        name = name or f"f-{uuid.uuid4().hex[:12]}"
        role = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        self.client("lambda").create_function(
            FunctionName=name,
            Role=role["Role"]["Arn"],
            PackageType="Image",
            **{"Code": {"ImageUri": self.image(handler)}, "Timeout": 10, **settings},
        )
        return Function(self, name)

    def queue(self) -> Queue:
        """Make a queue."""
        name = f"q-{uuid.uuid4().hex[:12]}"
        url = self.client("sqs").create_queue(QueueName=name)["QueueUrl"]
        return Queue(self, url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")

    def deploy(self, template: dict[str, Any]) -> Stack:
        """Create a CloudFormation stack."""
        name = f"s-{uuid.uuid4().hex[:12]}"
        self.client("cloudformation").create_stack(
            StackName=name, TemplateBody=json.dumps(template)
        )
        return Stack(self, name)


@dataclass(frozen=True)
class Function:
    """A function of a server."""

    server: Server
    name: str

    @property
    def client(self) -> Any:
        """The Lambda client."""
        return self.server.client("lambda")

    def invoke(self, event: Any = None, **options: Any) -> dict[str, Any]:
        """Invoke it and return the answer, with the payload parsed."""
        answer = self.client.invoke(
            FunctionName=self.name, Payload=json.dumps(event or {}), **options
        )
        payload = answer["Payload"].read()
        return {**answer, "Payload": json.loads(payload) if payload else None}

    def invoke_async(self, event: Any = None, **options: Any) -> str:
        """Invoke it asynchronously and return the request id."""
        answer = self.invoke(event, InvocationType="Event", **options)
        assert answer["StatusCode"] == 202
        request_id: str = answer["ResponseMetadata"]["RequestId"]
        return request_id

    def gated(self, threads: ThreadPoolExecutor, gate: Path) -> Future[dict[str, Any]]:
        """Start an invocation that waits for a file; return once the handler runs."""
        entered = gate.with_name(f"entered-{uuid.uuid4().hex}")
        answer = threads.submit(self.invoke, {"enter": str(entered), "wait_for": str(gate)})
        eventually(lambda: entered.exists() or None)
        return answer

    def reserve(self, concurrency: int) -> None:
        """Set the reserved concurrency."""
        self.client.put_function_concurrency(
            FunctionName=self.name, ReservedConcurrentExecutions=concurrency
        )

    def retry(self, attempts: int, **options: Any) -> None:
        """Set the async retries."""
        self.client.put_function_event_invoke_config(
            FunctionName=self.name, MaximumRetryAttempts=attempts, **options
        )

    def processes(self) -> list[int]:
        """The process ids of all of its environments."""
        named = f"\0AWS_LAMBDA_FUNCTION_NAME={self.name}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                environment = b"\0" + path.read_bytes()
                # The sandbox's own first process has no Runtime API.
                if named in environment and b"\0AWS_LAMBDA_RUNTIME_API=" in environment:
                    found.append(int(path.parent.name))
        return found

    def states(self) -> list[str]:
        """The state of each of its processes, a letter; `T`: stopped."""
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in self.processes()]
        return [stat.rpartition(")")[2].split()[0] for stat in stats]

    def log_lines(self) -> list[tuple[str, str]]:
        """Stream and message of every line of its log group."""
        events = self.server.client("logs").filter_log_events(
            logGroupName=f"/aws/lambda/{self.name}"
        )["events"]
        return [(event["logStreamName"], event["message"]) for event in events]


@dataclass(frozen=True)
class Queue:
    """A queue of a server."""

    server: Server
    url: str
    arn: str

    def receive(self) -> dict[str, Any]:
        """Receive the next message, with its attributes as strings."""
        messages = self.server.client("sqs").receive_message(
            QueueUrl=self.url, WaitTimeSeconds=10, MessageAttributeNames=["All"]
        )
        (message,) = messages["Messages"]
        attributes = message.get("MessageAttributes", {})
        return {
            "body": json.loads(message["Body"]),
            **{name: value["StringValue"] for name, value in attributes.items()},
        }


@dataclass(frozen=True)
class Stack:
    """A CloudFormation stack of a server."""

    server: Server
    name: str

    def describe(self) -> dict[str, Any]:
        """Describe the stack once nothing is in progress."""
        formation = self.server.client("cloudformation")

        def settled() -> dict[str, Any] | None:
            stack: dict[str, Any] = formation.describe_stacks(StackName=self.name)["Stacks"][0]
            return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

        return eventually(settled)

    @property
    def status(self) -> str:
        """Its settled status."""
        return str(self.describe()["StackStatus"])

    def delete(self) -> str:
        """Delete it and return its last status."""
        formation = self.server.client("cloudformation")
        stack_id = self.describe()["StackId"]
        formation.delete_stack(StackName=self.name)

        def deleted() -> str | None:
            (status,) = (
                stack["StackStatus"]
                for stack in formation.list_stacks()["StackSummaries"]
                if stack["StackId"] == stack_id
            )
            return status if status in {"DELETE_COMPLETE", "DELETE_FAILED"} else None

        return eventually(deleted)

    def output(self, key: str) -> str:
        """The value of an output."""
        outputs = {o["OutputKey"]: o["OutputValue"] for o in self.describe()["Outputs"]}
        return str(outputs[key])


def client(  # noqa: PLR0913 - boto3's own
    service: str,
    url: str,
    key: str,
    secret: str,
    token: str | None = None,
    *,
    trust: Path | None = None,
) -> Any:
    """A boto3 client of the embedded AWS with the given credentials."""
    make: Callable[..., Any] = _session().client
    return make(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        verify=str(trust) if trust else None,
        # Without retries; and some tests send requests that boto3 would refuse.
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


def inject(server: Server, *rules: dict[str, Any], seed: int = 0) -> None:
    """Put rules of faults in force, instead of those before; without rules: none."""
    answer = httpx.put(
        f"{server.url}/_local_aws/faults",
        json={"seed": seed, "rules": rules},
        trust_env=False,
        verify=_trusting(server),
    )
    assert answer.status_code == 204, answer.text


def injected(server: Server) -> dict[str, tuple[int, int]]:
    """By the name of each rule: the calls that it has seen, and the faults that it has injected."""
    url = f"{server.url}/_local_aws/faults"
    answer = httpx.get(url, trust_env=False, verify=_trusting(server)).json()
    return {rule["name"]: (rule["seen"], rule["injected"]) for rule in answer["rules"]}


def _trusting(server: Server) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=server.trust) if server.trust else False


def interrupt(server: Server, arn: str) -> int:
    """Let Spot take the capacity of a task or job back; the status of the answer."""
    url = f"{server.url}/_local_aws/spot-interruptions"
    return httpx.post(url, json={"arn": arn}, trust_env=False).status_code


@cache
def _session() -> boto3.session.Session:
    """One session, so that boto3 reads the services' descriptions once."""
    return boto3.session.Session()


def eventually(probe: Callable[[], _T | None]) -> _T:
    """Call the probe until it answers."""
    deadline_s = time.monotonic() + DEADLINE_S
    while (found := probe()) is None:
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)
    return found


def wait_for_exit(pids: list[int]) -> None:
    """Wait for the end of processes, which need not be our children."""
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([fd], [], [], DEADLINE_S)[0], f"process {pid} lives on"
        finally:
            os.close(fd)


@cache
def missing() -> str | None:
    """The reason why these tests cannot run; None: they can."""
    for python in (SERVER_PYTHON, RUNTIME_PYTHON):
        if not python.exists():
            return f"{python.relative_to(ROOT)} is missing: `make setup` creates it"
    return None


def _serve(tmp_path_factory: pytest.TempPathFactory, *options: str) -> Iterator[Server]:
    if reason := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Server(tmp_path_factory.mktemp("local-aws"), *options)
    try:
        yield server
    finally:
        assert server.stop() == 0


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded AWS."""
    yield from _serve(tmp_path_factory)


@pytest.fixture(scope="session")
def strict_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded AWS with low limits and plain processes."""
    yield from _serve(
        tmp_path_factory,
        *("--init-timeout", "1", "--scaling-rate", "2", "--duplicate-every", "3"),
        *("--sandbox", "process"),
    )


@pytest.fixture(scope="session")
def bare_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded AWS without any of its fixes of ministack."""
    yield from _serve(tmp_path_factory, "--without-fix", "all")


@pytest.fixture(scope="session")
def enforcing_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded AWS with permissions enforced."""
    yield from _serve(tmp_path_factory, "--auth")


@pytest.fixture(scope="session")
def bare_enforcing_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded AWS with permissions enforced, without any of its fixes."""
    yield from _serve(tmp_path_factory, "--auth", "--without-fix", "all")
