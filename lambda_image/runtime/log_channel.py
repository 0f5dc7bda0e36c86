"""The channel through which a task's process sends its log lines, set up once in the zygote.

Stock Airflow configures logging anew in every task's process, which looks through all loggers: a
tenth of the processor time of a task that does nothing. Here the zygote configures it with a
descriptor that leads nowhere, and each child puts its own channel there.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from airflow.sdk.execution_time import supervisor

from lambda_image.runtime import compat


class LogChannel:
    """Takes the place of Airflow's function that configures logging in a task's process."""

    def __init__(self) -> None:
        self._configure: Callable[[int], None] = supervisor._configure_logs_over_json_channel  # noqa: SLF001
        self._fd: int | None = None
        supervisor._configure_logs_over_json_channel = self.connect  # noqa: SLF001

    def prepare(self) -> None:
        """Configure logging for the tasks' processes that are forked from this one."""
        fd = os.open(os.devnull, os.O_WRONLY)
        self._configure(fd)
        self._fd = fd

    def connect(self, log_fd: int) -> None:
        """Send the log lines of this process, a task's, to the channel."""
        if self._fd is None:
            self._configure(log_fd)
        else:
            os.dup2(log_fd, self._fd, inheritable=False)

    def leave(self) -> None:
        """Write this process's log lines as the handler writes its own: it has no channel."""
        if self._fd is not None:
            compat.log_as_json()
