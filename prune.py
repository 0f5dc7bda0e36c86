"""Delete old versions of a stage's functions, which no deploy deletes.

`make prune STAGE=<stage>`. Each version keeps its image and, in a VPC, its network interfaces, and
AWS removes neither while the version exists (docs/howto/upgrade-and-rollback.md).
CloudFormation says which functions the stage has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from stacks.config.loading import StageConfigError
from stacks.stage.names import prefix
from stage_account import StageAccountError, account_of, config_of

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

#: What schedulers invoke: the version that a deploy made is behind it.
ALIAS = "live"
#: How many versions before the live one are kept: so many deploys can be undone.
KEEP = 3


class PruneError(Exception):
    """Nothing can be deleted; the message is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a function.

    Attributes:
        published: Their numbers, without `$LATEST`.
        live: The number behind the alias `live`.
        used: Those behind any alias.
    """

    published: Collection[int]
    live: int
    used: Collection[int]

    def old(self, keep: int) -> list[int]:
        """Return what may be deleted, oldest first, if `keep` versions before the live one stay.

        What is newer than the live one stays: a deploy may be under way, or was rolled back by the
        alias, and then CloudFormation still has that version.
        """
        before = sorted(number for number in self.published if number < self.live)
        return [
            number for number in before[: max(len(before) - keep, 0)] if number not in self.used
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 if every old version is gone."""
    parser = argparse.ArgumentParser(
        prog="make prune",
        description="Delete old versions of a stage's functions. These always stay: the version "
        f"behind the alias {ALIAS}, newer ones, and what another alias or provisioned concurrency "
        "uses.",
    )
    parser.add_argument("stage", help="the stage's name in cdk.json")
    parser.add_argument(
        "--keep",
        type=_number,
        default=KEEP,
        metavar="N",
        help=f"how many versions before the live one stay (default: {KEEP})",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    given = parser.parse_args(arguments)
    try:
        _prune(given.stage, given.keep, dry_run=given.dry_run)
    except (StageConfigError, StageAccountError, PruneError, BotoCoreError, ClientError) as e:
        sys.exit(str(e))
    return 0


def functions_of(session: boto3.Session, stage: str) -> list[str]:
    """Return the names of the stage's functions; none if the stage is not deployed."""
    resources = session.client("cloudformation").get_paginator("list_stack_resources")
    try:
        return sorted(
            resource["PhysicalResourceId"]
            for page in resources.paginate(StackName=f"{prefix(stage)}-execution")
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == "AWS::Lambda::Function"
            and resource["ResourceStatus"] != "DELETE_COMPLETE"
        )
    except ClientError as e:
        if "does not exist" not in str(e):
            raise
        return []


def versions_of(client: LambdaClient, function: str) -> Versions:
    """Look up the versions of a function.

    Raises:
        PruneError: The function has no alias `live`: no deploy of it was ever completed.
    """
    numbers = [
        version["Version"]
        for page in client.get_paginator("list_versions_by_function").paginate(
            FunctionName=function
        )
        for version in page["Versions"]
    ]
    behind: dict[str, set[int]] = {}
    for page in client.get_paginator("list_aliases").paginate(FunctionName=function):
        for alias in page["Aliases"]:
            weighted = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
            named = (alias["FunctionVersion"], *weighted)
            behind[alias["Name"]] = {int(number) for number in named if number.isdigit()}
    if not behind.get(ALIAS):
        raise PruneError(
            f"The function {function} has no version behind an alias {ALIAS}, so nothing says "
            "which ones are old: deploy the stage first."
        )
    return Versions(
        {int(number) for number in numbers if number.isdigit()},
        min(behind[ALIAS]),
        set().union(*behind.values()),
    )


def _prune(stage: str, keep: int, *, dry_run: bool) -> None:
    place = account_of(stage, config_of(stage))
    client = place.session.client("lambda")
    functions = functions_of(place.session, stage)
    if not functions:
        raise PruneError(
            f"The stage {stage} has no stack {prefix(stage)}-execution in {place}: deploy it "
            "first, or set AWS_REGION to the Region that it was deployed to."
        )
    for function in functions:
        versions = versions_of(client, function)
        old = list(_not_provisioned(client, function, versions.old(keep)))
        left = len(versions.published) - len(old)
        sys.stdout.write(
            f"{function}: live is version {versions.live}; {left} of "
            f"{len(versions.published)} versions stay\n"
        )
        for number in old:
            sys.stdout.write(f"  {'would delete' if dry_run else 'deleting'} version {number}\n")
            if not dry_run:
                client.delete_function(FunctionName=function, Qualifier=str(number))


def _not_provisioned(client: LambdaClient, function: str, versions: Sequence[int]) -> Iterator[int]:
    for number in versions:
        try:
            client.get_provisioned_concurrency_config(FunctionName=function, Qualifier=str(number))
        except client.exceptions.ProvisionedConcurrencyConfigNotFoundException:
            yield number


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"N is {text!r}, allowed is a whole number, 0 or more: leave it out for {KEEP}"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
