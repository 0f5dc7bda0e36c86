"""A DAG bundle of a folder in S3 that `airflow lambda-executor dags push` writes.

It sees whole pushes only, asks S3 with one conditional GET whether there is a new one, and can
fetch the version that a run started with as long as S3 keeps it.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.dag_processing.bundles import base
from airflow.exceptions import AirflowException  # type: ignore[attr-defined] # moved in 3.2

from lambda_executor import aws
from lambda_executor.bundles import trees
from lambda_executor.contract.dag_manifest import (
    KEPT_DAYS,
    DagLocation,
    DagManifest,
    StoredFile,
    is_version,
)
from lambda_executor.contract.errors import DENIED, LambdaExecutorError, RejectedError

log = logging.getLogger(__name__)

#: How long a fetch waits until a running push ends, in seconds. Only without bucket versions.
PATIENCE_S = 20.0
_PAUSE_S = 0.5

#: Files that are fetched at once. The threads end with the fetch: no task is forked beside them.
CONNECTIONS = 16

#: A network without a route to S3 must not cost minutes.
_CALLS = aws.Patience(connect_s=2, read_s=10, attempts=3)

#: The class of versions, which came with Airflow 3.3; before, a version is its name.
_version: Callable[[str], Any] = getattr(base, "BundleVersion", str)

#: The host of the console, by the first part of a Region's name.
#: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
_CONSOLES = {"cn": "console.amazonaws.cn", "us-gov": "console.amazonaws-us-gov.com"}
_CONSOLE = "console.aws.amazon.com"


class DagFilesError(LambdaExecutorError, AirflowException):
    """The DAG files could not be fetched; the message is the reason.

    An `AirflowException`, because the DAG processor of Airflow 3.0 survives no other.
    """


class S3ManifestBundle(base.BaseDagBundle):
    """A folder in S3 with a manifest.

    Args:
        s3_uri: The folder, `s3://bucket/prefix/`.
        aws_conn_id: An Airflow connection with the credentials, which needs the Amazon provider;
            None: boto3's own credential chain.
        region_name: The Region of the bucket; None: boto3's own.
        options: Airflow's own arguments of a bundle.

    Raises:
        ConfigError: `s3_uri` is not the URI of a folder.
    """

    supports_versioning = True

    def __init__(
        self,
        *,
        s3_uri: str,
        aws_conn_id: str | None = None,
        region_name: str | None = None,
        **options: Any,  # noqa: ANN401 - Airflow's, which differ between its versions
    ) -> None:
        super().__init__(**options)
        self.location = DagLocation.parse(s3_uri)
        self.clock: Callable[[], float] = time.monotonic
        self.sleep: Callable[[float], None] = time.sleep
        self._aws_conn_id = aws_conn_id
        self._region_name = region_name
        clients = aws.Clients(
            self._session, region_name=region_name, connections=CONNECTIONS, patience=_CALLS
        )
        self._store = aws.S3DagFolder(clients, self.location)
        self._latest = trees.Latest(self.base_dir)
        self._tree: trees.Tree | None = None

    def initialize(self) -> None:
        """Fetch the version of this bundle, or the latest one.

        Raises:
            DagFilesError: The files could not be fetched.
        """
        self._initialize(PATIENCE_S)

    def prefetch(self) -> None:
        """Do the same without waiting for a running push, in the init phase of a function.

        Raises:
            DagFilesError: The files could not be fetched.
        """
        self._initialize(0)

    def refresh(self) -> None:
        """Fetch the latest version, if it is another one.

        Raises:
            DagFilesError: The files could not be fetched. Those on the disk stay as they are.
        """
        if self.version:
            raise DagFilesError(
                f"the bundle {self.name!r} is made for version {self.version}, which does not "
                "change: make one without a version for the latest files"
            )
        self._refresh(PATIENCE_S)

    @property
    def path(self) -> Path:
        """The folder with the DAG files; it stays as it is until the next refresh but one."""
        if self._tree is not None:
            return self._tree.folder
        return self.versions_dir / self.version if self.version else self._latest.link.resolve()

    def get_current_version(self) -> Any:  # noqa: ANN401 - the type depends on Airflow's version
        """Return the version of the files; None without an S3 bucket that keeps versions."""
        if self.version:
            return _version(self.version)
        if self._tree is None or not self.supports_versioning:
            return None
        return _version(self._tree.manifest.version)

    def view_url(self, version: str | None = None) -> str:
        """Return the page of S3's console: of a version's manifest, or of the folder."""
        if version is None:
            return self._console("buckets", self.location.key)
        return self._console("object", self.location.version_key(version))

    def view_url_template(self) -> str:
        """Return the page of a version's manifest, with a gap for the version."""
        given: str | None = getattr(self, "_view_url_template", None)  # Since Airflow 3.1.
        gap = "VERSION"
        prefix, suffix = self.location.version_key(gap).rsplit(gap, 1)
        return given or self._console("object", prefix) + "{version}" + suffix

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.location}, version={self.version!r})"

    def _initialize(self, patience_s: float) -> None:
        if self.version:
            self._fetch_version(self.version)
        else:
            self._refresh(patience_s)
            if self._tree and not self.is_initialized:
                # Once: Airflow's DAG processor fails if this changes during a refresh.
                self.supports_versioning = self._tree.manifest.keeps_versions
        super().initialize()

    def _refresh(self, patience_s: float) -> None:
        deadline_s = self.clock() + patience_s
        while True:
            try:
                with self._reasons(), self.lock():
                    self._tree = self._follow()
            except _PushingError as e:
                if self.clock() >= deadline_s:
                    raise DagFilesError(
                        f"{self._failure}: {e}, and was for {patience_s:g} s. Something else than "
                        "`airflow lambda-executor dags push` changed it, or a push broke off: "
                        "push again"
                    ) from e
                self.sleep(_PAUSE_S)
            else:
                return

    def _follow(self) -> trees.Tree:
        """Return the tree of the current manifest, after at most one call if it is on the disk."""
        tree = self._latest.tree()
        stored = self._store.current(tree.etag if tree else None)
        if stored is None and tree is not None:
            return tree
        if stored is None:
            raise DagFilesError("S3 says that nothing changed, and nothing is here")
        manifest = stored.manifest
        if not manifest.keeps_versions:
            log.warning(
                "The bucket of %s keeps no versions, so a run does not keep the version that it "
                "started with: each task runs the latest push. Turn on versioning for the bucket, "
                "push a change, and restart the DAG processor.",
                self.location,
            )
        try:
            return self._latest.replace(manifest, stored.etag, self._on_disk(), self._fetch)
        except aws.ChangedError as e:
            if manifest.keeps_versions:
                raise
            raise _PushingError(str(e)) from e

    def _fetch_version(self, version: str) -> None:
        with self._reasons(), self.lock():
            if not is_version(version):
                raise DagFilesError(f"{version!r} is no version that a push made")
            folder = self.versions_dir / version
            self._tree = trees.read(folder)
            if self._tree is not None:
                return
            others = list(self._on_disk())
            same = [each.manifest for each in others if each.manifest.version == version]
            try:
                tree = trees.Tree(folder, same[0] if same else self._manifest(version), None)
                trees.build(tree, others, self._fetch)
            except aws.ChangedError as e:
                raise DagFilesError(f"{e}. {self._remedy}") from e
            self._tree = tree

    def _manifest(self, version: str) -> DagManifest:
        key = self.location.version_key(version)
        try:
            manifest = self._store.version(version)
        except RejectedError as e:
            if e.code != "NoSuchKey":
                raise
            raise aws.ChangedError(f"its manifest {key} is gone") from e
        if manifest.version != version:
            raise DagFilesError(f"{key} is the manifest of version {manifest.version}: push again")
        return manifest

    def _fetch(self, files: Mapping[str, StoredFile], folder: Path) -> None:
        def fetch(path: str) -> None:
            self._store.fetch(path, files[path], folder / path)

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(fetch, files))

    def _on_disk(self) -> Iterator[trees.Tree]:
        """Yield the trees that can lend files, the newest first."""
        versions = self.versions_dir.iterdir() if self.versions_dir.is_dir() else ()
        found = [self._latest.tree(), *map(trees.read, versions)]
        return (tree for tree in found if tree is not None)

    @property
    def _failure(self) -> str:
        version = f" at version {self.version}" if self.version else ""
        return f"the DAG files of {self.location}{version} could not be fetched"

    @property
    def _remedy(self) -> str:
        return (
            f"`dags push` keeps the manifest of a version for {KEPT_DAYS} days after the push that "
            "replaced it, and the lifecycle rule of the bucket says how long it keeps the files. "
            "Start a new run, clear the task with the latest bundle version, or push the old "
            "files again"
        )

    @contextmanager
    def _reasons(self) -> Iterator[None]:
        """Give every error one type, and a message that says what to do."""
        try:
            yield
        except _PushingError:
            raise
        except Exception as e:
            raise DagFilesError(f"{self._failure}: {self._reason(e)}") from e

    def _reason(self, error: Exception) -> str:
        if isinstance(error, RejectedError) and error.code == "NoSuchKey":
            return "there is no manifest: `airflow lambda-executor dags push` uploads one"
        if isinstance(error, RejectedError) and error.code in DENIED:
            return (
                f"{error}. The role needs s3:GetObject and s3:GetObjectVersion on the files and "
                "s3:ListBucket on the bucket; without the latter S3 says so of a missing object too"
            )
        if isinstance(error, aws.ChangedError):
            return f"{error}, although the manifest names it: push again"
        if isinstance(error, LambdaExecutorError):
            return str(error)
        if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return f"{type(error).__name__}: {error}"
        disk = shutil.disk_usage(self.base_dir.parent)
        return (
            f"they do not fit on the disk, of whose {disk.total >> 20} MiB {disk.free >> 20} are "
            "free: give it more (a function: more ephemeral storage), or push less"
        )

    def _session(self) -> aws.Session:
        if not self._aws_conn_id:
            return aws.Session()
        try:
            from airflow.providers.amazon.aws.hooks.base_aws import (  # noqa: PLC0415 - optional
                AwsGenericHook,
            )
        except ImportError as e:
            raise DagFilesError(
                f"aws_conn_id is {self._aws_conn_id!r}, and reading an Airflow connection needs "
                "apache-airflow-providers-amazon: install it, or leave aws_conn_id out for boto3's "
                "own credential chain"
            ) from e
        hook: AwsGenericHook[Any] = AwsGenericHook(self._aws_conn_id, region_name=self._region_name)
        return hook.get_session()

    def _console(self, page: str, key: str) -> str:
        region = self._region_name or aws.Session().region_name or ""
        host = next((_CONSOLES[part] for part in _CONSOLES if region.startswith(part)), _CONSOLE)
        at = f"region={region}&" if region else ""
        return f"https://{host}/s3/{page}/{self.location.bucket}?{at}prefix={quote(key)}"


class _PushingError(LambdaExecutorError):
    """A file changed between the check and the fetch: somebody is pushing right now."""
