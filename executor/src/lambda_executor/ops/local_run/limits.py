"""The limits under which a task would run on AWS: its function's, or assumed ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.contract.lambda_limits import EARLIER_LONGEST_TIMEOUT_S
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.ops.doctor import checks
from lambda_executor.setup.connection import connect
from lambda_executor.setup.option_values import Conf


@dataclass(frozen=True, slots=True)
class Limits:
    """What a function has.

    Attributes:
        memory_mb: Memory, in MiB.
        timeout_s: Time-out, in seconds.
        tmp_mb: Space in /tmp, in MiB.
        source: Where these numbers are from, for a person.
    """

    memory_mb: int
    timeout_s: float
    tmp_mb: int
    source: str

    def but(self, **given: float | None) -> Limits:
        """These limits, with those that a person has given."""
        own: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if not own:
            return self
        source = "the command line"
        if len(own) < len(given):
            source = f"{source}, the others: {self.source}"
        return replace(self, **own, source=source)


#: The defaults of a function in a stage's configuration.
_ASSUMED = Limits(1769, EARLIER_LONGEST_TIMEOUT_S, 512, "")


def of_task(conf: Conf, queue: str, executor_config: Mapping[str, Any]) -> Limits:
    """Return the limits of the function that would run a task; never raises one of our errors."""
    try:
        connected = connect(conf, checks.PATIENCE)
        target = connected.config.routes.target(queue, executor_config)
        if not isinstance(target, FunctionTarget):
            return _assumed(f"its target {target} is no function")
        facts = connected.inspection.function(target)
    except LambdaExecutorError as e:
        return _assumed(str(e).partition(". ")[0])
    return Limits(facts.memory_mb, facts.timeout_s, facts.tmp_mb, f"the function {target}")


def _assumed(reason: str) -> Limits:
    return replace(_ASSUMED, source=f"assumed, as a stage has them by default, because {reason}")
