"""`Ref` of `AWS::SecretsManager::Secret` is the secret's ARN.

ministack returns the name, which makes CDK's policies and dynamic references invalid.
"""

from __future__ import annotations

from typing import Any

from ministack.services import secretsmanager

from local_aws.fixes.cloudformation._cloudformation import Created, Properties, handler


def apply() -> None:
    """Translate between ARN and name around ministack's handler."""
    secret = handler("AWS::SecretsManager::Secret")
    stock_create, stock_update, stock_delete = secret["create"], secret["update"], secret["delete"]

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        return _by_arn(stock_create(logical_id, properties, stack))

    def update(physical_id: str, *change: Any) -> Created:  # noqa: ANN401 - passed through
        return _by_arn(stock_update(_name(physical_id), *change))

    def delete(physical_id: str, properties: Properties) -> None:
        stock_delete(_name(physical_id), properties)

    secret.update(create=create, update=update, delete=delete)


def _by_arn(created: Created) -> Created:
    _name, attributes = created
    return attributes["Arn"], attributes


def _name(physical_id: str) -> str:
    return next(
        (
            str(name)
            for name, secret in secretsmanager._secrets.items()
            if secret["ARN"] == physical_id
        ),
        physical_id,
    )
