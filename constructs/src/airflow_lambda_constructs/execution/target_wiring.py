"""The options `targets` and `offers` of the executor, from what an environment consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_lambda_constructs.execution.target import Offer, Target
from airflow_lambda_constructs.execution.workload_function import FunctionProps

#: Memory with which a function has one whole virtual processor.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
_MB_OF_A_CPU = 1769

#: Airflow's name of the queue of tasks without one (`[operators] default_queue`).
_DEFAULT_QUEUE = "default"


def targets_by_queue(targets: Sequence[Target]) -> Mapping[str, Mapping[str, object]]:
    """Return what the option `targets` has: the service and its request by Airflow queue."""
    return {queue: {t.service: dict(t.request)} for t in targets for queue in t.queues}


def offers(
    functions: Sequence[FunctionProps], targets: Sequence[Target]
) -> Mapping[str, Mapping[str, float]]:
    """Return what each queue's target gives to a task, the smallest first.

    Of two of the same size the function comes first, because it starts at once. The first function
    is the default one. A function that isolates tenants is left out: its queues are tenants, and
    no other task may run as one of them.
    """
    served = [
        (queue, _of_function(function))
        for function in functions
        if not function.tenant_isolation
        for queue in function.queues
    ]
    served += [(queue, target.offer) for target in targets for queue in target.queues]
    if _DEFAULT_QUEUE not in dict(served):
        served.insert(0, (_DEFAULT_QUEUE, _of_function(functions[0])))
    # The sort is stable, so functions stay before targets of the same size.
    return {queue: offer.as_json() for queue, offer in sorted(served, key=lambda one: one[1].size)}


def _of_function(function: FunctionProps) -> Offer:
    return Offer(
        timeout_s=round(function.timeout.to_seconds()),
        memory_mb=function.memory_mb,
        cpu=round(function.memory_mb / _MB_OF_A_CPU, 2),
        disk_gb=round(function.ephemeral_storage.to_mebibytes() / 1024, 2),
    )
