"""Logical ids are a contract: CloudFormation replaces a resource whose id changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.synth.assembly import Assembly

#: Logical id of everything that holds data, and what is lost when it changes.
PINNED = {
    ("registry", "AWS::ECR::Repository", "Repository22E53BBD"): (
        "every image, those that running versions of the function were made from included"
    ),
    ("database", "AWS::RDS::DBInstance", "DatabaseInstanceAA8A5FDE"): (
        "Airflow's whole metadata database: DAG runs, connections, variables, users"
    ),
    ("database", "AWS::SecretsManager::Secret", "DatabaseSecret3B817195"): (
        "the database's password: whoever uses the old secret is locked out"
    ),
    ("execution", "AWS::SQS::Queue", "ResultsQueueResultsC281B58A"): (
        "the results under way: their workloads run until Airflow's own time-outs"
    ),
    ("execution", "AWS::SQS::Queue", "ResultsQueueDeadLettersD6DFB9DC"): (
        "the dead letters that no scheduler has taken yet, and with them why workloads failed"
    ),
    ("execution", "AWS::SQS::Queue", "ResultsQueueFailures00EE6EE1"): (
        "the records of what Lambda gave up on in the last two weeks"
    ),
    ("execution", "AWS::S3::Bucket", "PayloadBucketPayloads5302E1FE"): (
        "the payloads of invocations that have not started: their workloads fail"
    ),
    ("execution", "AWS::Logs::LogGroup", "WorkloadLog1ED58366"): "the log of every workload so far",
}


@pytest.mark.parametrize(("pinned", "lost"), PINNED.items(), ids=lambda value: str(value)[:60])
def test_logical_id_stays(assembly: Assembly, pinned: tuple[str, str, str], lost: str) -> None:
    """A stateful resource keeps its logical id, in every stage."""
    part, type_, logical_id = pinned
    found = [r.logical_id for r in assembly.resources(type_) if r.part == part]
    assert logical_id in found, (
        f"{type_} {logical_id} of the {part} stack is now one of {found}: deploying this would "
        f"delete the old one, and with it {lost}. Move a construct with an explicit "
        "override_logical_id, or plan the migration and pin the new id here."
    )


def test_everything_with_data_is_pinned(dev: Assembly) -> None:
    """A new stateful resource is pinned from its first day."""
    types = {type_ for _, type_, _ in PINNED}
    stateful = {(r.part, r.type, r.logical_id) for r in dev.resources(*types)}
    assert stateful == set(PINNED)


def test_growing_the_network_moves_no_subnet_of_the_database(
    assembly_of: Callable[[str], Assembly],
) -> None:
    """Zones and NAT gateways can be added later: the isolated subnets keep id and addresses.

    A subnet whose address range changes is replaced, and with it whatever is in it.
    """

    def isolated(variant: str) -> dict[str, str]:
        return {
            subnet.logical_id: subnet.properties["CidrBlock"]
            for subnet in assembly_of(variant).resources("AWS::EC2::Subnet")
            if subnet.logical_id.startswith("VpcIsolated")
        }

    small, with_nat, with_a_third_zone = isolated("dev"), isolated("dev-in-vpc"), isolated("prod")
    assert len(small) == 2
    assert with_nat == small
    assert with_a_third_zone.items() > small.items()
