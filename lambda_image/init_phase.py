"""Prepares this process to run workloads, in a function, a job and a MicroVM alike.

It decides only the order of what all entry points need. Importing it imports Airflow.
"""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

gc.disable()  # Until `preload.freeze`: imports produce almost no garbage.

from lambda_executor.contract.log_lines import RESTORED  # noqa: E402
from lambda_image.logs import log_output  # noqa: E402
from lambda_image.machine import environment, snapshot  # noqa: E402
from lambda_image.machine.secret_variables import SecretVariables  # noqa: E402
from lambda_image.machine.stop_request import StopRequest  # noqa: E402
from lambda_image.machine.temporary import TemporaryFolder  # noqa: E402

log_output.install()
taken = snapshot.Snapshot()  # Before a library of the DAG files can register hooks.
temporary = TemporaryFolder()  # Before this process writes temporary files.
taken.surround(partial(temporary.keep_more, also_home=True), temporary.renew)
_private = environment.prepare()  # Before Airflow, which reads AIRFLOW_HOME on import.

from lambda_image.deadline import Margins  # noqa: E402
from lambda_image.invocation.handling import InvocationHandler  # noqa: E402
from lambda_image.invocation.payloads import Payloads  # noqa: E402
from lambda_image.invocation.reporter import Reporter  # noqa: E402
from lambda_image.logs import invocation_log  # noqa: E402
from lambda_image.runtime import preload  # noqa: E402

_margins = Margins.from_environment(os.environ)
_reporter = Reporter.from_environment()
preload.warm_up(invocation_log.write)

from airflow.configuration import conf  # noqa: E402 - Airflow must be warm

from lambda_image.runtime import compat, probe, processes  # noqa: E402 - Airflow must be warm
from lambda_image.runtime.bundles import DagBundles  # noqa: E402 - Airflow must be warm
from lambda_image.runtime.runner import WorkloadRunner  # noqa: E402 - Airflow must be warm
from lambda_image.runtime.stock_processes import StockProcesses  # noqa: E402 - as above

dag_bundles = DagBundles()


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs workloads. `processes.start` must be called before the first one."""

    handler: InvocationHandler
    runner: WorkloadRunner
    processes: processes.Processes | StockProcesses
    payloads: Payloads


def complete(request: StopRequest) -> Parts:
    """End the preparation: what is loaded now is shared with every workload's process.

    Args:
        request: May bring the end of this process forward; see `machine.stop_request`.
    """
    payloads = Payloads.from_environment()
    made = processes.make(invocation_log.write)
    if snapshot.is_taken():
        from lambda_image.runtime import rehearsal  # noqa: PLC0415 - no other start needs it

        rehearsal.rehearse(made, invocation_log.write)
    preload.freeze()
    temporary.keep(
        _private,
        Path(os.environ["AIRFLOW_HOME"]),
        [
            Path(os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH"]),  # By `prepare`.
            Path(conf.get("logging", "base_log_folder")),
        ],
    )
    runner = WorkloadRunner(dag_bundles, made, temporary, SecretVariables())
    handler = InvocationHandler(
        run_workload=runner.run,
        explain=runner.explain,
        announce=runner.announce,
        lifetime_option=compat.TOKEN_LIFETIME_OPTION,
        queue_url=_reporter.queue_url,
        send=_reporter.send,
        resolve=payloads.resolve,
        margins=_margins,
        write_log=invocation_log.write,
        answer_probe=partial(probe.answer, dag_bundles),
        request=request,
    )
    return Parts(handler, runner, made, payloads)


def begin_restored(parts: Parts) -> None:
    """Begin to serve in an environment that was restored from a snapshot."""
    temporary.keep_more()  # What hooks of libraries have made since it was renewed.
    parts.processes.start()  # Last: every workload's process starts from here.
    parts.handler.restore_ms = taken.restore_ms()
    invocation_log.write(
        "info",
        RESTORED,
        hostname=environment.hostname(),
        restore_ms=parts.handler.restore_ms,
    )
