"""The SSM parameter that wires an environment."""

from __future__ import annotations

import json

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.errors import AwsError, ConfigError, UnreachableError
from lambda_executor.contract.options import REGION_NAME


def read_parameter(clients: Clients, name: str) -> dict[str, str]:
    """Read the options that the stacks wrote.

    Raises:
        ConfigError: The parameter does not exist, may not be read, or does not hold options.
    """
    try:
        with clients.errors():
            answer = clients.ssm.get_parameter(Name=name, WithDecryption=True)
    except AwsError as e:
        raise _unreadable(clients, name, e) from e
    try:
        options = json.loads(answer["Parameter"]["Value"])
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict) or not all(isinstance(v, str) for v in options.values()):
        raise ConfigError(
            f"config_parameter: SSM parameter {name!r} does not hold a JSON object of option "
            "names and strings",
            fix="deploy the execution stack again, which writes it",
            command="node_modules/.bin/cdk deploy --all -c stage=<stage>",
        )
    return options


def _unreadable(clients: Clients, name: str, error: AwsError) -> ConfigError:
    try:
        place = clients.place("ssm")
    except AwsError:  # The error is about just that.
        return ConfigError(
            f"config_parameter: SSM parameter {name!r} cannot be read: {error}",
            fix="set the Region that the stage was deployed to",
            command=REGION_NAME.setting,
        )
    if error.code == "ParameterNotFound":
        return ConfigError(
            f"config_parameter: SSM parameter {name!r} does not exist in Region {place.region} "
            f"({place.endpoint})",
            fix="correct the Region or the name; the stacks write "
            "/airflow-lambda/<stage>/executor, and the command lists those of this Region",
            command=f"aws ssm describe-parameters --region {place.region} "
            "--query Parameters[].Name "
            "--parameter-filters Key=Name,Option=BeginsWith,Values=/airflow-lambda/",
        )
    if isinstance(error, UnreachableError):
        return ConfigError(
            f"config_parameter: SSM parameter {name!r} cannot be read, because {place.endpoint} "
            f"cannot be reached: {error}",
            fix=f"check the Region ({place.region}), AWS_ENDPOINT_URL, and DNS, proxy and route "
            "of this machine",
            command=f"curl -sS -o /dev/null -w '%{{http_code}}\\n' {place.endpoint}",
        )
    return ConfigError(
        f"config_parameter: SSM parameter {name!r} cannot be read in Region {place.region} "
        f"({place.endpoint}): {error}",
        fix="correct the Region or the name, if one is wrong: the stacks' managed policy (output "
        "SchedulerPolicyArn) permits only the parameter of its own stage; or attach that policy to "
        "this role",
        command=f"aws ssm get-parameter --region {place.region} --name {name}",
    )
