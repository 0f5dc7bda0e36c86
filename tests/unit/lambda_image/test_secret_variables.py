"""Secret variables: fetched, cached, refreshed, and refused with a reason that says what to do."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from lambda_executor.contract.options import WORKLOAD_SECRETS
from lambda_image.logs import log_output
from lambda_image.logs.log_output import LogOutput
from lambda_image.machine.secret_variables import FRESH_S, STALE_S, SecretError, SecretVariables

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
OTHER = "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/other-000000"


class Account:
    """Secrets by their ARN, as clients of each Region see them; counts the calls."""

    def __init__(self, secrets: Mapping[str, str | bytes | Exception]) -> None:
        self.secrets = dict(secrets)
        self.calls: list[str] = []
        self.now_s = 1_000_000.0
        self.logged: list[str] = []

    def client(self, region: str) -> Any:
        """Make a client for a Region."""

        class Client:
            @staticmethod
            def get_secret_value(*, SecretId: str) -> Mapping[str, object]:  # noqa: N803 - boto3's
                assert f":{region}:" in SecretId
                self.calls.append(SecretId)
                found = self.secrets.get(SecretId, refused("ResourceNotFoundException"))
                if isinstance(found, Exception):
                    raise found
                is_text = isinstance(found, str)
                return {"SecretString" if is_text else "SecretBinary": found}

        return Client()

    def variables(self, **references: str) -> SecretVariables:
        """The secret variables of a function with these references."""
        return SecretVariables(
            {WORKLOAD_SECRETS.environment_variable: json.dumps(references)},
            self.client,
            lambda _level, event, **_: self.logged.append(event),
            lambda: self.now_s,
        )


def refused(code: str) -> ClientError:
    """Secrets Manager's answer to a call that it refuses."""
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetSecretValue")


def unreachable() -> EndpointConnectionError:
    """What a function without a way to Secrets Manager gets."""
    return EndpointConnectionError(endpoint_url="https://secretsmanager.eu-west-1.amazonaws.com")


def exported(variables: SecretVariables) -> dict[str, str]:
    """The variables that a workload gets."""
    environ: dict[str, str] = {}
    variables.export(environ)
    return environ


def test_values_are_texts_or_keys_of_json() -> None:
    """A whole secret, a key of one and a number in one become variables; each secret is read once.

    A secret of another Region is read there.
    """
    account = Account({ARN: '{"password": "hunter2", "port": 5432}', OTHER: "postgres://a:b@c/d"})
    variables = account.variables(
        PASSWORD=f"{ARN}:password::", PORT=f"{ARN}:port::", AIRFLOW_CONN_OTHER=OTHER
    )
    assert exported(variables) == {
        "PASSWORD": "hunter2",
        "PORT": "5432",
        "AIRFLOW_CONN_OTHER": "postgres://a:b@c/d",
    }
    assert sorted(account.calls) == [ARN, OTHER]


def test_without_secrets_nobody_is_asked() -> None:
    """A function without secrets makes no client."""
    assert exported(SecretVariables({}, make_client=pytest.fail)) == {}


def test_a_new_value_is_seen_when_the_old_one_is_no_longer_fresh() -> None:
    """A warm environment uses a rotated secret after `FRESH_S`, and is given up then."""
    account = Account({ARN: "before"})
    variables = account.variables(KEY=ARN)
    assert exported(variables) == {"KEY": "before"}
    account.secrets[ARN] = "after"
    account.now_s += FRESH_S - 1
    assert exported(variables) == {"KEY": "before"}
    assert variables.reason_against_another() is None
    account.now_s += 1
    assert exported(variables) == {"KEY": "after"}
    assert variables.reason_against_another() == "a secret has a new value"


def test_an_unchanged_value_keeps_the_environment() -> None:
    """A refresh that brings the same value is no reason to give the environment up."""
    account = Account({ARN: "value"})
    variables = account.variables(KEY=ARN)
    exported(variables)
    account.now_s += FRESH_S
    exported(variables)
    assert len(account.calls) == 2
    assert variables.reason_against_another() is None


@pytest.mark.parametrize("passing", [unreachable, lambda: refused("InternalServiceError")])
def test_a_passing_fault_leaves_the_last_value_for_a_while(
    passing: Callable[[], Exception],
) -> None:
    """While Secrets Manager does not answer, a value serves until it is `STALE_S` old."""
    account = Account({ARN: "value"})
    variables = account.variables(KEY=ARN)
    exported(variables)
    account.secrets[ARN] = passing()
    account.now_s += STALE_S - 1
    assert exported(variables) == {"KEY": "value"}
    assert account.logged == ["secrets not refreshed"]
    account.now_s += 1
    with pytest.raises(SecretError, match=f"the secret {ARN} cannot be had"):
        exported(variables)


def test_a_secret_that_was_withdrawn_is_not_used_any_more() -> None:
    """A permanent refusal counts at the next refresh, whatever the last value's age."""
    account = Account({ARN: "value"})
    variables = account.variables(KEY=ARN)
    exported(variables)
    account.secrets[ARN] = refused("AccessDeniedException")
    account.now_s += FRESH_S
    with pytest.raises(SecretError, match="secretsmanager:GetSecretValue"):
        exported(variables)


@pytest.mark.parametrize(
    ("secret", "reference", "expected"),
    [
        (refused("AccessDeniedException"), ARN, "let the function's role call"),
        (refused("ResourceNotFoundException"), ARN, "correct the ARN, or make the secret"),
        (refused("DecryptionFailure"), ARN, "kms:Decrypt"),
        (refused("InvalidRequestException"), ARN, "being deleted"),
        (unreachable(), ARN, "a NAT gateway or an endpoint"),
        (b"\x00", ARN, "is binary"),
        ("null\x00byte", ARN, "has a null byte"),
        ('{"user": "null\\u0000byte"}', f"{ARN}:user::", "has a null byte"),
        ('{"user": "half\\ud800pair"}', f"{ARN}:user::", "is not Unicode text"),
        ("hunter2", f"{ARN}:user::", "is not a JSON object, so it has no key 'user'"),
        ('{"password": "hunter2"}', f"{ARN}:user::", "has no key 'user', only password"),
    ],
)
def test_a_reason_names_the_secret_and_the_fix(
    secret: str | bytes | Exception, reference: str, expected: str
) -> None:
    """Whatever is wrong with a secret, the reason says what to do, and never what it holds."""
    with pytest.raises(SecretError, match=ARN) as raised:
        exported(Account({ARN: secret}).variables(KEY=reference))
    assert expected in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("text", ["[", "[]", '{"KEY": "orders"}', f'{{"KEY": "{ARN[:-7]}"}}'])
def test_a_malformed_option_is_a_reason(text: str) -> None:
    """A function with a malformed option rejects its tasks, and names the option and an example."""
    settings = {WORKLOAD_SECRETS.environment_variable: text}
    with pytest.raises(SecretError, match=WORKLOAD_SECRETS.environment_variable):
        exported(SecretVariables(settings, make_client=pytest.fail))


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("short", "short"),
        ("postgres://user:p%40ssword@host/db", "the password is p@ssword"),
        ('{"username": "airflow", "password": "hunter2"}', "connecting with hunter2"),
        ('{"conn_type": "aws", "extra": {"aws_secret_access_key": "hunter2"}}', "hunter2"),
        ('{"conn_type": "http", "extra": "{\\"token\\": \\"hunter2\\"}"}', "hunter2"),
        ("snowflake://airflow@/?private_key_content=hunter%2F2", "the key is hunter/2"),
        ("redis://host/?password=hunter%2F2", "the query is password=hunter%2F2"),
        ("-----BEGIN KEY-----\nMIIBVAIBADANBgkq\n-----END KEY-----", "MIIBVAIBADANBgkq"),
    ],
)
def test_values_are_masked_from_the_first_export(
    value: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log shows neither a value nor a line of it nor the password in it, but ordinary words."""
    raw = io.BytesIO()
    output = LogOutput(raw, {})
    monkeypatch.setattr(log_output, "_output", output)
    exported(Account({ARN: value}).variables(KEY=ARN))
    output.about({}, "another secret, of the invocation")
    output.write(f"{printed} of airflow\n".encode())
    shown = json.loads(raw.getvalue())["event"]
    assert shown.endswith("*** of airflow")
