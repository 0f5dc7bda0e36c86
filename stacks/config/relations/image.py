"""Relations of the image and of its DAGs."""

from __future__ import annotations

from collections import Counter
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
            "functions[].architecture (arm64 and x86_64) must be the same for all functions with "
            "an existing image: change the architectures, or use null for image.uri"
        )


def requirements_go_into_an_image_that_is_built(stage: StageConfig) -> Iterator[str]:
    """An existing image has its packages already."""
    if stage.image.uri and stage.image.requirements:
        yield (
            f"image.requirements ({stage.image.requirements}) must be null with an existing image "
            "in image.uri: use null for one of the two"
        )


def bundles_go_with_their_source(stage: StageConfig) -> Iterator[str]:
    """Bundles that nobody reads, or a source without bundles, leave Airflow without DAGs."""
    dags = stage.dags
    if dags.source == "bundle" and not dags.bundles:
        yield (
            'dags.bundles ([]) must have at least one bundle with dags.source "bundle": add one or '
            "change the source"
        )
    if dags.source != "bundle" and dags.bundles:
        yield (
            f'dags.bundles ({len(dags.bundles)}) must be [] with dags.source "{dags.source}": '
            'remove them or use the source "bundle"'
        )


def bundle_names_are_unique(stage: StageConfig) -> Iterator[str]:
    """A DAG names the bundle that it comes from."""
    for name, count in Counter(bundle.name for bundle in stage.dags.bundles).items():
        if count > 1:
            yield f'the bundle name "{name}" ({count} times) must be unique: rename the others'
