"""Relations of the targets beside the functions: within one target, and between several."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stacks.config.sections.targets import (
    FARGATE_MEMORY_MB,
    BatchTargetConfig,
    ContainerTargetConfig,
)

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig

#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-storage.html
_FARGATE_MOST_DISK_GB = 200

#: https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html
_FARGATE_LONGEST_S = 14 * 24 * 3600

#: How long the payload bucket keeps a payload at least: S3's shortest expiration.
_PAYLOAD_LIFE_S = 24 * 3600

_BATCH_PREFIX = "AWS_BATCH"

_GRAVITON = re.compile(r"a1|[a-z]+[0-9]+g")


def target_names_are_unique(stage: StageConfig) -> Iterator[str]:
    """The name is part of physical names and of outputs, where functions have theirs too."""
    functions = [f"the function {function.name}" for function in stage.functions]
    targets = [f"the target {target.name}" for target in stage.targets]
    both = functions + targets
    # Logical ids and outputs have no hyphens.
    keys = [one.rpartition(" ")[2].replace("-", "") for one in both]
    for key, count in Counter(keys).items():
        same = [one for one, its in zip(both, keys, strict=True) if its == key]
        if count > 1 and any(one in targets for one in same):
            yield (
                f"{' and '.join(same)} have the same name without hyphens, allowed is another name "
                "for each: rename one"
            )


def target_serves_a_queue(stage: StageConfig) -> Iterator[str]:
    """Nothing would ever run on a target without a queue."""
    for target in stage.targets:
        if not target.queues:
            yield (
                f"targets[{target.name}].queues is [], allowed is at least one queue: add one or "
                "remove the target"
            )


def targets_on_fargate_have_a_fargate_size(stage: StageConfig) -> Iterator[str]:
    """Fargate offers certain sizes of memory for each number of processors.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
    """
    for target in _containers(stage):
        where = f"targets[{target.name}]"
        if target.is_on_ec2:
            continue
        if target.cpu not in FARGATE_MEMORY_MB:
            yield (
                f"{where}.cpu is {target.cpu:g}, allowed on Fargate is one of "
                f"{', '.join(f'{cpu:g}' for cpu in FARGATE_MEMORY_MB)}: change it"
            )
        elif target.memory_mb not in (sizes := FARGATE_MEMORY_MB[target.cpu]):
            yield (
                f"{where}.memory_mb is {target.memory_mb}, allowed with cpu {target.cpu:g} on "
                f"Fargate is {_some(sizes)}: change one of the two"
            )


def targets_on_fargate_have_a_fargate_disk(stage: StageConfig) -> Iterator[str]:
    """Fargate gives a task a disk of up to 200 GiB.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-storage.html
    """
    for target in _containers(stage):
        if not target.is_on_ec2 and target.disk_gb > _FARGATE_MOST_DISK_GB:
            yield (
                f"targets[{target.name}].disk_gb is {target.disk_gb}, allowed on Fargate is at "
                f'most {_FARGATE_MOST_DISK_GB}: lower it, or use the capacity "ec2"'
            )


def targets_on_fargate_end_in_time(stage: StageConfig) -> Iterator[str]:
    """Fargate may end a job after 14 days.

    https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html
    """
    for target in _batch(stage):
        if not target.is_on_ec2 and (target.timeout_s or 0) > _FARGATE_LONGEST_S:
            yield (
                f"targets[{target.name}].timeout_s is {target.timeout_s}, allowed on Fargate is at "
                f'most {_FARGATE_LONGEST_S}, 14 days: lower it, or use the capacity "ec2"'
            )


def instances_are_on_ec2(stage: StageConfig) -> Iterator[str]:
    """Fargate has neither GPUs nor kinds of instances.

    https://docs.aws.amazon.com/batch/latest/userguide/fargate.html
    """
    for target in _batch(stage):
        if target.is_on_ec2:
            continue
        for name, none in (("gpu", 0), ("instance_types", [])):
            if (value := getattr(target, name)) != none:
                yield (
                    f"targets[{target.name}].{name} is {value} and its capacity is "
                    f'"{target.capacity}", allowed is {none}: remove it, or use the capacity '
                    '"ec2" or "ec2_spot"'
                )


def instances_have_the_architecture(stage: StageConfig) -> Iterator[str]:
    """A job for the other processors would wait for ever.

    The letter g after the generation means Graviton, which the family a1 has, too:
    https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
    """
    for target in _batch(stage):
        architecture = stage.architecture_of(target)
        for type_ in target.instance_types if target.is_on_ec2 else []:
            its = "arm64" if _GRAVITON.match(type_) else "x86_64"
            if its != architecture:
                yield (
                    f"targets[{target.name}].instance_types has {type_}, which is {its}, and its "
                    f"architecture is {architecture}, allowed is one for both: change one of them"
                )


def gpus_are_on_x86_64(stage: StageConfig) -> Iterator[str]:
    """AWS has the machine image of instances with GPUs for no other processors.

    https://docs.aws.amazon.com/batch/latest/APIReference/API_Ec2Configuration.html
    """
    for target in _batch(stage):
        architecture = stage.architecture_of(target)
        if target.is_on_ec2 and target.gpu and architecture != "x86_64":
            yield (
                f"targets[{target.name}].gpu is {target.gpu} and its architecture is "
                f"{architecture}, allowed is x86_64, for which alone AWS has an image of "
                'instances with GPUs: use the architecture "x86_64" for this target'
            )


def processors_on_ec2_are_whole(stage: StageConfig) -> Iterator[str]:
    """AWS Batch takes whole processors for jobs on EC2.

    https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html
    """
    for target in _batch(stage):
        if target.is_on_ec2 and target.cpu != int(target.cpu):
            yield (
                f"targets[{target.name}].cpu is {target.cpu:g}, allowed on EC2 is a whole number: "
                "change it"
            )


def capacity_has_room_for_a_task(stage: StageConfig) -> Iterator[str]:
    """A job that needs more than its compute environment may have would wait for ever."""
    for target in _batch(stage):
        if target.cpu > target.most_cpu:
            yield (
                f"targets[{target.name}].cpu is {target.cpu:g}, allowed is at most its most_cpu, "
                f"{target.most_cpu}: lower it, or raise most_cpu"
            )


def variables_of_jobs_are_not_those_of_batch(stage: StageConfig) -> Iterator[str]:
    """AWS Batch refuses variables with its own prefix.

    https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
    """
    for target in _batch(stage):
        given = stage.workloads_of(target)
        for name in [*given.environment, *given.secrets]:
            if name.startswith(_BATCH_PREFIX):
                yield (
                    f"workloads and targets[{target.name}] have the variable {name}, allowed are "
                    f"names without {_BATCH_PREFIX}, which AWS Batch itself sets: rename it"
                )


def jobs_start_while_their_payload_is_there(stage: StageConfig) -> Iterator[str]:
    """A job fetches its workload when it starts, and S3 removes that after a day.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
    """
    wait_s = stage.execution.task_queued_timeout_s
    if stage.targets and wait_s > _PAYLOAD_LIFE_S:
        names = " and ".join(target.name for target in stage.targets)
        yield (
            f"execution.task_queued_timeout_s is {wait_s}, allowed with targets[{names}] is at "
            f"most {_PAYLOAD_LIFE_S}, because a job that starts later finds no workload: lower it"
        )


def containers_reach_the_api_gateway(stage: StageConfig) -> Iterator[str]:
    """An API Gateway has a public address, which endpoints do not lead to."""
    if stage.has_api_gateway and stage.has_containers and stage.network.endpoints:
        inside = [f"targets[{target.name}]" for target in _containers(stage)]
        yield (
            f"{' and '.join(inside)} {'are' if len(inside) > 1 else 'is'} inside the VPC, "
            "control_plane.entrance is api_gateway and network.endpoints is true, allowed is a way "
            'to the Internet: use the entrance "none" or "load_balancer", NAT gateways, or neither '
            "of them"
        )


def _containers(stage: StageConfig) -> Iterator[ContainerTargetConfig]:
    return (target for target in stage.targets if isinstance(target, ContainerTargetConfig))


def _batch(stage: StageConfig) -> Iterator[BatchTargetConfig]:
    return (target for target in stage.targets if isinstance(target, BatchTargetConfig))


def _some(sizes: range | tuple[int, ...]) -> str:
    if isinstance(sizes, range):
        return f"{sizes[0]} to {sizes[-1]} in steps of {sizes.step}"
    return ", ".join(map(str, sizes))


RELATIONS = (
    target_names_are_unique,
    target_serves_a_queue,
    targets_on_fargate_have_a_fargate_size,
    targets_on_fargate_have_a_fargate_disk,
    targets_on_fargate_end_in_time,
    instances_are_on_ec2,
    instances_have_the_architecture,
    gpus_are_on_x86_64,
    processors_on_ec2_are_whole,
    capacity_has_room_for_a_task,
    variables_of_jobs_are_not_those_of_batch,
    jobs_start_while_their_payload_is_there,
    containers_reach_the_api_gateway,
)
