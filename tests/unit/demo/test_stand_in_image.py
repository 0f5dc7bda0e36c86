"""How the stand-in for the image reads the Dockerfile."""

from __future__ import annotations

from demo import paths
from demo.machine import stand_in_image


def test_the_steps_that_install_packages_are_known() -> None:
    """The steps that install and trim packages run only in the image's virtual environment."""
    text = (paths.ROOT / "lambda_image" / "Dockerfile").read_text()
    steps = stand_in_image.read(text, {})["RUN"]
    installing = filter(stand_in_image._INSTALLS_PACKAGES.search, steps)
    assert [step.split()[3] for step in installing] == ["airflow", "requirements"]
    assert len(steps) > 2
