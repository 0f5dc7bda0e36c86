"""The function's entry point, `handler.lambda_handler`; importing it is Lambda's init phase.

The image has a copy of this file at /var/task/handler.py, beside the package `lambda_image`. It
decides only the order of the init phase.
"""

from __future__ import annotations

import gc
import os
from functools import partial
from pathlib import Path
from typing import Any

gc.disable()  # Until `preload.freeze`: imports produce almost no garbage.

from lambda_image.logs import log_output  # noqa: E402
from lambda_image.machine import environment, snapshot  # noqa: E402
from lambda_image.machine.secret_variables import SecretVariables  # noqa: E402
from lambda_image.machine.temporary import TemporaryFolder  # noqa: E402

log_output.install()
_snapshot = snapshot.Snapshot()  # Before a library of the DAG files can register hooks.
_temporary = TemporaryFolder()  # Before this process writes temporary files.
_snapshot.surround(_temporary.keep_more, _temporary.renew)
_private = environment.prepare()  # Before Airflow, which reads AIRFLOW_HOME on import.

from lambda_executor.contract.log_lines import RESTORED  # noqa: E402
from lambda_image.deadline import Margins  # noqa: E402
from lambda_image.invocation.handling import InvocationHandler  # noqa: E402
from lambda_image.invocation.payloads import Payloads  # noqa: E402
from lambda_image.invocation.reporter import Reporter  # noqa: E402
from lambda_image.logs import invocation_log  # noqa: E402
from lambda_image.runtime import preload  # noqa: E402

_margins = Margins.from_environment(os.environ)
_reporter = Reporter.from_environment()
preload.warm_up(invocation_log.write)

from lambda_image.runtime import compat, probe, processes  # noqa: E402 - Airflow must be warm
from lambda_image.runtime.bundles import DagBundles  # noqa: E402 - Airflow must be warm
from lambda_image.runtime.runner import WorkloadRunner  # noqa: E402 - Airflow must be warm

_dag_bundles = DagBundles()
_dag_bundles.warm_up(invocation_log.write)
_payloads = Payloads.from_environment()
_processes = processes.make(invocation_log.write)
if snapshot.is_taken():
    from lambda_image.runtime import rehearsal

    rehearsal.rehearse(_processes, invocation_log.write)
preload.freeze()
_temporary.keep(_private, Path(os.environ["AIRFLOW_HOME"]))

_runner = WorkloadRunner(_dag_bundles, _processes, _temporary, SecretVariables())
_handler = InvocationHandler(
    run_workload=_runner.run,
    explain=_runner.explain,
    lifetime_option=compat.TOKEN_LIFETIME_OPTION,
    queue_url=_reporter.queue_url,
    send=_reporter.send,
    resolve=_payloads.resolve,
    margins=_margins,
    write_log=invocation_log.write,
    answer_probe=partial(probe.answer, _dag_bundles),
)


def _begin() -> None:
    """Begin to serve at the end of the init phase."""
    _processes.start()  # Last: every workload's process starts from here.
    _handler.init_ms = environment.process_age_ms()


def _begin_restored() -> None:
    """Begin to serve in an environment that Lambda restored from a snapshot."""
    _temporary.keep_more()  # What hooks of libraries have made since it was renewed.
    _processes.start()  # Last, as above.
    _handler.restore_ms = _snapshot.restore_ms()
    invocation_log.write(
        "info", RESTORED, hostname=environment.hostname(), restore_ms=_handler.restore_ms
    )


_snapshot.then(_begin, _begin_restored)


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's types
    """Run the workload of one invocation and send its result."""
    try:
        return _handler.handle(event, context)
    finally:
        if reason := _runner.reason_against_another():
            invocation_log.write("error", "the execution environment is given up", reason=reason)
            os._exit(1)  # Lambda then starts another process, or another execution environment.
