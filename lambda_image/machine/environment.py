"""The execution environment: its name, its private folder, and its state between workloads.

An execution environment is one process that Lambda keeps warm and hands one invocation at a time.
Imported before Airflow, so it must not import it.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lambda_executor.contract.option_types import BooleanOption

#: Signals whose handlers a workload's supervisor, or a connection test, sets in this process.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGUSR2)

_UNIQUE = uuid.uuid4().hex

_STARTED_WITH = dict(os.environ)

#: Where `remote_log` can send task logs, by the beginning of [logging] remote_base_log_folder.
S3 = "s3://"
CLOUDWATCH = "cloudwatch://"

#: Airflow's own option, which is needed before Airflow is there to read it.
_REMOTE_LOGGING = BooleanOption(
    section="logging",
    name="remote_logging",
    default=False,
    help="Whether Airflow keeps the logs of tasks in a remote place.",
    example="True",
)


def prepare() -> None:
    """Give Airflow what it wants of a machine: a home folder and a user's name.

    Lambda's /tmp belongs to one environment, but on a single machine many share it, so the folder
    has a name of its own and is removed when the process ends. An AIRFLOW_HOME that is set holds.

    Raises:
        ConfigError: [logging] remote_logging is neither true nor false.
    """
    if "AIRFLOW_HOME" not in os.environ:
        remove_homes_of_the_dead(Path(tempfile.gettempdir()))
        home = tempfile.mkdtemp(prefix=f"airflow-{os.getpid()}-")
        os.environ["AIRFLOW_HOME"] = home
        atexit.register(_remove, home, os.getpid())
    Path(os.environ["AIRFLOW_HOME"]).mkdir(parents=True, exist_ok=True)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        # Lambda runs image functions as a user without a name, and Airflow refuses to start a task
        # without one; getpass reads this variable first.
        os.environ.setdefault("LOGNAME", "lambda")
    _choose_log_upload()


def remove_homes_of_the_dead(folder: Path) -> None:
    """Remove the private folders of processes that were killed: logs, DAG files and all.

    Lambda starts a process that was killed anew in the same environment, and keeps its /tmp.
    https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
    """
    for home in folder.glob("airflow-*-*"):
        if is_over(home.name.split("-")[1]):
            shutil.rmtree(home, ignore_errors=True)


def is_over(pid: str) -> bool:
    """Whether what a process of this id has left is nobody's: it died, or had our id before us."""
    return pid.isdecimal() and (int(pid) == os.getpid() or not Path("/proc", pid).exists())


def restart(variable: str, value: str) -> NoReturn:
    """Begin this process anew, with one more variable: the init phase comes once more."""
    if "AIRFLOW_HOME" not in _STARTED_WITH:
        _remove(os.environ["AIRFLOW_HOME"], os.getpid())
    sys.stdout.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, _STARTED_WITH | {variable: value})  # noqa: S606 - itself


def hostname() -> str:
    """Name this environment for Airflow (`[core] hostname_callable`).

    The API server takes a second start with the same host name, user and process id for a retry
    of the first and lets it run. Environments of one function can agree in all three, so the name
    has to tell them apart. The id in the log stream's name also shows a person where to look.
    """
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "lambda")
    stream = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "").rpartition("]")[2]
    return f"{function}-{stream or _UNIQUE}"


def process_age_ms() -> float:
    """Milliseconds since this process started: Linux counts them in ticks since boot.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    started_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return round((time.clock_gettime(time.CLOCK_BOOTTIME) - started_s) * 1000, 1)


@contextmanager
def restored() -> Iterator[None]:
    """Put environment variables, working directory and signal handlers back at the end.

    A task runs in a process of its own, but what supervises it, and all of a connection test,
    runs in this one: nothing of it may reach the next workload.
    """
    variables = dict(os.environ)
    directory = Path.cwd()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        if variables != dict(os.environ):
            os.environ.clear()
            os.environ.update(variables)
        os.chdir(directory)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _choose_log_upload() -> None:
    """Have task logs uploaded by `remote_log`, where it can and nobody has chosen another way."""
    folder = os.environ.get("AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER", "")
    if _REMOTE_LOGGING.from_environment(os.environ) and folder.startswith((S3, CLOUDWATCH)):
        os.environ.setdefault(
            "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS",
            "lambda_image.runtime.remote_log.LOGGING_CONFIG",
        )


def _remove(home: str, owner: int) -> None:
    if os.getpid() == owner:  # A forked child that ends the usual way must not take it along.
        shutil.rmtree(home, ignore_errors=True)
