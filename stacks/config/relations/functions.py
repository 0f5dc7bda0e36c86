"""Relations of the functions: within one function, and between several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stacks.config.sections.functions import DEFAULT_FUNCTION, PASSWORD_ROTATION

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig


def one_function_is_the_default(stage: StageConfig) -> Iterator[str]:
    """A task without a queue needs exactly one function to run on."""
    if not any(function.name == DEFAULT_FUNCTION for function in stage.functions):
        names = ", ".join(function.name for function in stage.functions) or "none"
        yield (
            f'functions have the names {names}, allowed is a list with one "{DEFAULT_FUNCTION}": '
            "add it or rename one"
        )


def function_names_are_unique(stage: StageConfig) -> Iterator[str]:
    """The name is part of the physical name, which two functions cannot share."""
    for name, count in Counter(function.name for function in stage.functions).items():
        if count > 1:
            yield (
                f'functions have the name "{name}" {count} times, allowed is once: rename or '
                "remove the others"
            )


def function_names_are_told_apart(stage: StageConfig) -> Iterator[str]:
    """Names must differ without hyphens, as logical ids have none, and from AWS's own function."""
    unique = dict.fromkeys(function.name for function in stage.functions)
    by_id: dict[str, list[str]] = {}
    for name in unique:
        by_id.setdefault(name.replace("-", ""), []).append(name)
    for names in by_id.values():
        if len(names) > 1:
            yield (
                f"functions have the names {' and '.join(names)}, which differ in hyphens only, "
                "allowed are names that differ in more: rename one"
            )
    if PASSWORD_ROTATION in unique:
        yield (
            f'functions have the name "{PASSWORD_ROTATION}", allowed is any other: rename it, that '
            "of database.rotation_days has it"
        )


def queue_is_served_by_one_target(stage: StageConfig) -> Iterator[str]:
    """A task runs on one function or other target, and nothing would choose between two."""
    servers: dict[str, list[str]] = {}
    for server in (*stage.functions, *stage.targets):
        for queue in server.queues:
            servers.setdefault(queue, []).append(server.name)
    for queue, names in servers.items():
        if len(names) > 1:
            yield (
                f'the queue "{queue}" is in the queues of {" and ".join(names)}, allowed is one '
                "function or target: remove it from the others"
            )


def function_serves_a_queue(stage: StageConfig) -> Iterator[str]:
    """Nothing would ever run on a function without a queue, and its reservation would be wasted."""
    for function in stage.functions:
        if function.name != DEFAULT_FUNCTION and not function.queues:
            yield (
                f"functions[{function.name}].queues is [], allowed is at least one queue (only "
                f'"{DEFAULT_FUNCTION}" needs none): add one or remove the function'
            )


def margins_are_in_order(stage: StageConfig) -> Iterator[str]:
    """A task is asked to stop, then killed, then the sandbox ends: kill < stop < time-out."""
    for function in stage.functions:
        stop, kill, timeout = function.stop_margin_s, function.kill_margin_s, function.timeout_s
        where = f"functions[{function.name}]"
        for name, margin in (("stop_margin_s", stop), ("kill_margin_s", kill)):
            if margin is not None and margin >= timeout:
                yield (
                    f"{where}.{name} is {margin}, allowed is less than its timeout_s, {timeout}: "
                    "lower the margin or raise the time-out"
                )
        if stop is not None and kill is not None and kill >= stop:
            yield (
                f"{where}.kill_margin_s is {kill}, allowed is less than its stop_margin_s, {stop}: "
                "lower kill_margin_s or raise stop_margin_s"
            )
        if (stop is None) != (kill is None):
            yield (
                f"{where}.stop_margin_s is {_json(stop)} and kill_margin_s is {_json(kill)}, "
                "allowed is both or neither: use null for both, or set the other"
            )


def _json(value: int | None) -> str:
    return "null" if value is None else str(value)


def provisioned_environments_are_reserved(stage: StageConfig) -> Iterator[str]:
    """Lambda keeps no more environments warm than a function may have.

    https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
    """
    for function in stage.functions:
        warm, reserved = function.provisioned_concurrency, function.reserved_concurrency
        if warm is not None and reserved is not None and warm > reserved:
            yield (
                f"functions[{function.name}].provisioned_concurrency is {warm}, allowed is at most "
                f"its reserved_concurrency, {reserved}: lower it or raise the reservation"
            )


def tenants_have_no_provisioned_environments(stage: StageConfig) -> Iterator[str]:
    """Lambda does not support it: an environment would be warmed before its tenant is known.

    https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation.html
    """
    for function in stage.functions:
        if function.tenant_isolation and function.provisioned_concurrency is not None:
            yield (
                f"functions[{function.name}].tenant_isolation is true and provisioned_concurrency "
                f"is {function.provisioned_concurrency}, allowed is null: change one of the two"
            )


def tenants_have_queues(stage: StageConfig) -> Iterator[str]:
    """A queue identifies the tenant, and the default function also runs tasks without a queue."""
    for function in stage.functions:
        if function.name == DEFAULT_FUNCTION and function.tenant_isolation:
            yield (
                f"functions[{DEFAULT_FUNCTION}].tenant_isolation is true, allowed is false: add a "
                "function with the queues of the tenants"
            )


RELATIONS = (
    one_function_is_the_default,
    function_names_are_unique,
    function_names_are_told_apart,
    queue_is_served_by_one_target,
    function_serves_a_queue,
    margins_are_in_order,
    provisioned_environments_are_reserved,
    tenants_have_no_provisioned_environments,
    tenants_have_queues,
)
