"""A real Airflow: its configuration and its four programs.

The executor needs only its name and one line, the output `ConfigLine`; the other settings are those
of any Airflow on one machine.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import httpx

from demo import paths
from demo.installation.project import Project
from demo.machine.embedded_aws import bare_environment
from demo.machine.processes import Children, Program
from lambda_executor.contract.api_server import max_overflow_for
from lambda_executor.contract.names import EXECUTOR

MIGRATE_TIMEOUT_S = 240.0
START_TIMEOUT_S = 240.0
#: More workloads than one machine runs at once; the API server has database connections for them.
WORKLOADS = 80
#: The waits in seconds before `make local` starts a program again that has died.
RESTART_WAITS_S = (1, 5, 25)
#: A change is read within seconds. A changed file is read at once; one that only imports a changed
#: file has to wait for the interval.
RELOADING = {
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_FETCH_INTERVAL": "1",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
}
#: The triggerer would serve its logs on a fixed port of every interface. The UI does not need that:
#: it reads them from the shared folder.
ARGUMENTS = {"triggerer": ("--skip-serve-logs",)}


@dataclass(frozen=True, slots=True)
class Airflow:
    """One Airflow on this machine.

    Attributes:
        settings: The variables of all its programs; they hold secrets.
    """

    home: paths.Home
    port: int
    settings: Mapping[str, str]

    @property
    def url(self) -> str:
        """The URL of the user interface and of the REST API."""
        return f"http://127.0.0.1:{self.port}"

    def migrate(self, children: Children) -> None:
        """Create the database's tables.

        Raises:
            ProcessError: The migration failed.
        """
        children.run(self._program("migrate", "db", "migrate"), MIGRATE_TIMEOUT_S)

    def create_default_connections(self, children: Children) -> None:
        """Create the connections of a fresh Airflow, such as `fs_default`.

        Raises:
            ProcessError: It failed.
        """
        words = ("connections", "create-default-connections")
        children.run(self._program("connections", *words), MIGRATE_TIMEOUT_S)

    def start(self, children: Children) -> None:
        """Start the four programs and wait until all of them are healthy.

        Raises:
            ProcessError: One did not start or is not healthy in time.
        """
        api_server = children.start(self.program("api-server"))
        names = ("scheduler", "dag-processor", "triggerer")
        others = {name: children.start(self.program(name)) for name in names}
        api_server.wait_until(lambda: self._health() or None, "answers", START_TIMEOUT_S)
        api_server.wait_until(
            self.serves_functions, "answers on its Execution API", START_TIMEOUT_S
        )
        for name, child in others.items():
            child.wait_until(partial(self._is_healthy, name), "is healthy", START_TIMEOUT_S)

    def program(self, name: str, *arguments: str) -> Program:
        """One of the programs: api-server, scheduler, dag-processor, triggerer."""
        return self._program(name, name, *ARGUMENTS.get(name, ()), *arguments)

    def _is_healthy(self, name: str) -> bool | None:
        component = self._health().get(name.replace("-", "_"), {})
        return component.get("status") == "healthy" or None

    def serves_functions(self) -> bool | None:
        """Whether the Execution API answers; None: not yet.

        Airflow builds it at its first request, which takes seconds. This request does it, so that
        no task has to wait.

        To a request without the header, SIMPLE_AUTH_MANAGER_ALL_ADMINS adds an administrator's
        token. The Execution API does not accept that token, and logs a traceback.
        """
        header = {"Authorization": "none"}
        return self._get("/execution/health", START_TIMEOUT_S, header) is not None or None

    def _health(self) -> Mapping[str, Mapping[str, str]]:
        answer = self._get("/api/v2/monitor/health", timeout_s=5)
        return {} if answer is None else answer.json()

    def _get(
        self, path: str, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> httpx.Response | None:
        url = f"{self.url}{path}"
        try:
            answer = httpx.get(url, headers=headers, timeout=timeout_s, trust_env=False)
            return answer.raise_for_status()
        except httpx.HTTPError:
            return None

    def _program(self, name: str, *arguments: str) -> Program:
        return Program(
            name=f"airflow-{name}",
            argv=[paths.AIRFLOW, *arguments],
            environment=bare_environment() | dict(self.settings),
            cwd=self.home.airflow,
            restart_waits_s=RESTART_WAITS_S,
        )


def settings(
    home: paths.Home,
    port: int,
    database_url: str,
    config_line: str,
    aws_settings: Mapping[str, str],
) -> Mapping[str, str]:
    """The variables of every program: Airflow's configuration, and the way to AWS.

    Besides the scheduler, the API server needs AWS for the logs of running tasks, and the triggerer
    for deferred AWS operators. None of them may reach the user's own AWS account.
    """
    name, _, value = config_line.partition("=")
    return {
        **aws_settings,
        "AIRFLOW_HOME": str(home.airflow),
        # The product needs the executor's name and one line.
        "AIRFLOW__CORE__EXECUTOR": EXECUTOR,
        name: value,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url,
        "AIRFLOW__CORE__DAGS_FOLDER": str(home.dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": str(max_overflow_for(WORKLOADS)),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # Same as in the stacks' control plane.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        # Save CPU: the files do not change while the demo runs.
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        # A file that a busy machine takes too long to import would be missing until then. The first
        # import of a package such as pandas also compiles it.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "110",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "115",
    }


def of_project(project: Project, home: paths.Home) -> Mapping[str, str]:
    """The variables that a project adds to those of every program, or changes."""
    found: dict[str, str] = {}
    if project.requirements:
        found["PYTHONPATH"] = str(home.packages)
    if project.plugins:
        found["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(project.plugins)
    if project.is_watched:
        found |= {"AIRFLOW__CORE__DAGS_FOLDER": str(project.folder), **RELOADING}
        # Without it Python writes `__pycache__` into the user's repository.
        found["PYTHONPYCACHEPREFIX"] = str(paths.BYTECODE)
    return found | dict(project.variables)
