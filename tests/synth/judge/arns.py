"""Whether the resources of a policy statement are what its actions are for.

AWS takes a statement whose actions and resources do not fit: it permits nothing, which is seen much
later. cfn-lint has AWS's service authorization reference, but compares an action with a resource
only where both are written out in a policy of its own type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from cfnlint.data import AdditionalSpecs
from cfnlint.helpers import load_resource

from tests.synth.policies import listed

_PARTS_OF_AN_ARN = 6

Services = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]

#: What the reference does not say: AWS's refusals of this action name a network connector.
#: https://github.com/alienplatform/alien
_ALSO = {
    ("lambda", "passnetworkconnector"): [
        "arn:${Partition}:lambda:${Region}:${Account}:network-connector:.*"
    ]
}


def misfits(statement: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong between the actions and the resources of a statement.

    Source: https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html
    """
    resources = [str(resource) for resource in listed(statement.get("Resource", "*"))]
    actions = map(str, listed(statement.get("Action", [])))
    wanted = {action: _wanted(action) for action in actions}
    yield from (f"{resource} is no ARN" for resource in resources if not _is_an_arn(resource))
    yield from (f"{action} is no action" for action, formats in wanted.items() if not formats)
    if "*" in resources or "NotAction" in statement:
        return
    for action, formats in wanted.items():
        if formats and not any(formats):
            yield f"{action} is for no single resource: only Resource * permits it"
        elif formats and not _any_fits(resources, [formats]):
            yield f"{action} is for {formats[0]}, not for {', '.join(resources)}"
    for resource in resources:
        if not _any_fits([resource], wanted.values()):
            yield f"{resource} is nothing that {', '.join(wanted)} would be for"


@cache
def _services() -> Services:
    services: Services = load_resource(AdditionalSpecs, "Policies.json")
    return services


def _wanted(pattern: str) -> list[list[str]]:
    """The ARNs that each action of a pattern is for; an empty list: for no single resource."""
    service, _, action = pattern.lower().partition(":")
    return [
        _formats(name, known)
        for name in ([service] if service != "*" else _services())
        for known in _services().get(name, {}).get("Actions", {})
        if fnmatchcase(known, action or "*")
    ]


def _formats(service: str, action: str) -> list[str]:
    of_service = _services()[service]
    return _ALSO.get((service, action), []) + [
        format_
        for type_ in listed(of_service["Actions"][action].get("Resources", []))
        for format_ in of_service["Resources"][type_.lower()].get("ARNFormats", [])
    ]


def _any_fits(resources: Iterable[str], wanted: Iterable[Iterable[Iterable[str]]]) -> bool:
    return any(
        _fits(resource, format_)
        for of_actions in wanted
        for of_one in of_actions
        for format_ in of_one
        for resource in resources
    )


def _is_an_arn(resource: str) -> bool:
    if resource == "*":
        return True
    parts = resource.split(":", _PARTS_OF_AN_ARN - 1)
    return len(parts) == _PARTS_OF_AN_ARN and parts[0] == "arn" and all((parts[1], parts[2]))


def _fits(resource: str, format_: str) -> bool:
    """Whether an ARN, perhaps with wildcards, can name something of a format."""
    fixed = re.sub(r"\$\{\w+\}|\.\*", "*", format_)
    given, known = (arn.split(":", _PARTS_OF_AN_ARN - 1) for arn in (resource, fixed))
    return len(given) == len(known) and all(map(_overlap, given, known))


def _overlap(one: str, other: str) -> bool:
    """Whether two texts can be the same as far as their first wildcards."""
    first, second = (re.split(r"[*?]", text, maxsplit=1)[0] for text in (one, other))
    whole = first == one, second == other
    if all(whole):
        return one == other
    return first.startswith(second) or second.startswith(first)
