"""Where the function's DAG files come from: the image or S3.

S3 is checked with one call before every workload, so a task runs with the DAG file that was just
uploaded.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lambda_executor.contract.dag_manifest import DagLocation
from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.options import DAGS_S3_URI
from lambda_image.aws_calls import PATIENCE, error_code
from lambda_image.dags.archives import ArchiveError
from lambda_image.dags.objects import (
    CONNECTIONS,
    ChangedMeanwhileError,
    DagSourceError,
    Fetch,
    Remote,
    S3Archive,
    S3Prefix,
)
from lambda_image.dags.trees import DagTrees

#: How long a fetch waits until a running upload ends.
PATIENCE_S = 20.0

_PAUSE_S = 0.5

#: The first check is part of the init phase, which has ten seconds.
_CLIENT_CONFIG = PATIENCE.merge(Config(connect_timeout=2, max_pool_connections=CONNECTIONS))


@dataclass(slots=True)
class S3DagSource:
    """A DAG folder that follows a location in S3; the first refresh calls `make_remote`."""

    location: DagLocation
    make_remote: Callable[[], Remote]
    trees: DagTrees
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _remote: Remote | None = field(default=None, init=False)
    _fetched: Fetch | None = field(default=None, init=False)

    def __str__(self) -> str:
        return str(self.location)

    def feeds(self, folder: Path) -> bool:
        """Whether this source fills the folder."""
        return folder == self.trees.link

    def refresh(self, patience_s: float = PATIENCE_S) -> None:
        """Bring the folder up to date; waits for a running upload, but not longer than given.

        Raises:
            DagSourceError: The files could not be fetched. The folder stays as it was.
        """
        try:
            self._refresh(patience_s)
        except Exception as e:  # An archive may fail in any way, and the init phase must not.
            reason = _reason(e, self.trees.link)
            raise DagSourceError(
                f"the DAG files of {self.location} could not be fetched: {reason}"
            ) from e

    def _refresh(self, patience_s: float) -> None:
        if self._remote is None:
            self._remote = self.make_remote()
        deadline_s = self.clock() + patience_s
        while (fetch := self._remote.changed_since(self._fetched)) is not None:
            try:
                self.trees.replace(fetch.into)
            except ChangedMeanwhileError as e:
                if self.clock() >= deadline_s:
                    raise DagSourceError(
                        f"{e}, and was for {patience_s:g} s: it was changed by something else than "
                        "`airflow lambda-executor dags push`, or a push broke off; push again"
                    ) from e
                self.sleep(_PAUSE_S)
            else:
                self._fetched = fetch
                return


def prepare(environ: MutableMapping[str, str] = os.environ) -> S3DagSource | None:
    """Set Airflow's bundle folder and DAG folder, below AIRFLOW_HOME, before Airflow is imported.

    Returns the source of the DAG folder; None if the DAGs are in the image.

    Raises:
        ConfigError: The variable is not a valid S3 location.
    """
    home = Path(environ["AIRFLOW_HOME"])
    environ.setdefault("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(home / "dag_bundles"))
    uri = DAGS_S3_URI.from_environment(environ)
    if uri is None:
        return None
    location = DagLocation.parse(uri)
    home.mkdir(parents=True, exist_ok=True)
    # A unique folder: an AIRFLOW_HOME that somebody set may be shared.
    trees = DagTrees(Path(tempfile.mkdtemp(prefix="dags-", dir=home)))
    environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(trees.link)

    def make_remote() -> Remote:
        client = boto3.session.Session().client("s3", config=_CLIENT_CONFIG)
        return (S3Archive if location.is_archive else S3Prefix)(client, location)

    return S3DagSource(location, make_remote, trees)


def _reason(error: Exception, link: Path) -> str:
    if isinstance(error, ClientError) and error_code(error) in ("AccessDenied", "403"):
        return (
            f"{error}. The function's role needs s3:GetObject and s3:GetObjectVersion on the files "
            "and s3:ListBucket on the bucket; without the latter S3 says so of a missing object too"
        )
    if isinstance(error, ArchiveError | ClientError | BotoCoreError | DecodeError | DagSourceError):
        return str(error)
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f"{type(error).__name__}: {error}"
    disk = shutil.disk_usage(link.parent)
    return (
        f"they do not fit on the function's disk, of whose {disk.total >> 20} MiB "
        f"{disk.free >> 20} are free: give the function more ephemeral storage, or upload less"
    )
