"""The private parts of Airflow's supervisor and client that the handler uses.

`missing()` compares them with the installed Airflow: names, parameters and fields. A part that only
behaves differently goes unnoticed: `tests/contract/lambda_image/test_airflow_minors.py` runs a task
under each minor version for that.
"""

from __future__ import annotations

import inspect
from typing import Any

from airflow.sdk.api import client
from airflow.sdk.execution_time import supervisor

from lambda_image.runtime.api.attempts import can_make_one

#: Private functions of Airflow that we call or replace, with the parameters we rely on.
_FUNCTIONS = {
    "WatchedSubprocess.start": {"target", "logger"},
    "WatchedSubprocess._register_pipe_readers": {"stdout", "stderr", "requests", "logs"},
    "ActivitySubprocess.update_task_state_if_needed": {"self"},
    "_configure_logs_over_json_channel": {"log_fd"},
    "_fork_main": {"requests", "child_stdout", "child_stderr", "log_fd", "target"},
    "_subprocess_main": set(),
    "make_buffered_socket_reader": {"gen", "on_close"},
    "TaskInstanceOperations.start": {"id", "pid", "when"},
    "TaskInstanceOperations.finish": {"id", "state", "when", "rendered_map_index"},
    "TaskInstanceOperations.retry": {"id", "end_date", "rendered_map_index"},
    "TaskInstanceOperations.succeed": {"id", "when"},
    "TaskInstanceOperations.defer": {"id", "msg"},
    "TaskInstanceOperations.reschedule": {"id", "msg"},
    "TaskInstanceOperations.heartbeat": {"id", "pid"},
}
#: Private values of Airflow that we read.
_VALUES = (
    "ActivitySubprocess.final_state",
    "STATES_SENT_DIRECTLY",
    "Client.request",
    "Client.task_instances",
)
#: Fields of `ActivitySubprocess` that we read or set.
_FIELDS = {
    "id",
    "pid",
    "stdin",
    "client",
    "selector",
    "start_time",
    "process_log",
    "_process",
    "_exit_code",
    "_terminal_state",
    "_rendered_map_index",
}


def missing() -> list[str]:
    """The parts that this Airflow does not have as they are known, by their names."""
    absent = [path for path, parameters in _FUNCTIONS.items() if not _takes(path, parameters)]
    absent += [path for path in _VALUES if _part(path) is None]
    request = _part("Client.request")
    if request is not None and not can_make_one(request):
        absent.append("Client.request")
    fields = getattr(_part("ActivitySubprocess"), "__attrs_attrs__", ())
    return absent + sorted(_FIELDS - {field.name for field in fields})


def _part(path: str) -> Any:  # noqa: ANN401 - Airflow's own types
    top, *names = path.split(".")
    # Of the client first: the supervisor has our own in its place (`api.connections`).
    found = getattr(client, top, None) or getattr(supervisor, top, None)
    for name in names:
        found = getattr(found, name, None)
    return found


def _takes(path: str, parameters: set[str]) -> bool:
    found = _part(path)
    return found is not None and parameters <= inspect.signature(found).parameters.keys()
