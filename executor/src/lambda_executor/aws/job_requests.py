"""The requests that start jobs: what may be set in them, and how a task's overrides change them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import botocore
from botocore.exceptions import DataNotFoundError
from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

from lambda_executor.contract.errors import RouteError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service

#: The lists whose items are merged one by one, and what names an item. Others are replaced.
_NAMED_BY = {
    "containerOverrides": "name",
    "environment": "name",
    "resourceRequirements": "type",
    "tags": "key",
    "volumeConfigurations": "name",
}
#: Characters of what botocore says about values, which it repeats.
_LONGEST_FAULT = 400
#: What every service takes as the name of a job, its shortest limit included.
#: https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
#: https://docs.aws.amazon.com/lambda/latest/microvm-api/API_RunMicrovm.html
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class RequestKind:
    """The call of one service that starts a job.

    Attributes:
        service: The service.
        model: The name of the service's API in boto3.
        operation: The name of the call.
        required: The parameters that a target has to set.
        refused: The parameters that are not a person's to set, and why; one inside others by its
            path.
        fixed: The parameters of a target that a task may not replace, and why.
        exclusive: Parameters of which a request has one at most; a task's replaces the target's.
        completion: What else a request needs, for its validation.
        rule: Returns what is wrong with values that boto3 lets pass; None: nothing.
    """

    service: Service
    model: str
    operation: str
    required: tuple[str, ...]
    refused: Mapping[str, str]
    fixed: Mapping[str, str]
    exclusive: tuple[str, ...] = ()
    completion: Mapping[str, Any] = field(default_factory=dict)
    rule: Callable[[Mapping[str, Any]], str | None] = field(default=lambda _: None)

    def fault(self, request: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the parameters of a target; None: nothing."""
        missing = [name for name in self.required if not request.get(name)]
        if missing:
            return f"{' and '.join(missing)} must be set"
        try:
            return self._refusal(request, self.refused) or self._invalid(request)
        except DataNotFoundError:
            return (
                f"boto3 {botocore.__version__}, which is installed here, does not know "
                f"{self.operation}: install a newer one"
            )

    def overridden(self, target: JobTarget, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request of a target, changed by what a task's `executor_config` sets.

        Raises:
            RouteError: A task may not set one of them, or not to this value.
        """
        request: dict[str, Any] = json.loads(target.request)
        if not overrides:
            return request
        replaced = self.exclusive if set(self.exclusive) & set(overrides) else ()
        kept = {name: value for name, value in request.items() if name not in replaced}
        request = merged(kept, overrides)
        fault = self._refusal(overrides, {**self.refused, **self.fixed}) or self._invalid(request)
        if fault:
            raise RouteError(f"executor_config[{self.service.value!r}]: {fault}")
        return request

    def _refusal(self, given: Mapping[str, Any], refused: Mapping[str, str]) -> str | None:
        exclusive = [name for name in self.exclusive if name in given]
        if len(exclusive) > 1:
            return f"{' and '.join(exclusive)} exclude each other: set one of them"
        return next(self._refusals(_shape(self.model, self.operation), given, "", refused), None)

    def _refusals(
        self, shape: Shape, given: object, path: str, refused: Mapping[str, str]
    ) -> Iterator[str]:
        """Yield what is wrong with the names of parameters; `_invalid` looks at the values."""
        if isinstance(shape, ListShape) and isinstance(given, list | tuple):
            for item in given:
                yield from self._refusals(shape.member, item, path, refused)
        if not (isinstance(shape, StructureShape) and isinstance(given, Mapping)):
            return
        inside = {name: f"{path}.{name}" if path else name for name in shape.members}
        for name, value in given.items():
            if name not in inside:
                allowed = ", ".join(sorted(n for n, at in inside.items() if at not in refused))
                of = f"{path} of {self.operation}" if path else self.operation
                yield f"{of} has no parameter {name!r:.100}; allowed are {allowed}"
            elif inside[name] in refused:
                yield f"{inside[name]} cannot be set: {refused[inside[name]]}"
            else:
                yield from self._refusals(shape.members[name], value, inside[name], refused)

    def _invalid(self, request: Mapping[str, Any]) -> str | None:
        complete = {**request, **self.completion}
        report = ParamValidator().validate(complete, _shape(self.model, self.operation))
        if not report.has_errors():
            return self.rule(request)
        found: str = report.generate_report().replace("\n", "; ")
        return found[:_LONGEST_FAULT]


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with changes: objects and named items are merged, the rest is replaced."""
    result = dict(base)
    for name, new in changes.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            result[name] = merged(old, new)
        elif name in _NAMED_BY and isinstance(old, list) and isinstance(new, list | tuple):
            result[name] = _merged_items(_NAMED_BY[name], old, new)
        else:
            result[name] = new
    return result


def command(event: bytes, timeout_s: int | None = None) -> list[str]:
    """Return the command of the container that runs a workload."""
    limit = [] if timeout_s is None else ["--timeout-s", str(timeout_s)]
    return ["job", *limit, event.decode()]


def job_name(id: InvocationId) -> str:
    """Return a job's name in its service, or its token; a dispatch id of ours is one as it is."""
    if _NAME.fullmatch(id):
        return id
    return hashlib.sha256(id.encode(errors="surrogatepass")).hexdigest()


def _merged_items(named_by: str, base: Sequence[Any], changes: Sequence[Any]) -> list[Any]:
    result = list(base)
    for item in changes:
        name = _name(item, named_by)
        place = next(
            (n for n, old in enumerate(result) if name and _name(old, named_by) == name), None
        )
        if place is None:
            result.append(item)
        else:
            result[place] = merged(result[place], item)
    return result


def _name(item: object, named_by: str) -> object:
    return item.get(named_by) if isinstance(item, Mapping) else None


@cache
def _shape(model: str, operation: str) -> Shape:
    """The parameters of a call, as the installed botocore knows them.

    Raises:
        DataNotFoundError: It does not know the service.
    """
    description: Any = Loader().load_service_model(model, "service-2")
    shape = ServiceModel(description, model).operation_model(operation).input_shape
    if shape is None:
        raise TypeError(operation)
    return shape
