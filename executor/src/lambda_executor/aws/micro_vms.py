"""Workloads as MicroVMs of AWS Lambda."""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from lambda_executor.aws import job_ends
from lambda_executor.aws.clients import Clients
from lambda_executor.aws.job_requests import RequestKind, job_name, merged
from lambda_executor.aws.micro_vm_ids import MicroVmIds
from lambda_executor.aws.started_jobs import Described, StartedJobs
from lambda_executor.contract.errors import (
    AwsError,
    InDoubtError,
    NoRoomError,
    RejectedError,
    RouteError,
    TransientError,
)
from lambda_executor.contract.lambda_limits import LONGEST_LIFE_S
from lambda_executor.contract.micro_vm import MOST_CHARACTERS, RunPayload, time_for_workload_s
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service

log = logging.getLogger(__name__)

#: How many MicroVMs one page of a list has at most.
#: https://docs.aws.amazon.com/lambda/latest/microvm-api/API_ListMicrovms.html
PAGE = 50
#: The most pages that one look reads. A Region's default quota, 400 GB of memory, is 800 MicroVMs
#: of the smallest size, and a list may have those that have ended, too.
MOST_PAGES = 40

_IMAGE = re.compile(r"(?P<before>arn:[a-z0-9-]+:lambda:[a-z0-9-]+):\d{12}:microvm-image:[^:\s]+")
#: The connector of AWS's own that lets nothing in, after the beginning of an image's ARN.
#: https://docs.aws.amazon.com/lambda/latest/dg/microvms-networking.html
_NO_INGRESS = "{}:aws:network-connector:aws-network-connector:NO_INGRESS"
_ENDED = "TERMINATED"
#: The codes of errors that say that nothing was started because there is no room.
#: https://docs.aws.amazon.com/lambda/latest/microvm-api/API_RunMicrovm.html
_NO_CAPACITY = "InsufficientCapacityException"
_QUOTA = "ServiceQuotaExceededException"
_NOT_FOUND = "ResourceNotFoundException"
_CONFLICT = "ConflictException"


def _fault(request: Mapping[str, Any]) -> str | None:
    image = request["imageIdentifier"]
    if not _IMAGE.fullmatch(image):
        return (
            f"imageIdentifier is {image!r:.100}, which is no ARN of a MicroVM image: write "
            "arn:aws:lambda:<region>:<account>:microvm-image:<name>"
        )
    seconds = request["maximumDurationInSeconds"]
    if not 0 < seconds <= LONGEST_LIFE_S:
        return f"maximumDurationInSeconds is {seconds}: set it to 1 to {LONGEST_LIFE_S} (8 hours)"
    return None


RUN_MICROVM = RequestKind(
    Service.MICROVM,
    "lambda-microvms",
    "RunMicrovm",
    required=("imageIdentifier", "executionRoleArn", "maximumDurationInSeconds"),
    refused={
        "clientToken": "it is the dispatch id, so that nothing starts twice",
        "idlePolicy": "a MicroVM is idle while no request reaches it, so its task would be "
        "suspended",
        "runHookPayload": "it is the workload",
    },
    fixed={"imageIdentifier": "choose another target, by the task's queue or its executor_config"},
    rule=_fault,
)


class MicroVms:
    """Runs workloads as MicroVMs of AWS Lambda; implements `ports.JobLauncher`.

    The dispatch id is the client token, so that a repeated `RunMicrovm` starts nothing and gets the
    first one's answer. A MicroVM has neither a name nor tags: its id is stored in the payload
    bucket for schedulers that adopt the invocation. What has no id there is left out, like what
    Lambda does not know (any more).

    Args:
        clients: The clients.
        bucket: The payload bucket.
    """

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._ids = MicroVmIds(clients, bucket)
        self._micro_vms = StartedJobs(described=PAGE * MOST_PAGES)

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Run a MicroVM, unless an earlier call has done so."""
        request = run_request(target, id, event, overrides)
        try:
            with self._clients.errors():
                answer = self._clients.micro_vms.run_microvm(**request)
        except AwsError as e:
            raise _translated(e, target) from e
        self._micro_vms.started(id, answer["microvmId"])
        self._ids.store(id, answer["microvmId"])

    def ended(self, target: JobTarget, ids: Collection[InvocationId]) -> Mapping[InvocationId, str]:
        """Return why MicroVMs have ended, of those that Lambda still knows."""
        image = json.loads(target.request)["imageIdentifier"]
        return self._micro_vms.ended(ids, self._ids.find, partial(self._describe, image))

    def stop(self, target: JobTarget, id: InvocationId, reason: str) -> bool:  # noqa: ARG002 - the port's
        """Terminate a MicroVM; Lambda takes no reason."""
        found = False
        for micro_vm_id in self._micro_vms.of(id, self._ids.find):
            try:
                with self._clients.errors():
                    self._clients.micro_vms.terminate_microvm(microvmIdentifier=micro_vm_id)
            except RejectedError as e:
                if e.code == _CONFLICT:  # Its state does not allow it now; a later one may.
                    raise TransientError(str(e), e.code) from e
                if e.code != _NOT_FOUND:
                    raise
            else:
                found = True
        return found

    def _describe(self, image: str, micro_vm_ids: Sequence[str]) -> list[Described]:
        """Ask for a list, which has no reasons, and then for each that has ended or is not there.

        An error after the first end that is found leaves the others for the next look.

        Raises:
            AwsError: Lambda does not answer, and no end was found before.
        """
        states = self._states(image, set(micro_vm_ids))
        described: list[Described] = []
        for micro_vm_id in micro_vm_ids:
            if states.get(micro_vm_id, _ENDED) != _ENDED:
                continue
            try:
                found = self._get(micro_vm_id)
            except AwsError as error:
                if not described:
                    raise
                log.warning("Could not ask for the ends of some of the MicroVMs: %s", error)
                break
            if found and found["state"] == _ENDED:
                described.append(Described(micro_vm_id, job_ends.of_micro_vm(found)))
        return described

    def _states(self, image: str, micro_vm_ids: AbstractSet[str]) -> Mapping[str, str]:
        """Return the states of MicroVMs of an image that Lambda lists in `MOST_PAGES` pages.

        Raises:
            AwsError: Lambda does not answer.
        """
        states: dict[str, str] = {}
        pages = self._clients.micro_vms.get_paginator("list_microvms").paginate(
            imageIdentifier=image, PaginationConfig={"PageSize": PAGE}
        )
        with self._clients.errors():
            for page in itertools.islice(pages, MOST_PAGES):
                states.update((found["microvmId"], found["state"]) for found in page["items"])
                if states.keys() >= micro_vm_ids:
                    break
        return states

    def _get(self, micro_vm_id: str) -> Mapping[str, Any] | None:
        """Return an answer of `GetMicrovm`; None: Lambda does not know the MicroVM.

        Raises:
            AwsError: Lambda does not answer.
        """
        try:
            with self._clients.errors():
                found: Mapping[str, Any] = self._clients.micro_vms.get_microvm(
                    microvmIdentifier=micro_vm_id
                )
                return found
        except RejectedError as e:
            if e.code != _NOT_FOUND:
                raise
            return None


def run_request(
    target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the whole `RunMicrovm`.

    Raises:
        RouteError: The overrides are not those of a `RunMicrovm`, or the event is too long.
    """
    request = RUN_MICROVM.overridden(target, overrides)
    timeout_s = time_for_workload_s(request["maximumDurationInSeconds"])
    payload = RunPayload(json.loads(event), timeout_s).encode()
    if len(payload) > MOST_CHARACTERS:
        raise RouteError(
            f"the event of the workload has {len(payload)} characters, and a MicroVM gets at most "
            f"{MOST_CHARACTERS} (runHookPayload): shorten the URL of the results queue or the name "
            "of the payload bucket, or choose another target"
        )
    if not request.get("ingressNetworkConnectors"):
        request["ingressNetworkConnectors"] = [no_ingress(request["imageIdentifier"])]
    return merged(request, {"clientToken": job_name(id), "runHookPayload": payload})


def no_ingress(image: str) -> str:
    """Return the ARN of the connector that lets nothing in, in the Region of an image."""
    match = _IMAGE.fullmatch(image)
    if match is None:  # `RUN_MICROVM` refuses it.
        raise ValueError(image)
    return _NO_INGRESS.format(match["before"])


def _translated(error: AwsError, target: JobTarget) -> AwsError:
    """Distinguish what Lambda never takes from what it does not take now."""
    if error.code == _NO_CAPACITY:
        return NoRoomError(f"AWS Lambda has no capacity for a MicroVM now: {error}", error.code)
    if error.code == _QUOTA:
        return NoRoomError(
            f"{error}. AWS may raise the quota, most often that of the memory of all MicroVMs of a "
            "Region: see AWS Lambda in Service Quotas",
            error.code,
        )
    if error.code == _CONFLICT:
        # Either an earlier call with this token is under way, which may start a MicroVM, or the
        # image is being changed. The API's reference does not tell them apart.
        kind = InDoubtError if "token" in str(error).lower() else TransientError
        return kind(str(error), error.code)
    if isinstance(error, RejectedError):
        return error.about(f"AWS Lambda refused the MicroVM of target {target.name!r}")
    return error
