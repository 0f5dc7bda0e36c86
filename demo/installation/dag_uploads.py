"""Uploads a watched DAG folder to the stage's bucket, with the product's own `dags push`.

`python -m demo.installation.dag_uploads FOLDER URI`; the variables name the AWS.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import boto3

from demo import paths
from demo.installation.own_project import files_below
from demo.machine.embedded_aws import EmbeddedAws, bare_environment
from demo.machine.processes import Children, Program
from lambda_executor.aws import Clients, S3DagFolder
from lambda_executor.contract.dag_manifest import DagLocation
from lambda_executor.ops import dag_push

TIMEOUT_S = 300.0


def location(outputs: Mapping[str, str]) -> str:
    """The URI of the stage's DAG folder, from the stacks' outputs."""
    return outputs["DagsPushCommand"].split()[-1]


def first_upload(children: Children, aws: EmbeddedAws, folder: Path, uri: str) -> None:
    """Upload the folder in a process whose AWS is the embedded one.

    Raises:
        ProcessError: It failed.
    """
    module = "demo.installation.dag_uploads"
    children.run(
        Program(
            name="dags-upload",
            argv=[paths.PYTHON, "-m", module, folder, uri],
            environment=bare_environment() | aws.environment(),
            cwd=paths.ROOT,
        ),
        TIMEOUT_S,
    )


def upload(folder: Path, uri: str) -> list[str]:
    """Make the folder in S3 equal to this one, and return what was done, a line for each file.

    Raises:
        OSError: A file vanished meanwhile.
        LambdaExecutorError: S3 refused a call.
        ProjectError: A file's name cannot be a key.
    """
    clients = Clients(boto3.Session, region_name=None, connections=dag_push.CONNECTIONS)
    store = S3DagFolder(clients, DagLocation.parse(uri))
    files = files_below(folder)
    said: list[str] = []
    dag_push.push(files, dag_push.plan(files, store), store, said.append)
    return said


if __name__ == "__main__":
    print(*upload(Path(sys.argv[1]), sys.argv[2]), sep="\n")
