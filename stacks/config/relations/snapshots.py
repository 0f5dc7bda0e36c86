"""Which functions start from a snapshot (Lambda SnapStart), and what does not go with one.

https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-runtimes
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.config.sections.functions import FunctionConfig
    from stacks.config.stage import StageConfig

#: The most of `/tmp`, in MB, that Lambda puts into a snapshot.
_MOST_STORAGE_MB = 512

#: AWS's list: all commercial Regions but New Zealand and Taipei. GovCloud has no snapshots of
#: Python, and of images in China nothing is said.
#: https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/govcloud-lambda.html
_REGIONS = "https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-supported-regions"
_WITHOUT = re.compile(r"ap-southeast-6|ap-east-2|(cn|us-gov)-.*")


def starts_from_snapshot(stage: StageConfig, function: FunctionConfig) -> bool:
    """Whether the execution environments of a function start from a snapshot.

    Without `snap_start` they do where Lambda allows it. An existing image is left out: its Python
    is not known, and Lambda publishes no version with a snapshot of Python 3.11.
    """
    if function.snap_start is not None:
        return function.snap_start
    return stage.image.uri is None and not any(obstacles(stage, function))


def snapshots_go_with_the_rest(stage: StageConfig) -> Iterator[str]:
    """Lambda refuses a version with a snapshot beside some settings, and in some Regions.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-runtimes
    """
    for function in stage.functions:
        if function.snap_start:
            for found, allowed in obstacles(stage, function):
                yield (
                    f"functions[{function.name}].snap_start is true and {found}, allowed is "
                    f"{allowed}: change it, or remove snap_start"
                )


def obstacles(stage: StageConfig, function: FunctionConfig) -> Iterator[tuple[str, str]]:
    """Yield what a function has that goes with no snapshot, and what is allowed instead."""
    if function.provisioned_concurrency is not None:
        yield f"its provisioned_concurrency is {function.provisioned_concurrency}", "null"
    if function.tenant_isolation:
        yield "its tenant_isolation is true", "false"
    if function.ephemeral_storage_mb > _MOST_STORAGE_MB:
        yield f"its ephemeral_storage_mb is {function.ephemeral_storage_mb}", f"{_MOST_STORAGE_MB}"
    if stage.shared_files.mount is not None:
        yield f"shared_files.mount is {stage.shared_files.mount}", "null"
    if stage.region and _WITHOUT.fullmatch(stage.region):
        yield (
            f"region is {stage.region}",
            f"a Region that has snapshots ({_REGIONS})",
        )


RELATIONS = (snapshots_go_with_the_rest,)
