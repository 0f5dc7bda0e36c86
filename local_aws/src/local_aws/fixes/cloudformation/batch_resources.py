"""CloudFormation knows Batch's compute environments, job queues and job definitions.

`Ref` of each is its ARN. A change of a job definition registers a new revision. Queues and
environments are disabled before they are deleted. An environment's type may be in small letters, as
CDK writes it. ministack has only the APIs.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-batch-computeenvironment.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-batch-jobqueue.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-batch-jobdefinition.html
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from ministack.services import batch

from local_aws.fixes.cloudformation._cloudformation import (
    Created,
    Properties,
    call,
    handler,
    in_camel_case,
)

#: Their keys are the author's own.
_FREE = ("Parameters", "Options", "Tags")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A type of resource.

    Attributes:
        noun: What its API calls it.
        verb: The API operation that makes it, and gives it a name and an ARN.
        can_change: Whether it is updated in place.
    """

    noun: str
    verb: str
    can_change: bool

    @property
    def type(self) -> str:
        """The type in a template."""
        return f"AWS::Batch::{self.noun}"

    @property
    def parameter(self) -> str:
        """The API's parameter that names one, also a prefix of other parameters."""
        return self.noun[0].lower() + self.noun[1:]

    def do(self, verb: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call an operation, which may have been added to ministack."""
        answer = call(batch._DISPATCH[f"/v1/{verb}{self.noun.lower()}"], request)
        found: dict[str, Any] = json.loads(answer)
        return found


def apply() -> None:
    """Create, update and delete them by the APIs."""
    _register(_Kind("ComputeEnvironment", "create", can_change=True))
    _register(_Kind("JobQueue", "create", can_change=True))
    _register(_Kind("JobDefinition", "register", can_change=False))


def _register(kind: _Kind) -> None:
    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        name = f"{kind.parameter}Name"
        request = {
            name: f"{stack}-{logical_id}-{uuid.uuid4().hex[:8]}",
            **in_camel_case(properties, free=_FREE),
        }
        if kind.noun == "ComputeEnvironment":
            request["type"] = request["type"].upper()
        answer = kind.do(kind.verb, request)
        return _created(kind, answer[f"{kind.parameter}Arn"])

    def update(arn: str, old: Properties, new: Properties, stack: str, *logical_id: str) -> Created:
        if kind.can_change and _same_name(kind, old, new):
            kind.do("update", {**in_camel_case(new, free=_FREE), kind.parameter: arn})
            return _created(kind, arn)
        created = create(logical_id[0] if logical_id else kind.noun, new, stack)
        delete(arn, old)
        return created

    def delete(arn: str, _properties: Properties) -> None:
        if kind.can_change:
            kind.do("update", {kind.parameter: arn, "state": "DISABLED"})
            kind.do("delete", {kind.parameter: arn})
        else:
            kind.do("deregister", {kind.parameter: arn})

    handler(kind.type).update(create=create, update=update, delete=delete)


def _created(kind: _Kind, arn: str) -> Created:
    return arn, {f"{kind.noun}Arn": arn}


def _same_name(kind: _Kind, old: Properties, new: Properties) -> bool:
    name = f"{kind.noun}Name"
    return bool(old.get(name) == new.get(name))
