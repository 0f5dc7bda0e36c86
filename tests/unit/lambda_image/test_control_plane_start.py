"""How the control plane's entry point turns secrets into Airflow's settings."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, MultiFernet

from lambda_image.control_plane import (
    MissingSecretError,
    airflow_environment,
    migrate,
    write_passwords,
)

CONTAINER = {
    "PATH": "/bin",
    "AIRFLOW__CORE__EXECUTOR": "lambda_executor.LambdaExecutor",
    "AIRFLOW_LAMBDA_DATABASE_HOST": "db.internal",
    "AIRFLOW_LAMBDA_DATABASE_PORT": "5432",
    "AIRFLOW_LAMBDA_DATABASE_NAME": "airflow",
    "AIRFLOW_LAMBDA_DATABASE_USERNAME": "airflow",
    "AIRFLOW_LAMBDA_DATABASE_PASSWORD": "p@ss/w:rd%?#",
    "AIRFLOW_LAMBDA_FERNET_KEY": "any text",
    "AIRFLOW_LAMBDA_SIGNING_KEY": "signs",
    "AIRFLOW_LAMBDA_ADMIN_PASSWORD": "opens",
}


def test_both_drivers_get_the_same_database_over_tls() -> None:
    """Both URLs quote any password and require TLS."""
    airflow = airflow_environment(CONTAINER)
    at = "airflow:p%40ss%2Fw%3Ard%25%3F%23@db.internal:5432/airflow"
    assert airflow["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == (
        f"postgresql+psycopg2://{at}?sslmode=require"
    )
    assert airflow["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"] == (
        f"postgresql+asyncpg://{at}?ssl=require"
    )


def test_airflow_sees_its_own_variables_and_none_of_the_secrets_as_they_came() -> None:
    """Airflow's environment has none of the secrets' variables, not even the admin's password."""
    airflow = airflow_environment(CONTAINER)
    assert airflow["PATH"] == "/bin"
    assert airflow["AIRFLOW__CORE__EXECUTOR"] == "lambda_executor.LambdaExecutor"
    assert not [name for name in airflow if name.startswith("AIRFLOW_LAMBDA_")]
    assert "opens" not in airflow.values()


def test_the_key_of_tokens_is_not_the_key_of_the_log_server() -> None:
    """A token for the API server is not valid for the log server, and vice versa."""
    airflow = airflow_environment(CONTAINER)
    assert airflow["AIRFLOW__API_AUTH__JWT_SECRET"] == "signs"
    assert re.fullmatch("[0-9a-f]{64}", airflow["AIRFLOW__API__SECRET_KEY"])


def test_a_fernet_key_that_was_changed_still_reads_what_the_old_one_wrote() -> None:
    """`new,old` encrypts with the new and decrypts with both."""
    old = airflow_environment(CONTAINER)["AIRFLOW__CORE__FERNET_KEY"]
    changed = CONTAINER | {"AIRFLOW_LAMBDA_FERNET_KEY": "another text,any text"}
    new, same = airflow_environment(changed)["AIRFLOW__CORE__FERNET_KEY"].split(",")
    assert same == old
    written = Fernet(old.encode()).encrypt(b"a connection")
    assert MultiFernet([Fernet(new), Fernet(same)]).decrypt(written) == b"a connection"


@pytest.mark.parametrize(
    "name",
    [name for name in CONTAINER if name.startswith("AIRFLOW_LAMBDA_") and "ADMIN" not in name],
)
def test_a_secret_that_is_missing_is_named(name: str) -> None:
    """Without a secret, or with an empty one, the program does not start and names it."""
    with pytest.raises(MissingSecretError, match=f"{name} is not set: the task definition must"):
        airflow_environment({**CONTAINER, name: ""})


def test_the_password_is_for_one_user_to_read(tmp_path: Path) -> None:
    """Only its user can read the file, which has the auth manager's form; a restart replaces it."""
    path = tmp_path / "home" / "passwords.json"
    write_passwords(path, "old")
    write_passwords(path, "new")
    assert json.loads(path.read_text()) == {"admin": "new"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_stop_waits_for_the_end_of_the_migration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal that comes meanwhile ends the program after the migration, not in the middle."""
    steps: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        steps.append(" ".join(command[1:]))
        signal.raise_signal(signal.SIGTERM)
        steps.append("migrated")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="stopped after the migration of the database"):
        migrate({})
    assert steps == ["-m airflow db migrate", "migrated"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_failed_migration_says_that_the_program_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit code is Airflow's, and the sentence says where to look."""
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 3)
    )
    with pytest.raises(SystemExit, match="`airflow db migrate` ended with 3, and its output above"):
        migrate({})
