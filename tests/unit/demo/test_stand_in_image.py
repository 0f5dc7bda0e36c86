"""How the stand-in for the image reads the Dockerfile."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from demo import paths
from demo.machine import stand_in_image
from demo.machine.stand_in_image import DockerfileError


def test_the_steps_that_install_packages_are_known() -> None:
    """The steps that install and trim packages run only in the image's virtual environment."""
    text = (paths.ROOT / "lambda_image" / "Dockerfile").read_text()
    steps = stand_in_image.read(text, {})["RUN"]
    installing = filter(stand_in_image._INSTALLS_PACKAGES.search, steps)
    assert [step.split()[3] for step in installing] == ["airflow", "requirements"]
    assert len(steps) > 2


@pytest.mark.parametrize(
    ("dockerfile", "runs_handlers"),
    [
        ("examples/calling_functions/functions/Dockerfile", True),
        ("examples/ecs_odd_even/container/Dockerfile", False),
    ],
)
def test_only_images_of_functions_run_handlers(dockerfile: str, runs_handlers: bool) -> None:
    """The image of a container runs its own command, without Lambda's runtime client."""
    recipe = stand_in_image.read((paths.ROOT / dockerfile).read_text(), {})
    assert (
        "awslambdaric" in stand_in_image.entry_point(recipe, Path("/venv"), Path("/image"))
    ) is runs_handlers


def test_an_images_own_entry_point_is_that_of_the_directory() -> None:
    """It comes before the base image's, with its path below the directory."""
    text = (paths.ROOT / "lambda_image" / "Dockerfile").read_text()
    found = stand_in_image.entry_point(stand_in_image.read(text, {}), Path("/venv"), Path("/image"))
    assert found == ["/bin/sh", "/image/var/task/lambda_image/entry_point.sh"]


def test_an_entry_point_in_the_form_of_a_shell_is_an_error() -> None:
    """A shell of the engine's would be process 1, and keep signals from the job."""
    with pytest.raises(DockerfileError, match="knows no `ENTRYPOINT python x`"):
        stand_in_image.read("FROM x\nENTRYPOINT python x\n", {})


@pytest.mark.parametrize("folder", ["calling_functions/functions", "ecs_odd_even/container"])
def test_every_user_may_read_the_images_of_the_examples(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their one file is readable even if only its owner may read it where it comes from."""
    monkeypatch.setattr(stand_in_image, "_base_environment", lambda: Path("/venv"))
    context = tmp_path / "context"
    shutil.copytree(paths.ROOT / "examples" / folder, context)
    for file in context.iterdir():
        file.chmod(0o600)
    stand_in_image.build(context, context / "Dockerfile", tmp_path / "image", {})
    (copied,) = (tmp_path / "image/var/task").glob("*.py")
    assert copied.stat().st_mode & 0o777 == 0o644
