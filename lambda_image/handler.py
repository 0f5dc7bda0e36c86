"""The function's entry point, `handler.lambda_handler`; importing it is Lambda's init phase.

The image has a copy of this file at /var/task/handler.py, beside the package `lambda_image`.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from lambda_image import init_phase
from lambda_image.logs import invocation_log
from lambda_image.machine import environment
from lambda_image.machine.stop_request import StopRequest

init_phase.dag_bundles.warm_up(invocation_log.write)
_parts = init_phase.complete(StopRequest())


def _begin() -> None:
    """Begin to serve at the end of the init phase."""
    _parts.processes.start()  # Last: every workload's process starts from here.
    _parts.handler.init_ms = environment.process_age_ms()


init_phase.taken.then(_begin, partial(init_phase.begin_restored, _parts))


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's types
    """Run the workload of one invocation and send its result."""
    try:
        return _parts.handler.handle(event, context)
    finally:
        if reason := _parts.runner.reason_against_another():
            invocation_log.write("error", "the execution environment is given up", reason=reason)
            os._exit(1)  # Lambda then starts another process, or another execution environment.
