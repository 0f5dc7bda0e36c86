"""What sends need to know of the API that takes them: how many calls it takes, and when again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lambda_executor.core.targets import Service


@dataclass(frozen=True, slots=True)
class Api:
    """The call of one AWS service that starts workloads.

    Attributes:
        name: The service, for people.
        call: What a call is, in one word, for people.
        threads: The name of the threads that make the calls.
        first_per_s: Calls per second at the beginning.
        most_per_s: The most calls per second.
        least_per_s: The fewest, however many are throttled.
        first_s: The latency of an answer, assumed until there is one. Too long is harmless. None:
            it does not matter, because the rate alone limits how many calls are under way.
        found_after_s: After a call that may have been taken, the least seconds until the next one:
            by then the next one finds what the first has started.
    """

    name: str
    call: str
    threads: str
    first_per_s: float
    most_per_s: float
    least_per_s: float
    first_s: float | None = None
    found_after_s: float = 0.0


#: The most is more than one scheduler's process can make on most machines: there its processor is
#: the limit. The least is a tenth of a new account's limit on invokes.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
#:
#: Of two starts of an invocation Airflow lets one through, and the other ends at once.
LAMBDA = Api(
    "Lambda",
    "invoke",
    "lambda-dispatch",
    first_per_s=300.0,
    most_per_s=2000.0,
    least_per_s=10.0,
    first_s=0.03,
)

#: `SubmitJob`, 50 calls a second for each account and Region. It has no token that would make a
#: repeated call harmless, so a repeated launch first looks for the job.
#: https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html
#: https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html
BATCH = Api(
    "AWS Batch",
    "launch",
    "lambda-launch-batch",
    first_per_s=50.0,
    most_per_s=50.0,
    least_per_s=1.0,
    found_after_s=5.0,
)

#: `RunTask`, 20 calls a second for each account and Region on Fargate, bursts included: the burst
#: of 100 in the same table counts tasks, of which a call could start ten. `clientToken` makes a
#: repeated call start nothing twice.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/throttling.html
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
ECS = Api(
    "Amazon ECS",
    "launch",
    "lambda-launch-ecs",
    first_per_s=20.0,
    most_per_s=20.0,
    least_per_s=1.0,
)

#: `RunMicrovm`, 5 calls a second for each account and Region. `clientToken` makes a repeated call
#: start nothing twice.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
#: https://docs.aws.amazon.com/lambda/latest/microvm-api/API_RunMicrovm.html
MICROVM = Api(
    "AWS Lambda MicroVMs",
    "launch",
    "lambda-launch-microvm",
    first_per_s=5.0,
    most_per_s=5.0,
    least_per_s=1.0,
)

JOBS: Mapping[Service, Api] = {
    Service.BATCH: BATCH,
    Service.ECS: ECS,
    Service.MICROVM: MICROVM,
}
