"""Takes a stage down: empties its buckets, then `cdk destroy --all`.

`make destroy STAGE=<stage>`. CloudFormation deletes empty buckets only, and whatever could empty
them from inside of a stack would leave something behind itself
(docs/decisions/0021-control-plane.md). It must not know what is in the buckets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from stacks.config import StageConfig
from stacks.config_loading import StageConfigError, load

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

ROOT = Path(__file__).resolve().parent
CDK = ROOT / "node_modules" / ".bin" / "cdk"

#: A task that ran on while the buckets were emptied leaves its log; after the first round, whatever
#: could still run is gone.
ROUNDS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Empty and destroy, at most twice.

    Returns:
        The exit code of the last `cdk destroy`.
    """
    parser = argparse.ArgumentParser(prog="make destroy", description="Take a stage down.")
    parser.add_argument("stage", help="the stage's name in cdk.json")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--cdk", nargs=argparse.REMAINDER, default=[], help="the rest goes to `cdk destroy`"
    )
    asked = parser.parse_args(arguments)
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    try:
        config = load(context["stages"], asked.stage)
    except StageConfigError as e:
        sys.exit(str(e))
    session = boto3.Session(region_name=config.region)
    _check(session, asked.stage, config)
    if not asked.yes and input(_question(asked.stage)) != asked.stage:
        sys.exit("Nothing was touched.")
    command = [CDK, "destroy", "--all", "--force", "-c", f"stage={asked.stage}", *asked.cdk]
    for _ in range(ROUNDS):
        for stack in list(stacks_of(session, asked.stage)):
            for bucket in buckets_of(session, stack["StackName"]):
                sys.stdout.write(f"Emptying {bucket}\n")
                empty(session, bucket)
        code = subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 - no shell
        if code == 0:
            break
    return code


def stacks_of(session: boto3.Session, stage: str) -> Iterator[dict[str, Any]]:
    """The stacks of the stage that are there."""
    pages = session.client("cloudformation").get_paginator("describe_stacks").paginate()
    for page in pages:
        for stack in page["Stacks"]:
            if stack["StackName"].startswith(f"airflow-lambda-{stage}-"):
                yield stack


def buckets_of(session: boto3.Session, stack: str) -> Iterator[str]:
    """The buckets of a stack that are there."""
    resources = session.client("cloudformation").get_paginator("list_stack_resources")
    for page in resources.paginate(StackName=stack):
        for resource in page["StackResourceSummaries"]:
            is_there = resource["ResourceStatus"] != "DELETE_COMPLETE"
            if resource["ResourceType"] == "AWS::S3::Bucket" and is_there:
                yield resource["PhysicalResourceId"]


def empty(session: boto3.Session, bucket: str) -> None:
    """Delete every version of every object."""
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
            sys.exit(f"s3://{bucket}/{error['Key']} cannot be deleted: {error['Message']}")


def _check(session: boto3.Session, stage: str, config: StageConfig) -> None:
    """Refuse what is to be kept, and credentials of another account."""
    if config.removal == "retain":
        sys.exit(
            f'The stage {stage} has the removal "retain": its data is to outlive its stacks, '
            "which are protected from deletion. Set removal to destroy, deploy, and come back."
        )
    for stack in stacks_of(session, stage):
        if stack.get("EnableTerminationProtection"):
            sys.exit(
                f"The stack {stack['StackName']} is protected from deletion: it was deployed with "
                'the removal "retain". Deploy it with the removal destroy, and come back.'
            )
    if config.account and config.account != (
        account := session.client("sts").get_caller_identity()["Account"]
    ):
        sys.exit(
            f"The stage {stage} is in the account {config.account}, these credentials are of "
            f"{account}."
        )


def _question(stage: str) -> str:
    return (
        f"This deletes everything of the stage {stage}: database, DAG files, logs. Stop whatever "
        "still uses it first.\nThe stage's name, to go on: "
    )


if __name__ == "__main__":
    sys.exit(main())
