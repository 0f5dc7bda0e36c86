"""Relations of the files that tasks share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


def shared_files_are_where_the_functions_are(stage: StageConfig) -> Iterator[str]:
    """A file system has addresses in the VPC only.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-filesystem.html
    """
    mount = stage.shared_files.mount
    if mount and not stage.network.function_in_vpc:
        yield (
            f"shared_files.mount is {mount} and network.function_in_vpc is false, allowed is true: "
            "change one of the two"
        )


def tenants_share_no_files(stage: StageConfig) -> Iterator[str]:
    """What one tenant writes, another one would read."""
    mount = stage.shared_files.mount
    for function in stage.functions:
        if mount and function.tenant_isolation:
            yield (
                f"shared_files.mount is {mount} and functions[{function.name}].tenant_isolation is "
                "true, allowed is false: change one of the two"
            )


RELATIONS = (
    shared_files_are_where_the_functions_are,
    tenants_share_no_files,
)
