"""MicroVMs: ministack keeps their records, and each really runs, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from ministack.core.responses import get_account_id, get_region
from ministack.services import lambda_microvms

from local_aws.batch_service.rate import Rate
from local_aws.micro_vm_service.limits import MicroVmLimits
from local_aws.micro_vm_service.metadata import MetadataService
from local_aws.micro_vm_service.micro_vm import MicroVm, Run
from local_aws.on_ministack import micro_vm_records as records
from local_aws.on_ministack.lambda_roles import not_assumable
from local_aws.on_ministack.micro_vm_images import MicroVmImages, Version
from local_aws.on_ministack.micro_vm_logs import log_writer
from local_aws.on_ministack.micro_vm_records import Answer, Record, RefusedError, invalid
from local_aws.on_ministack.role_sessions import session_in

logger = logging.getLogger("local_aws.on_ministack.micro_vms")

#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_RUNS_PER_S = 5
_LONGEST_S = 28_800
#: The API's model and the service say so, although the model's text says 16,384 bytes.
_PAYLOAD_CHARACTERS = 4096
_TOKEN_CHARACTERS = 128
_ENDED = "TERMINATED"


@dataclass(slots=True)
class _Running:
    """A MicroVM that has not ended."""

    record: Record
    scope: tuple[str, str]
    memory_mb: int
    micro_vm: MicroVm | None = None


class MicroVms:
    """Answers the requests about MicroVMs, and runs them."""

    def __init__(
        self, images: MicroVmImages, metadata: MetadataService, limits: MicroVmLimits
    ) -> None:
        self._images = images
        self._metadata = metadata
        self._limits = limits
        self._lock = threading.RLock()
        self._running: dict[str, _Running] = {}
        self._rates: dict[tuple[str, str], Rate] = defaultdict(lambda: Rate(_RUNS_PER_S))
        #: Request and MicroVM of each `clientToken`.
        self._tokens: dict[tuple[str, str, str], tuple[Record, str]] = {}

    def run(self, body: bytes) -> Answer:
        """RunMicrovm."""
        scope = get_account_id(), get_region()
        if not self._rates[scope].take():
            raise RefusedError("ThrottlingException", "Rate exceeded")
        request = records.request_of(body)
        token = request.pop("clientToken", None)
        _check(request, token)
        with self._lock:
            if token is not None and (former := self._tokens.get((*scope, token))):
                if former[0] != request:
                    raise RefusedError(
                        "ConflictException",
                        f"the clientToken {token} was used with other parameters",
                    )
                record = lambda_microvms._microvms[former[1]]
                return records.text(200, lambda_microvms._microvm_view(record))
            version = self._version(request)
            running = self._admit(request, version, scope)
            record = running.record
            lambda_microvms._microvms[record["microvmId"]] = record
            if token is not None:
                self._tokens[(*scope, token)] = request, record["microvmId"]
            answer = records.text(200, lambda_microvms._microvm_view(record))
            self._start(running, request, version)
        return answer

    def terminate(self, micro_vm_id: str) -> Answer:
        """TerminateMicrovm, without waiting; one that has ended stays as it is."""
        if lambda_microvms._microvms.get(micro_vm_id) is None:
            raise RefusedError("ResourceNotFoundException", f"MicroVM {micro_vm_id} not found")
        with self._lock:
            running = self._running.get(micro_vm_id)
        if running and running.micro_vm:
            running.micro_vm.terminate(None)
        return 200, {}, b"{}"

    def close(self) -> None:
        """Kill every MicroVM."""
        with self._lock:
            running = list(self._running.values())
        for each in running:
            if each.micro_vm:
                each.micro_vm.close()

    def _version(self, request: Record) -> Version:
        """The version that shall run.

        Raises:
            RefusedError: There is none that can.
        """
        identifier = request["imageIdentifier"]
        image = records.find_image(identifier)
        number = request.get("imageVersion") or image.get("latestActiveImageVersion")
        if number is None:
            raise RefusedError(
                "ConflictException",
                f"MicroVM image {identifier} has no active version: it is {image['state']}",
            )
        version = self._images.find(identifier, number)
        if version.record["status"] != "ACTIVE":
            raise RefusedError(
                "ConflictException", f"version {number} of {identifier} is not active"
            )
        return version

    def _admit(self, request: Record, version: Version, scope: tuple[str, str]) -> _Running:
        """Make a record, if the account has memory left.

        Raises:
            RefusedError: It has not.
        """
        assert version.image is not None  # noqa: S101 - it is active
        memory_mb = version.image.memory_mb
        used_mb = sum(each.memory_mb for each in self._running.values() if each.scope == scope)
        if used_mb + memory_mb > self._limits.memory_gb * 1024:
            raise RefusedError(
                "ServiceQuotaExceededException",
                f"MicroVMs use {used_mb} MB of {self._limits.memory_gb} GB of memory; another "
                f"{memory_mb} MB are too much",
            )
        micro_vm_id = lambda_microvms._microvm_id()
        return _Running(
            {
                "microvmId": micro_vm_id,
                "state": "PENDING",
                "endpoint": lambda_microvms._microvm_endpoint(micro_vm_id),
                "imageArn": request["imageIdentifier"],
                "imageVersion": version.record["imageVersion"],
                "startedAt": records.now_s(),
                "maximumDurationInSeconds": request.get("maximumDurationInSeconds", _LONGEST_S),
                **{
                    name: request[name]
                    for name in (
                        *("executionRoleArn", "idlePolicy"),
                        *("egressNetworkConnectors", "ingressNetworkConnectors"),
                    )
                    if name in request
                },
            },
            scope,
            memory_mb,
        )

    def _start(self, running: _Running, request: Record, version: Version) -> None:
        assert version.image is not None  # noqa: S101 - it is active
        record, micro_vm_id = running.record, running.record["microvmId"]
        role = request.get("executionRoleArn")
        metadata = self._metadata.add(
            role and partial(session_in, running.scope, role, micro_vm_id)
        )
        image = records.find_image(record["imageArn"])
        logging_of = request.get("logging") or version.record.get("logging")
        if not role:  # https://docs.aws.amazon.com/lambda/latest/dg/microvms-security.html
            logging_of = {"disabled": {}}
        run = Run(
            {"microvmId": micro_vm_id, "runHookPayload": request.get("runHookPayload", "")},
            record["maximumDurationInSeconds"],
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata},
            self._limits.exit_delay_s,
        )
        running.micro_vm = MicroVm(
            version.image,
            run,
            log_writer(image, version.record, logging_of, micro_vm_id),
            partial(_change, record),
        )
        self._running[micro_vm_id] = running
        threading.Thread(
            target=self._live, args=[running, running.micro_vm, metadata], name="micro-vm"
        ).start()

    def _live(self, running: _Running, micro_vm: MicroVm, metadata: str) -> None:
        try:
            micro_vm.live()
        except Exception:
            logger.exception("the MicroVM %s failed", running.record["microvmId"])
            _change(running.record, _ENDED, "the embedded AWS cannot run it")
        finally:
            self._metadata.remove(metadata)
            with self._lock:
                self._running.pop(running.record["microvmId"], None)


def _check(request: Record, token: object) -> None:
    """Refuse what is wrong in itself.

    Raises:
        RefusedError: Something is missing or out of its bounds.
    """
    if not request.get("imageIdentifier"):
        raise invalid("imageIdentifier is required")
    records.image_name(request["imageIdentifier"])
    payload = request.get("runHookPayload", "")
    if len(payload) > _PAYLOAD_CHARACTERS:
        raise invalid(
            f"runHookPayload has {len(payload)} characters; the most are {_PAYLOAD_CHARACTERS}"
        )
    duration = request.get("maximumDurationInSeconds", _LONGEST_S)
    if type(duration) is not int or not 1 <= duration <= _LONGEST_S:
        raise invalid(f"maximumDurationInSeconds is {duration!r}; it is 1 to {_LONGEST_S}")
    if token is not None and not 1 <= len(str(token)) <= _TOKEN_CHARACTERS:
        raise invalid(f"clientToken must have 1 to {_TOKEN_CHARACTERS} characters")
    if (role := request.get("executionRoleArn")) and (reason := not_assumable(role)):
        raise invalid(reason)


def _change(record: Record, state: str, reason: str | None) -> None:
    record["state"] = state
    if reason:
        record["stateReason"] = reason
    if state == _ENDED:
        record["terminatedAt"] = records.now_s()
