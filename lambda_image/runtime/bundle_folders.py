"""What workloads may do to the folders in which DAG bundles are kept, and what is done about it.

A workload has the same user as the handler, and the folders stay from one workload to the next. The
error of a spoilt one need not name a file: git has errors of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from airflow.dag_processing.bundles.base import get_bundle_base_folder

from lambda_executor.contract.errors import LambdaExecutorError
from lambda_image.causes import causes
from lambda_image.machine.temporary import remove


class SpoiltError(LambdaExecutorError):
    """A workload has spoilt the folder in which the DAG files are kept; the message is the reason.

    It may: it has the same user, and the folder stays from one workload to the next.
    """


class BundleFolders:
    """The folders of the bundles of one execution environment.

    Attributes:
        have_served: Whether a workload has run here, which may have spoilt them.
    """

    def __init__(self) -> None:
        self.have_served = False
        self._fetched_anew: set[str] = set()  # Since the last workload: nobody has spoilt these.

    def expect_harm(self) -> None:
        """Say that a workload runs now, which may do anything to them."""
        self.have_served = True
        self._fetched_anew.clear()

    def are_at_fault(self, error: BaseException) -> bool:
        """Whether a bundle cannot be had because of what a workload did to these folders."""
        return self.have_served and _is_below_airflow_home(error)

    def is_set_aside(self, name: str, error: BaseException) -> bool:
        """Rename the folder of a bundle that cannot be had if a workload may have spoilt it.

        Returns:
            Whether that was done, so that the bundle should be fetched once more. A folder outside
            of AIRFLOW_HOME may be shared, and is left alone.
        """
        if not self.have_served or name in self._fetched_anew or _is_too_long(error):
            return False
        self._fetched_anew.add(name)
        folder, home = get_bundle_base_folder(name), Path(os.environ["AIRFLOW_HOME"])
        if not folder.parent.resolve().is_relative_to(home.resolve()):
            return False
        remove(_aside(folder))
        with contextlib.suppress(OSError):  # There is none, or the one around it is spoilt.
            folder.rename(_aside(folder))
            return True
        return False

    @contextlib.contextmanager
    def given_back_unless_done(self, name: str) -> Iterator[None]:
        """Remove what was set aside, or put it back if the body fails: it may not be at fault."""
        folder = get_bundle_base_folder(name)
        try:
            yield
        except BaseException:
            remove(folder)
            with contextlib.suppress(OSError):
                _aside(folder).rename(folder)
            raise
        remove(_aside(folder))


def _aside(folder: Path) -> Path:
    """Where the folder of a bundle is while its files are fetched anew."""
    return folder.with_name(f".{folder.name}.aside")


def _is_below_airflow_home(error: BaseException) -> bool:
    """Whether the cause of an error is a file or folder below AIRFLOW_HOME, and not its name."""
    home = Path(os.environ["AIRFLOW_HOME"])
    return not _is_too_long(error) and any(
        isinstance(cause.filename, str | bytes)  # Of a descriptor, it is the number.
        and Path(os.fsdecode(cause.filename)).is_relative_to(home)
        for cause in causes(error)
        if isinstance(cause, OSError)
    )


def _is_too_long(error: BaseException) -> bool:
    """Whether an error is that of a path which no folder can have: the event's own."""
    return any(getattr(cause, "errno", None) == errno.ENAMETOOLONG for cause in causes(error))
