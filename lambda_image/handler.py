"""The function's entry, `handler.lambda_handler`: all of Lambda's init phase happens on import.

The image has this file at /var/task/handler.py, next to the package `lambda_image` that it is
made from; nothing but the order of the init phase is decided here.
"""

from __future__ import annotations

import gc
import os
from typing import Any

gc.disable()  # Until `preload.freeze`: next to nothing of what imports make is garbage.

from lambda_image.dags import source  # noqa: E402
from lambda_image.logs import log_output  # noqa: E402
from lambda_image.machine import environment  # noqa: E402
from lambda_image.machine.temporary import TemporaryFolder  # noqa: E402

log_output.install()
_temporary = TemporaryFolder()  # Before anything of this process is in it.
environment.prepare()  # Before Airflow: it reads AIRFLOW_HOME when it is imported.
_dags = source.prepare()  # Likewise, for its DAG folder.

from lambda_image.deadline import Margins  # noqa: E402
from lambda_image.invocation.handling import InvocationHandler  # noqa: E402
from lambda_image.invocation.payloads import Payloads  # noqa: E402
from lambda_image.invocation.reporter import Reporter  # noqa: E402
from lambda_image.logs import invocation_log  # noqa: E402
from lambda_image.runtime import preload  # noqa: E402

_margins = Margins.from_environment(os.environ)
_reporter = Reporter.from_environment()
preload.warm_up(invocation_log.write)

from lambda_image.runtime import probe, processes  # noqa: E402 - import Airflow, warm by now
from lambda_image.runtime.bundles import DagBundles  # noqa: E402 - likewise
from lambda_image.runtime.runner import WorkloadRunner  # noqa: E402 - likewise

_dag_bundles = DagBundles(_dags)
_dag_bundles.warm_up(invocation_log.write)
_payloads = Payloads.from_environment()
preload.freeze()
_temporary.keep()
_processes = processes.make(
    invocation_log.write
)  # Last: a workload's process has what is here now.

_handler = InvocationHandler(
    runner=WorkloadRunner(_dag_bundles, _processes, _temporary),
    reporter=_reporter,
    payloads=_payloads,
    margins=_margins,
    write_log=invocation_log.write,
    answer_probe=probe.answer,
    init_ms=environment.process_age_ms(),
)


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's types
    """Run the workload of one invocation and report its end."""
    try:
        return _handler.handle(event, context)
    finally:
        if _processes.are_lost:
            os._exit(1)  # Lambda starts another environment in the place of this one.
