"""Fetches the DAG files of a task before Airflow learns that the task starts.

Airflow fetches a bundle in the task's process, when the task already counts as running. Here the
handler fetches the same bundle, at the version that the workload names, first: a failure is a
reason not to start the task, and the task's process finds the files in place.

A bundle that has the method `prefetch` (`lambda_executor.bundles`) is cheap enough to be fetched in
the init phase too, and to be compared with Airflow's DAG files when the doctor asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from airflow import settings
from airflow.configuration import conf
from airflow.dag_processing.bundles.base import BaseDagBundle
from airflow.dag_processing.bundles.local import LocalDagBundle
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.executors.workloads import ExecuteTask
from airflow.sdk import Connection

from lambda_executor.contract.dag_manifest import bundle_config
from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.contract.probe import BundleAnswer, DagFiles
from lambda_image import host
from lambda_image.causes import causes
from lambda_image.dags import preload
from lambda_image.logs import invocation_log
from lambda_image.logs.invocation_log import WriteLog
from lambda_image.machine import environment, limits
from lambda_image.runtime.bundle_folders import BundleFolders, SpoiltError
from lambda_image.runtime.compat import (
    AirflowNotFoundException,
    Workload,
    bundle_names,
    bundle_of,
)

#: Reasons are cut here: git can fill pages.
_MAX_REASON_CHARS = 500

#: Once the folder in S3 with the DAG files; a task must not run other files without a word.
_REMOVED = "AIRFLOW__LAMBDA_EXECUTOR__DAGS_S3_URI"

_USER_INFO = re.compile(r"://[^/@\s]+@")


class _NoDagError(LambdaExecutorError):
    """The DAG is not available; the message is the reason."""


class ExhaustedError(LambdaExecutorError):
    """Memory, descriptors or disk did not suffice for the DAG files; the message is the reason.

    Attributes:
        of_disk: Whether it was the disk.
    """

    def __init__(self, reason: str, *, of_disk: bool) -> None:
        super().__init__(reason)
        self.of_disk = of_disk


class DagBundles:
    """The DAG bundles of one execution environment.

    Attributes:
        folders: What workloads may have done to the folders in which they are kept.
    """

    def __init__(self) -> None:
        self.folders = BundleFolders()
        self._manager: DagBundlesManager | None = None
        self._used: dict[str, str] = {}
        with contextlib.suppress(_NoDagError):  # The first task reports it.
            self._bundles()

    def warm_up(self, write_log: WriteLog, *, fetch: bool = True) -> None:
        """Fetch DAG files and import their imports in the init phase, once for all tasks.

        Args:
            write_log: Writes what was done, and what could not be.
            fetch: Whether this process has a network and credentials; without them only the DAG
                files in the image are looked at.

        Raises:
            ConfigError: A variable has a value that cannot work.
        """
        is_wanted = preload.is_wanted()
        folders = []
        for bundle in self._cheap() if fetch else ():
            try:
                with environment.restored():
                    bundle.prefetch()
                folders.append(bundle.path)
            except Exception as e:  # noqa: BLE001 - the first task tries again, and reports it
                write_log("warning", "no DAG files yet", bundle=bundle.name, reason=_reason(e))
        if is_wanted:
            imported = preload.preload([*_local_folders(), *folders], write_log)
            write_log("info", "DAG imports preloaded", statements=len(imported))

    def reason_against(self, workload: Workload) -> str | None:
        """Fetch the DAG files of a workload; the reason if that fails.

        Raises:
            ExhaustedError: It failed for want of memory, processes, descriptors or disk.
            SpoiltError: It failed because of what an earlier workload did to the folder.
        """
        if getattr(workload, "bundle_info", None) is None:
            return None
        try:
            if uri := os.environ.get(_REMOVED):
                raise _NoDagError(_replacement(uri))  # noqa: TRY301 - as every other reason
            if isinstance(workload, ExecuteTask):
                with environment.restored():
                    self._fetch(workload)
        except Exception as e:  # a bundle is anybody's code; nothing was started
            is_ours = isinstance(e, LambdaExecutorError)
            reason = str(e) if is_ours else f"the task's DAG bundle cannot be had: {_reason(e)}"
            if exhaustion := limits.exhaustion_behind(e):
                raise ExhaustedError(reason, of_disk=limits.is_of_disk(exhaustion)) from e
            if self.folders.are_at_fault(e):
                raise SpoiltError(reason) from e
            return reason
        return None

    def compared(self, asked: DagFiles) -> dict[str, BundleAnswer]:
        """Compare the files of bundles with those here; a bundle unknown here has no answer.

        Only folders in the image and cheap bundles are compared: others are fetched for each task,
        at the version of its run.
        """
        if not asked:
            return {}
        error = ""
        try:
            known = bundle_names(self._bundles())
        except LambdaExecutorError as e:
            known, error = list(asked), str(e)
        except Exception as e:  # noqa: BLE001 - as in `reason_against`; a probe has an answer
            known, error = list(asked), _reason(e)
        return {
            name: BundleAnswer("image", error=error) if error else self._compared(name, paths)
            for name, paths in asked.items()
            if name in known
        }

    def _compared(self, name: str, paths: Sequence[str]) -> BundleAnswer:
        source = "image"
        folder = {bundle.get("name"): path for bundle, path in _local_bundles()}.get(name)
        for bundle in self._cheap():
            if bundle.name == name:
                source = str(bundle.location)
                try:
                    bundle.initialize()
                except Exception as e:  # noqa: BLE001 - as above
                    return BundleAnswer(source, error=_reason(e))
                folder = bundle.path
        if folder is None:
            return BundleAnswer("bundle")
        return BundleAnswer(source, tuple(p for p in paths if _is_missing(folder / p)))

    def _cheap(self) -> Iterator[Any]:
        """Yield the bundles that can be prefetched, without a version."""
        try:
            bundles = list(self._bundles().get_all_dag_bundles())
        except Exception:  # noqa: BLE001 - the first task reports it
            return
        yield from (bundle for bundle in bundles if hasattr(bundle, "prefetch"))

    def _fetch(self, workload: ExecuteTask) -> None:
        name = workload.bundle_info.name
        manager = self._bundles()
        known = sorted(bundle_names(manager))
        if name not in known:
            option = "[dag_processor] dag_bundle_config_list"
            if name == "example_dags" or name.endswith("-example-dags"):  # Airflow's own names.
                option = "[core] load_examples (the image has False, Airflow's default is True)"
            raise _NoDagError(
                f"the {host.name()} knows no DAG bundle {name!r}, only {', '.join(known)}: give it "
                f"the same {option} as the DAG processor"
            )
        if not all(map(_is_known_here, _connections(name))):
            return  # Airflow's database has them, for tasks that have started only.
        try:
            self._initialize(manager, workload)
        except AirflowNotFoundException:
            return  # A connection of the database that the bundle's configuration does not name.
        except Exception as e:
            if limits.exhaustion_behind(e) or not self.folders.is_set_aside(name, e):
                raise
            with self.folders.given_back_unless_done(name):
                self._initialize(manager, workload)
            event = "a DAG bundle was fetched anew, as a workload may have spoilt its folder"
            invocation_log.write("warning", event, bundle=name, reason=_reason(e))

    def _initialize(self, manager: DagBundlesManager, workload: ExecuteTask) -> None:
        """Fetch a bundle with a DAG file.

        Raises:
            AirflowNotFoundException: It needs a connection of Airflow's database.
            LambdaExecutorError: It cannot be had, or has no such file.
            OSError: The file's path cannot be one, for example because it is too long.
        """
        name, version = workload.bundle_info.name, workload.bundle_info.version
        try:
            bundle = bundle_of(manager, workload.bundle_info)
            if version is not None:
                self._remove_old_versions(bundle, version)
            bundle.initialize()
        except (AirflowNotFoundException, LambdaExecutorError):
            raise
        except Exception as e:
            at = f" at version {version}" if version else ""
            raise _NoDagError(f"the DAG bundle {name!r}{at} cannot be had: {_reason(e)}") from e
        file = Path(bundle.path, workload.dag_rel_path)
        if not _is_there(file):
            raise _NoDagError(self._missing_reason(bundle, file))

    def _bundles(self) -> DagBundlesManager:
        """Airflow's bundles; a bundle whose class cannot be imported makes all of them fail."""
        if self._manager is None:
            try:
                self._manager = DagBundlesManager()  # type: ignore[no-untyped-call]
            except Exception as e:
                raise _NoDagError(
                    f"[dag_processor] dag_bundle_config_list cannot be used in the {host.name()}'s "
                    f"image: {_reason(e)}. An image gets more packages by the build argument for "
                    "extra requirements; GitDagBundle also needs the program git"
                ) from e
        return self._manager

    def _remove_old_versions(self, bundle: BaseDagBundle, version: str) -> None:
        """Keep this version and the last one; a folder outside AIRFLOW_HOME may be shared."""
        kept = {version, self._used.get(bundle.name)}
        self._used[bundle.name] = version
        if not bundle.versions_dir.is_relative_to(os.environ["AIRFLOW_HOME"]):
            return
        if bundle.versions_dir.is_dir():
            for tree in bundle.versions_dir.iterdir():
                if tree.name not in kept:
                    shutil.rmtree(tree, ignore_errors=True)

    @staticmethod
    def _missing_reason(bundle: BaseDagBundle, file: Path) -> str:
        if not isinstance(bundle, LocalDagBundle):
            at = f" at version {bundle.version}" if bundle.version else ""
            path = file.relative_to(bundle.path)
            reason = f"the DAG file {path} is not in the DAG bundle {bundle.name!r}{at}"
            if hasattr(bundle, "prefetch"):
                reason += f", {bundle.location}: upload it with `airflow lambda-executor dags push`"  # type: ignore[attr-defined]
            return reason
        return (
            f"the DAG file {file} is not in the {host.name()}'s image: build the image with the "
            "same DAGs that the DAG processor reads"
        )


def _configured() -> list[dict[str, Any]]:
    """The configuration of every well-formed bundle."""
    found = conf.getjson("dag_processor", "dag_bundle_config_list")
    return [
        each
        for each in (found if isinstance(found, list) else [])
        if isinstance(each, dict) and isinstance(each.get("kwargs") or {}, dict)
    ]


def _local_bundles() -> Iterator[tuple[dict[str, Any], Path]]:
    """The configuration and the folder of each local bundle, which fetches nothing."""
    local = f"{LocalDagBundle.__module__}.{LocalDagBundle.__qualname__}"
    for bundle in _configured():
        if bundle.get("classpath") == local:
            yield bundle, Path((bundle.get("kwargs") or {}).get("path") or settings.DAGS_FOLDER)


def _local_folders() -> list[Path]:
    """The folders of the local bundles that exist."""
    return [folder for _, folder in _local_bundles() if folder.is_dir()]


def _is_there(file: Path) -> bool:
    """Whether a DAG file exists, or the archive that it is in.

    Raises:
        OSError: The path cannot be one of a file, for example because it is too long.
    """
    return file.exists() or any(parent.is_file() for parent in file.parents)


def _is_missing(file: Path) -> bool:
    try:
        return not _is_there(file)
    except OSError:
        return True


def _connections(name: str) -> Iterator[str]:
    """The connections that a bundle's configuration names."""
    for bundle in _configured():
        if bundle.get("name") == name:
            for option, value in (bundle.get("kwargs") or {}).items():
                if option.endswith("conn_id") and isinstance(value, str) and value:
                    yield value


def _is_known_here(conn_id: str) -> bool:
    """Whether this process can read a connection: from its environment or a secrets backend."""
    try:
        Connection.get(conn_id)
    except Exception:  # noqa: BLE001 - a backend may fail in any way; the task's process reports it
        return False
    return True


def _replacement(uri: str) -> str:
    """What to set instead of the variable that this release does not read."""
    value = json.dumps([bundle_config(uri)])
    return (
        f"{_REMOVED} is set, which this release does not read: give function and DAG processor "
        f"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST={value} instead"
    )


def _reason(error: BaseException) -> str:
    """An error and its causes, on one line, without the credentials of URLs."""
    if isinstance(error, LambdaExecutorError):
        return str(error)
    parts = [f"{type(cause).__name__}: {cause}" for cause in causes(error)]
    reason = " ".join(_USER_INFO.sub("://***@", "; ".join(parts)).split())
    return reason if len(reason) <= _MAX_REASON_CHARS else f"{reason[:_MAX_REASON_CHARS]}..."
