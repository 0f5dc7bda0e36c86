"""Airflow's programs as the containers of the control plane start them, with a real database.

The entry point, the arguments, the settings and the health checks are the constructs' own. The
database accepts connections over TLS only.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from airflow_lambda_constructs.airflow.airflow_control_plane import (
    API_PORT,
    HEALTH_COMMANDS,
    SETTINGS,
)
from airflow_lambda_constructs.airflow.airflow_service import ENTRY_POINT
from demo import paths
from demo.installation.environment import free_port
from demo.machine import postgres as database
from demo.machine.embedded_aws import bare_environment
from demo.machine.processes import Child, Children, Program
from lambda_image.control_plane import CA_FILE
from tests.support.tls_front import tls_front

#: Airflow's, of the scheduler's health server and the triggerer's log server.
HEALTH_PORT, LOG_PORT = 8974, 8794


@dataclass(frozen=True)
class Site:
    """A folder, a database and the containers' variables.

    Attributes:
        python: The interpreter that has the image's packages.
        modules: Where our own modules are, as `PYTHONPATH`.
    """

    folder: Path
    python: Path
    modules: str
    container: Mapping[str, str]
    ports: Mapping[int, int]
    children: Children
    started: dict[str, Child] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The API server's URL."""
        return f"http://127.0.0.1:{self.ports[API_PORT]}"

    def start(self, name: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Child:
        """Start a program as its container would, with its own AIRFLOW_HOME."""
        self.started[name] = self.children.start(
            Program(
                name=name,
                argv=[*self.command(ENTRY_POINT), *arguments],
                environment=self.environment(name) | dict(extra or {}),
                cwd=paths.ROOT,
            )
        )
        return self.started[name]

    def check(self, name: str) -> bool:
        """Whether the health check of a program's container succeeds."""
        ran = subprocess.run(
            self.command(HEALTH_COMMANDS[name]),
            env=self.environment(name),
            cwd=paths.ROOT,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return ran.returncode == 0

    def environment(self, name: str) -> dict[str, str]:
        """All variables of a container."""
        return {
            **self.container,
            "PYTHONPATH": self.modules,
            "AIRFLOW_HOME": str(self.folder / name),
        }

    def command(self, argv: tuple[str, ...]) -> list[str]:
        """A container's command with the image's packages, on ports that are free here."""
        argv = (str(self.python), *argv[1:])
        for port, here in self.ports.items():
            argv = tuple(part.replace(str(port), str(here)) for part in argv)
        return list(argv)

    def log(self, name: str) -> str:
        """The output of a program."""
        return (self.folder / "logs" / f"{name}.log").read_text()


@contextlib.contextmanager
def control_plane(folder: Path, python: Path, modules: str) -> Iterator[Site]:
    """An empty database, and nothing started yet; at the end everything is ended."""
    home = paths.Home(folder)
    home.logs.mkdir()
    installation = database.Installation.make(home)
    address = database.Address(
        "127.0.0.1", free_port(), "airflow", "airflow", f"p@/:%{secrets.token_hex(8)}"
    )
    postgres, airflow = (Children(home.logs, outlive_us=False) for _ in range(2))
    ports = {port: free_port() for port in (API_PORT, HEALTH_PORT, LOG_PORT)}
    try:
        database.start(postgres, installation, address)
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / "ca.pem")
        with tls_front(address.port, ca, address.host) as port:
            container = {**_container(address, port, ports), CA_FILE: str(folder / "ca.pem")}
            yield Site(folder, python, modules, container, ports, airflow)
            airflow.end_all()
    finally:
        for children in (airflow, postgres):
            children.end_all()
        shutil.rmtree(installation.folder, ignore_errors=True)


def _container(address: database.Address, port: int, ports: Mapping[int, int]) -> Mapping[str, str]:
    """The task definition's variables, and ports of this machine."""
    return {
        **bare_environment(),
        **SETTINGS,
        # Whatever else Airflow needs of a machine without AWS.
        "AIRFLOW_CONFIG": "/dev/null",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "1",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(paths.ROOT / "dags"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ports[API_PORT]),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(ports[HEALTH_PORT]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports[LOG_PORT]),
        "AIRFLOW_LAMBDA_DATABASE_HOST": "127.0.0.1",
        "AIRFLOW_LAMBDA_DATABASE_PORT": str(port),
        "AIRFLOW_LAMBDA_DATABASE_NAME": address.name,
        "AIRFLOW_LAMBDA_DATABASE_USERNAME": address.user,
        "AIRFLOW_LAMBDA_DATABASE_PASSWORD": address.password,
        "AIRFLOW_LAMBDA_FERNET_KEY": secrets.token_hex(16),
        "AIRFLOW_LAMBDA_SIGNING_KEY": secrets.token_hex(32),
    }
