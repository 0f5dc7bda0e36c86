"""The picture of attacked runs: what was done to them, and what broke."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stacks.reference.bars import Bar, Group, bars
from tests.chaos.attack import table
from tests.chaos.attack.faults import FAULTS

NAME = "attack.svg"
#: With what the names of the files of this executor and of the reference begin.
FILES = ("attack", "reference")
#: By the service of a fault's API; an action has none.
_WHERE = {
    "lambda": "calls of Lambda",
    "sqs": "calls of SQS",
    "batch": "calls of AWS Batch",
    "ecs": "calls of Amazon ECS",
    "s3": "calls of S3",
    "": "everything else",
}
_OURS, _REFERENCE = "this kit", "AwsLambdaExecutor"
#: The colours of the injected faults, of ours and of the reference.
_STYLES = {"injected": 5, _OURS: 0, _REFERENCE: 1}

Runs = Sequence[Mapping[str, Any]]


def runs_in(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs in a folder, of this executor and of the reference's."""
    ours, theirs = (
        [json.loads(file.read_text()) for file in sorted(folder.glob(f"{name}-*.json"))]
        for name in FILES
    )
    return ours, theirs


def drawn(ours: Runs, theirs: Runs) -> str:
    """The picture.

    Args:
        ours: The runs of this executor.
        theirs: Of the reference's; without any, it has no bar.
    """
    injected = Counter[str]()
    for name, count in table.counts(ours).items():
        injected[_where(name)] += count
    done = [Bar(where, injected[where], _STYLES["injected"]) for where in _WHERE.values()]
    broken = [
        Bar(name, 1000 * sum(len(run["violations"]) for run in runs) / _tasks(runs), _STYLES[name])
        for name, runs in ((_OURS, ours), (_REFERENCE, theirs))
        if _tasks(runs)
    ]
    seeds = ", ".join(str(run["seed"]) for run in ours)
    return bars(
        f"Attacks on {_tasks(ours):,} tasks, and what broke",
        [Group("faults injected", "", done), Group("violations, in 1,000 tasks", "", broken)],
        f"Seeds {seeds}.",
    )


def _where(name: str) -> str:
    """Where a fault is, by its name; a fault that is no more is something else."""
    apis = {fault.name: str(fault.rule.get("api", "")) for fault in FAULTS}
    return _WHERE[apis.get(name, "").partition(":")[0]]


def _tasks(runs: Runs) -> int:
    return sum(run["tasks"] for run in runs)
