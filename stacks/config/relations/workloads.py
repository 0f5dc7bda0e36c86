"""Relations of the variables and permissions that a stage gives its workloads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambda_executor.contract import names, options

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig

_RESERVED = re.compile(
    r"(AWS_LAMBDA_|LAMBDA_|AWS_CONTAINER_).*|AWS_(DEFAULT_)?REGION|AWS_EXECUTION_ENV"
    r"|AWS_ACCESS_KEY(_ID)?|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN"
)

#: The kit's own variables, with the value of a stage or the option that sets each; "": nothing.
_OF_EVERYTHING: Mapping[str, str] = {
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "execution.execution_api_url",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": "dags.bundles",
    "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": "logs.remote",
    "AIRFLOW__LOGGING__REMOTE_LOGGING": "logs.remote",
}
_OF_FUNCTIONS: Mapping[str, str] = {
    **_OF_EVERYTHING,
    options.QUEUE_URL.environment_variable: "",
    options.PAYLOAD_BUCKET.environment_variable: "",
    options.WORKLOAD_SECRETS.environment_variable: "secrets",
    options.STOP_MARGIN_S.environment_variable: "stop_margin_s of the function",
    options.KILL_MARGIN_S.environment_variable: "kill_margin_s of the function",
}
#: A target beside the functions has no margins among its values: these variables are its owner's.
_OF_TARGETS: Mapping[str, str] = {
    name: value
    for name, value in _OF_FUNCTIONS.items()
    if name
    not in {options.STOP_MARGIN_S.environment_variable, options.KILL_MARGIN_S.environment_variable}
}
_OF_THE_CONTROL_PLANE: Mapping[str, str] = {
    **_OF_EVERYTHING,
    "AIRFLOW_HOME": "",
    "AIRFLOW__API__BASE_URL": "control_plane.domain_name",
    "AIRFLOW__API__PORT": "",
    "AIRFLOW__API__SECRET_KEY": "",
    "AIRFLOW__API__WORKERS": "control_plane.api_servers",
    "AIRFLOW__API_AUTH__JWT_SECRET": "",
    "AIRFLOW__CORE__EXECUTOR": "",
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__CORE__PARALLELISM": "execution.parallelism",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": "",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "execution.parallelism",
    options.CONFIG_PARAMETER.environment_variable: "",
    "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "",
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "execution.task_queued_timeout_s",
    "AIRFLOW__SECRETS__BACKEND": "",
    "AIRFLOW__SECRETS__BACKEND_KWARGS": "",
    "FORWARDED_ALLOW_IPS": "",
}

#: Managed policies of one role, unless AWS has raised the account's quota.
_MOST_POLICIES = 10


@dataclass(frozen=True, slots=True)
class _Variables:
    """The variables of one kind of program.

    Attributes:
        where: Its place in the configuration, with a verb.
        taken: The kit's own variables there.
        own_policies: How many managed policies the kit itself attaches to the role.
    """

    where: str
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    policies: list[str]
    taken: Mapping[str, str]
    own_policies: int


def _programs(stage: StageConfig) -> Iterator[_Variables]:
    for function in stage.functions:
        given = stage.workloads_of(function)
        yield _Variables(
            f"workloads and functions[{function.name}] have",
            given.environment,
            given.secrets,
            given.policies,
            _OF_FUNCTIONS,
            own_policies=0,
        )
    for target in stage.targets:
        given = stage.workloads_of(target)
        yield _Variables(
            f"workloads and targets[{target.name}] have",
            given.environment,
            given.secrets,
            given.policies,
            _OF_TARGETS,
            own_policies=0,
        )
    given_to_it = stage.control_plane
    yield _Variables(
        "control_plane has",
        given_to_it.environment,
        given_to_it.secrets,
        given_to_it.policies,
        _OF_THE_CONTROL_PLANE,
        own_policies=1,
    )


def variables_have_free_names(stage: StageConfig) -> Iterator[str]:
    """Lambda reserves some names, and the stacks set some variables themselves.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    messages = []
    for program in _programs(stage):
        for name in [*program.environment, *program.secrets]:
            has = f"{program.where} the variable {name}"
            if not names.VARIABLE.fullmatch(name):
                messages.append(
                    f"{has}, allowed are two or more letters, digits and underscores, a letter "
                    "first: rename it"
                )
            elif _RESERVED.fullmatch(name):
                messages.append(
                    f"{has}, which AWS itself sets, allowed is another name: remove or rename it"
                )
            elif name.startswith(names.CONTAINER_PREFIX):
                messages.append(
                    f"{has}, allowed are names without {names.CONTAINER_PREFIX}: rename it"
                )
            elif name in program.taken:
                instead = program.taken[name]
                fix = f"remove it and set {instead}" if instead else "remove it"
                messages.append(f"{has}, which the stacks set, allowed is another name: {fix}")
    yield from dict.fromkeys(messages)


def variables_are_plain_or_secret(stage: StageConfig) -> Iterator[str]:
    """A variable has one value."""
    for program in _programs(stage):
        for name in program.environment.keys() & program.secrets.keys():
            yield (
                f"{program.where} the variable {name} both in environment and in secrets, "
                "allowed is one of them: remove the other"
            )


def policies_fit_a_role(stage: StageConfig) -> Iterator[str]:
    """IAM attaches ten managed policies to a role, unless the account's quota was raised.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    for program in _programs(stage):
        count, most = len(program.policies), _MOST_POLICIES - program.own_policies
        if count > most:
            yield (
                f"{program.where} {count} policies, allowed are {most}: remove some, join them in "
                "a policy of your own, or write what is needed into statements"
            )


RELATIONS = (
    variables_have_free_names,
    variables_are_plain_or_secret,
    policies_fit_a_role,
)
