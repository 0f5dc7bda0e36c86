"""Relations of Airflow: the needs of the stage's own control plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stacks.config.sections.control_plane import FARGATE_MEMORY_MB
from stacks.config.sections.section import region_of

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


def execution_api_is_somewhere(stage: StageConfig) -> Iterator[str]:
    """A function needs the address of one Airflow: its own environment's, or an existing one's."""
    url, kind = stage.execution.execution_api_url, stage.control_plane.kind
    if kind == "none" and url is None:
        yield (
            'execution.execution_api_url is null and control_plane.kind is "none", allowed is the '
            'URL of your Airflow, which ends in /execution/: add it, or use the kind "fargate"'
        )
    if kind == "fargate" and url is not None:
        yield (
            f'execution.execution_api_url is {url!r} and control_plane.kind is "fargate", which '
            'brings its own, allowed is null: remove the URL, or use the kind "none"'
        )


def control_plane_has_a_database(stage: StageConfig) -> Iterator[str]:
    """Airflow keeps its state in the database."""
    if stage.control_plane.kind == "fargate" and not stage.database.enabled:
        yield (
            'control_plane.kind is "fargate" and database.enabled is false, allowed is true: '
            "change one of the two"
        )


def functions_reach_the_control_plane(stage: StageConfig) -> Iterator[str]:
    """The control plane's Execution API has a private address: no token crosses the Internet."""
    if stage.control_plane.kind == "fargate" and not stage.network.function_in_vpc:
        yield (
            'control_plane.kind is "fargate" and network.function_in_vpc is false, allowed is '
            "true: change one of the two"
        )


def each_scheduler_has_a_results_queue(stage: StageConfig) -> Iterator[str]:
    """Two schedulers on one queue hand each other's results back and forth."""
    schedulers, queues = stage.control_plane.schedulers, stage.execution.results_queues
    if stage.control_plane.kind == "fargate" and queues < schedulers:
        yield (
            f"control_plane.schedulers is {schedulers} and execution.results_queues is {queues}, "
            "allowed is a queue for each: raise results_queues or lower schedulers"
        )


def internet_needs_a_certificate(stage: StageConfig) -> Iterator[str]:
    """Passwords and sessions must not cross the Internet in plain HTTP."""
    control_plane = stage.control_plane
    if control_plane.on_the_internet and control_plane.certificate_arn is None:
        yield (
            "control_plane.allowed_cidrs has a public range and control_plane.certificate_arn is "
            "null, allowed is the ARN of a certificate: add one, or use private ranges only"
        )


def certificate_has_a_domain_name(stage: StageConfig) -> Iterator[str]:
    """A browser refuses the certificate under the name that AWS gives the load balancer."""
    certificate, name = stage.control_plane.certificate_arn, stage.control_plane.domain_name
    if certificate and not name:
        yield (
            "control_plane.domain_name is null and control_plane.certificate_arn is set, allowed "
            "is the name that the certificate is for: add it"
        )
    if name and not certificate:
        yield (
            f"control_plane.certificate_arn is null and control_plane.domain_name is {name}, "
            "allowed is the ARN of its certificate: add it, or remove the name"
        )


def certificate_is_in_the_region(stage: StageConfig) -> Iterator[str]:
    """A load balancer takes certificates of its own Region only.

    https://docs.aws.amazon.com/acm/latest/userguide/acm-regions.html
    """
    arn = stage.control_plane.certificate_arn
    if arn and stage.region and region_of(arn) != stage.region:
        yield (
            f"control_plane.certificate_arn is in {region_of(arn)}, allowed is the stage's region, "
            f"{stage.region}: use a certificate of that Region"
        )


def somebody_may_open_the_ui(stage: StageConfig) -> Iterator[str]:
    """Only the owner of an existing VPC knows its address ranges."""
    control_plane, vpc = stage.control_plane, stage.network.vpc_id
    if control_plane.kind == "fargate" and vpc and not control_plane.allowed_cidrs:
        yield (
            f"control_plane.allowed_cidrs is empty and network.vpc_id is {vpc}, allowed are the "
            "ranges that may open the UI: add that of the VPC, or of your network"
        )


def fargate_size_exists(stage: StageConfig) -> Iterator[str]:
    """Fargate offers certain sizes of memory for each number of CPU units.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
    """
    memory, cpu = stage.control_plane.memory_mb, stage.control_plane.cpu
    least, most, step = FARGATE_MEMORY_MB[cpu]
    if not (least <= memory <= most) or memory % step:
        yield (
            f"control_plane.memory_mb is {memory}, allowed with cpu {cpu} is {least} to {most} in "
            f"steps of {step}: change one of the two"
        )


RELATIONS = (
    execution_api_is_somewhere,
    control_plane_has_a_database,
    functions_reach_the_control_plane,
    each_scheduler_has_a_results_queue,
    internet_needs_a_certificate,
    certificate_has_a_domain_name,
    certificate_is_in_the_region,
    somebody_may_open_the_ui,
    fargate_size_exists,
)
