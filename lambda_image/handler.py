"""The function's entry point, `handler.lambda_handler`; importing it is Lambda's init phase.

The image has a copy of this file at /var/task/handler.py, beside the package `lambda_image`.
"""

from __future__ import annotations

import os
from typing import Any

from lambda_executor.contract.log_lines import RESTORED
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


def _begin_restored() -> None:
    """Begin to serve in an environment that Lambda restored from a snapshot."""
    init_phase.temporary.keep_more()  # What hooks of libraries have made since it was renewed.
    _parts.processes.start()  # Last, as above.
    _parts.handler.restore_ms = init_phase.taken.restore_ms()
    invocation_log.write(
        "info",
        RESTORED,
        hostname=environment.hostname(),
        restore_ms=_parts.handler.restore_ms,
    )


init_phase.taken.then(_begin, _begin_restored)


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's types
    """Run the workload of one invocation and send its result."""
    try:
        return _parts.handler.handle(event, context)
    finally:
        if reason := _parts.runner.reason_against_another():
            invocation_log.write("error", "the execution environment is given up", reason=reason)
            os._exit(1)  # Lambda then starts another process, or another execution environment.
