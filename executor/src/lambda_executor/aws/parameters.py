"""The SSM parameter that wires an environment."""

from __future__ import annotations

import json

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.errors import AwsError, ConfigError


def read_parameter(clients: Clients, name: str) -> dict[str, str]:
    """Read the options that the stacks wrote.

    Raises:
        ConfigError: The parameter does not exist, may not be read, or does not hold options.
    """
    try:
        with clients.errors():
            answer = clients.ssm.get_parameter(Name=name, WithDecryption=True)
    except AwsError as e:
        raise ConfigError(
            f"config_parameter: SSM parameter {name!r} cannot be read ({e}). The stacks write "
            "/airflow-lambda/<stage>/executor: check the stage, the Region and the credentials"
        ) from e
    try:
        options = json.loads(answer["Parameter"]["Value"])
    except ValueError:
        options = None
    if not isinstance(options, dict) or not all(isinstance(v, str) for v in options.values()):
        raise ConfigError(
            f"config_parameter: SSM parameter {name!r} does not hold a JSON object of option "
            "names and strings; deploy the execution stack again to write it"
        )
    return options
