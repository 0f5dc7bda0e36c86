"""Where a workload goes: a function of AWS Lambda, or a job of Batch, ECS or Lambda MicroVMs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from lambda_executor.contract.errors import ConfigError

#: A function's name, or its partial or full ARN, with an optional version or alias after a colon,
#: and the tenant for a function that isolates tenants.
#: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestParameters
_FUNCTION = re.compile(
    r"""
    (?P<function>
        (?: arn:[a-z0-9-]+:lambda:[a-z0-9-]+:\d{12}:function: | \d{12}:function: )?
        [A-Za-z0-9-_]{1,64}
    )
    (?: : (?P<qualifier> \$LATEST | [A-Za-z0-9-_]{1,128} ) )?
    (?: @ (?P<tenant> [A-Za-z0-9._:/=+\-]{1,256} ) )?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class FunctionTarget:
    """One version or alias of a function."""

    function: str  # Name or ARN without a qualifier.
    qualifier: str | None = None  # Version or alias; None: the latest unpublished version.
    tenant: str | None = None  # None: the function does not isolate tenants.

    @classmethod
    def parse(cls, text: str, *, qualifier: str | None = None, where: str) -> FunctionTarget:
        """Read `name`, `name:alias` or an ARN of either form, each optionally with `@tenant`.

        Args:
            text: The text that a person set.
            qualifier: The version or alias when `text` has none.
            where: Where they set it, for the error.

        Raises:
            ConfigError: `text` has none of these forms, or its qualifier is not `qualifier`.
        """
        match = _FUNCTION.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"{where} is {text!r:.200}, which is neither the name nor the ARN of a function",
                fix="write name, name:alias or "
                "arn:aws:lambda:<region>:<account>:function:<name>[:alias]",
            )
        own = match["qualifier"]
        if own and qualifier and own != qualifier:
            raise ConfigError(
                f"{where} is {text!r} with the qualifier {own!r}, and function_qualifier is "
                f"{qualifier!r}",
                fix="remove one of them",
            )
        return cls(match["function"], own or qualifier, match["tenant"])

    def __str__(self) -> str:
        name = f"{self.function}:{self.qualifier}" if self.qualifier else self.function
        return f"{name}@{self.tenant}" if self.tenant else name


class Service(Enum):
    """An AWS service that runs jobs; the value is its name in options and in `executor_config`."""

    BATCH = "batch"
    ECS = "ecs"
    MICROVM = "microvm"


@dataclass(frozen=True, slots=True)
class JobTarget:
    """A job queue, a cluster or a MicroVM image, and the request that starts a job there.

    Attributes:
        name: The Airflow queue that it serves; for the default target, where it comes from.
        service: Whose job it is.
        request: The parameters of `SubmitJob`, `RunTask` or `RunMicrovm` as a JSON object, in AWS's
            spelling and without the workload.
        container: The container of the task definition that runs the workload (ECS alone).
        is_of_reference: Whether it comes from the options of the reference's executor. Then a
            task's `executor_config` is what that executor takes.
    """

    name: str
    service: Service
    request: str = field(repr=False)
    container: str | None = None
    is_of_reference: bool = False

    def __str__(self) -> str:
        return f"{self.service.value}:{self.name}"


Target = FunctionTarget | JobTarget
