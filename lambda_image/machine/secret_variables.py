"""The tasks' variables whose values are secrets, fetched from Secrets Manager.

The function's settings hold only their ARNs. The first workload fetches the values, not the init
phase: a snapshot of it must hold no secret. Only the handler's process keeps them, and sets them
while a workload runs: docs/decisions/0036-secrets-of-tasks.md
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import unquote, unquote_plus, urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from lambda_executor.contract.errors import ConfigError, LambdaExecutorError
from lambda_executor.contract.secret_reference import SecretReference, read_references
from lambda_image import host
from lambda_image.aws_calls import PATIENCE, error_code
from lambda_image.logs import invocation_log, log_output
from lambda_image.logs.invocation_log import WriteLog

#: A value older than this is fetched again before a workload, so that a rotation takes effect.
FRESH_S = 300.0

#: If Secrets Manager does not answer, a value serves as long as this.
STALE_S = 3600.0

#: What a person has to correct, by AWS's code for the error.
#: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
_FIXES = {
    "AccessDeniedException": (
        f"let the {host.name()}'s role call secretsmanager:GetSecretValue on it and, if it is "
        "encrypted with a KMS key of yours, kms:Decrypt on the key"
    ),
    "DecryptionFailure": f"let the {host.name()}'s role use the secret's KMS key (kms:Decrypt)",
    "InvalidParameterException": "correct the ARN",
    "InvalidRequestException": "restore the secret if it is being deleted, or give it a value",
    "ResourceNotFoundException": "correct the ARN, or make the secret",
}

#: Parts of the names of fields, in JSON or in a URI's query, whose values are secret, too.
_SECRET_KEYS = (
    *("password", "passwd", "passphrase", "secret", "token", "private_key", "api_key", "apikey"),
    "authorization",
)


class SecretsManagerClient(Protocol):
    """The part of boto3's client that is used."""

    def get_secret_value(self, *, SecretId: str) -> Mapping[str, Any]:  # noqa: N803 - AWS's name
        """The answer to `GetSecretValue`."""


class SecretError(LambdaExecutorError):
    """A secret is not available; the message is the reason why no workload can run."""


class SecretVariables:
    """The secret variables of one execution environment.

    Args:
        settings: The function's variables, which name the secrets.
        make_client: Makes a client of Secrets Manager for a Region.
        clock: Seconds of the wall clock: the monotonic one may stand still between invocations.
    """

    def __init__(
        self,
        settings: Mapping[str, str] = os.environ,
        make_client: Callable[[str], SecretsManagerClient] | None = None,
        write_log: WriteLog = invocation_log.write,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._make_client = make_client or _client
        self._write_log = write_log
        self._clock = clock
        self._clients: dict[str, SecretsManagerClient] = {}
        self._fetched_at_s: float | None = None
        self._were_changed = False
        #: The values by the variables' names; empty before the first `export`.
        self.values: Mapping[str, str] = {}

    def export(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Set the variables, to values that are not too old.

        Raises:
            SecretError: A secret is not available.
        """
        if not self._is_younger_than(FRESH_S):
            self._refresh()
        environ.update(self.values)

    def reason_against_another(self) -> str | None:
        """Why no other workload should run here; None if one may.

        What this process made from an old value, such as the connection of remote logs, stays.
        """
        return "a secret has a new value" if self._were_changed else None

    def _refresh(self) -> None:
        try:
            references = read_references(self._settings)
        except ConfigError as e:
            raise SecretError(str(e)) from None
        try:
            values = self._fetch(references)
        except _UnavailableError as e:
            if not self._is_younger_than(STALE_S):
                raise
            self._write_log("warning", "secrets not refreshed", reason=str(e))
            return
        self._were_changed |= self._fetched_at_s is not None and values != self.values
        self._fetched_at_s = self._clock()
        self.values = values
        log_output.hide({part for value in values.values() for part in _secret_parts(value)})

    def _is_younger_than(self, age_s: float) -> bool:
        fetched_at_s = self._fetched_at_s
        return fetched_at_s is not None and 0 <= self._clock() - fetched_at_s < age_s

    def _fetch(self, references: Mapping[str, SecretReference]) -> Mapping[str, str]:
        texts = {reference.arn: self._text(reference) for reference in _by_arn(references).values()}
        return {
            name: _value(texts[reference.arn], reference) for name, reference in references.items()
        }

    def _text(self, reference: SecretReference) -> str:
        try:
            if (client := self._clients.get(reference.region)) is None:
                client = self._clients[reference.region] = self._make_client(reference.region)
            answer = client.get_secret_value(SecretId=reference.arn)
        except ClientError as e:
            if fix := _FIXES.get(error_code(e)):
                raise SecretError(f"the secret {reference.arn} cannot be had: {e}: {fix}") from None
            raise _unavailable(reference, e) from None
        except BotoCoreError as e:
            raise _unavailable(reference, e) from None
        text = answer.get("SecretString")
        if not isinstance(text, str):
            raise SecretError(
                f"the secret {reference.arn} is binary, and a variable is a text: store it as text"
            )
        return text


class _UnavailableError(SecretError):
    """Secrets Manager did not give the value this time."""


def _unavailable(reference: SecretReference, error: Exception) -> _UnavailableError:
    return _UnavailableError(
        f"the secret {reference.arn} cannot be had: {error}: try again, and if it stays so, give "
        f"the {host.name()} a way to Secrets Manager (in a VPC a NAT gateway or an endpoint)"
    )


def _by_arn(references: Mapping[str, SecretReference]) -> Mapping[str, SecretReference]:
    return {reference.arn: reference for reference in references.values()}


def _value(text: str, reference: SecretReference) -> str:
    """The part of a secret that a reference names, which a variable can hold."""
    value = _part(text, reference)
    if "\0" in value:
        raise SecretError(
            f"the secret {reference.arn} has a null byte, which no variable can hold: remove it"
        )
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair.
        raise SecretError(
            f"the secret {reference.arn} is not Unicode text: store it as text"
        ) from None
    return value


def _part(text: str, reference: SecretReference) -> str:
    if reference.json_key is None:
        return text
    fields = _fields(text)
    if fields is None:
        raise SecretError(
            f"the secret {reference.arn} is not a JSON object, so it has no key "
            f"{reference.json_key!r}: remove `:{reference.json_key}::` from its ARN"
        )
    if reference.json_key not in fields:
        raise SecretError(
            f"the secret {reference.arn} has no key {reference.json_key!r}, only "
            f"{', '.join(fields) or 'none'}: correct the key"
        )
    value = fields[reference.json_key]
    return value if isinstance(value, str) else json.dumps(value)


def _secret_parts(value: str) -> Iterator[str]:
    """What a program may print of a value: all of it, a line of it, a password in it."""
    yield value
    if "\n" in value:
        yield from value.splitlines()
    yield from _secret_fields(value)
    try:
        url = urlsplit(value)
    except ValueError:
        return
    if url.password:
        yield from (url.password, unquote(url.password))
    for field in url.query.split("&"):
        key, _, given = field.partition("=")
        if _is_secret(key):
            yield from (given, unquote_plus(given))


def _secret_fields(value: object) -> Iterator[str]:
    """The fields of JSON with secret names, in objects within it too, and in JSON in its texts."""
    left = [value]  # No recursion: Python reads JSON that is nested deeper than its functions may.
    while left:
        each = left.pop()
        found = _fields(each) if isinstance(each, str) else each
        if isinstance(found, list):
            left += found
        for key, field in found.items() if isinstance(found, dict) else ():
            if isinstance(field, str) and _is_secret(key):
                yield field
            left.append(field)


def _is_secret(key: str) -> bool:
    return any(part in key.lower() for part in _SECRET_KEYS)


def _fields(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _client(region: str) -> SecretsManagerClient:
    client: SecretsManagerClient = boto3.session.Session().client(
        "secretsmanager", region_name=region, config=PATIENCE
    )
    return client
