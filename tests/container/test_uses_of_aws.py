"""Airflow's own uses of AWS work with the image's part of the Amazon provider's requirements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.emulated import LIMITS
from tests.container.engine import Podman
from tests.support import local_aws


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[str]:
    """The address of an embedded AWS."""
    server = local_aws.Server(tmp_path)
    yield server.url
    server.stop()


def test_logs_bundles_and_secrets_work_in_the_image(podman: Podman, image: str, aws: str) -> None:
    """Task logs, a DAG bundle and both secrets backends can be written and read."""
    program = (Path(__file__).parent / "uses_of_aws.py").read_text(encoding="utf-8")
    variables = {
        "AIRFLOW_HOME": "/tmp/airflow",
        "AWS_ENDPOINT_URL": aws,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": local_aws.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    given = [f"--env={name}={value}" for name, value in variables.items()]
    said = podman.python(image, program, *LIMITS, *given, network="host")
    found = json.loads(said.splitlines()[-1])
    assert found.pop("operators")
    assert "a line" in json.dumps(found.pop("s3_log"))
    assert found == {
        "cloudwatch_log": ["a line"],
        "dag_bundle": ["team/file.py"],
        "secrets": ["one", "two"],
    }
