"""Checks everything that can go wrong in a deployed environment.

This module owns the order of the checks. It changes nothing, and its only invocation is a probe.
The rules are in `diagnosis.py`, `airflow_findings.py`, `probe_findings.py` and `job_findings.py`;
`refusals.py` turns errors into findings, so that no check ends the doctor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from lambda_executor.aws import Inspection, Patience, Place
from lambda_executor.contract.errors import AwsError, CredentialsError, DatabaseError
from lambda_executor.contract.options import CONFIG_PARAMETER, REGION_NAME, SECTION
from lambda_executor.contract.probe import DagFiles
from lambda_executor.core.findings import Finding, ok, problem, unknown
from lambda_executor.ops.doctor import airflow_findings, installation, refusals
from lambda_executor.ops.doctor.airflow_findings import SectionedConf
from lambda_executor.ops.doctor.dag_findings import Expected, Versions
from lambda_executor.ops.doctor.examination import Examination
from lambda_executor.ops.doctor.installation import LiveScheduler
from lambda_executor.ops.doctor.job_examination import JobExamination
from lambda_executor.ops.doctor.refusals import guarded
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.setup.connection import Gateway
from lambda_executor.setup.time_limits import longest_wait

#: A person waits, but a probe may take a cold start and the function's time-out for the API.
PATIENCE = Patience(connect_s=5, read_s=60, attempts=2)


def examine(conf: SectionedConf, environ: Mapping[str, str], here: Versions) -> Iterator[Finding]:
    """Yield the findings of every check; one that depends on a failed one is left out.

    Args:
        conf: Airflow's configuration, or one team's.
        environ: The environment variables that it is read from.
        here: The versions of Airflow and Python.
    """
    yield from guarded("executor", _executor)
    live: list[LiveScheduler] = []
    yield from guarded("scheduler", partial(_schedulers, live))
    yield from guarded("options", partial(airflow_findings.options, conf, environ))
    connected: list[tuple[Gateway, ExecutorConfig]] = []
    yield from guarded("configuration", partial(_connect, conf, connected))
    for gateway, settings in connected:
        yield from guarded("AWS", partial(_examine, conf, here, gateway, settings, len(live)))


def _executor() -> Iterator[Finding]:
    yield airflow_findings.executor(installation.executors())


def _schedulers(live: list[LiveScheduler]) -> Iterator[Finding]:
    """Check the running schedulers; append them for the other checks."""
    live.extend(installation.live_schedulers())
    yield from airflow_findings.schedulers(live)


def _connect(
    conf: SectionedConf, connected: list[tuple[Gateway, ExecutorConfig]]
) -> Iterator[Finding]:
    """Check Region, credentials and configuration; append what the other checks need."""
    gateway = Gateway(conf, PATIENCE)
    try:
        place, sts = gateway.first.place(), gateway.first.place("sts")
    except CredentialsError as e:
        yield refusals.no_credentials(e)
        return
    except AwsError as e:
        fix = "set the Region of the functions and queues"
        yield problem("Region", str(e), fix, REGION_NAME.setting)
        return
    yield ok("Region", str(place))
    try:
        yield ok("credentials", Inspection(gateway.first).caller())
    except CredentialsError as e:
        yield refusals.no_credentials(e)
        return
    except AwsError as e:  # The executor never calls STS: a closed network may have no way to it.
        yield refusals.not_needed("credentials", e, sts)
    settings = gateway.settings()
    name = conf.get(SECTION, CONFIG_PARAMETER.name, fallback=None)
    yield ok("configuration", f"from SSM parameter {name}" if name else "from Airflow's own")
    connected.append((gateway, settings))


def _examine(
    conf: SectionedConf,
    here: Versions,
    gateway: Gateway,
    settings: ExecutorConfig,
    schedulers: int,
) -> Iterator[Finding]:
    """Check what the options name."""
    clients = gateway.clients(settings)
    place = clients.place()
    if place != gateway.first.place():
        yield ok("Region", f"of the functions and queues: {place}")
    unlimited = [name for name, most in settings.max_in_flight.items() if not most]
    concurrency = partial(_concurrency, conf, Inspection(clients), place, schedulers, unlimited)
    if settings.routes.targets():
        yield from _in(place, guarded("concurrency", concurrency))
    dag_files: DagFiles = {}
    try:
        dag_files = installation.dag_files()
    except DatabaseError as e:
        yield unknown("DAG files", str(e), "see whether the database answers", "airflow db check")
    expected = Expected(
        here,
        dag_files,
        conf.get("core", "dags_folder", fallback=None) or "dags",
        all_run_here=any(map(airflow_findings.is_ours, installation.executors()[:1])),
    )
    limit = partial(longest_wait, conf, here.airflow)
    yield from _in(place, Examination(settings, clients, place, limit, expected).findings())
    yield from _in(place, JobExamination(settings.routes.job_targets(), clients, limit).findings())


def _concurrency(
    conf: SectionedConf,
    inspection: Inspection,
    place: Place,
    schedulers: int,
    unlimited: Sequence[str],
) -> Iterator[Finding]:
    """Compare the account's limit with what the schedulers send."""
    try:
        facts = inspection.account()
    except AwsError as e:
        what = "whether the account may run as much as the schedulers send is not known"
        yield refusals.not_known("concurrency", what, "lambda:GetAccountSettings", e, place)
        return
    parallelism = airflow_findings.number(conf, "core", "parallelism", 32)
    yield airflow_findings.concurrency(facts, parallelism, schedulers, unlimited)
    workloads = min(facts.concurrency, parallelism * max(1, schedulers))
    yield from airflow_findings.api_server_connections(conf, workloads)


def _in(place: Place, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Add the Region to the commands of the AWS CLI."""
    for finding in findings:
        region = f" --region {place.region}" if finding.command.startswith("aws ") else ""
        yield replace(finding, command=f"{finding.command}{region}")
