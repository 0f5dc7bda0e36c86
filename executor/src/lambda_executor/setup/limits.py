"""How many invocations each function may run at once: from `max_in_flight`, or from Lambda."""

from __future__ import annotations

from collections.abc import Mapping

from lambda_executor import aws
from lambda_executor.contract.errors import RejectedError
from lambda_executor.core.places import Limit, Limits
from lambda_executor.core.targets import FunctionTarget

#: The name of the limit that all functions without a reservation share.
ACCOUNT = "the account"


class FunctionLimits:
    """Reads the limits of functions; implements `ports.LimitReader`.

    A function may run as many invocations as it has reserved. The functions without a reservation
    share what is left of the account's concurrency, with all other functions of the Region.
    https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html

    A paused function (0 are reserved) has no limit here: its invocations become dead letters at
    once, and none would ever get a place. What the scheduler's role may not read is not known.

    Args:
        targets: The functions.
        max_in_flight: The limits that a person has set, by function; 0: none.
        inspection: Reads from Lambda.
    """

    def __init__(
        self,
        targets: tuple[FunctionTarget, ...],
        max_in_flight: Mapping[str, int],
        inspection: aws.Inspection,
    ) -> None:
        self._targets = {target.function: target for target in targets}
        self._max_in_flight = max_in_flight
        self._inspection = inspection

    def read(self) -> Limits:
        """Return the limits by function, as they are now.

        Raises:
            AwsError: Lambda does not answer at the moment.
        """
        limits: dict[str, Limit | None] = {}
        for function, target in self._targets.items():
            most = self._max_in_flight.get(function)
            limits[function] = self._limit(target) if most is None else _limit(function, most)
        return limits

    def _limit(self, target: FunctionTarget) -> Limit | None:
        try:
            reserved = self._inspection.reserved_concurrency(target)
            if reserved is not None:
                return _limit(target.function, reserved)
            return _limit(ACCOUNT, self._inspection.account().unreserved)
        except RejectedError:
            return None


def _limit(name: str, most: int) -> Limit | None:
    return Limit(name, most) if most else None
