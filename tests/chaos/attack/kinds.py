"""The kinds of tasks under attack: how many of each, what each does to itself, how it must end.

`dags/attacked.py` has the code of each kind under the same name.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

#: Every task may be tried so often again, so that the attacks do not use up the tries of a task.
RETRIES = 6
#: A DAG has at most so many tasks.
TASKS_PER_DAG = 300

#: The reason of a process that was killed while memory ran out. The environments of the embedded
#: AWS share one kernel, so it may have run out in another one.
KERNEL = "killed by the kernel"
SIGNAL = r"killed by SIG"
DEADLINE = r"(did not end|was stopped|was asked to stop|time-out|Timed out)"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of task.

    Attributes:
        weight: Its share of all tasks, relative to the other kinds.
        does: What it is, for people.
        ends: The state of its last try.
        breaks: What the reason of its first try's failure must match; empty: it breaks nothing.
        raises: Whether its first try ends by an exception of its own, so that no reason is needed.
        harms: What the reason of another task's failure may match, because the next workload in the
            same execution environment may be refused. The environment is given up then.
        queue: Its Airflow queue.
        executor: The executor that it names; empty: the first one.
    """

    name: str
    weight: float
    does: str
    ends: str = "success"
    breaks: str = ""
    raises: bool = False
    harms: str = ""
    queue: str = "default"
    executor: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether its tries fail only because something else than it is broken."""
        return not self.breaks and not self.raises

    @property
    def has_payload(self) -> bool:
        """Whether its workload travels through the payload bucket, as that of every job does."""
        return self.name == "large_workload" or self.is_long

    @property
    def is_long(self) -> bool:
        """Whether it works long enough to be found and interrupted."""
        return self.queue in {"batch", "ecs", "microvm"}

    @property
    def needs_our_targets(self) -> bool:
        """Whether the reference's executor cannot run it in the same stage."""
        return self.queue != "default" or bool(self.executor)


KINDS = (
    Kind("nothing", 36, "does nothing"),
    Kind("works", 26, "works for up to two seconds"),
    Kind("large_result", 3, "returns 200 KB"),
    Kind("large_workload", 1, "has a workload of more than 1 MiB, which travels through S3"),
    Kind("deferred", 3, "leaves the function and continues in another invocation"),
    Kind("rescheduled", 3, "looks twice, in an invocation each"),
    Kind("skipped", 2, "skips itself", ends="skipped"),
    Kind("daemon", 2, "leaves a process behind that ignores SIGTERM"),
    Kind("raises_once", 4, "raises an exception in its first try", raises=True),
    Kind("always_raises", 2, "raises in every try, and has a callback", ends="failed", raises=True),
    Kind("exits", 2, "ends its process with `os._exit`", breaks=r"exit code 3"),
    Kind("segfault", 2, "crashes in native code", breaks=r"SIGSEGV"),
    Kind("kills_itself", 1, "sends SIGKILL to its process", breaks=f"{SIGNAL}KILL|{KERNEL}"),
    Kind("out_of_memory", 1, "needs more memory than there is", breaks=r"(memory|SIGKILL)"),
    Kind("descriptors", 1, "uses up its file descriptors, and gives them back"),
    Kind("full_disk", 1, "fills the disk and raises", raises=True, harms="disk is full"),
    Kind("poison", 1, "takes the handler's descriptors", raises=True, harms="Too many open files"),
    Kind("stubborn", 2, "ignores signals for ever", breaks=DEADLINE, queue="short"),
    Kind(
        "kills_runtime", 1, "kills the handler's processes", breaks="Lambda gave up", queue="short"
    ),
    Kind("on_batch", 2, "runs as a job of AWS Batch", queue="batch"),
    Kind("on_ecs", 2, "runs as a task of Amazon ECS", queue="ecs"),
    Kind("on_microvm", 2, "runs in a MicroVM", queue="microvm"),
    Kind("locally", 2, "runs by LocalExecutor beside ours", executor="LocalExecutor"),
)
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Spec:
    """One task of a plan: the map index of its kind in its DAG, and how long it works."""

    dag_id: str
    kind: str
    map_index: int
    work_s: float


def plan(seed: int, size: int, *, reference: bool = False) -> list[Spec]:
    """The tasks of a run: at least one of each kind.

    Args:
        seed: The same seed gives the same tasks.
        size: How many.
        reference: Leave out what the reference's executor cannot run.

    Raises:
        ValueError: There are more kinds than tasks.
    """
    kinds = [kind for kind in KINDS if not (reference and kind.needs_our_targets)]
    if size < len(kinds):
        raise ValueError(f"{size} tasks are too few: there are {len(kinds)} kinds")
    chance = random.Random(seed)
    weights = [kind.weight for kind in kinds]
    names = [kind.name for kind in kinds]
    names += [kind.name for kind in chance.choices(kinds, weights, k=size - len(kinds))]
    chance.shuffle(names)
    specs: list[Spec] = []
    for number, name in enumerate(names):
        dag_id = f"attacked_{number // TASKS_PER_DAG}"
        index = sum(spec.dag_id == dag_id and spec.kind == name for spec in specs[-TASKS_PER_DAG:])
        least_s, most_s = (3, 6) if BY_NAME[name].is_long else (0, 2)
        work_s = round(chance.uniform(least_s, most_s), 2)
        specs.append(Spec(dag_id, name, index, work_s))
    return specs
