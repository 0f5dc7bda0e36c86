"""The execution environment: its name, its private folder, and its state between workloads."""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

from lambda_executor.contract.option_types import BooleanOption

#: Signals whose handlers the supervisor or a connection test sets in this process.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGUSR2)

#: Names this execution environment where no log stream does; `renew` replaces both.
_unique = uuid.uuid4().hex
_owner = os.getpid()
#: Its name if `be_named` gave it one.
_name: str | None = None

_STARTED_WITH = dict(os.environ)

#: What `prepare` made.
_private_folders: list[Path] = []

#: What `at_end` was given.
_at_end: list[Callable[[], object]] = []

#: The prefix of [logging] remote_base_log_folder with which `remote_log` uploads to S3.
S3 = "s3://"
#: The prefix with which `remote_log` uploads to CloudWatch.
CLOUDWATCH = "cloudwatch://"

#: Airflow's option, which we need before Airflow is imported.
_REMOTE_LOGGING = BooleanOption(
    section="logging",
    name="remote_logging",
    default=False,
    help="Whether Airflow keeps the logs of tasks in remote storage.",
    example="True",
)


def prepare() -> tuple[Path, ...]:
    """Give Airflow and its tasks home folders, a user name and an uploader of task logs.

    Folders that are made here get unique names, because on one machine many execution environments
    share /tmp, and are removed when the process ends. Lambda sets no HOME, and the folder that its
    user may have in /etc/passwd is read-only.

    Returns:
        The folders that were made for this process alone.

    Raises:
        ConfigError: [logging] remote_logging is not a boolean.
    """
    remove_homes_of_the_dead(Path(tempfile.gettempdir()))
    if "AIRFLOW_HOME" not in os.environ:
        os.environ["AIRFLOW_HOME"] = _private_folder()
    if not _is_writable_folder(os.environ.get("HOME", "")):
        os.environ["HOME"] = _private_folder("home-")
    home = Path(os.environ["AIRFLOW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(home / "dag_bundles")
    )
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        # Lambda runs image functions as an unnamed user, and Airflow starts no task without a user
        # name; getpass reads this variable first.
        os.environ.setdefault("LOGNAME", "lambda")
    _choose_log_upload()
    return tuple(_private_folders)


def renew() -> None:
    """Be another execution environment: this one was copied."""
    global _unique, _owner
    _unique, _owner = uuid.uuid4().hex, os.getpid()


def be_named(name: str) -> None:
    """Have this name, which no other execution environment has had."""
    global _name  # noqa: PLW0603 - a process has one
    _name = name


def owns(folder: Path) -> bool:
    """Whether a folder is certainly this execution environment's, whatever is or is not in it.

    Lambda and the embedded AWS set the variable, the Runtime Interface Emulator does not; /tmp is a
    file system of its own there. Another one mounted below it belongs to somebody else.
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    if "AWS_LAMBDA_INITIALIZATION_TYPE" not in os.environ or not folder.is_mount():
        return False
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return not any(folder in Path(line.split()[4]).parents for line in mounts)


def remove_homes_of_the_dead(folder: Path) -> None:
    """Remove the private folders of processes that were killed.

    Lambda replaces a killed process in the same execution environment and keeps /tmp.
    https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
    """
    for home in folder.glob("airflow-*-*"):
        if is_over(home.name.split("-")[1]):
            shutil.rmtree(home, ignore_errors=True)


def is_over(pid: str) -> bool:
    """Whether the process that left its id behind has ended; it may have had ours before us."""
    return pid.isdecimal() and (int(pid) == os.getpid() or not Path("/proc", pid).exists())


def restart(variable: str, value: str) -> NoReturn:
    """Restart this process and its init phase, with one more variable."""
    clean_up()
    sys.stdout.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, _STARTED_WITH | {variable: value})  # noqa: S606 - itself


def at_end(do: Callable[[], object]) -> None:
    """Do this when this process ends, by itself or by `clean_up`; it may be done twice."""
    _at_end.append(do)
    atexit.register(do)


def clean_up() -> None:
    """Do what is to be done at the end, the last thing first: this process ends in another way."""
    for do in reversed(_at_end):
        do()


def hostname() -> str:
    """The name of this execution environment for Airflow (`[core] hostname_callable`).

    A job's is the id of its ECS task, and a MicroVM's is its own id: the names of their log streams
    have them too.

    It must be unique, because the API server takes a second start with the same host name, user and
    process id for a retry of the first. The log stream's id also shows which log to read; with
    SnapStart the variable is absent, and the function's log has a line with the name itself.
    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-monitoring.html
    """
    if _name is not None:
        return _name
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "lambda")
    stream = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "").rpartition("]")[2]
    return f"{function}-{stream or _unique}"


def process_age_ms() -> float:
    """Milliseconds since this process started; of no use in a restored environment.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    started_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return round((time.clock_gettime(time.CLOCK_BOOTTIME) - started_s) * 1000, 1)


@contextmanager
def restored() -> Iterator[None]:
    """Restore environment variables, working directory and signal handlers at the end.

    The supervisor and connection tests run in this process: the next workload must not see changes.
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
    """Have `remote_log` upload task logs, if it can and no other logging config is set."""
    folder = os.environ.get("AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER", "")
    if _REMOTE_LOGGING.from_environment(os.environ) and folder.startswith((S3, CLOUDWATCH)):
        os.environ.setdefault(
            "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS",
            "lambda_image.runtime.remote_log.LOGGING_CONFIG",
        )


def _private_folder(kind: str = "") -> str:
    """Make a folder that only this user may read, and that is removed when this process ends."""
    folder = tempfile.mkdtemp(prefix=f"airflow-{os.getpid()}-{kind}")
    _private_folders.append(Path(folder))
    at_end(partial(_remove, Path(folder)))
    return folder


def _is_writable_folder(path: str) -> bool:
    return Path(path).is_dir() and os.access(path, os.W_OK | os.X_OK) if path else False


def _remove(folder: Path) -> None:
    if os.getpid() == _owner:  # Not in a forked child that ends normally.
        shutil.rmtree(folder, ignore_errors=True)
