"""Logical ids are a contract: CloudFormation replaces a resource whose id changes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.synth.assembly import Assembly
from tests.synth.judge.rendered import Rendering
from tests.synth.judge.replacement import create_only
from tests.synth.stacks.test_invariants import STATEFUL
from tests.synth.variants import STAGES, VARIANTS

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

#: What every stage of `cdk.json` has.
CORE = set(PINNED)

#: What the options of a stage add.
PINNED |= {
    ("encryption", "AWS::KMS::Key", "Key961B73FD"): (
        "everything that was encrypted with it: what it leaves behind nobody can read any more"
    ),
    ("database", "AWS::SecretsManager::Secret", "FernetKey0E813584"): (
        "every connection and variable in the database: they cannot be decrypted any more"
    ),
    ("database", "AWS::Logs::LogGroup", "DatabaseRotationLog5141467D"): (
        "the log of every change of the password"
    ),
    ("database", "AWS::Logs::LogGroup", "DatabaseProxyLog5781653F"): (
        "the log of every connection that the proxy refused"
    ),
    ("storage", "AWS::S3::Bucket", "TaskLogsC449AF13"): "the log of every task so far",
    ("storage", "AWS::Logs::LogGroup", "TaskLogsC449AF13"): "the log of every task so far",
    ("storage", "AWS::S3::Bucket", "DagBucketDagsBC200C98"): (
        "the DAG files that were pushed: nothing can run until they are pushed again"
    ),
    ("storage", "AWS::EFS::FileSystem", "SharedFilesFileSystem49C3203E"): (
        "every file that tasks have shared"
    ),
    ("network", "AWS::Logs::LogGroup", "FlowLogs16C1943A"): "the record of every connection so far",
    ("control-plane", "AWS::SecretsManager::Secret", "ControlPlaneSigningKey625B1556"): (
        "every session and every token of a workload that waits: users log in again, tasks fail"
    ),
    ("control-plane", "AWS::SecretsManager::Secret", "ControlPlaneAdminPassword55F4023D"): (
        "the password of the user admin: it is another one afterwards"
    ),
    ("control-plane", "AWS::Logs::LogGroup", "ControlPlaneLog2C327A69"): (
        "the output of every program of the control plane so far"
    ),
    **{
        ("execution", "AWS::SQS::Queue", logical_id): (
            "the results under way of one scheduler: their workloads run until Airflow's time-outs"
        )
        for logical_id in (
            "ResultsQueueResults2F13F63B7",
            "ResultsQueueResults31CD8B2E8",
            "ResultsQueueResults459AB8772",
        )
    },
    **{
        ("execution", "AWS::Logs::LogGroup", logical_id): "the log of every workload it ran so far"
        for logical_id in (
            "WorkloadLargeLog0B13C917",
            "WorkloadPerTenantLogD7D62E74",
            "TargetsCheapLog5EDE1F9D",
            "TargetsCheapHugeLogECF379AA",
            "TargetsHoursLogB1F94E87",
            "TargetsHugeLog7BD132FD",
            "TargetsLongLog56912B4F",
            "TargetsTrainLogA4B955E3",
            "TargetsUrgentLog9127A5F1",
            "TargetsLongLargeLog41EE8020",
        )
    },
}

#: Of the same types, but nothing is kept in them.
NO_DATA = {
    ("database", "AWS::RDS::DBParameterGroup", "DatabaseParametersB8AC9B07"),
    ("observability", "AWS::KMS::Key", "AlarmTopicKeyBA1A4AA7"),
}


#: The texts that AWS never changes: another one replaces the resource. Other stacks import it,
#: and roles outside the stage have the policies attached.
IMMUTABLE = {
    "ApiGatewaySecurityGroup5DC535E1": "Of the API Gateway",
    "ControlPlaneSecurityGroup545AF393": "Of the control plane",
    "Containers196BD991": "Of the targets that run containers",
    "DagPushPolicy156FE794": "Push the DAG files of airflow-lambda-<stage>",
    "DagReadPolicy19F9913A": "Read the DAG files of airflow-lambda-<stage>",
    "DatabaseB269D8BB": "Of the database",
    "DatabaseClientsD3CE02C8": "Carried by what needs the database",
    "DatabaseParametersB8AC9B07": "TLS only",
    "DatabaseProxy3E84A7D6": "Of the proxy of the database",
    "EndpointClients77647CB2": "Carried by what calls AWS from inside",
    "Endpoints1506DDEA": "Of the endpoints of AWS services",
    "EntranceSecurityGroup7874DCAF": "Of the load balancer",
    "Function76856677": "Of the functions",
    "PagePolicyE7F6256A": "What the page in Airflow needs to show airflow-lambda-<stage>",
    "Rotation9515E0C5": "Of what changes the password of the database",
    "SchedulerPolicy79D5E5C6": "What an Airflow scheduler needs to use airflow-lambda-<stage>",
    "SharedFilesSecurityGroup2B4DAA2E": "Of the shared file system",
    "SecretsPolicy92C2E33E": "Read Airflow's connections and variables of the stage <stage>",
}


def test_immutable_descriptions_stay(rendering: Rendering) -> None:
    """A description that AWS never changes stays as it is, in every stage.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-securitygroup.html
    """
    for resource in rendering.resources():
        for name in {"Description", "GroupDescription"} & {*create_only(resource.type)}:
            if name in resource.properties:
                stage = rendering.assembly.stage
                text = re.sub(rf"\b{stage}\b", "<stage>", resource.properties[name])
                assert text == IMMUTABLE.get(resource.logical_id), (
                    f"{resource} is replaced, or new: give it its description back, or plan the "
                    "replacement and pin the new text here."
                )


@pytest.mark.parametrize(("pinned", "lost"), PINNED.items(), ids=lambda value: str(value)[:60])
def test_logical_id_stays(
    assembly_of: Callable[[str], Assembly], pinned: tuple[str, str, str], lost: str
) -> None:
    """A stateful resource keeps its logical id, in every stage and combination that has it."""
    part, type_, logical_id = pinned
    found = {
        resource.logical_id
        for variant in VARIANTS
        for resource in assembly_of(variant).resources(type_)
        if resource.part == part
    }
    assert logical_id in found, (
        f"{type_} {logical_id} of the {part} stack is now one of {sorted(found)}: deploying this "
        f"would delete the old one, and with it {lost}. Move a construct with an explicit "
        "override_logical_id, or plan the migration and pin the new id here."
    )


def test_everything_with_data_is_pinned(assembly: Assembly) -> None:
    """Every stateful resource is pinned."""
    stateful = {(r.part, r.type, r.logical_id) for r in assembly.resources(*STATEFUL)} - NO_DATA
    new = stateful - PINNED.keys()
    assert not new, (
        f"{sorted(new)} are not pinned. If one of them was {sorted(PINNED.keys() - stateful)} "
        "before, deploying this deletes what it held: give it its logical id back. If it is new, "
        "pin it here, and say what renaming it would destroy."
    )


@pytest.mark.parametrize("stage", STAGES)
def test_core_is_the_same_in_every_stage(
    stage: str, assembly_of: Callable[[str], Assembly]
) -> None:
    """A stateful resource has the same logical id in every stage."""
    resources = {(r.part, r.type, r.logical_id) for r in assembly_of(stage).resources()}
    assert resources >= CORE


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

    small, with_nat, with_a_third_zone = isolated("local"), isolated("prod"), isolated("much")
    assert len(small) == 2
    assert with_nat == small
    assert with_a_third_zone.items() > small.items()
