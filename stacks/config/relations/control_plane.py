"""Relations of Airflow: the needs of the stage's own control plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stacks.config.sections.control_plane import FARGATE_MEMORY_MB

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


def execution_api_has_one_address(stage: StageConfig) -> Iterator[str]:
    """The functions serve one Airflow: the stage's own control plane, or an existing one."""
    url, kind = stage.execution.execution_api_url, stage.control_plane.kind
    if kind == "none" and url is None:
        yield (
            'execution.execution_api_url (null) must be a URL with control_plane.kind "none": add '
            'the URL of your Airflow, which ends in /execution/, or use the kind "fargate"'
        )
    if kind == "fargate" and url is not None:
        yield (
            f"execution.execution_api_url ({url}) must be null with control_plane.kind "
            '"fargate", which has its own: remove the URL, or use the kind "none"'
        )


def control_plane_has_a_database(stage: StageConfig) -> Iterator[str]:
    """Airflow keeps its state in the database."""
    if stage.control_plane.kind == "fargate" and not stage.database.enabled:
        yield (
            'database.enabled (false) must be true with control_plane.kind "fargate": change one '
            "of the two"
        )


def functions_reach_the_control_plane(stage: StageConfig) -> Iterator[str]:
    """The control plane's Execution API has a private address: no token crosses the Internet."""
    if stage.control_plane.kind == "fargate" and not stage.network.function_in_vpc:
        yield (
            'network.function_in_vpc (false) must be true with control_plane.kind "fargate": '
            "change one of the two"
        )


def each_scheduler_has_a_results_queue(stage: StageConfig) -> Iterator[str]:
    """Two schedulers on one queue hand each other's results back and forth."""
    schedulers, queues = stage.control_plane.schedulers, stage.execution.results_queues
    if stage.control_plane.kind == "fargate" and queues < schedulers:
        yield (
            f"execution.results_queues ({queues}) must be at least control_plane.schedulers "
            f"({schedulers}): raise results_queues or lower schedulers"
        )


def internet_needs_a_certificate(stage: StageConfig) -> Iterator[str]:
    """Passwords and sessions must not cross the Internet in plain HTTP."""
    control_plane = stage.control_plane
    if control_plane.on_the_internet and control_plane.certificate_arn is None:
        yield (
            "control_plane.certificate_arn (null) must be an ARN if control_plane.allowed_cidrs "
            "has a public range: add a certificate, or use private ranges only"
        )


def certificate_has_a_domain_name(stage: StageConfig) -> Iterator[str]:
    """A browser refuses the certificate under the name that AWS gives the load balancer."""
    certificate, name = stage.control_plane.certificate_arn, stage.control_plane.domain_name
    if certificate and not name:
        yield (
            "control_plane.domain_name (null) must be the name in the certificate if "
            "control_plane.certificate_arn is set: add it"
        )
    if name and not certificate:
        yield (
            "control_plane.certificate_arn (null) must be an ARN if control_plane.domain_name is "
            f"set ({name}): add a certificate for the name, or remove the name"
        )


def somebody_may_open_the_ui(stage: StageConfig) -> Iterator[str]:
    """Only the owner of an existing VPC knows its address ranges."""
    control_plane, vpc = stage.control_plane, stage.network.vpc_id
    if control_plane.kind == "fargate" and vpc and not control_plane.allowed_cidrs:
        yield (
            "control_plane.allowed_cidrs ([]) must have a range that may open the UI with an "
            f"existing VPC ({vpc}): add the range of the VPC or of your network"
        )


def dag_processor_reads_the_dag_files(stage: StageConfig) -> Iterator[str]:
    """Airflow's bundle for S3 reads a folder; only the functions unpack an archive."""
    key = stage.dags.s3_key
    is_archive = stage.dags.source == "s3" and not key.endswith("/")
    if stage.control_plane.kind == "fargate" and is_archive:
        yield (
            f"dags.s3_key ({key}) must be a folder, with a slash at its end, with "
            'control_plane.kind "fargate": change it, or use the kind "none"'
        )


def fargate_size_exists(stage: StageConfig) -> Iterator[str]:
    """Fargate offers certain sizes of memory for each number of CPU units.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
    """
    memory, cpu = stage.control_plane.memory_mb, stage.control_plane.cpu
    least, most, step = FARGATE_MEMORY_MB[cpu]
    if not (least <= memory <= most) or memory % step:
        yield (
            f"control_plane.memory_mb ({memory}) must be {least} to {most} in steps of {step} with "
            f"control_plane.cpu {cpu}: change one of the two"
        )
