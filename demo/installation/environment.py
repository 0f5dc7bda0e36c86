"""The whole environment: starts and ends its parts in the right order."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from demo import paths
from demo.installation import (
    airflow_programs,
    cdk_cli,
    dag_uploads,
    leftovers,
    packages,
    shell_file,
)
from demo.installation.cdk_cli import SYNTH_TIMEOUT_S, Cdk
from demo.installation.project import Project, merged
from demo.machine import embedded_aws, postgres, process_table, processes
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.screen import Screen

REGION = "eu-west-1"

#: The default of `[core] parallelism`, the most tasks that run at once.
AIRFLOW_PARALLELISM = 32


class EnvironmentInUseError(Exception):
    """Another process uses the same folder."""


class Environment:
    """Embedded AWS, deployed stacks, database and Airflow.

    With `on_start`, which is called after each start of a program, the programs outlive this
    process; without it, they end with this process.
    """

    def __init__(
        self,
        home: paths.Home,
        project: Project,
        screen: Screen,
        on_start: Callable[[Environment], None] | None = None,
    ) -> None:
        self.home = home
        self.screen = screen
        self.project = project
        #: The function's reserved concurrency; more would only compete for the CPUs.
        self.concurrency = min(2 * (os.cpu_count() or 1), AIRFLOW_PARALLELISM)
        self.cloud, self.database, self.control_plane = (
            processes.Children(home.logs, outlive_us=True, on_start=partial(on_start, self))
            if on_start
            else processes.Children(home.logs, outlive_us=False)
            for _ in range(3)
        )
        #: The groups end one after the other, in this order.
        self.groups = (self.control_plane, self.database, self.cloud)
        self._bystanders = process_table.descendants()
        #: Folders outside of `home` to remove at the end.
        self.folders_outside: list[Path] = []
        #: The outputs of all stacks; empty before the deploy.
        self.outputs: Mapping[str, str] = {}
        self._cdk = Cdk(self.cloud, home, plugins=project.plugins)

    def start(self) -> None:
        """Start everything and wait until Airflow is healthy.

        Raises:
            ProcessError: A step failed; the message ends with the program's log.
        """
        self.home.make_empty()
        self._gather()
        port = free_port()
        self._start_cloud(port)
        self._deploy()
        self._start_airflow(port)

    def take_down(self) -> list[leftovers.Resource]:
        """Stop Airflow, destroy the stacks, and return the resources that are left."""
        with self.screen.phase("Stopping Airflow and its database"):
            self.control_plane.end_all()
            self.database.end_all()
        with self.screen.phase("cdk destroy --all") as phase:
            self.project.outside.revoke(self.aws, self.outputs["SchedulerRoleArn"])
            self.project.outside.delete(self.aws)
            for app in self.project.outside.apps:
                self._cdk.destroy_app(self.aws, app, phase.detail)
            self._cdk.destroy(self.aws, phase.detail)
        return self.deployed()

    def deployed(self) -> list[leftovers.Resource]:
        """The resources that did not exist before the first deploy."""
        return leftovers.left(self._before, leftovers.inventory(self.aws))

    def end(self) -> None:
        """End every program; the stacks vanish with the embedded AWS."""
        for group in self.groups:
            group.end_all()
        process_table.kill(process_table.descendants() - self._bystanders)
        for folder in self.folders_outside:
            shutil.rmtree(folder, ignore_errors=True)

    def write_shell_file(self) -> Path:
        """Write the file to `source`: Airflow's variables, with the keys of the account's root."""
        clouds = cdk_cli.variables(self.aws, self.home, self.project.plugins)
        shell_file.write(self.home.shell_file, {**self.airflow.settings, **clouds})
        return self.home.shell_file

    def dead(self) -> list[processes.Child]:
        """The programs that have ended by themselves."""
        return [child for group in self.groups for child in group.dead()]

    def _gather(self) -> None:
        """Put what the image is built from into `home`."""
        if not self.project.is_watched:
            self.project.copy_dags(self.home.dags)
        if self.project.requirements:
            with self.screen.phase("Installing the project's packages"):
                packages.install(self.cloud, self.home, self.project.requirements)

    def _start_cloud(self, port: int) -> None:
        with self.screen.phase("Starting the embedded AWS, synthesising the stacks") as phase:
            self._override = self._override_of(port)
            synth = self._cdk.start_synth(self._override)
            self.aws = embedded_aws.start(self.cloud, self.home, REGION)
            phase.detail(f"embedded AWS at {self.aws.endpoint}")
            self.cloud.finish(synth, SYNTH_TIMEOUT_S)
        if note := embedded_aws.missing_walls(self.home):
            self.screen.say(note)

    def _override_of(self, port: int) -> Mapping[str, Any]:
        """The stage `local` of this environment; only its addresses are not the project's."""
        # A watched project's DAG files are in S3; nobody reads those in the image.
        image = {} if self.project.is_watched else {"dags": str(self.home.dags)}
        if self.project.requirements:
            image["requirements"] = str(self.home.requirements)
        override: Mapping[str, Any] = {
            "region": REGION,
            "functions": [{"name": "default", "reserved_concurrency": self.concurrency}],
        }
        if self.project.is_watched:
            override = merged(override, {"dags": {"source": "s3"}})
        if self.project.variables:
            variables = {"environment": dict(self.project.variables)}
            override = merged(override, {"workloads": variables})
        override = merged(override, self.project.override)
        execution_api = f"http://127.0.0.1:{port}/execution/"
        return merged(override, {"image": image, "execution": {"execution_api_url": execution_api}})

    def _deploy(self) -> None:
        with self.screen.phase("cdk bootstrap") as phase:
            self._cdk.bootstrap(self.aws, phase.detail)
        self._before = leftovers.inventory(self.aws)
        engine = next(filter(shutil.which, ("docker", "podman")), None)
        engine = f"{engine} is not used" if engine else "No container engine here"
        self.screen.say(
            f"{engine}: the functions are processes of this machine, and a stand-in for "
            "`docker build` makes the directory that they run from"
        )
        with self.screen.phase("cdk deploy --all") as phase:
            self.outputs = self._cdk.deploy(self.aws, phase.detail)
            self.project.outside.create(self.aws)
            for app in self.project.outside.apps:
                self._cdk.deploy_app(self.aws, app, phase.detail)
            self.project.outside.permit(self.aws, self.outputs["SchedulerRoleArn"])
        if self.project.is_watched and self.project.folder:
            with self.screen.phase("Uploading the DAG files"):
                uri = dag_uploads.location(self.outputs)
                dag_uploads.first_upload(self.cloud, self.aws, self.project.folder, uri)

    def _start_airflow(self, port: int) -> None:
        with self.screen.phase("Starting Postgres, migrating Airflow's database"):
            secrets = self.aws.client("secretsmanager")
            secret = secrets.get_secret_value(SecretId=self.outputs["DatabaseSecretArn"])
            address = postgres.Address.read(self.outputs, secret["SecretString"])
            installation = postgres.Installation.make(self.home)
            if not installation.folder.is_relative_to(self.home.path):
                self.folders_outside.append(installation.folder)
            postgres.start(self.database, installation, address)
            role = self.outputs["SchedulerRoleArn"]
            aws = self.aws.environment_as(role, self.home.airflow)
            self.airflow = airflow_programs.Airflow(
                home=self.home,
                port=port,
                settings={
                    **airflow_programs.settings(
                        self.home, port, address.url, self.outputs["ConfigLine"], aws
                    ),
                    **airflow_programs.of_project(self.project, self.home),
                    **self.project.outside.airflow_environment,
                },
            )
            self.airflow.migrate(self.control_plane)
        with self.screen.phase("Starting Airflow"):
            self.airflow.start(self.control_plane)


@contextlib.contextmanager
def running(home: paths.Home, project: Project, screen: Screen) -> Iterator[Environment]:
    """Start an environment and end it with the block.

    Raises:
        EnvironmentInUseError: Another process uses the same home.
        ProcessError: A program did not start.
    """
    with sole_use(home), termination_as_interrupt():
        environment = Environment(home, project, screen)
        try:
            environment.start()
            yield environment
        finally:
            with interrupts_held_off():
                environment.end()


@contextlib.contextmanager
def sole_use(home: paths.Home) -> Iterator[None]:
    """Lock this home against other processes.

    Raises:
        EnvironmentInUseError: Another process has locked it.
    """
    home.path.parent.mkdir(parents=True, exist_ok=True)
    with home.path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentInUseError(
                f"another run uses {home.path}: wait for it to end, or end it with Ctrl-C"
            ) from None
        yield


def free_port() -> int:
    """A free port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
