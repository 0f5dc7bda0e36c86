"""The function's entry, `handler.lambda_handler`: all of Lambda's init phase happens on import.

The image has this file at /var/task/handler.py, next to the package `lambda_image` that it is
made from; nothing but the order of the init phase is decided here.
"""

from __future__ import annotations

from typing import Any

from lambda_image import dag_source, environment

environment.prepare()  # Before Airflow: it reads AIRFLOW_HOME when it is imported.
_dags = dag_source.prepare()  # Likewise, for its DAG folder.

from lambda_image import invocation_log, preload  # noqa: E402
from lambda_image.invocation import InvocationHandler  # noqa: E402
from lambda_image.payloads import Payloads  # noqa: E402
from lambda_image.reporter import Reporter  # noqa: E402

_reporter = Reporter.from_environment()
preload.warm_up(invocation_log.write)

from lambda_image import probe  # noqa: E402 - imports Airflow, warm by now
from lambda_image.dag_bundles import DagBundles  # noqa: E402 - likewise
from lambda_image.runner import WorkloadRunner  # noqa: E402 - likewise

_handler = InvocationHandler(
    runner=WorkloadRunner(DagBundles(_dags)),
    reporter=_reporter,
    payloads=Payloads.from_environment(),
    write_log=invocation_log.write,
    answer_probe=probe.answer,
    init_ms=environment.process_age_ms(),
)
preload.freeze()


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's types
    """Run the workload of one invocation and report its end."""
    return _handler.handle(event, context)
