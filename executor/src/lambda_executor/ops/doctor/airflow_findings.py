"""The doctor's rules about this Airflow: its executors, its schedulers and its options."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from lambda_executor.aws import AccountFacts
from lambda_executor.contract import api_server
from lambda_executor.contract.names import EXECUTOR
from lambda_executor.contract.options import HANDLER_OPTIONS, OPTIONS, SECTION
from lambda_executor.core.findings import Finding, ok, problem, unknown
from lambda_executor.setup.option_values import Conf

if TYPE_CHECKING:
    from lambda_executor.ops.doctor.installation import LiveScheduler

_CHOOSE = f"AIRFLOW__CORE__EXECUTOR={EXECUTOR}"
_PREFIX = f"AIRFLOW__{SECTION.upper()}__"
#: How Airflow's sensitive options, and only those, name a command or a secret instead of a value.
#: https://airflow.apache.org/docs/apache-airflow/stable/howto/set-config.html
_INDIRECT = ("_cmd", "_secret")


class SectionedConf(Conf, Protocol):
    """Airflow's configuration, with the part that lists what a file sets."""

    def has_section(self, section: str) -> bool:
        """Whether a file has the section."""

    def options(self, section: str) -> list[str]:
        """Return the names that a file sets in a section."""


def is_ours(executor: str) -> bool:
    """Whether a module path is that of this executor."""
    return executor.startswith("lambda_executor.")


def executor(configured: Sequence[str]) -> Finding:
    """Whether `[core] executor`, as the doctor's own process reads it, names this executor."""
    ours = [path for path in configured if is_ours(path)]
    others = ", ".join(path.rpartition(".")[2] for path in configured if not is_ours(path))
    if not ours:
        return problem(
            "executor",
            f"[core] executor is {others} here: no task runs on Lambda",
            "set it for every program of Airflow, and restart the schedulers",
            _CHOOSE,
        )
    if not others:
        return ok("executor", ours[0])
    if is_ours(configured[0]):
        return ok("executor", f"{ours[0]} by default, beside {others}")
    return ok("executor", f"{ours[0]} for tasks that name it, beside {others}")


def schedulers(live: Sequence[LiveScheduler]) -> Iterator[Finding]:
    """Whether the running schedulers run this executor."""
    if not live:
        yield unknown("scheduler", "none runs", "start one", "airflow scheduler")
    for each in live:
        name = f"job {each.job_id} on {each.host}"
        if each.runs_ours:
            yield ok("scheduler", f"{name} runs this executor")
            continue
        yield problem(
            "scheduler",
            f"{name} does not run this executor, or an older release of it. `airflow standalone` "
            "always uses LocalExecutor; another one was started before [core] executor was set",
            "end it, and start it with the setting (not by `airflow standalone`)",
            f"{_CHOOSE} airflow scheduler",
        )


def options(conf: SectionedConf, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether every option that somebody sets in our section exists."""
    in_file = conf.options(SECTION) if conf.has_section(SECTION) else []
    spelled = {f"[{SECTION}] {name}": name for name in in_file}
    for variable in sorted(environ):
        if variable.upper().startswith(_PREFIX):
            name = variable[len(_PREFIX) :]
            # Airflow reads variables in capital letters only; in other letters none is known.
            spelled[variable] = name.lower() if variable.isupper() else name.upper()
    known = {option.name: option for option in (*OPTIONS, *HANDLER_OPTIONS)}
    wrong = {where: name for where, name in spelled.items() if name not in known}
    if not wrong:
        yield ok("options", "every option that is set exists")
    for where, name in wrong.items():
        bare = name.lower()
        for suffix in _INDIRECT:
            bare = bare.removesuffix(suffix)
        near = difflib.get_close_matches(bare, known, n=1)
        if bare in known and bare != name.lower():
            detail = f"{where} is ignored: Airflow reads such a spelling for sensitive options only"
            fix = f"set {bare} itself"
        elif near:
            detail, fix = f"{where} is ignored: there is no such option", f"did you mean {near[0]}?"
        else:
            detail = f"{where} is ignored: there is no such option"
            fix = f"remove it; the options are {', '.join(sorted(known))}"
        command = known[near[0]].setting if near else f"airflow config list --section {SECTION}"
        yield problem("options", detail, fix, command)


def concurrency(
    facts: AccountFacts, parallelism: int, schedulers: int, unlimited: Sequence[str] = ()
) -> Finding:
    """What becomes of workloads that the account cannot run at once.

    A new account may run 10 invocations at once.
    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html

    Args:
        facts: The account's limits.
        parallelism: `[core] parallelism`.
        schedulers: The number of live schedulers.
        unlimited: The functions whose `max_in_flight` is 0.
    """
    most = parallelism * max(1, schedulers)
    limit = f"the account may run {facts.concurrency} invocations at once in this Region"
    if facts.concurrency >= most:
        return ok("concurrency", f"{limit}, {facts.unreserved} of them unreserved")
    if not unlimited:
        shared = f"; each of the {schedulers} schedulers fills it" if schedulers > 1 else ""
        return ok(
            "concurrency",
            f"{limit}{shared}. [core] parallelism allows {most}: the rest waits in Airflow, the "
            "highest priority_weight first",
        )
    return problem(
        "concurrency",
        f"{limit}, and the schedulers send up to {most} ([core] parallelism) to "
        f"{', '.join(unlimited)}, for which [lambda_executor] max_in_flight is 0: the rest waits "
        "in Lambda's queue, first come, first served, and fails when it is older than the event "
        "age",
        "remove max_in_flight, or ask AWS for more",
        "aws service-quotas request-service-quota-increase --service-code lambda "
        "--quota-code L-B99A9384 --desired-value 1000",
    )


def api_server_connections(conf: Conf, workloads: int) -> Iterator[Finding]:
    """Whether an API server with this configuration can block itself; nothing if few workloads run.

    Args:
        conf: Airflow's configuration.
        workloads: How many run at once.
    """
    if workloads <= api_server.THREADS:
        return
    pool_size = number(conf, "database", "sql_alchemy_pool_size", api_server.POOL_SIZE)
    overflow = number(conf, "database", "sql_alchemy_max_overflow", api_server.MAX_OVERFLOW)
    processes = max(1, number(conf, "api", "workers", 1))
    share = -(-workloads // processes)
    needed = api_server.connections_for(share)
    is_pooled = (conf.get("database", "sql_alchemy_pool_enabled", fallback=None) or "True").lower()
    # Without a pool, and with 0 or -1, SQLAlchemy makes as many as it needs.
    if is_pooled == "false" or pool_size == 0 or overflow < 0 or pool_size + overflow >= needed:
        yield ok("API server", f"has database connections for {workloads} workloads at once")
        return
    yield problem(
        "API server",
        f"up to {workloads} workloads run at once, and each process of the API server has "
        f"{pool_size + overflow} database connections ([database] sql_alchemy_pool_size and "
        f"sql_alchemy_max_overflow). When {api_server.THREADS + pool_size + overflow} requests "
        "arrive at once, it can block itself for 30 s",
        f"allow {needed} connections, if the database does, or give the API server more processes "
        "([api] workers)",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW="
        f"{api_server.max_overflow_for(share, pool_size)}",
    )


def number(conf: Conf, section: str, key: str, default: int) -> int:
    """Return a whole number of Airflow's configuration; the default if it is not set."""
    value = conf.get(section, key, fallback=None)
    return int(value) if value else default
