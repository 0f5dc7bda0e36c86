"""What can happen to functions: in the queue of events, in init phases, and in invocations."""

from __future__ import annotations

from local_aws.fault_injection.faults import Faults
from local_aws.fault_injection.rules import (
    ENVIRONMENT,
    INIT,
    INVOKE,
    OF_EVENTS,
    OF_INIT,
    OF_INVOCATIONS,
)
from local_aws.lambda_service.function_faults import Attack
from local_aws.lambda_service.model import FunctionVersion


class RuledFaults:
    """Lets the faults of rules happen to functions."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def duplicated(self, function: FunctionVersion, /) -> float | None:
        """Seconds until an accepted event is delivered once more; None: it is not."""
        hit = self._faults.hit(INVOKE, OF_EVENTS, function.name)
        return hit.rule.delay_s if hit else None

    def killed_in_init(self, function: FunctionVersion, /) -> bool:
        """Whether the runtime is killed during its init phase or its restore."""
        return self._faults.hit(INIT, OF_INIT, function.name, _role(function)) is not None

    def attack(self, function: FunctionVersion, /) -> Attack | None:
        """What happens during an invocation; None: nothing."""
        hit = self._faults.hit(ENVIRONMENT, OF_INVOCATIONS, function.name, _role(function))
        if hit is None:
            return None
        if hit.rule.fault == "killed":
            return Attack(hit.rule.delay_s, None, hit.withdraw)
        return Attack(hit.rule.after_s, hit.rule.delay_s, hit.withdraw)


def _role(function: FunctionVersion) -> str:
    return function.role.rpartition("/")[2]
