"""The environment under attack: the deployed stage of the demo, with three schedulers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from demo import paths
from demo.installation.dag_files import DagFile
from demo.installation.environment import Environment, sole_use
from demo.installation.outside_world import OutsideWorld
from demo.installation.project import Project
from demo.machine import process_table
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.machine.processes import Child, Children
from demo.screen import Screen
from lambda_executor.contract.names import EXECUTOR
from tests.chaos.attack.kinds import RETRIES, Spec
from tests.chaos.attack.recorder import Recorder
from tests.e2e import migration
from tests.support.reference_function import NAME, furnish_reference
from tests.support.tcp_relay import TcpRelay

HERE = Path(__file__).parent
#: Seconds without a heartbeat after which Airflow takes a scheduler for dead.
DEAD_AFTER_S = 20
#: Seconds without a heartbeat after which Airflow fails a running task.
TASK_DEAD_AFTER_S = 45
QUEUED_TIMEOUT_S = 120
CONCURRENCY = 8
#: Each has a results queue.
SCHEDULERS = 3
#: The same architecture for all, so that the stage builds one image.
ARM64 = {"architecture": "arm64"}
STAGE: Mapping[str, Any] = {
    "functions": [
        {"name": "default", "reserved_concurrency": CONCURRENCY, "timeout_s": 60, **ARM64},
        {
            "name": "short",
            "queues": ["short"],
            "reserved_concurrency": 3,
            "timeout_s": 12,
            "memory_mb": 1024,
            **ARM64,
        },
    ],
    "targets": [
        {"kind": "batch", "name": "batch", "queues": ["batch"], "timeout_s": 120, **ARM64},
        {
            "kind": "ecs",
            "name": "ecs",
            "queues": ["ecs"],
            "capacity": "fargate_spot",
            **ARM64,
        },
        {"kind": "microvm", "name": "microvm", "queues": ["microvm"]},
    ],
    "execution": {
        "results_queues": SCHEDULERS,
        "results_visibility_s": 20,
        "task_queued_timeout_s": QUEUED_TIMEOUT_S,
        "event_age_s": 60,
        "parallelism": 32,
    },
}
#: How the schedulers differ from those of the demo: what takes minutes takes seconds.
IMPATIENT = {
    "AIRFLOW__CORE__PARALLELISM": "32",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "10000",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": str(DEAD_AFTER_S),
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": str(QUEUED_TIMEOUT_S),
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(TASK_DEAD_AFTER_S),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
}


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds."""

    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Size:
        """Of a running process."""
        process = psutil.Process(pid)
        return cls(process.num_fds(), process.num_threads())


@dataclass(frozen=True, slots=True)
class Attacked:
    """What belongs to the executor that is attacked, ours or the reference's.

    Attributes:
        function: The name of the function that runs most tasks.
        results: The URL of its results queue.
        dead_letters: The URL of its dead-letter queue.
        role: The name of its schedulers' role.
    """

    function: str
    results: str
    dead_letters: str
    role: str

    @classmethod
    def ours(cls, outputs: Mapping[str, str]) -> Self:
        """The stage's."""
        names = ("FunctionName", "ResultsQueueUrl", "DeadLetterQueueUrl", "SchedulerRoleArn")
        function, results, dead_letters, role = (outputs[name] for name in names)
        return cls(function, results, dead_letters, role.rpartition("/")[2])

    @classmethod
    def of_reference(cls, settings: Mapping[str, str]) -> Self:
        """The reference's, by its own options."""
        names = ("FUNCTION_NAME", "QUEUE_URL", "DEAD_LETTER_QUEUE_URL")
        function, results, dead_letters = (
            settings[f"AIRFLOW__AWS_LAMBDA_EXECUTOR__{name}"] for name in names
        )
        return cls(function, results, dead_letters, f"{NAME}-scheduler")


@dataclass
class Site:
    """The running environment.

    Attributes:
        schedulers: Those that run, by name.
        paused: The names of those that are stopped.
        baseline: What each held when it had just started.
        began_s: When the attack began, in seconds since the epoch.
        held: Programs that were ended on purpose, and are not to be started again yet.
        settings: What all schedulers have beside the environment's own settings.
    """

    environment: Environment
    recorder: Recorder
    relay: TcpRelay
    attacked: Attacked
    settings: Mapping[str, str]
    schedulers: dict[str, Child] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    baseline: dict[str, Size] = field(default_factory=dict)
    held: set[Child] = field(default_factory=set)
    began_s: float = 0.0
    _rules: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _seed: int = 0
    _started: int = 0

    # ---- schedulers ----

    def start_scheduler(self) -> str:
        """Start one more scheduler; its name."""
        self._started += 1
        name = f"scheduler-{self._started}"
        # LocalExecutor's would be on a fixed port of every interface.
        program = self.environment.airflow.program("scheduler", "--skip-serve-logs")
        changed = {**program.environment, **self.settings}
        child = self.environment.control_plane.start(
            replace(program, name=f"airflow-{name}", environment=changed)
        )
        self.schedulers[name] = child
        return name

    def kill_scheduler(self, name: str) -> None:
        """Kill a scheduler with its children, as a lost machine would."""
        child = self.schedulers.pop(name)
        kill(child)
        self.forget(self.environment.control_plane, child)

    def measure_new(self) -> None:
        """Take the baseline of schedulers that have just started."""
        for name, child in self.schedulers.items():
            if name not in self.baseline and child.is_alive() and has_started(child):
                self.baseline[name] = Size.of(child.identity.pid)

    def revive(self) -> list[str]:
        """Start what has ended by itself again, as any service manager does; their names.

        Airflow's programs end if they lose their database in the middle of a transaction.
        """
        control_plane = self.environment.control_plane
        ended = [child for child in control_plane.dead() if child not in self.held]
        for child in ended:
            self.forget(control_plane, child)
            names = [name for name, each in self.schedulers.items() if each is child]
            for name in names:
                del self.schedulers[name]
                self.start_scheduler()
            if not names:
                control_plane.start(child.program)
        return [child.program.name for child in ended]

    # ---- other programs ----

    def child(self, name: str) -> tuple[Children, Child]:
        """A program of the environment, by its name."""
        for group in self.environment.groups:
            for child in group:
                if child.program.name == name:
                    return group, child
        raise KeyError(name)

    def restart(self, group: Children, child: Child) -> None:
        """Start a program again that has ended."""
        self.forget(group, child)
        group.start(child.program)

    @staticmethod
    def forget(group: Children, child: Child) -> None:
        """A program that was ended on purpose is not dead."""
        group.forget(child)

    @property
    def emulator(self) -> psutil.Process:
        """The process of the embedded AWS, whose descendants are the sandboxes."""
        (child,) = self.environment.cloud
        return psutil.Process(child.identity.pid)

    # ---- faults of the embedded AWS ----

    def seed(self, seed: int) -> None:
        """Set the seed of the rules."""
        self._seed = seed

    def add_rules(self, *rules: Mapping[str, Any]) -> None:
        """Let the embedded AWS break in these ways, too."""
        self._rules |= {rule["name"]: rule for rule in rules}
        self._put_rules()

    def remove_rules(self, *names: str) -> None:
        """End some of the ways; without a name all of them."""
        for name in names or list(self._rules):
            del self._rules[name]
        self._put_rules()

    def injected(self) -> dict[str, tuple[int, int]]:
        """For each rule, how many calls it has met and how many it has broken."""
        answer = self._faults("GET").json()
        return {rule["name"]: (rule["seen"], rule["injected"]) for rule in answer["rules"]}

    def _put_rules(self) -> None:
        self._faults("PUT", {"seed": self._seed, "rules": list(self._rules.values())})

    def _faults(self, method: str, body: object = None) -> httpx.Response:
        aws = self.environment.aws
        trust = ssl.create_default_context(cafile=aws.trust)
        url = f"{aws.endpoint}/_local_aws/faults"
        answer = httpx.request(method, url, json=body, verify=trust, trust_env=False, timeout=60)
        assert answer.is_success, answer.text
        return answer


def has_started(scheduler: Child) -> bool | None:
    """Whether a scheduler has begun to work; None: not yet."""
    return "Starting the scheduler" in scheduler.log.read_text() or None


def kill(child: Child) -> None:
    """Kill a program with all its descendants, without a signal before."""
    below = process_table.descendants(psutil.Process(child.identity.pid))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.identity.pid, signal.SIGKILL)
    process_table.kill(below)
    child.end()


def _executors(first: str) -> dict[str, str]:
    return {"AIRFLOW__CORE__EXECUTOR": f"{first},LocalExecutor"}


def project(plan: Sequence[Spec], folder: Path, recorder: Recorder) -> Project:
    """The plan's DAGs in a folder, and the stage that they need."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(HERE / "dags" / "attacked.py", folder)
    dags: dict[str, dict[str, list[float]]] = {}
    for spec in plan:
        dags.setdefault(spec.dag_id, {}).setdefault(spec.kind, []).append(spec.work_s)
    (folder / "attacked.json").write_text(json.dumps({"retries": RETRIES, "dags": dags}))
    return Project(
        [DagFile("attacked", tuple(dags), folder)],
        folder=folder,
        override=STAGE,
        variables={"ATTACK_RECORDER": recorder.address},
        outside=OutsideWorld(airflow_environment=_executors(EXECUTOR)),
    )


@contextlib.contextmanager
def running(
    home: paths.Home, plan: Sequence[Spec], screen: Screen, *, reference: bool = False
) -> Iterator[Site]:
    """The environment with three schedulers; it ends with the block.

    Args:
        home: Its folder.
        plan: Its tasks.
        screen: Shows the progress.
        reference: Use the reference's executor, and its function.
    """
    with sole_use(home), termination_as_interrupt(), contextlib.ExitStack() as stack:
        home.path.mkdir(parents=True, exist_ok=True)
        outside = home.path.parent / f"{home.path.name}-dags"
        recorder = stack.enter_context(Recorder(outside.with_suffix(".lines")).running())
        environment = Environment(home, project(plan, outside, recorder), screen)
        try:
            environment.start()
            port = int(environment.aws.endpoint.rpartition(":")[2])
            relay = stack.enter_context(TcpRelay.running(port))
            endpoint = f"https://127.0.0.1:{relay.port}"
            variables = {"ATTACK_RECORDER": recorder.address}
            theirs = furnish_reference(environment, CONCURRENCY, variables) if reference else {}
            settings = {
                **IMPATIENT,
                **theirs,
                **_executors(migration.REFERENCE if reference else EXECUTOR),
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ENDPOINT_URL_S3": endpoint,
            }
            attacked = (
                Attacked.of_reference(theirs) if reference else Attacked.ours(environment.outputs)
            )
            site = Site(environment, recorder, relay, attacked, settings)
            group, first = site.child("airflow-scheduler")
            first.end()
            site.forget(group, first)
            for _ in range(SCHEDULERS):
                site.start_scheduler()
            yield site
        finally:
            with interrupts_held_off():
                environment.end()
