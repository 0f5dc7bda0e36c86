"""The snapshots of function versions (SnapStart): made at publication, restored when needed.

Follows https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html and the pages below it.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from local_aws.lambda_service.credentials import Credentials
from local_aws.lambda_service.environment_log import EnvironmentLog
from local_aws.lambda_service.model import FunctionKey, FunctionVersion
from local_aws.lambda_service.restored_environment import (
    NotRestorable,
    RestoredEnvironment,
    SnapStartError,
    init_limit_s,
)
from local_aws.lambda_service.runtime_api import RuntimeApi
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand, Sandbox
from local_aws.sandbox.snapshot import Snapshot

logger = logging.getLogger("local_aws.lambda_service.snapshots")


class SnapshotError(Exception):
    """A snapshot cannot be made; `code` is the version's `StateReasonCode`."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Parts:
    """What an environment of a version consists of, besides its sandbox."""

    command: RuntimeCommand
    log: EnvironmentLog
    credentials: Credentials


@dataclass(slots=True)
class _Version:
    """The state of one version.

    Attributes:
        lock: Held while its snapshot is made.
        token: What the credentials of its environments are served for.
        snapshot: None: there is none, or the machine cannot copy the runtime.
        copied: Whether the runtime can be copied; None: no snapshot has been made yet.
        sandbox: Where its init phase runs; None: it does not run now.
        retired: Whether the version is gone.
    """

    function: FunctionVersion
    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    snapshot: Snapshot | None = None
    copied: bool | None = None
    sandbox: Sandbox | None = None
    retired: bool = False

    @property
    def ready(self) -> bool:
        """Whether environments can be restored."""
        if self.snapshot is None:
            return self.copied is False
        return self.snapshot.alive


class Snapshots:
    """The snapshots of all versions.

    Args:
        parts: Gives the parts of a new environment of a version; its credentials are served for the
            token that is the second argument.
        changed: Called with a version, its new state, the reason and the reason's code.
        limit_s: Seconds for a restore and the hooks after it.
    """

    def __init__(
        self,
        confinement: Confinement,
        parts: Callable[[FunctionVersion, str], Parts],
        changed: Callable[[FunctionVersion, str, str, str], None],
        limit_s: float,
    ) -> None:
        self._confinement = confinement
        self._parts = parts
        self._changed = changed
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._versions: dict[tuple[FunctionKey, str, str], _Version] = {}
        #: Where an init phase runs, and where snapshots are.
        self._sandboxes: set[Sandbox] = set()

    def publish(self, function: FunctionVersion) -> None:
        """Make a version's snapshot and report the version's state."""
        version = self._version(function)
        try:
            with version.lock:
                self._make(version)
        except SnapshotError as e:
            self._changed(function, "Failed", str(e), e.code)
        except Exception as e:
            logger.exception("could not make the snapshot of %s:%s", function.arn, function.version)
            self._changed(function, "Failed", f"the init phase did not start: {e}", "InternalError")
        else:
            self._changed(function, "Active", "", "")

    def restore(self, function: FunctionVersion) -> RestoredEnvironment:
        """Begin to restore an environment; first make the snapshot anew if it is gone.

        Raises:
            SnapStartError: There is no snapshot, and none can be made.
            OSError: The snapshot cannot be copied.
        """
        version = self._version(function)
        with version.lock:
            if not version.ready:
                self._make_again(version)
            snapshot = version.snapshot
        parts = self._parts(function, version.token)
        began_s = time.monotonic()
        try:
            sandbox = snapshot.restore() if snapshot else Sandbox(parts.command, self._confinement)
        except OSError:
            if snapshot is None or snapshot.alive:
                raise
            return self.restore(function)  # it has ended meanwhile
        return RestoredEnvironment(
            function,
            sandbox,
            parts.log,
            parts.credentials,
            limit_s=self._limit_s,
            began_s=began_s if snapshot else None,
        )

    def end_stale(self, is_current: Callable[[FunctionVersion], bool]) -> None:
        """End the snapshots of changed or deleted versions, each after its last environment."""
        with self._lock:
            stale = [key for key, v in self._versions.items() if not is_current(v.function)]
            versions = [self._versions.pop(key) for key in stale]
            for version in versions:
                version.retired = True
        for version in versions:
            if version.sandbox:
                version.sandbox.cut()
            if version.snapshot:
                version.snapshot.retire()

    def close(self) -> None:
        """End every snapshot and every init phase."""
        with self._lock:
            sandboxes = list(self._sandboxes)
        for sandbox in sandboxes:
            sandbox.cut()
        for sandbox in sandboxes:
            sandbox.end()

    def _version(self, function: FunctionVersion) -> _Version:
        key = (function.function_key, function.version, function.revision)
        with self._lock:
            return self._versions.setdefault(key, _Version(function))

    def _make_again(self, version: _Version) -> None:
        try:
            self._make(version)
        except SnapshotError as e:
            self._changed(version.function, "Inactive", str(e), e.code)
            raise SnapStartError(
                "SnapStartNotReadyException",
                f"Lambda could not make the snapshot of your function anew: {e}",
            ) from e
        self._changed(version.function, "Active", "", "")

    def _make(self, version: _Version) -> None:
        """Run the init phase up to the point at which the runtime waits to be restored.

        Raises:
            SnapshotError: It failed, or the sandbox cannot be started.
        """
        function = version.function
        parts = self._parts(function, version.token)
        api = RuntimeApi(parts.credentials)
        began_s = time.monotonic()
        sandbox, snapshot = self._begin(version, parts, api)
        ready = api.wait_until_restorable(init_limit_s(function.timeout_s))
        took_ms = (time.monotonic() - began_s) * 1000
        failure = None if ready else NotRestorable.of(function, api, sandbox)
        copied = snapshot if snapshot and snapshot.ready and ready else None
        if copied is None:
            api.close()
            sandbox.end()
        parts.log.init_report("init", took_ms, failure.status if failure else None)
        with self._lock:
            version.sandbox, version.snapshot = None, copied
            version.copied = copied is not None if ready else None
            if copied and version.retired:
                copied.retire()
        if failure:
            raise SnapshotError(failure.code, failure.reason)

    def _begin(
        self, version: _Version, parts: Parts, api: RuntimeApi
    ) -> tuple[Sandbox, Snapshot | None]:
        """Start the init phase, in a snapshot if there are walls for its copies."""
        snapshot: Snapshot | None = None
        try:
            if self._confinement.bubblewrap:
                snapshot = Snapshot(parts.command, self._confinement)
            sandbox = snapshot.sandbox if snapshot else Sandbox(parts.command, self._confinement)
        except OSError as e:
            api.close()
            raise SnapshotError("InternalError", f"the environment did not start: {e}") from e
        with self._lock:
            self._sandboxes = {each for each in self._sandboxes if each.alive} | {sandbox}
            version.sandbox = sandbox
            if version.retired:
                sandbox.cut()
        parts.log.read_from(sandbox.output)
        if snapshot:

            def ready() -> None:
                parts.credentials.share()
                api.restorable()

            snapshot.start(api.variables, ready, api.close)
        else:
            sandbox.start(api.variables, api.close)
        return sandbox, snapshot
