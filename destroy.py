"""Takes a stage down: empties the buckets of its stacks, then deletes the stacks.

`make destroy STAGE=<stage>`. CloudFormation deletes empty buckets only, and whatever could empty
them from inside of a stack would leave something behind itself
(docs/decisions/0021-control-plane.md). What there is to delete, and in which order, is asked of
CloudFormation: the stage may have been deployed with options that cdk.json has no more. It must
not know what is in the buckets, nor what any of the stacks is for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from stacks.config import StageConfig
from stacks.config.loading import StageConfigError, load
from stacks.stage.names import prefix

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

ROOT = Path(__file__).resolve().parent

#: A task that ran on while the buckets were emptied leaves its log; after the first round, whatever
#: could still run is gone.
ROUNDS = 2
#: How often, and for how long, stacks are looked at that are being deleted. Most of it is RDS,
#: some ten minutes; the network interfaces of functions can take longer.
POLL_S = 5.0
LONGEST_S = 5400.0


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that is there.

    Attributes:
        name: Its name.
        id: What CloudFormation knows it by even after it is deleted.
        is_protected: Whether its deletion is refused.
        importers: Names of the stacks that import what it exports: they have to go first.
    """

    name: str
    id: str
    is_protected: bool
    importers: frozenset[str]


class DestroyError(Exception):
    """The stage cannot be taken down; the message is for the person who asked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Empty and delete, at most twice.

    Returns:
        0 if no stack of the stage is left.
    """
    parser = argparse.ArgumentParser(prog="make destroy", description="Take a stage down.")
    parser.add_argument("stage", help="the stage's name in cdk.json")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    asked = parser.parse_args(arguments)
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    try:
        config = load(context["stages"], asked.stage)
        _destroy(asked.stage, config, is_asked=not asked.yes)
    except (StageConfigError, DestroyError, BotoCoreError, ClientError) as e:
        sys.exit(str(e))
    return 0


def stacks_of(session: boto3.Session, stage: str) -> list[Stack]:
    """The stacks of the stage that are there."""
    formation = session.client("cloudformation")
    return [
        Stack(
            found["StackName"],
            found["StackId"],
            found.get("EnableTerminationProtection", False),
            frozenset(_importers(formation, found)),
        )
        for page in formation.get_paginator("describe_stacks").paginate()
        for found in page["Stacks"]
        if found["StackName"].startswith(f"{prefix(stage)}-")
    ]


def buckets_of(session: boto3.Session, stack: Stack) -> Iterator[str]:
    """The buckets of a stack that are there."""
    resources = session.client("cloudformation").get_paginator("list_stack_resources")
    for page in resources.paginate(StackName=stack.id):
        for resource in page["StackResourceSummaries"]:
            is_there = resource["ResourceStatus"] != "DELETE_COMPLETE"
            if resource["ResourceType"] == "AWS::S3::Bucket" and is_there:
                yield resource["PhysicalResourceId"]


def empty(session: boto3.Session, bucket: str) -> None:
    """Delete every version of every object.

    Raises:
        DestroyError: S3 refuses one.
    """
    s3 = session.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        objects: list[ObjectIdentifierTypeDef] = [
            {"Key": version["Key"], "VersionId": version["VersionId"]}
            for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
        ]
        if not objects:
            continue
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        for error in answer.get("Errors", ()):
            raise DestroyError(
                f"s3://{bucket}/{error['Key']} cannot be deleted: {error['Message']}"
            )


def delete(session: boto3.Session, stacks: Sequence[Stack]) -> list[str]:
    """Delete stacks, each after those that import from it.

    Returns:
        Why some are left, one text for each; without any, none is.
    """
    formation = session.client("cloudformation")
    left = {stack.name: stack for stack in stacks}
    while left:
        free = [stack for stack in left.values() if not stack.importers & left.keys()]
        for stack in free:
            sys.stdout.write(f"Deleting {stack.name}\n")
            formation.delete_stack(StackName=stack.id)
        if failures := [text for stack in free if (text := _failure(formation, stack))]:
            return failures
        for stack in free:
            del left[stack.name]
    return []


def _destroy(stage: str, config: StageConfig, *, is_asked: bool) -> None:
    if config.removal == "retain":
        raise DestroyError(
            f'The stage {stage} has the removal "retain": its data is to outlive its stacks, '
            "which are protected from deletion. Set removal to destroy, deploy, and come back."
        )
    session = boto3.Session(region_name=_region(config))
    account = session.client("sts").get_caller_identity()["Account"]
    if config.account and config.account != account:
        raise DestroyError(
            f"The stage {stage} is in the account {config.account}, these credentials are of "
            f"{account}."
        )
    where = f"{session.region_name} of the account {account}"
    stacks = stacks_of(session, stage)
    _check(stacks)
    if not stacks:
        sys.stdout.write(f"There is no stack of the stage {stage} in {where}.\n")
        return
    if is_asked and input(_question(stage, where, stacks)) != stage:
        raise DestroyError("Nothing was touched.")
    failures: list[str] = []
    for _ in range(ROUNDS):
        for stack in stacks:
            for bucket in buckets_of(session, stack):
                sys.stdout.write(f"Emptying {bucket}\n")
                empty(session, bucket)
        failures = delete(session, stacks)
        if not (stacks := stacks_of(session, stage)):
            return
    names = ", ".join(stack.name for stack in stacks)
    raise DestroyError("\n".join([*failures, f"Still there in {where}: {names}"]))


def _region(config: StageConfig) -> str:
    """The Region that the CDK CLI deploys to; botocore alone does not look at AWS_REGION."""
    if region := config.region or os.environ.get("AWS_REGION") or boto3.Session().region_name:
        return region
    raise DestroyError(
        "Which Region is the stage in? Neither its region in cdk.json, nor AWS_REGION, nor the AWS "
        "profile says so: set AWS_REGION to the one that it was deployed to."
    )


def _check(stacks: Sequence[Stack]) -> None:
    """Refuse what is to be kept, and what others need."""
    for stack in stacks:
        if stack.is_protected:
            raise DestroyError(
                f"The stack {stack.name} is protected from deletion: it was deployed with "
                'the removal "retain". Deploy it with the removal destroy, and come back. If '
                "cdk.json has it no more, take the protection off (`aws cloudformation "
                "update-termination-protection --no-enable-termination-protection --stack-name "
                f"{stack.name}`); what it retains then stays."
            )
        if others := stack.importers - {ours.name for ours in stacks}:
            raise DestroyError(
                f"The stack {stack.name} is used by {', '.join(sorted(others))}, not of this "
                "stage: CloudFormation keeps what is imported. Delete that first."
            )


def _question(stage: str, where: str, stacks: Sequence[Stack]) -> str:
    names = "".join(f"  {stack.name}\n" for stack in stacks)
    return (
        f"This deletes everything of the stage {stage} in {where}: database, DAG files, logs.\n"
        f"{names}Stop whatever still uses it first.\nThe stage's name, to go on: "
    )


def _importers(formation: Any, found: Mapping[str, Any]) -> Iterator[str]:  # noqa: ANN401 - boto3 makes it at run time
    for output in found.get("Outputs", ()):
        if export := output.get("ExportName"):
            try:
                for page in formation.get_paginator("list_imports").paginate(ExportName=export):
                    yield from page["Imports"]
            except ClientError as e:
                if "is not imported" not in str(e):
                    raise


def _failure(formation: Any, stack: Stack) -> str:  # noqa: ANN401 - boto3 makes it at run time
    """Wait until the stack is gone; why it is not."""
    waiter = formation.get_waiter("stack_delete_complete")
    pace = {"Delay": POLL_S, "MaxAttempts": int(LONGEST_S / POLL_S)}
    try:
        waiter.wait(StackName=stack.id, WaiterConfig=pace)
    except WaiterError:
        return f"{stack.name} was not deleted{''.join(_reasons(formation, stack))}"
    return ""


def _reasons(formation: Any, stack: Stack) -> Iterator[str]:  # noqa: ANN401 - boto3 makes it at run time
    """What CloudFormation says of each resource that stayed, of this try: newest events first."""
    for page in formation.get_paginator("describe_stack_events").paginate(StackName=stack.id):
        for event in page["StackEvents"]:
            of_the_stack = event.get("PhysicalResourceId") == stack.id
            if of_the_stack and event["ResourceStatus"] == "DELETE_IN_PROGRESS":
                return
            if event["ResourceStatus"] == "DELETE_FAILED" and not of_the_stack:
                yield f"\n  {event['LogicalResourceId']}: {event['ResourceStatusReason']}"


if __name__ == "__main__":
    sys.exit(main())
