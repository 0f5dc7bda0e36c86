"""CloudFormation applies every property of `AWS::Lambda::Function` that our stacks use.

ministack ignores `ReservedConcurrentExecutions`, `DeadLetterConfig`, `VpcConfig`,
`TenancyConfig` and `FileSystemConfigs`: concurrency is unlimited, dead letters are lost, tenants
are not isolated and no file system is mounted.
"""

from __future__ import annotations

from typing import Any

from ministack.services import lambda_svc

from local_aws.fixes.cloudformation._cloudformation import (
    Created,
    Properties,
    after_create_and_update,
)


def apply() -> None:
    """Set these properties after ministack has created or updated the function."""
    after_create_and_update("AWS::Lambda::Function", _set_properties)


def _set_properties(name: str, properties: Properties, attributes: dict[str, Any]) -> Created:
    reserved = properties.get("ReservedConcurrentExecutions")
    if reserved is None:
        lambda_svc._delete_function_concurrency(name)
    else:
        lambda_svc._put_function_concurrency(name, {"ReservedConcurrentExecutions": int(reserved)})
    configuration = lambda_svc._functions[name]["config"]
    if error := lambda_svc._validate_dead_letter_config(properties.get("DeadLetterConfig")):
        raise ValueError(f"AWS::Lambda::Function {name}: {error[2]!r}")
    configuration["DeadLetterConfig"] = properties.get("DeadLetterConfig") or {}
    if tenancy := properties.get("TenancyConfig"):
        configuration["TenancyConfig"] = tenancy
    configuration["VpcConfig"] = lambda_svc._vpc_config_with_id(properties.get("VpcConfig"))
    configuration["FileSystemConfigs"] = properties.get("FileSystemConfigs") or []
    return name, attributes
