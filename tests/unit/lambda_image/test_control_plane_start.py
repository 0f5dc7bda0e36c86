"""How the control plane's entry point turns secrets into Airflow's settings."""

from __future__ import annotations

import datetime as dt
import json
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest
from cryptography import x509
from cryptography.fernet import Fernet, MultiFernet

from lambda_image.control_plane import (
    CA_FILE,
    RDS_CA_BUNDLE,
    MissingSecretError,
    UnknownAuthorityError,
    airflow_environment,
    known_regions,
    migrate,
    python_path,
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


@pytest.mark.parametrize("given", ["/var/task", ""])
def test_the_scheduler_alone_finds_awss_native_client(given: str) -> None:
    """What the image has for its scheduler comes last, and no other program finds it."""
    environment = {"PYTHONPATH": given}
    *before, found = python_path(["scheduler"], environment)["PYTHONPATH"].split(":")
    assert before == list(filter(None, [given]))
    assert Path(found).name == "native"
    assert python_path(["api-server"], environment) == {}


def test_both_drivers_get_the_same_database_over_tls() -> None:
    """Both URLs quote any password, and both drivers verify whom they send it to."""
    airflow = airflow_environment(CONTAINER)
    at = "airflow:p%40ss%2Fw%3Ard%25%3F%23@db.internal:5432/airflow"
    conn, _, tls = airflow["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].partition("?")
    conn_async, _, dsn = airflow["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"].partition("?")
    assert (conn, conn_async) == (f"postgresql+psycopg2://{at}", f"postgresql+asyncpg://{at}")
    assert parse_qs(tls) == {"sslmode": ["verify-full"], "sslrootcert": [str(RDS_CA_BUNDLE)]}
    assert parse_qs(dsn) == {"dsn": [f"postgresql://?{tls}"]}


def test_another_ca_can_be_named() -> None:
    """The container's variable names the file that both drivers verify with, as libpq's does."""
    airflow = airflow_environment({**CONTAINER, CA_FILE: "/var/task/my own.pem"})
    for url in ("SQL_ALCHEMY_CONN", "SQL_ALCHEMY_CONN_ASYNC"):
        told = unquote(unquote(airflow[f"AIRFLOW__DATABASE__{url}"].partition("?")[2]))
        assert told.endswith("sslrootcert=/var/task/my+own.pem")


@pytest.mark.parametrize(
    "domain", ["mars-north-1.rds.amazonaws.com", "cn-x-1.rds.amazonaws.com.cn"]
)
def test_a_region_whose_ca_is_unknown_is_named(domain: str) -> None:
    """Without a certificate of the database's Region the program does not start, and says why."""
    there = {**CONTAINER, "AIRFLOW_LAMBDA_DATABASE_HOST": f"airflow-dev.abc.{domain}"}
    region = domain.partition(".")[0]
    with pytest.raises(UnknownAuthorityError, match=rf"is in {region}, allowed .* put AWS's"):
        airflow_environment(there)
    assert airflow_environment({**there, CA_FILE: "/ca.pem"})
    known = {**CONTAINER, "AIRFLOW_LAMBDA_DATABASE_HOST": "x.abc.eu-west-1.rds.amazonaws.com"}
    assert airflow_environment(known)


def test_the_cas_of_rds_are_cas_for_years_to_come() -> None:
    """Each certificate can be read, is a CA of RDS, signs itself, and expires after many years.

    The day is pinned: whoever renews the bundle moves it.
    """
    today = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
    certificates = x509.load_pem_x509_certificates(RDS_CA_BUNDLE.read_bytes())
    assert len(certificates) == RDS_CA_BUNDLE.read_text().count("-----BEGIN CERTIFICATE-----")
    for certificate in certificates:
        (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        assert str(name.value).startswith("Amazon RDS ")
        certificate.verify_directly_issued_by(certificate)
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert certificate.not_valid_before_utc < today
        assert certificate.not_valid_after_utc > today + dt.timedelta(days=2 * 365), name.value


def test_the_large_regions_are_known() -> None:
    """The bundle has every Region that an AWS account has without being asked."""
    assert {
        *("ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1"),
        *("ap-southeast-2", "ca-central-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2"),
        *("eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2"),
    } <= known_regions()


def test_airflow_sees_its_own_variables_and_none_of_the_secrets_as_they_came() -> None:
    """Airflow's environment has none of the secrets' variables, not even the admin's password."""
    airflow = airflow_environment(CONTAINER)
    assert airflow["PATH"] == "/bin"
    assert airflow["AIRFLOW__CORE__EXECUTOR"] == "lambda_executor.LambdaExecutor"
    assert not [name for name in airflow if name.startswith("AIRFLOW_LAMBDA_")]
    assert "opens" not in airflow.values()


def test_airflow_has_a_user_name_even_if_the_image_has_none_for_its_user() -> None:
    """Airflow's programs do not start without; a name that is given stays."""
    assert airflow_environment(CONTAINER)["LOGNAME"] == "airflow"
    assert airflow_environment(CONTAINER | {"LOGNAME": "mine"})["LOGNAME"] == "mine"


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
