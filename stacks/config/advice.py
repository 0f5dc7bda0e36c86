"""What a stage may do and should be thought about: `cdk synth` warns of it, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from stacks.config.sections.targets import BatchTargetConfig, MicroVmTargetConfig, Target

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


class Advice(NamedTuple):
    """One warning; its id is for `acknowledge_warning` of the CDK."""

    id: str
    text: str


def advice(stage: StageConfig) -> Iterator[Advice]:
    """Yield what a person should know before the deploy."""
    yield from _longest_wait(stage)


def _longest_wait(stage: StageConfig) -> Iterator[Advice]:
    """Yield a warning if jobs may wait for long and nobody has said how long they may.

    Airflow takes the task of a job back that has not started in time, and fails it after the third.
    How long capacity is missing nobody knows, so that any value that the stage sets is accepted.
    """
    if "task_queued_timeout_s" in stage.execution.model_fields_set:
        return
    reasons = [
        f"targets[{target.name}] {reason}"
        for target in stage.targets
        if (reason := _may_wait(stage, target))
    ]
    if reasons:
        yield Advice(
            "longestWait",
            f"{'; '.join(reasons)}. A task that has not started "
            f"{stage.execution.task_queued_timeout_s} s after it was queued is queued again, twice "
            "at most, and then fails: set execution.task_queued_timeout_s to the longest wait that "
            "you accept (docs/howto/which-target.md#how-long-a-job-may-wait)",
        )


def _may_wait(stage: StageConfig, target: Target) -> str:
    """Return why a job may wait for longer than its own start takes; "": it does not."""
    if isinstance(target, MicroVmTargetConfig):
        return ""
    if target.capacity.endswith("_spot"):
        return "runs on Spot capacity, of which AWS may have none for hours"
    if not isinstance(target, BatchTargetConfig):
        return ""
    if target.capacity == "ec2":
        return "runs on instances, which AWS Batch starts and may have to wait for"
    at_once = int(target.most_cpu / target.cpu)
    tasks = stage.execution.parallelism * stage.execution.results_queues
    if tasks > at_once:
        return (
            f"runs {at_once} jobs at once (most_cpu {target.most_cpu}), and Airflow may start "
            f"{tasks} (execution.parallelism for each scheduler): the others wait for an end"
        )
    return ""
