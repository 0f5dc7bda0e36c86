"""The programs of the control plane as their containers start them, on a real database over TLS.

The entry point, the arguments, the settings and the health checks are the constructs' own.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import sqlalchemy
from cryptography.fernet import Fernet
from sqlalchemy.ext.asyncio import create_async_engine

from airflow_lambda_constructs.airflow.airflow_control_plane import (
    API_SERVER,
    COMMANDS,
    HEALTH_COMMANDS,
)
from airflow_lambda_constructs.airflow.airflow_service import ENTRY_POINT
from demo import paths
from demo.machine.processes import ProcessError
from lambda_executor.contract.names import DATABASE_NAME, FERNET_KEY
from lambda_image.control_plane import CA_FILE, MIGRATE, airflow_environment
from stacks.config import ImageConfig
from tests.support.control_plane import Site, control_plane

#: What the image installs, nothing more.
PYTHON = paths.ROOT / "build" / "venv" / "image" / "bin" / "python"
ADMIN_PASSWORD = secrets.token_hex(12)
TIMEOUT_S = 240.0
VERSION = ImageConfig().airflow_version
#: Where our modules are, which the image has in one folder.
MODULES = f"{paths.ROOT}:{paths.ROOT / 'executor/src'}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An empty database, and nothing started yet."""
    with control_plane(tmp_path_factory.mktemp("control-plane"), PYTHON, MODULES) as site:
        yield site


@pytest.fixture(scope="module")
def migrated(site: Site) -> Site:
    """The database after the entry point has migrated it twice at once."""
    both = [site.start(f"migrate-{number}", MIGRATE, "version") for number in (1, 2)]
    for child in both:
        child.wait_for_end(TIMEOUT_S)
    return site


@pytest.fixture(scope="module")
def running(migrated: Site) -> Site:
    """All programs, healthy by their containers' checks."""
    password = {"AIRFLOW_LAMBDA_ADMIN_PASSWORD": ADMIN_PASSWORD}
    for name, command in COMMANDS.items():
        migrated.start(name, *command, extra=password if name == API_SERVER else None)
    for name in HEALTH_COMMANDS:
        migrated.started[name].wait_until(_healthy(migrated, name), "is healthy", TIMEOUT_S)
    return migrated


def by_psycopg2(container: Mapping[str, str]) -> int | None:
    """What the database answers to Airflow's synchronous connection."""
    airflow = airflow_environment(container)
    engine = sqlalchemy.create_engine(airflow["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    try:
        with engine.connect() as connection:
            answer: int | None = connection.scalar(sqlalchemy.text("SELECT 1"))
    finally:
        engine.dispose()
    return answer


def by_asyncpg(container: Mapping[str, str]) -> int | None:
    """What the database answers to Airflow's asynchronous connection."""
    airflow = airflow_environment(container)

    async def ask() -> int | None:
        engine = create_async_engine(airflow["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"])
        try:
            async with engine.connect() as connection:
                answer: int | None = await connection.scalar(sqlalchemy.text("SELECT 1"))
        finally:
            await engine.dispose()
        return answer

    return asyncio.run(ask())


@pytest.mark.parametrize("by", [by_psycopg2, by_asyncpg])
def test_both_drivers_connect_over_tls(
    site: Site, by: Callable[[Mapping[str, str]], int | None]
) -> None:
    """psycopg2 and asyncpg accept the URLs, and the database refuses connections without TLS."""
    assert by(site.container) == 1


@pytest.mark.parametrize("by", [by_psycopg2, by_asyncpg])
def test_no_driver_speaks_to_somebody_else_than_the_database(
    site: Site, by: Callable[[Mapping[str, str]], int | None]
) -> None:
    """A certificate by another CA, or for another host, gets no password: RDS's CAs by default."""
    unknown = {k: v for k, v in site.container.items() if k != CA_FILE}
    with pytest.raises(Exception, match=r"(?i)certificate verify failed"):
        by(unknown)
    elsewhere = {**site.container, "AIRFLOW_LAMBDA_DATABASE_HOST": "localhost"}
    with pytest.raises(Exception, match=r"(?i)does not match host name|not valid for 'localhost'"):
        by(elsewhere)


def test_two_first_starts_at_once_leave_one_whole_database(migrated: Site) -> None:
    """Both migrations succeed, their programs run, and a later migration has nothing to do."""
    for number in (1, 2):
        assert migrated.log(f"migrate-{number}").splitlines()[-1] == VERSION
    again = migrated.start("migrate-again", "db", "migrate")
    again.wait_for_end(TIMEOUT_S)
    engine = sqlalchemy.create_engine(
        airflow_environment(migrated.container)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    )
    with engine.connect() as connection:
        versions = connection.scalars(sqlalchemy.text("SELECT version_num FROM alembic_version"))
        pools = connection.scalars(sqlalchemy.text("SELECT pool FROM slot_pool"))
        assert len(versions.all()) == 1
        assert pools.all() == ["default_pool"]
    engine.dispose()


def test_a_migration_that_fails_ends_the_program(site: Site) -> None:
    """ECS then counts a failed task and takes the deployment back."""
    child = site.start("fails", MIGRATE, "version", extra={DATABASE_NAME: "missing"})
    with pytest.raises(ProcessError):
        child.wait_for_end(TIMEOUT_S)
    *_, last = site.log("fails").splitlines()
    assert last.startswith("the database was not migrated: `airflow db migrate` ended with 1, and")


def test_any_command_of_airflow_sees_the_stages_database_and_keys(migrated: Site) -> None:
    """Values encrypted with the old key can be read with the new one."""
    old = migrated.container[FERNET_KEY]
    both = {**migrated.container, FERNET_KEY: f"{secrets.token_hex(16)},{old}"}
    settings = airflow_environment(both)
    new_key, old_key = settings["AIRFLOW__CORE__FERNET_KEY"].split(",")
    engine = sqlalchemy.create_engine(settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO variable (key, val, is_encrypted) VALUES ('k', :val, true)"
            ),
            {"val": Fernet(old_key).encrypt(b"something").decode()},
        )
    rotation = migrated.start("rotation", "rotate-fernet-key", extra={FERNET_KEY: both[FERNET_KEY]})
    rotation.wait_for_end(TIMEOUT_S)
    with engine.connect() as connection:
        encrypted = connection.scalar(sqlalchemy.text("SELECT val FROM variable WHERE key = 'k'"))
    engine.dispose()
    assert Fernet(new_key).decrypt(encrypted) == b"something"


def test_every_program_passes_the_health_check_of_its_container(running: Site) -> None:
    """All four are healthy, by their own checks and in the API server's view."""
    health = httpx.get(f"{running.url}/api/v2/monitor/health", trust_env=False).json()
    assert {name: part["status"] for name, part in health.items()} == dict.fromkeys(
        ("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy"
    )


def test_the_admin_opens_the_ui_with_the_secrets_password(running: Site) -> None:
    """Only the generated password gives a token that the API accepts."""
    with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
        wrong = client.post("/auth/token", json={"username": "admin", "password": "wrong"})
        assert wrong.status_code == 401
        right = client.post("/auth/token", json={"username": "admin", "password": ADMIN_PASSWORD})
        token = right.raise_for_status().json()["access_token"]
        assert client.get("/api/v2/pools").status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/v2/pools", headers=headers).json()["total_entries"] == 1


def test_the_execution_api_serves_functions_and_asks_for_their_token(running: Site) -> None:
    """The functions' path exists, and refuses calls without a workload's token."""
    with httpx.Client(base_url=f"{running.url}/execution", trust_env=False, timeout=60) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/variables/any").status_code in {401, 403}


def test_a_parse_without_a_warning_leaves_no_line(running: Site) -> None:
    """The log files of DAG files do not grow: their task's disk is never emptied."""
    logs = running.folder / "dag-processor" / "logs" / "dag_processor"

    def written() -> list[Path]:
        return [log for log in logs.rglob("*.log") if not log.is_symlink()]

    processor = running.started["dag-processor"]
    processor.wait_until(lambda: written() or None, "parses a file", TIMEOUT_S)
    with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
        user = {"username": "admin", "password": ADMIN_PASSWORD}
        token = client.post("/auth/token", json=user).raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        known = len(list((paths.ROOT / "dags").glob("*.py")))

        def parsed() -> bool | None:
            found = client.get("/api/v2/dags", headers=headers).raise_for_status().json()
            return found["total_entries"] >= known or None

        processor.wait_until(parsed, "stores the DAGs", TIMEOUT_S)
    assert {log.name: log.stat().st_size for log in written()} == {log.name: 0 for log in written()}


def test_a_dead_program_fails_the_health_check_of_its_container(running: Site) -> None:
    """The checks that ask the database notice a program that ended normally."""
    assert running.check("triggerer")
    running.started["triggerer"].end()
    assert not running.check("triggerer")


def test_no_secret_is_in_a_log(running: Site) -> None:
    """The logs of the programs have no password and no key."""
    hidden = {
        value
        for name, value in (*running.container.items(), ("", ADMIN_PASSWORD))
        if name.endswith(("PASSWORD", "_KEY")) or not name
    }
    assert len(hidden) == 4
    for log in (running.folder / "logs").glob("*.log"):
        text = log.read_text(errors="replace")
        assert not [value for value in hidden if value in text], log.name


def test_a_container_without_its_secrets_ends_with_their_names(site: Site) -> None:
    """One line names the missing secrets at once."""
    ran = subprocess.run(
        site.command(ENTRY_POINT),
        env={"PYTHONPATH": MODULES, "PATH": "/usr/bin:/bin", "AIRFLOW_HOME": str(site.folder)},
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("AIRFLOW_LAMBDA_DATABASE_HOST is not set: the task definition")


def _healthy(site: Site, name: str) -> Callable[[], bool | None]:
    return lambda: site.check(name) or None
