"""One executor in a process of its own, driven as the scheduler drives it, and timed.

`python -m tests.bench.subject '<Orders as JSON>'`: it starts the executor, says `ready`, goes on
when it reads a line, and writes its figures as one line of JSON. The process is what is measured,
so the fake AWS and whoever compares are elsewhere.
"""

from __future__ import annotations

import gc
import json
import math
import os
import random
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.bench.fake_aws import BUCKET

Name = Literal["ours", "reference", "reference-batch", "reference-ecs"]

#: An urgent task, and a callback.
URGENT = 2
#: How long one measurement may take before what is there is taken as the result.
GIVE_UP_S = 60.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What to do.

    Attributes:
        executor: Which executor.
        endpoint_url: The fake AWS.
        workloads: How many to queue.
        workloads_per_s: Queued at this rate; 0: all before the first heartbeat.
        beat_s: Seconds between two heartbeats.
        scheduler: The id of the scheduler's job.
        results_queues: How many results queues the schedulers share, each with one of its own.
        idle_s: Seconds to go on without workloads.
        seed: Of the order of priorities.
        parallelism: `[core] parallelism`; 0: more than any measurement has.
        max_in_flight: The option of that name; empty: it is not set.
        urgent_s: Seconds into the measurement after which, each as long after the one before, an
            urgent task and a callback join the others; 0: none do.
        queues: The queues of the workloads, in turns.
    """

    executor: Name
    endpoint_url: str
    workloads: int = 0
    workloads_per_s: float = 0.0
    beat_s: float = 0.02
    scheduler: int = 0
    results_queues: int = 1
    idle_s: float = 0.0
    seed: int = 0
    parallelism: int = 0
    max_in_flight: str = ""
    urgent_s: float = 0.0
    queues: tuple[str, ...] = ("default",)


#: The targets of the queues `batch`, `ecs` and `microvm`, and the first two for the reference's
#: executors.
TARGETS = {
    "batch": {"batch": {"jobQueue": "bench", "jobDefinition": "bench"}},
    "ecs": {
        "ecs": {"cluster": "bench", "taskDefinition": "bench", "containerName": "task"},
    },
    "microvm": {
        "microvm": {
            "imageIdentifier": "arn:aws:lambda:eu-west-1:000000000000:microvm-image:bench",
            "executionRoleArn": "arn:aws:iam::000000000000:role/bench",
            "maximumDurationInSeconds": 3600,
        },
    },
}
REFERENCE_SECTIONS = {
    "AWS_BATCH_EXECUTOR": {"JOB_NAME": "bench", "JOB_QUEUE": "bench", "JOB_DEFINITION": "bench"},
    "AWS_ECS_EXECUTOR": {
        "CLUSTER": "bench",
        "TASK_DEFINITION": "bench",
        "CONTAINER_NAME": "task",
        "LAUNCH_TYPE": "FARGATE",
    },
}


@dataclass(slots=True)
class Figures:
    """What came of it.

    Attributes:
        seconds: From the first heartbeat to the last event.
        succeeded: Events of success.
        failed: Events of failure.
        heartbeats_s: Every heartbeat's duration.
        processor_s: Processor time of the process, all threads, driver included.
        memory_mb: Resident memory before the first and after the last workload.
        events_at_s: By task key on the wire, when its event was in the buffer.
        urgent_at_s: By task key on the wire, when an urgent task or a callback joined.
    """

    seconds: float = 0.0
    succeeded: int = 0
    failed: int = 0
    heartbeats_s: list[float] = field(default_factory=list)
    processor_s: float = 0.0
    memory_mb: tuple[float, float] = (0.0, 0.0)
    events_at_s: dict[str, float] = field(default_factory=dict)
    urgent_at_s: dict[str, float] = field(default_factory=dict)


def configure(orders: Orders) -> None:
    """Set Airflow and AWS up by the environment, before either is imported."""
    url = orders.endpoint_url
    queues = [f"{url}/000000000000/results-{n}" for n in range(orders.results_queues)]
    for section in ("LAMBDA_EXECUTOR", "AWS_LAMBDA_EXECUTOR"):
        os.environ[f"AIRFLOW__{section}__FUNCTION_NAME"] = "bench"
        os.environ[f"AIRFLOW__{section}__QUEUE_URL"] = queues[0]
        os.environ[f"AIRFLOW__{section}__DEAD_LETTER_QUEUE_URL"] = f"{url}/000000000000/dead"
    os.environ["AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URLS"] = json.dumps(queues)
    os.environ["AIRFLOW__LAMBDA_EXECUTOR__MAX_IN_FLIGHT"] = orders.max_in_flight
    if set(orders.queues) & set(TARGETS):
        os.environ["AIRFLOW__LAMBDA_EXECUTOR__TARGETS"] = json.dumps(TARGETS)
        os.environ["AIRFLOW__LAMBDA_EXECUTOR__PAYLOAD_BUCKET"] = BUCKET
    if orders.executor.startswith("reference-"):
        for section, options in REFERENCE_SECTIONS.items():
            os.environ |= {f"AIRFLOW__{section}__{k}": v for k, v in options.items()}
    os.environ |= {
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_executor(orders: Orders) -> Any:
    """The executor, not started."""
    executor: Any
    if orders.executor == "ours":
        from lambda_executor import LambdaExecutor  # noqa: PLC0415 - after `configure`

        executor = LambdaExecutor(parallelism=orders.parallelism or 1_000_000)
    elif orders.executor == "reference-batch":
        from airflow.providers.amazon.aws.executors.batch.batch_executor import (  # noqa: PLC0415 - after `configure`
            AwsBatchExecutor,
        )

        executor = AwsBatchExecutor(parallelism=1_000_000)  # type: ignore[no-untyped-call]
    elif orders.executor == "reference-ecs":
        from airflow.providers.amazon.aws.executors.ecs.ecs_executor import (  # noqa: PLC0415 - after `configure`
            AwsEcsExecutor,
        )

        executor = AwsEcsExecutor(parallelism=1_000_000)  # type: ignore[no-untyped-call]
    else:
        from airflow.providers.amazon.aws.executors.aws_lambda.lambda_executor import (  # noqa: PLC0415 - after `configure`
            AwsLambdaExecutor,
        )

        executor = AwsLambdaExecutor(parallelism=1_000_000)  # type: ignore[no-untyped-call]
    executor.job_id = orders.scheduler
    return executor


def make_workloads(count: int, seed: int, queues: Sequence[str] = ("default",)) -> list[Any]:
    """Tasks as the scheduler queues them, with a token of a usual size."""
    from airflow.executors.workloads import ExecuteTask  # noqa: PLC0415 - after `configure`

    chance = random.Random(seed)
    return [
        ExecuteTask.model_validate(
            {
                "token": "t" * 600,
                "dag_rel_path": "dag.py",
                "bundle_info": {"name": "dags-folder", "version": None},
                "log_path": f"dag_id=bench/run_id=bench/task_id=task_{n}/attempt=1.log",
                "ti": {
                    "id": str(uuid.uuid4()),
                    "dag_version_id": str(uuid.uuid4()),
                    "task_id": f"task_{n}",
                    "dag_id": "bench",
                    "run_id": "bench",
                    "try_number": 1,
                    "map_index": -1,
                    "pool_slots": 1,
                    "queue": queues[n % len(queues)],
                    "priority_weight": chance.randrange(10),
                    "external_executor_id": str(uuid.uuid4()),
                },
            }
        )
        for n in range(count)
    ]


def wire_key(name: Name, workload: Any) -> str:
    """What names the workload's invocation on the wire."""
    if not hasattr(workload, "ti"):
        return str(workload.callback.id)
    if name == "ours":
        return str(workload.ti.external_executor_id)
    if name != "reference":
        return str(workload.ti.id)
    return json.dumps(workload.ti.key._asdict())


def make_callback() -> Any:
    """An executor callback, as a missed deadline makes it."""
    from airflow.executors.workloads import ExecuteCallback  # noqa: PLC0415 - after `configure`

    return ExecuteCallback.model_validate(
        {
            "token": "t" * 600,
            "dag_rel_path": "dag.py",
            "bundle_info": {"name": "dags-folder", "version": None},
            "log_path": "callback.log",
            "callback": {
                "id": str(uuid.uuid4()),
                "fetch_method": "import_path",
                "data": {"path": "builtins.print", "kwargs": {}},
            },
        }
    )


def _priority(workload: Any) -> float:
    return workload.ti.priority_weight if hasattr(workload, "ti") else math.inf


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Drive:
    """The scheduler's side: queues, beats, takes events."""

    def __init__(self, orders: Orders, executor: Any) -> None:
        self._orders = orders
        self._executor = executor
        self._figures = Figures()

    def run(self, workloads: list[Any]) -> Figures:
        """Queue all workloads and beat until each has its event."""
        names = {w.ti.key: wire_key(self._orders.executor, w) for w in workloads}
        before_mb = memory_mb()
        before_s = time.process_time()
        began_s = time.monotonic()
        queued = 0
        while len(self._figures.events_at_s) < len(workloads):
            elapsed_s = time.monotonic() - began_s
            if elapsed_s > GIVE_UP_S:
                break
            rate = self._orders.workloads_per_s
            due = min(len(workloads), int(elapsed_s * rate) + 1) if rate else len(workloads)
            for workload in workloads[queued:due]:
                self._executor.queue_workload(workload, session=None)
            queued = due
            self._beat(names)
            time.sleep(self._orders.beat_s)
        self._figures.seconds = time.monotonic() - began_s
        self._figures.processor_s = time.process_time() - before_s
        self._figures.memory_mb = (before_mb, memory_mb())
        return self._figures

    def run_in_order(self, backlog: list[Any]) -> Figures:
        """Hand the backlog over as the scheduler does: in each loop what has slots, by priority.

        The urgent task and the callback are those of the highest priority, and join late.
        """
        executor, urgent_s = self._executor, self._orders.urgent_s
        names = {self._key(w): wire_key(self._orders.executor, w) for w in backlog}
        late = sorted(backlog, key=_priority)[-URGENT:]
        waiting = [w for w in backlog if w not in late]
        began_s = time.monotonic()
        while len(self._figures.events_at_s) < len(backlog):
            elapsed_s = time.monotonic() - began_s
            if elapsed_s > GIVE_UP_S:
                break
            while late and elapsed_s > urgent_s * (URGENT + 1 - len(late)):
                waiting.append(late.pop(0))
                self._figures.urgent_at_s[names[self._key(waiting[-1])]] = time.time()
            waiting.sort(key=_priority, reverse=True)
            callbacks = [w for w in waiting if not hasattr(w, "ti")]
            tasks = [w for w in waiting if hasattr(w, "ti")]
            queued = callbacks[: max(0, executor.parallelism - executor.slots_occupied)]
            queued += tasks[: max(0, executor.slots_available)]
            for workload in queued:
                waiting.remove(workload)
                executor.queue_workload(workload, session=None)
            self._beat(names)
            time.sleep(self._orders.beat_s)
        self._figures.seconds = time.monotonic() - began_s
        return self._figures

    def _key(self, workload: Any) -> Any:
        return self._executor.get_workload_key(workload)

    def idle(self, seconds: float) -> Figures:
        """Beat without workloads."""
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            self._beat({})
            time.sleep(self._orders.beat_s)
        return self._figures

    def _beat(self, names: dict[Any, str]) -> None:
        began_s = time.monotonic()
        self._executor.heartbeat()
        self._figures.heartbeats_s.append(time.monotonic() - began_s)
        now_s = time.time()
        for key, (state, _) in self._executor.get_event_buffer().items():
            if state == "success":
                self._figures.succeeded += 1
            elif state == "failed":
                self._figures.failed += 1
            else:
                continue
            self._figures.events_at_s[names[key]] = now_s


def main() -> None:
    """Start, say ready, wait for the word, measure, report."""
    orders = Orders(**json.loads(sys.argv[1]))
    configure(orders)
    executor = make_executor(orders)
    executor.start()
    # Once around, so that nothing that happens once in a scheduler's life is measured.
    first = make_workloads(len(orders.queues), orders.seed, orders.queues)
    Drive(orders, executor).run(first)
    workloads = make_workloads(orders.workloads, orders.seed, orders.queues)
    if orders.urgent_s:
        workloads[0].ti.priority_weight = 100
        workloads.append(make_callback())
    # A scheduler does not make thousands of workloads at once, so what exists by now must not be
    # looked through for garbage in the middle of the measurement.
    gc.collect()
    gc.freeze()
    drive = Drive(orders, executor)
    print("ready", flush=True)  # noqa: T201 - what the caller waits for
    sys.stdin.readline()
    if orders.idle_s:
        figures = drive.idle(orders.idle_s)
    elif orders.urgent_s:
        figures = drive.run_in_order(workloads)
    else:
        figures = drive.run(workloads)
    print(json.dumps(asdict(figures)), flush=True)  # noqa: T201 - the result
    sys.stdin.readline()
    os._exit(0)  # Neither executor's way to end is measured here.


if __name__ == "__main__":
    main()
