"""Relations of Airflow: the needs of the stage's own control plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stacks.config.sections.control_plane import FARGATE_MEMORY_MB
from stacks.config.sections.section import region_of

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig

_EVERYBODY = "0.0.0.0/0"


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
    """Without an API Gateway the control plane's Execution API has a private address only."""
    control_plane = stage.control_plane
    if (
        control_plane.kind == "fargate"
        and control_plane.entrance != "api_gateway"
        and not stage.network.function_in_vpc
    ):
        yield (
            f'control_plane.kind is "fargate", control_plane.entrance is {control_plane.entrance} '
            "and network.function_in_vpc is false, allowed is true, or the entrance "
            '"api_gateway": change one of the two'
        )


def functions_reach_the_api_gateway(stage: StageConfig) -> Iterator[str]:
    """An API Gateway has a public address, which endpoints do not lead to."""
    network = stage.network
    if stage.has_api_gateway and network.function_in_vpc and network.endpoints:
        yield (
            "control_plane.entrance is api_gateway, network.function_in_vpc is true and "
            'network.endpoints is true, allowed is a way to the Internet: use the entrance "none" '
            'or "load_balancer", NAT gateways, or functions outside the VPC'
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
    if (
        control_plane.entrance == "load_balancer"
        and control_plane.on_the_internet
        and control_plane.certificate_arn is None
    ):
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
    if (
        control_plane.kind == "fargate"
        and control_plane.entrance == "load_balancer"
        and vpc
        and not control_plane.allowed_cidrs
    ):
        yield (
            f"control_plane.allowed_cidrs is empty and network.vpc_id is {vpc}, allowed are the "
            "ranges that may open the UI: add that of the VPC, or of your network"
        )


def fargate_size_exists(stage: StageConfig) -> Iterator[str]:
    """Fargate offers certain sizes of memory for each number of CPU units.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
    """
    settings = stage.control_plane
    sizes = {"control_plane": settings.size_of(None)}
    sizes |= {f"control_plane.sizes.{name}": size for name, size in settings.sizes.items()}
    for where, size in sizes.items():
        least, most, step = FARGATE_MEMORY_MB[size.cpu]
        if not (least <= size.memory_mb <= most) or size.memory_mb % step:
            yield (
                f"{where}.memory_mb is {size.memory_mb}, allowed with cpu {size.cpu} is {least} to "
                f"{most} in steps of {step}: change one of the two"
            )


def load_balancer_has_what_is_its_own(stage: StageConfig) -> Iterator[str]:
    """An API Gateway has a certificate and no list of addresses; a tunnel needs neither."""
    settings = stage.control_plane
    if settings.kind == "none" or settings.entrance == "load_balancer":
        return
    if settings.certificate_arn:
        yield (
            "control_plane.certificate_arn is set and control_plane.entrance is "
            f"{settings.entrance}, allowed is null: remove it, or use the entrance "
            '"load_balancer"'
        )
    allowed = [[]] if settings.entrance == "none" else [[], [_EVERYBODY]]
    if settings.allowed_cidrs not in allowed:
        yield (
            f"control_plane.allowed_cidrs is {settings.allowed_cidrs} and control_plane.entrance "
            f"is {settings.entrance}, which knows no addresses, allowed is "
            f"{' or '.join(map(str, allowed))}: use one of them, or the entrance "
            '"load_balancer"'
        )


def one_task_has_one_of_each(stage: StageConfig) -> Iterator[str]:
    """All programs of one task are there once, and share its size."""
    settings = stage.control_plane
    if settings.kind == "none" or not settings.one_task:
        return
    for name in ("api_servers", "schedulers", "triggerers"):
        if (count := getattr(settings, name)) > 1:
            yield (
                f"control_plane.{name} is {count} and control_plane.one_task is true, allowed is "
                "1: change one of the two"
            )
    if settings.sizes:
        yield (
            f"control_plane.sizes names {', '.join(settings.sizes)} and control_plane.one_task is "
            "true, allowed is {}: use control_plane.cpu and memory_mb instead"
        )


def somebody_opens_the_tunnel(stage: StageConfig) -> Iterator[str]:
    """Without a load balancer and without a tunnel nobody could open the UI."""
    settings = stage.control_plane
    if (
        settings.kind == "fargate"
        and settings.entrance != "load_balancer"
        and not settings.on_the_internet
        and not settings.execute_command
    ):
        yield (
            f"control_plane.entrance is {settings.entrance} and control_plane.execute_command is "
            'false, so nobody could open the UI, allowed is true, or the entrance "load_balancer": '
            "change one of the two"
        )


def office_hours_have_a_beginning_and_an_end(stage: StageConfig) -> Iterator[str]:
    """What is stopped must be started again, and have something between."""
    hours = stage.control_plane.office_hours
    if (hours.opens is None) != (hours.closes is None):
        yield (
            f"control_plane.office_hours.opens is {hours.opens} and control_plane.office_hours."
            f"closes is {hours.closes}, allowed are two times or none: add the other one"
        )
    elif hours.opens and hours.closes and hours.closes <= hours.opens:
        yield (
            f"control_plane.office_hours.closes is {hours.closes}, allowed is a time after "
            f"control_plane.office_hours.opens, {hours.opens}: change one of the two"
        )


RELATIONS = (
    execution_api_is_somewhere,
    control_plane_has_a_database,
    functions_reach_the_control_plane,
    functions_reach_the_api_gateway,
    each_scheduler_has_a_results_queue,
    internet_needs_a_certificate,
    certificate_has_a_domain_name,
    certificate_is_in_the_region,
    somebody_may_open_the_ui,
    fargate_size_exists,
    load_balancer_has_what_is_its_own,
    one_task_has_one_of_each,
    somebody_opens_the_tunnel,
    office_hours_have_a_beginning_and_an_end,
)
