"""What `cdk synth` warns of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from stacks.config.advice import advice
from tests.synth.assembly import Assembly, config_of

BATCH = {"kind": "batch", "name": "long", "queues": ["long"]}
ECS = {"kind": "ecs", "name": "huge", "queues": ["huge"]}
MICRO_VM = {"kind": "microvm", "name": "hours", "queues": ["hours"]}
PLACE = {"account": "123456789012", "region": "eu-west-1"}


def advised(*targets: Mapping[str, Any], **execution: Any) -> list[str]:
    """The warnings about a stage with these targets."""
    override = {**PLACE, "targets": list(targets), "execution": execution}
    return [each.text for each in advice(config_of("dev", override))]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (BATCH | {"capacity": "fargate_spot"}, "targets[long] runs on Spot capacity"),
        (BATCH | {"capacity": "ec2_spot"}, "targets[long] runs on Spot capacity"),
        (BATCH | {"capacity": "ec2"}, "targets[long] runs on instances, which AWS Batch starts"),
        (ECS | {"capacity": "fargate_spot"}, "targets[huge] runs on Spot capacity"),
        (
            BATCH | {"cpu": 4, "memory_mb": 8192},
            "targets[long] runs 16 jobs at once (most_cpu 64), and Airflow may start 32",
        ),
    ],
)
def test_a_job_that_may_wait_for_long_is_told_until_a_wait_is_chosen(
    target: Mapping[str, Any], reason: str
) -> None:
    """The chosen one may be the default: only who waits can know."""
    (text,) = advised(target)
    assert text.startswith(reason)
    assert "600 s after it was queued" in text
    assert "set execution.task_queued_timeout_s" in text
    assert advised(target, task_queued_timeout_s=600) == []


def test_one_warning_names_all_targets() -> None:
    """Of those that may wait."""
    spot = {"capacity": "fargate_spot"}
    (text,) = advised(BATCH | spot, ECS | spot, MICRO_VM)
    assert "targets[long]" in text
    assert "targets[huge]" in text
    assert "targets[hours]" not in text


def test_what_starts_at_once_is_not_told() -> None:
    """Fargate on demand with room for all that Airflow starts, and MicroVMs."""
    assert advised(BATCH, ECS, MICRO_VM) == []
    assert advised() == []


def test_synth_warns(assembly_of: Callable[[str], Assembly]) -> None:
    """Once, at the stack that makes the targets."""
    metadata = assembly_of("targets").metadata("execution")
    warnings = [
        entry["data"]
        for entries in metadata.values()
        for entry in entries
        if entry["type"] == "aws:cdk:warning"
    ]
    (warning,) = warnings
    assert "targets[cheap] runs on Spot capacity" in warning
    assert "airflow-lambda:longestWait" in warning
