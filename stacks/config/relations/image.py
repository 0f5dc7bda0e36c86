"""Relations of the image and of its DAGs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


#: What an image is built from.
_OF_A_BUILD = {"airflow_version", "base_image", "python_version"}


def existing_image_has_one_architecture(stage: StageConfig) -> Iterator[str]:
    """A digest names one image, and Lambda takes no index of several.

    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#images-reqs
    """
    if stage.image.uri and len(stage.architectures) > 1:
        yield (
            f"{_architectures(stage)} and image.uri names one image, because Lambda refuses an "
            "index of several, allowed is one architecture: change theirs, or use null for "
            "image.uri"
        )


def kept_images_are_those_of_two_deploys(stage: StageConfig) -> Iterator[str]:
    """A deploy pushes one image for each architecture, and those before it are the way back."""
    least = 2 * len(stage.architectures)
    if not stage.image.uri and stage.image.keep_images < least:
        yield (
            f"image.keep_images is {stage.image.keep_images} and {_architectures(stage)}, allowed "
            f"is {least} or more, the images of two deploys: raise it"
        )


def requirements_go_into_an_image_that_is_built(stage: StageConfig) -> Iterator[str]:
    """An existing image has its packages already."""
    if stage.image.uri and stage.image.requirements:
        yield (
            f'image.requirements is "{stage.image.requirements}" and image.uri names an existing '
            "image, allowed is one of the two: use null for the other"
        )


def versions_go_into_an_image_that_is_built(stage: StageConfig) -> Iterator[str]:
    """An existing image keeps the Airflow, the Python and the base that it was built with."""
    for name in sorted(_OF_A_BUILD & stage.image.model_fields_set):
        if stage.image.uri:
            yield (
                f'image.{name} is "{getattr(stage.image, name)}" and image.uri names an existing '
                "image, which has its own, allowed is one of the two: remove the other"
            )


def base_image_has_the_python_version(stage: StageConfig) -> Iterator[str]:
    """The base image brings Python, and the stage's other checks go by `python_version`."""
    image = stage.image
    if image.python_of_base not in (None, image.python_version):
        yield (
            f'image.base_image is "{image.base_image}" and image.python_version is '
            f'"{image.python_version}", allowed is a base image with that Python: change one of '
            "them"
        )


def airflow_runs_on_the_python_version(stage: StageConfig) -> Iterator[str]:
    """Airflow 3.0 runs on Python up to 3.12.

    https://airflow.apache.org/docs/apache-airflow/3.0.6/installation/prerequisites.html
    """
    image = stage.image
    if image.airflow_version.startswith("3.0.") and image.python_version != "3.12":
        yield (
            f'image.airflow_version is "{image.airflow_version}" and image.python_version is '
            f'"{image.python_version}", allowed is "3.12" with Airflow 3.0: change one of them'
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


def _architectures(stage: StageConfig) -> str:
    """Say which architectures there are; a person cannot change that of MicroVMs."""
    several = (
        f"functions and targets have the architectures {' and '.join(sorted(stage.architectures))}"
    )
    micro_vms = any(target.kind == "microvm" for target in stage.targets)
    return f"{several} (MicroVMs always arm64)" if micro_vms else several


RELATIONS = (
    existing_image_has_one_architecture,
    kept_images_are_those_of_two_deploys,
    requirements_go_into_an_image_that_is_built,
    versions_go_into_an_image_that_is_built,
    base_image_has_the_python_version,
    airflow_runs_on_the_python_version,
    bundles_go_with_their_source,
    bundle_names_are_unique,
)
