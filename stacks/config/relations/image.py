"""Relations of the image and of its DAGs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


def existing_image_has_one_architecture(stage: StageConfig) -> Iterator[str]:
    """A digest names one image, and Lambda takes no index of several.

    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#images-reqs
    """
    if stage.image.uri and len({function.architecture for function in stage.functions}) > 1:
        yield (
            "functions have the architectures arm64 and x86_64 and image.uri names one image, "
            "allowed is one architecture: change the functions', or use null for image.uri"
        )


def requirements_go_into_an_image_that_is_built(stage: StageConfig) -> Iterator[str]:
    """An existing image has its packages already."""
    if stage.image.uri and stage.image.requirements:
        yield (
            f'image.requirements is "{stage.image.requirements}" and image.uri names an existing '
            "image, allowed is one of the two: use null for the other"
        )


def bundles_go_with_their_source(stage: StageConfig) -> Iterator[str]:
    """Bundles that nobody reads, or a source without bundles, leave Airflow without DAGs."""
    dags = stage.dags
    if dags.source == "bundle" and not dags.bundles:
        yield (
            'dags.source is "bundle" and dags.bundles is [], allowed is at least one bundle: add '
            "one or change the source"
        )
    if dags.source != "bundle" and dags.bundles:
        yield (
            f'dags.source is "{dags.source}" and dags.bundles has {len(dags.bundles)}, allowed is '
            '[]: remove them or use the source "bundle"'
        )


def bundle_names_are_unique(stage: StageConfig) -> Iterator[str]:
    """A DAG names the bundle that it comes from."""
    names = [bundle.name for bundle in stage.dags.bundles]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield (
                f'dags.bundles have the name "{name}" {names.count(name)} times, allowed is once: '
                "change the others"
            )


RELATIONS = (
    existing_image_has_one_architecture,
    requirements_go_into_an_image_that_is_built,
    bundles_go_with_their_source,
    bundle_names_are_unique,
)
