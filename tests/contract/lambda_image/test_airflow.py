"""The private parts of Airflow that the handler uses are where it expects them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lambda_image.runtime import known_parts, preload, task_log

ROOT = Path(__file__).resolve().parents[3]

#: Supervises children as Airflow does, in a process of its own: they are forks of what loaded this.
#: Prints the exit code of one that closes its pipes before it ends, how long it took to see it, and
#: how many descriptors were left open.
_SUPERVISE = """
import json, os, time, uuid
from airflow.sdk.execution_time.supervisor import WatchedSubprocess
from lambda_image.runtime.processes import Processes
from lambda_image.deadline import Margins

def lingers():
    import os, time
    os.closerange(0, 256)  # Nothing is left that could wake a supervisor which waits on pipes.
    time.sleep(0.3)
    os._exit(3)

def supervise():
    with processes.until(Margins(None, None).deadline(900, time.monotonic())):
        child = WatchedSubprocess.start(id=uuid.uuid4(), target=lingers)
        while child._exit_code is None or child._open_sockets:
            child._service_subprocess(max_wait_time=5)
        child.selector.close()
        return child._exit_code

processes = Processes()
processes.start()
supervise()
before, started_s = os.listdir("/proc/self/fd"), time.monotonic()
exit_code = supervise()
took_s = time.monotonic() - started_s
print(json.dumps([exit_code, took_s, len(os.listdir("/proc/self/fd")) - len(before)]))
"""


def test_every_touch_point_is_there() -> None:
    """Airflow still has the parts that the handler patches."""
    assert known_parts.missing() == []


def test_a_child_that_closed_its_pipes_is_reaped_at_once() -> None:
    """The supervisor wakes when the child ends, not after its wait, and leaves nothing open."""
    done = subprocess.run(
        [sys.executable, "-c", _SUPERVISE],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    exit_code, took_s, left_open = json.loads(done.stdout.splitlines()[-1])
    assert (exit_code, left_open) == (3, 0)
    assert took_s < 4


def test_every_preloaded_module_is_there() -> None:
    """Airflow still has the modules that are preloaded for tasks."""
    assert preload.import_helpful() == []


def test_only_a_private_log_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log folder outside AIRFLOW_HOME is meant for others to read."""
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path / "logs"))
    log = tmp_path / "logs" / "run" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    log.touch()
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    task_log.discard_if_private("run/attempt=1.log")
    assert log.exists()
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    task_log.discard_if_private("run/attempt=1.log")
    assert list((tmp_path / "logs").iterdir()) == []
