"""A real Airflow: its configuration and its four programs.

What concerns Lambda is one line, the output `ConfigLine`; the database comes from the outputs and
the secret; the rest is what any Airflow on one machine needs. It must not know where the outputs
come from.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from demo import paths
from demo.machine.embedded_aws import bare_environment
from demo.machine.processes import Child, Children, Program
from lambda_executor.contract.names import EXECUTOR

MIGRATE_TIMEOUT_S = 240.0
START_TIMEOUT_S = 240.0
#: What answers in /api/v2/monitor/health, by program.
HEALTH_OF = {
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag_processor",
    "airflow-triggerer": "triggerer",
}
#: Without it the triggerer serves its logs on a fixed port of every interface, and Airflow has no
#: option for another address. Here the UI reads them from the folder that all programs share.
ARGUMENTS = {"triggerer": ("--skip-serve-logs",)}


@dataclass(frozen=True, slots=True)
class Airflow:
    """One Airflow on this machine.

    Attributes:
        home: Where its files go.
        port: Of its API server; the functions call it too.
        settings: Its own configuration, as environment variables; holds secrets.
        scheduler_settings: The credentials of the scheduler's AWS role; the API server gets them
            too, and reads the logs of running tasks with them.
    """

    home: paths.Home
    port: int
    settings: Mapping[str, str]
    scheduler_settings: Mapping[str, str]

    @property
    def url(self) -> str:
        """The user interface, and the root of the REST API."""
        return f"http://127.0.0.1:{self.port}"

    def migrate(self, children: Children) -> None:
        """Make the database's tables.

        Raises:
            ProcessError: It failed.
        """
        children.run(self._program("migrate", "db", "migrate"), MIGRATE_TIMEOUT_S)

    def start(self, children: Children) -> None:
        """Start the four programs and wait until each says that it is healthy.

        Raises:
            ProcessError: One did not start.
        """
        api_server = children.start(self.program("api-server"))
        names = ("scheduler", "dag-processor", "triggerer")
        others = [children.start(self.program(name)) for name in names]
        api_server.wait_until(lambda: self._health() or None, "answers", START_TIMEOUT_S)
        api_server.wait_until(
            self.serves_functions, "answers on its Execution API", START_TIMEOUT_S
        )
        for child in others:
            child.wait_until(self._healthy(child), "is healthy", START_TIMEOUT_S)

    def program(self, name: str) -> Program:
        """One of its four programs: api-server, scheduler, dag-processor, triggerer."""
        extra = self.scheduler_settings if name in ("scheduler", "api-server") else None
        return self._program(name, name, *ARGUMENTS.get(name, ()), extra=extra)

    def _healthy(self, child: Child) -> Callable[[], bool | None]:
        component = HEALTH_OF[child.program.name]
        return lambda: self._health().get(component, {}).get("status") == "healthy" or None

    def serves_functions(self) -> bool | None:
        """Whether the Execution API answers.

        Airflow builds that part of the API server at its first call, which takes seconds: this
        one, so that no task waits for it.
        """
        try:
            httpx.get(
                f"{self.url}/execution/health", timeout=START_TIMEOUT_S, trust_env=False
            ).raise_for_status()
        except httpx.HTTPError:
            return None
        return True

    def _health(self) -> Mapping[str, Mapping[str, str]]:
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5, trust_env=False)
            health: Mapping[str, Mapping[str, str]] = answer.raise_for_status().json()
        except httpx.HTTPError:
            return {}
        return health

    def _program(
        self, name: str, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> Program:
        return Program(
            name=f"airflow-{name}",
            argv=[paths.AIRFLOW, *arguments],
            environment=bare_environment() | dict(self.settings) | dict(extra or {}),
            cwd=self.home.airflow,
        )


def settings(home: paths.Home, port: int, database_url: str, config_line: str) -> Mapping[str, str]:
    """Airflow's configuration as environment variables."""
    name, _, value = config_line.partition("=")
    return {
        "AIRFLOW_HOME": str(home.airflow),
        # The product: the executor's name and one line.
        "AIRFLOW__CORE__EXECUTOR": EXECUTOR,
        name: value,
        # The environment that the stacks made.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url,
        # Any Airflow on one machine.
        "AIRFLOW__CORE__DAGS_FOLDER": str(home.dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # As the stacks' control plane has it.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        # Two cores: no second parse of files that do not change while the demo runs.
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    }
