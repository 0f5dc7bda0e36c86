"""Delete old versions of a stage's functions and MicroVMs, and unused images; no deploy does.

`make prune STAGE=<stage>`. Each version of a function keeps its image and, in a VPC, its network
interfaces, and AWS removes neither while the version exists (docs/howto/upgrade-and-rollback.md).
Each version of an image of MicroVMs has a snapshot, and an image may have 50 versions.
CloudFormation says which functions, images of MicroVMs and repository the stage has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

import stage_images
import stage_jobs
from destroy import DestroyError, described, session_of, stages
from lambda_executor.contract.help import with_page
from stacks.config import StageConfig
from stacks.config.loading import StageConfigError, load
from stacks.reference.rates import micro_vm_image_a_month, snapshot_a_month
from stacks.stage.names import prefix

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

#: What schedulers invoke: the version that a deploy made is behind it.
ALIAS = "live"
#: How many versions before the live one are kept: so many deploys can be undone.
KEEP = 3
#: The same where versions have snapshots, which are charged for all the time.
KEEP_WITH_SNAPSHOTS = 1


class PruneError(Exception):
    """Nothing can be deleted; the message is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a function.

    Attributes:
        published: Their numbers, without `$LATEST`.
        snapshots: What the snapshot of a version costs in a month, in US dollars, by its number.
        live: The number behind the alias `live`.
        used: Those behind any alias.
    """

    published: Collection[int]
    live: int
    used: Collection[int]
    snapshots: Mapping[int, float]

    def old(self, keep: int | None) -> list[int]:
        """Return what may be deleted, oldest first, if `keep` versions before the live one stay.

        None is `KEEP`, or `KEEP_WITH_SNAPSHOTS` if one of them has a snapshot.

        What is newer than the live one stays: a deploy may be under way, or was rolled back by the
        alias, and then CloudFormation still has that version.
        """
        before = sorted(number for number in self.published if number < self.live)
        if keep is None:
            keep = KEEP_WITH_SNAPSHOTS if self.snapshots.keys() & set(before) else KEEP
        return [
            number for number in before[: max(len(before) - keep, 0)] if number not in self.used
        ]


#: What ends the command with a sentence instead of a traceback.
_EXPECTED = (
    StageConfigError,
    DestroyError,
    PruneError,
    stage_images.StageImagesError,
    BotoCoreError,
    ClientError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 if every old version and unused image is gone."""
    parser = argparse.ArgumentParser(
        prog="make prune",
        description="Delete old versions of a stage's functions and MicroVMs, and the images of "
        f"its repository that nothing uses. These always stay: the version behind the alias {ALIAS}"
        " or that MicroVMs start from, newer ones, what another alias, provisioned concurrency or "
        "a running MicroVM uses, the images of all versions of functions that stay and of the "
        "control plane, and the newest images (image.keep_images of the stage).",
    )
    parser.add_argument("stage", help="the stage's name in cdk.json")
    parser.add_argument(
        "--keep",
        type=_number,
        metavar="N",
        help=f"how many versions before the live one stay (default: {KEEP}; of MicroVMs, and of a "
        f"function whose old versions have snapshots: {KEEP_WITH_SNAPSHOTS})",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    given = parser.parse_args(arguments)
    try:
        _prune(given.stage, given.keep, dry_run=given.dry_run)
    except _EXPECTED as e:
        sys.exit(with_page(str(e)))
    return 0


def config_of(stage: str) -> StageConfig:
    """Return the configuration of a stage.

    Raises:
        StageConfigError: cdk.json does not have the stage, or has it with a value that is refused.
    """
    return load(stages(), stage)


def named_by_stages(known: Mapping[str, Any], repository: str) -> set[str]:
    """Return the digests of a repository's images that any stage names as its `image.uri`.

    A stage may run what was built for another one, and its functions are not those of this stage.
    """
    uris = (str(values.get("image", {}).get("uri", "")) for values in known.values())
    found = (uri.partition("/")[2].partition(f"{repository}@") for uri in uris)
    return {digest for before, at, digest in found if at and not before}


def refuse_during_a_deploy(stage: str, stacks: Iterable[Mapping[str, Any]]) -> None:
    """Check that no stack of a stage is being changed.

    Raises:
        PruneError: A deploy is under way. If it fails, it goes back to what looks old now.
    """
    for stack in stacks:
        name, status = stack["StackName"], stack["StackStatus"]
        if name.startswith(f"{prefix(stage)}-") and status.endswith("_IN_PROGRESS"):
            raise PruneError(
                f"The stack {name} is {status}, and may go back to what looks old now: wait until "
                "the deploy has ended."
            )


def versions_of(client: LambdaClient, function: str) -> Versions:
    """Look up the versions of a function.

    Raises:
        PruneError: The function has no alias `live`: no deploy of it was ever completed.
    """
    published = [
        version
        for page in client.get_paginator("list_versions_by_function").paginate(
            FunctionName=function
        )
        for version in page["Versions"]
        if version["Version"].isdigit()
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
        {int(version["Version"]) for version in published},
        min(behind[ALIAS]),
        set().union(*behind.values()),
        {
            int(version["Version"]): snapshot_a_month(version["MemorySize"])
            for version in published
            if version.get("SnapStart", {}).get("ApplyOn") == "PublishedVersions"
        },
    )


def _prune(stage: str, keep: int | None, *, dry_run: bool) -> None:
    config = config_of(stage)
    session, account = session_of(stage, config)
    refuse_during_a_deploy(stage, described(session.client("cloudformation"), stage))
    client = session.client("lambda")
    execution = f"{prefix(stage)}-execution"
    functions = stage_images.resources_of(session, execution, "AWS::Lambda::Function")
    if not functions:
        raise PruneError(
            f"The stage {stage} has no stack {execution} in {session.region_name}, account "
            f"{account}: deploy it first, or set AWS_REGION to the Region that it was deployed to."
        )
    left = {
        function: _prune_versions(client, function, keep, dry_run=dry_run) for function in functions
    }
    micro_vms: Any = session.client("lambda-microvms")
    for image in stage_images.resources_of(session, execution, "AWS::Lambda::MicrovmImage"):
        _prune_micro_vms(micro_vms, image, keep, dry_run=dry_run)
    for repository in stage_images.repositories_of(session, stage):
        images = stage_images.images_in(session, repository)
        used = stage_images.names_in_use(session, stage, repository, left)
        used |= named_by_stages(stages(), repository)
        old = stage_images.unused(images, used, config.image.keep_images)
        _say(f"{repository}: {len(images) - len(old)} of {len(images)} images stay")
        for unused in old:
            _say(f"  {_doing(dry_run)} image {unused}")
        if not dry_run:
            stage_images.delete(session, repository, old)


def _prune_versions(
    client: LambdaClient, function: str, keep: int | None, *, dry_run: bool
) -> Collection[int]:
    """Delete a function's old versions; return those that stay."""
    versions = versions_of(client, function)
    old = list(_not_provisioned(client, function, versions.old(keep)))
    left = set(versions.published) - set(old)
    _say(
        f"{function}: live is version {versions.live}; {len(left)} of {len(versions.published)} "
        "versions stay" + _snapshots(versions, left)
    )
    for number in old:
        _say(f"  {_doing(dry_run)} version {number}")
        if not dry_run:
            client.delete_function(FunctionName=function, Qualifier=str(number))
    return left


def old_of_micro_vms(
    versions: Iterable[Mapping[str, Any]], active: str | None, used: Collection[str], keep: int
) -> list[str]:
    """Return which versions of an image may be deleted, oldest first.

    Args:
        versions: Lambda's descriptions of all of them.
        active: What MicroVMs start from; None: no version was ever built.
        used: Those of running MicroVMs.
        keep: How many stay before the active one.
    """
    by_age = sorted(versions, key=lambda version: version["createdAt"])
    numbers = [version["imageVersion"] for version in by_age]
    if active not in numbers:
        return []
    before = numbers[: numbers.index(active)]
    return [number for number in before[: max(len(before) - keep, 0)] if number not in used]


def _prune_micro_vms(client: Any, image: str, keep: int | None, *, dry_run: bool) -> None:  # noqa: ANN401 - boto3 makes it at run time
    """Delete old versions of an image of MicroVMs."""
    active = client.get_microvm_image(imageIdentifier=image).get("latestActiveImageVersion")
    pages = client.get_paginator("list_microvm_image_versions").paginate(imageIdentifier=image)
    versions = [
        version
        for page in pages
        for version in page["items"]
        if version["state"] not in {"DELETING", "DELETED"}
    ]
    used = {found["imageVersion"] for found in stage_jobs.micro_vms(client, image)}
    old = old_of_micro_vms(versions, active, used, KEEP_WITH_SNAPSHOTS if keep is None else keep)
    costs = [
        micro_vm_image_a_month(version["resources"][0]["minimumMemoryInMiB"])
        for version in versions
        if version["state"] == "SUCCESSFUL" and version["imageVersion"] not in old
    ]
    _say(
        f"{image.rpartition(':')[2]}: MicroVMs start from version {active}; "
        f"{len(versions) - len(old)} of {len(versions)} versions stay, {len(costs)} of them with a "
        f"snapshot: about ${sum(costs):.2f} a month"
    )
    for number in old:
        _say(f"  {_doing(dry_run)} version {number}")
        if not dry_run:
            client.delete_microvm_image_version(imageIdentifier=image, imageVersion=number)


def _snapshots(versions: Versions, left: Collection[int]) -> str:
    costs = [usd for number, usd in versions.snapshots.items() if number in left]
    if not costs:
        return ""
    return f", {len(costs)} of them with a snapshot: about ${sum(costs):.2f} a month"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _doing(dry_run: bool) -> str:
    return "would delete" if dry_run else "deleting"


def _not_provisioned(client: LambdaClient, function: str, versions: Sequence[int]) -> Iterator[int]:
    for number in versions:
        try:
            client.get_provisioned_concurrency_config(FunctionName=function, Qualifier=str(number))
        except client.exceptions.ProvisionedConcurrencyConfigNotFoundException:
            yield number


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"N is {text!r}, allowed is a whole number, 0 or more: leave it out for the default"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
