"""Starts one of Airflow's programs in a container of the control plane.

`python -m lambda_image.control_plane [--migrate] <arguments of airflow>` turns the container's
secrets into Airflow's settings. Airflow then replaces this process, so signals reach it directly.
With `--migrate` the database is first brought to the version of this Airflow.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from lambda_executor.contract import names
from lambda_image.packaging.build import NATIVE

ADMIN = "admin"

MIGRATE = "--migrate"

#: RDS's certificate authorities; the file says where they are from.
RDS_CA_BUNDLE = Path(__file__).with_name("rds-ca-bundle.pem")

#: Names another file with certificate authorities, as it does for libpq:
#: https://www.postgresql.org/docs/current/libpq-envars.html
CA_FILE = "PGSSLROOTCERT"

_RDS_HOST = re.compile(r".+\.([a-z0-9-]+)\.rds\.amazonaws\.com(\.cn)?")


class MissingSecretError(Exception):
    """The container was started without a variable that Airflow needs."""


class UnknownAuthorityError(Exception):
    """No certificate authority that the image knows signs the database's certificate."""


def airflow_environment(container: Mapping[str, str]) -> dict[str, str]:
    """Airflow's environment variables, with settings made from the secrets and without those.

    Raises:
        MissingSecretError: A variable is not set or empty.
        UnknownAuthorityError: The database cannot be verified.
    """
    given = {
        name: value for name, value in container.items() if name.startswith(names.CONTAINER_PREFIX)
    }
    host, port, name, username, password = (_secret(given, variable) for variable in names.DATABASE)
    address = f"{quote(username, safe='')}:{quote(password, safe='')}@{host}:{port}/{name}"
    tls = _verified(host, container.get(CA_FILE))
    signing_key = _secret(given, names.SIGNING_KEY)
    # Signs the API server's requests to the triggerer's log server. Its tokens must not be valid
    # for the API server, so it is not the signing key itself.
    log_server_key = hashlib.sha256(f"log server {signing_key}".encode()).hexdigest()
    return {
        # Airflow needs a user name, and an image of one's own may have none for user 65534.
        "LOGNAME": "airflow",
        **{name: value for name, value in container.items() if name not in given},
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{address}?{tls}",
        # asyncpg takes the file from its own DSN only, beside which SQLAlchemy's values hold.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": (
            f"postgresql+asyncpg://{address}?{urlencode({'dsn': f'postgresql://?{tls}'})}"
        ),
        "AIRFLOW__CORE__FERNET_KEY": _fernet_keys(_secret(given, names.FERNET_KEY)),
        "AIRFLOW__API_AUTH__JWT_SECRET": signing_key,
        "AIRFLOW__API__SECRET_KEY": log_server_key,
    }


def python_path(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Where the scheduler also finds AWS's native client; empty for every other program.

    In the others botocore would load it for nothing.
    """
    if arguments[:1] != ["scheduler"]:
        return {}
    given = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
    return {"PYTHONPATH": os.pathsep.join([*given, str(Path(__file__).parents[1] / NATIVE)])}


def write_passwords(path: Path, password: str) -> None:
    """Write the admin's password for Airflow's simple auth manager, readable by this user only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({ADMIN: password}, file)


def migrate(environment: Mapping[str, str]) -> None:
    """Bring the database to the version of this Airflow; exit with a code if that fails.

    Airflow takes a lock in the database for it, so starts at the same time wait for each other. A
    stop waits for the end of the migration: half of one is a database that no version can use.
    """
    stops: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: stops.append(number))
    command = _airflow("db", "migrate")
    code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - no input
    signal.signal(signal.SIGTERM, before)
    if code:
        sys.exit(
            f"the database was not migrated: `airflow db migrate` ended with {code}, and its "
            "output above says why; the program does not start"
        )
    if stops:
        sys.exit("stopped after the migration of the database")


def main() -> None:
    """Replace this process by `airflow`, with the same arguments."""
    arguments = sys.argv[1:]
    try:
        environment = airflow_environment(os.environ)
    except (MissingSecretError, UnknownAuthorityError) as e:
        sys.exit(str(e))
    home = Path(environment["AIRFLOW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    if password := os.environ.get(names.ADMIN_PASSWORD):
        passwords = home / "passwords.json"
        write_passwords(passwords, password)
        environment |= {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:ADMIN",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        }
    if arguments[:1] == [MIGRATE]:
        arguments = arguments[1:]
        migrate(environment)
    environment |= python_path(arguments, environment)
    command = _airflow(*arguments)
    os.execve(command[0], command, environment)  # noqa: S606 - this very interpreter, no shell


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _secret(given: Mapping[str, str], name: str) -> str:
    if value := given.get(name):
        return value
    raise MissingSecretError(
        f"{name} is not set: the task definition must give it to the container, from Secrets "
        "Manager if it is secret"
    )


def _verified(host: str, ca_file: str | None) -> str:
    """The parameters of a connection that verifies certificate and name of the database."""
    if not ca_file:
        ca_file = str(RDS_CA_BUNDLE)
        _check_region(host)
    return urlencode({"sslmode": "verify-full", "sslrootcert": ca_file})


def _check_region(host: str) -> None:
    """Say what is missing where the drivers only say that they cannot verify a certificate."""
    found = _RDS_HOST.fullmatch(host)
    if found and found[1] not in known_regions():
        raise UnknownAuthorityError(
            f"the database is in {found[1]}, allowed are Regions whose certificate authority is in "
            f"{RDS_CA_BUNDLE.name}: put AWS's bundle in its place (docs/howto/network.md), or set "
            f"{CA_FILE} in control_plane.environment"
        )


def known_regions() -> set[str]:
    """The Regions whose certificate authorities are in the image."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(RDS_CA_BUNDLE)
    subjects = (str(authority["subject"]) for authority in context.get_ca_certs())
    return set(re.findall(r"'Amazon RDS ([a-z0-9-]+) Root CA", " ".join(subjects)))


def _fernet_keys(secret: str) -> str:
    """Fernet keys (32 bytes in base64) made from the parts of any text between commas.

    Airflow encrypts with the first key and decrypts with all:
    https://airflow.apache.org/docs/apache-airflow/stable/security/secrets/fernet.html
    """
    return ",".join(
        base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in secret.split(",")
    )


if __name__ == "__main__":
    main()
