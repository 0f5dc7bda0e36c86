"""The default target of an environment that was made for `AwsBatchExecutor` or `AwsEcsExecutor`.

Their options say what `SubmitJob` and `RunTask` are given, so they name a target. What they do not
have is what a job of ours needs beside it: a results queue and a payload bucket.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lambda_executor import aws
from lambda_executor.contract import options
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.option_types import BOOLEANS, SECTION
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.setup.option_values import OptionValues
from lambda_executor.setup.references import BATCH, ECS, Reference

#: The parameters of `RunTask` that these options set, directly.
_RUN_TASK = ("cluster", "task_definition", "launch_type", "platform_version")
_SUBMIT_JOB = ("job_queue", "job_definition")
#: The platform version without a meaning of its own: it is AWS's default, and instances have none.
_LATEST = "LATEST"


def default(values: OptionValues) -> JobTarget | None:
    """Return the target that the section of a reference names; None: there is none.

    Raises:
        ConfigError: The section is unusable, both have a target, or a job needs more.
    """
    found = _found(values)
    if not found:
        return None
    if len(found) > 1:
        raise ConfigError(
            f"{sections(values)} both name a target, and only one can be that of all queues",
            fix=f"remove the options of one section, and name its target in [{SECTION}] targets, "
            f"for example {options.TARGETS.example}",
            command=options.TARGETS.setting,
        )
    (reference,) = found
    target = _READERS[reference.section](values)
    _require(values, reference)
    return target


def sections(values: OptionValues) -> str:
    """Return the sections that name targets, for people; empty: there is none."""
    return " and ".join(f"[{reference.section}]" for reference in _found(values))


def _found(values: OptionValues) -> list[Reference]:
    return [reference for reference in values.references if reference.section in _READERS]


def _require(values: OptionValues, reference: Reference) -> None:
    """Refuse an environment that lacks what a job of ours needs."""
    has_queue = values.get(options.QUEUE_URLS) or values.get(options.QUEUE_URL)
    missing = [] if has_queue else [options.QUEUE_URL]
    if not values.get(options.PAYLOAD_BUCKET):
        missing.append(options.PAYLOAD_BUCKET)
    if not missing:
        return
    names = " and ".join(option.name for option in missing)
    variables = " and ".join(option.environment_variable for option in missing)
    raise ConfigError(
        f"[{reference.section}] names the target of all tasks, and [{SECTION}] {names} "
        f"{'is' if len(missing) == 1 else 'are'} not set: a job of this executor fetches its "
        f"workload from the bucket and sends its result to the queue, which {reference.class_name} "
        "does not need",
        fix=f"set {variables} to ones of yours, or to those of a deployed environment, which "
        "are in its SSM parameter, and have the job or task definition run its image "
        "(docs/howto/migrate.md says what else it needs)",
        command=missing[0].setting,
    )


def _batch(values: OptionValues) -> JobTarget:
    request = _camel_case(
        {
            **_given(values, BATCH, _SUBMIT_JOB),
            **_object(values, BATCH, "submit_job_kwargs"),
        }
    )
    request.pop("jobName", None)  # It is the dispatch id here.
    container = request.get("containerOverrides")
    if isinstance(container, dict):
        container.pop("command", None)  # `AwsBatchExecutor` replaces it, too.
    _check(BATCH, aws.SUBMIT_JOB, request)
    return JobTarget(BATCH.section, Service.BATCH, json.dumps(request), is_of_reference=True)


def _ecs(values: OptionValues) -> JobTarget:
    strategy = _strategy(values)
    request = _camel_case(
        {
            **_given(values, ECS, _RUN_TASK),
            **({"capacityProviderStrategy": strategy} if strategy else {}),
            **_object(values, ECS, "run_task_kwargs"),
        }
    )
    request.pop("count", None)  # It is 1.
    if request.get("launchType") == "EC2" or request.get("platformVersion") == _LATEST:
        request.pop("platformVersion", None)
    if network := _network(values, is_on_ec2=request.get("launchType") == "EC2"):
        request["networkConfiguration"] = {"awsvpcConfiguration": network}
    name = values.in_section(ECS, "container_name")
    _adapt_container(request, name)
    _check(ECS, aws.RUN_TASK, request)
    return JobTarget(ECS.section, Service.ECS, json.dumps(request), name, is_of_reference=True)


_READERS: Mapping[str, Callable[[OptionValues], JobTarget]] = {
    BATCH.section: _batch,
    ECS.section: _ecs,
}


def _given(values: OptionValues, reference: Reference, names: Sequence[str]) -> dict[str, Any]:
    found = {name: values.in_section(reference, name) for name in names}
    return {name: text for name, text in found.items() if text}


def _object(values: OptionValues, reference: Reference, name: str) -> dict[str, Any]:
    """Return the parameters that an option holds as JSON, in AWS's spelling."""
    text = values.in_section(reference, name)
    if text is None:
        return {}
    found: dict[str, Any] | None
    try:
        given = json.loads(text)
        found = _camel_case(given) if isinstance(given, dict) else None
    except (ValueError, RecursionError):
        found = None
    if found is None:
        raise ConfigError(
            f"[{reference.section}] {name} is {text!r:.200}",
            fix="set it to a JSON object of parameters of the request",
        )
    return found


def _strategy(values: OptionValues) -> list[Any] | None:
    """Return the capacity providers; the provider's own example is no JSON, but Python."""
    text = values.in_section(ECS, "capacity_provider_strategy")
    if text is None:
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        found = None
    if not isinstance(found, list):
        raise ConfigError(
            f"[{ECS.section}] capacity_provider_strategy is {text!r:.200}",
            fix='set it to a list such as [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]',
        )
    return found


def _network(values: OptionValues, *, is_on_ec2: bool) -> dict[str, Any] | None:
    """Return the `awsvpc` network; None: the options say nothing about it."""
    lists = {
        "subnets": values.in_section(ECS, "subnets"),
        "securityGroups": values.in_section(ECS, "security_groups"),
    }
    network: dict[str, Any] = {
        name: [one.strip() for one in text.split(",") if one.strip()]
        for name, text in lists.items()
        if text
    }
    is_public = BOOLEANS.get((values.in_section(ECS, "assign_public_ip") or "").strip().lower())
    if not network and not is_public:
        return None
    if "subnets" not in network:
        raise ConfigError(
            f"[{ECS.section}] security_groups or assign_public_ip is set, and subnets is not",
            fix="set it to the subnets in which the tasks of ECS run, with commas between them",
        )
    if not is_on_ec2:
        network["assignPublicIp"] = "ENABLED" if is_public else "DISABLED"
    return network


def _adapt_container(request: dict[str, Any], name: str | None) -> None:
    """Make the first container's override that of the workload's, without a command.

    `AwsEcsExecutor` gives it the name and the command, whatever it had.
    """
    overrides = request.get("overrides")
    containers = overrides.get("containerOverrides") if isinstance(overrides, dict) else None
    if not (isinstance(containers, list) and containers and isinstance(containers[0], dict)):
        return
    containers[0].pop("command", None)
    if name:
        containers[0]["name"] = name


def _check(reference: Reference, kind: aws.RequestKind, request: Mapping[str, Any]) -> None:
    if fault := kind.fault(request):
        raise ConfigError(
            f"[{reference.section}] makes no usable request: {fault}",
            fix=f"correct the section, or name the target in [{SECTION}] targets instead",
        )


def _camel_case(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with AWS's spelling of their names: `job_queue` becomes `jobQueue`.

    A tag has the name that a person chose.
    """
    result: dict[str, Any] = {}
    for name, value in parameters.items():
        first, *others = name.split("_")
        spelled = first[:1].lower() + first[1:] + "".join(o[:1].upper() + o[1:] for o in others)
        is_tags = spelled == "tags"
        result[spelled] = _camel_case(value) if isinstance(value, dict) and not is_tags else value
    return result
