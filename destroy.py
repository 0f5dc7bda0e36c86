"""Take a stage down: end what runs there, empty the buckets, then delete the stacks.

`make destroy STAGE=<stage>`. CloudFormation deletes only empty buckets, and anything inside a stack
that emptied them would leave something behind itself (docs/decisions/0021-control-plane.md).
CloudFormation says which stacks exist and in which order they can go, because cdk.json may no
longer have the options that the stage was deployed with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

import stage_jobs
from lambda_executor.contract.help import with_page
from stacks.config import StageConfig
from stacks.config.loading import StageConfigError, load
from stacks.stage.names import prefix

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

#: A task that still runs while the buckets are emptied writes its log afterwards: the first round
#: deletes everything that could still run, the second empties the buckets for good.
ROUNDS = 2
#: How often CloudFormation is asked whether a stack is deleted.
POLL_S = 5.0
#: RDS takes about ten minutes; the network interfaces of functions can take longer.
LONGEST_S = 5400.0
#: What runs outside the stacks' own programs, by the type of resource that it runs on.
ENDS: Mapping[str, Callable[[boto3.Session, str], None]] = {
    "AWS::Batch::JobQueue": stage_jobs.terminate_jobs,
    "AWS::ECS::Cluster": stage_jobs.stop_tasks,
    "AWS::Lambda::MicrovmImage": stage_jobs.terminate_micro_vms,
}


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that exists, and the names of the stacks that import from it."""

    name: str
    id: str  # Unlike the name, it finds the stack even after its deletion.
    is_protected: bool
    importers: frozenset[str]


class DestroyError(Exception):
    """The stage cannot be taken down; the message is for the person who asked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 if no stack of the stage is left."""
    parser = argparse.ArgumentParser(prog="make destroy", description="Take a stage down.")
    parser.add_argument("stage", help="the stage's name in cdk.json")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    given = parser.parse_args(arguments)
    try:
        config = load(stages(), given.stage)
        _destroy(given.stage, config, ask=not given.yes)
    except (StageConfigError, DestroyError, BotoCoreError, ClientError) as e:
        sys.exit(with_page(str(e)))
    return 0


def session_of(stage: str, config: StageConfig) -> tuple[boto3.Session, str]:
    """Return a session in the stage's Region, and the account that it is for.

    Raises:
        DestroyError: The Region is not known, or the stage is in another account.
    """
    session = boto3.Session(region_name=_region(config))
    account = session.client("sts").get_caller_identity()["Account"]
    if config.account and config.account != account:
        raise DestroyError(
            f"The stage {stage} is in account {config.account}, but these credentials are for "
            f"account {account}: use credentials for {config.account}."
        )
    return session, account


def stages() -> dict[str, Any]:
    """Return the stages of cdk.json as they stand there, by name."""
    cdk_json = json.loads(Path(__file__).with_name("cdk.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = cdk_json["context"]["stages"]
    return found


def described(formation: Any, stage: str) -> list[dict[str, Any]]:  # noqa: ANN401 - boto3 makes it at run time
    """Return CloudFormation's descriptions of the stage's stacks, without nested ones."""
    pages = formation.get_paginator("describe_stacks").paginate()
    return [
        stack
        for page in pages
        for stack in page["Stacks"]
        if stack["StackName"].startswith(f"{prefix(stage)}-") and "ParentId" not in stack
    ]


def stacks_of(session: boto3.Session, stage: str) -> list[Stack]:
    """Return the existing stacks of the stage, without nested ones, which go with their parents."""
    formation = session.client("cloudformation")
    return [
        Stack(
            found["StackName"],
            found["StackId"],
            found.get("EnableTerminationProtection", False),
            frozenset(_importers(formation, found)),
        )
        for found in described(formation, stage)
    ]


def buckets_of(session: boto3.Session, stack: Stack) -> Iterator[str]:
    """Yield the names of the existing buckets of a stack."""
    return _existing(session, stack, "AWS::S3::Bucket")


def _existing(session: boto3.Session, stack: Stack, type_: str) -> Iterator[str]:
    """Yield the physical ids of a stack's existing resources of a type."""
    resources = session.client("cloudformation").get_paginator("list_stack_resources")
    for page in resources.paginate(StackName=stack.id):
        for resource in page["StackResourceSummaries"]:
            exists = resource["ResourceStatus"] != "DELETE_COMPLETE"
            if resource["ResourceType"] == type_ and exists:
                yield resource["PhysicalResourceId"]


def empty(session: boto3.Session, bucket: str) -> None:
    """Delete every version of every object.

    Raises:
        DestroyError: S3 refuses to delete one.
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
            raise DestroyError(f"Cannot delete s3://{bucket}/{error['Key']}: {error['Message']}")


def delete(session: boto3.Session, stacks: Sequence[Stack]) -> list[str]:
    """Delete stacks, each after those that import from it; return the reasons of the failures."""
    formation = session.client("cloudformation")
    left = {stack.name: stack for stack in stacks}
    while left:
        free = [stack for stack in left.values() if not stack.importers & left.keys()]
        for stack in free:
            sys.stdout.write(f"Deleting {stack.name}\n")
            formation.delete_stack(StackName=stack.id)
        if failures := [reason for stack in free if (reason := _failure(formation, stack))]:
            return failures
        for stack in free:
            del left[stack.name]
    return []


def _destroy(stage: str, config: StageConfig, *, ask: bool) -> None:
    if config.removal == "retain":
        raise DestroyError(
            f'The stage {stage} has the removal "retain": its data must outlive its stacks, which '
            'are protected from deletion. To destroy it, set removal to "destroy" and deploy first.'
        )
    session, account = session_of(stage, config)
    where = f"{session.region_name}, account {account}"
    stacks = stacks_of(session, stage)
    _refuse_what_must_stay(stacks)
    if not stacks:
        sys.stdout.write(f"The stage {stage} has no stack in {where}.\n")
        return
    names = "".join(f"  {stack.name}\n" for stack in stacks)
    question = (
        f"This deletes the stage {stage} in {where}, with its database, DAG files and logs:\n"
        f"{names}Stop everything that still uses it first.\nType the stage's name to continue: "
    )
    if ask and input(question) != stage:
        raise DestroyError("Nothing was deleted.")
    failures: list[str] = []
    for _ in range(ROUNDS):
        for stack in stacks:
            for type_, end in ENDS.items():
                for resource in _existing(session, stack, type_):
                    end(session, resource)
            for bucket in buckets_of(session, stack):
                sys.stdout.write(f"Emptying {bucket}\n")
                empty(session, bucket)
        failures = delete(session, stacks)
        if not (stacks := stacks_of(session, stage)):
            return
    remaining = ", ".join(stack.name for stack in stacks)
    raise DestroyError("\n".join([*failures, f"Still there in {where}: {remaining}"]))


def _region(config: StageConfig) -> str:
    """The Region that the CDK CLI deploys to; botocore alone ignores AWS_REGION."""
    if region := config.region or os.environ.get("AWS_REGION") or boto3.Session().region_name:
        return region
    raise DestroyError(
        "The Region of the stage is not set, neither in cdk.json, nor by AWS_REGION, nor in the "
        "AWS profile: set AWS_REGION to the Region that the stage was deployed to."
    )


def _refuse_what_must_stay(stacks: Sequence[Stack]) -> None:
    for stack in stacks:
        if stack.is_protected:
            raise DestroyError(
                f"The stack {stack.name} is protected from deletion, because it was deployed with "
                'the removal "retain". Deploy it with the removal "destroy" first. If it is no '
                "longer in cdk.json, remove the protection (`aws cloudformation "
                "update-termination-protection --no-enable-termination-protection --stack-name "
                f"{stack.name}`); the resources that it retains then stay."
            )
        if others := stack.importers - {ours.name for ours in stacks}:
            raise DestroyError(
                f"The stack {stack.name} is used by {', '.join(sorted(others))}, which is not part "
                "of this stage. CloudFormation does not delete what another stack imports: delete "
                "that stack first."
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
    """Wait until the stack is deleted; return the reason if it is not."""
    waiter = formation.get_waiter("stack_delete_complete")
    pace = {"Delay": POLL_S, "MaxAttempts": int(LONGEST_S / POLL_S)}
    try:
        waiter.wait(StackName=stack.id, WaiterConfig=pace)
    except WaiterError:
        return f"{stack.name} was not deleted{''.join(_reasons(formation, stack))}"
    return ""


def _reasons(formation: Any, stack: Stack) -> Iterator[str]:  # noqa: ANN401 - boto3 makes it at run time
    """Yield CloudFormation's reason for each resource that this try did not delete."""
    for page in formation.get_paginator("describe_stack_events").paginate(StackName=stack.id):
        for event in page["StackEvents"]:  # The newest comes first.
            is_about_the_stack = event.get("PhysicalResourceId") == stack.id
            if is_about_the_stack and event["ResourceStatus"] == "DELETE_IN_PROGRESS":
                return
            if event["ResourceStatus"] == "DELETE_FAILED" and not is_about_the_stack:
                yield f"\n  {event['LogicalResourceId']}: {event['ResourceStatusReason']}"


if __name__ == "__main__":
    sys.exit(main())
