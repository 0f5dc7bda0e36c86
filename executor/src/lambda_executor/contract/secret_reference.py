"""Where a variable's secret value is: a secret of Secrets Manager, or one key of its JSON.

Stages, templates and the handler spell it alike, as a task definition of ECS does:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import WORKLOAD_SECRETS

#: Secrets Manager appends a hyphen and six characters to a secret's name.
#: https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html
_SPELLING = re.compile(
    r"(?P<arn>arn:aws[a-z-]*:secretsmanager:(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9]):[0-9]{12}:"
    r"secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6})(?::(?P<json_key>[^:]+)::)?"
)

EXAMPLE = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf:password::"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """A secret by its complete ARN; without `json_key` its whole text is the value."""

    arn: str
    json_key: str | None = None

    @classmethod
    def parse(cls, text: str) -> SecretReference:
        """Read a reference.

        Raises:
            ValueError: The text is not one; the message says what is allowed.
        """
        if found := _SPELLING.fullmatch(text):
            return cls(found["arn"], found["json_key"])
        raise ValueError(
            "it must be the complete ARN of a secret, with the six characters at its end, or the "
            f"ARN with `:<key>::` for one key of a JSON secret, such as {EXAMPLE}"
        )

    def __str__(self) -> str:
        return f"{self.arn}:{self.json_key}::" if self.json_key else self.arn

    @property
    def region(self) -> str:
        """The secret's Region."""
        return self.arn.split(":")[3]


def read_references(environ: Mapping[str, str]) -> Mapping[str, SecretReference]:
    """Read the handler's option: the name of each secret variable, and where its value is.

    Raises:
        ConfigError: The option's value is malformed.
    """
    text = WORKLOAD_SECRETS.from_environment(environ)
    if text is None:
        return {}
    variable = WORKLOAD_SECRETS.environment_variable
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ConfigError(
            f"{variable} is {text!r}",
            fix="set it to a JSON object from variables to ARNs of secrets",
            command=WORKLOAD_SECRETS.setting,
        )
    references = {}
    for name, reference in given.items():
        try:
            references[name] = SecretReference.parse(str(reference))
        except ValueError as e:
            raise ConfigError(
                f"{variable} has {reference!r} for {name}: {e}", command=WORKLOAD_SECRETS.setting
            ) from None
    return references
