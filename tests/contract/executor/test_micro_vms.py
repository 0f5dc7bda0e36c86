"""Workloads as MicroVMs of the embedded AWS, which really run: moto has none."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
import pytest

from lambda_executor.aws import Clients, MicroVms
from lambda_executor.contract.errors import ThrottledError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service
from tests.support.local_aws import REGION, Server, eventually, local_aws
from tests.support.micro_vms import HOOKS, Image, built_image, hooks_with

__all__ = ["local_aws"]


class Site:
    """A payload bucket, and schedulers that start MicroVMs of images."""

    def __init__(self, aws: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
        aws.client("s3").create_bucket(Bucket="payloads")
        self.aws = aws
        session = partial(boto3.Session, "test", "test")
        self.clients = Clients(session, region_name=REGION, connections=1)

    def scheduler(self) -> MicroVms:
        """What one scheduler starts MicroVMs with."""
        return MicroVms(self.clients, "payloads")

    def launch(self, image: Image, *, duration_s: int = 600, **workload: Any) -> Launched:
        """Start a MicroVM that does what `local_aws_hook_server.py` reads in its event."""
        request = {
            "imageIdentifier": image.arn,
            "executionRoleArn": image.role,
            "maximumDurationInSeconds": duration_s,
        }
        target = JobTarget("vm", Service.MICROVM, json.dumps(request))
        launched = Launched(self, image, target, InvocationId(str(uuid.uuid4())), workload)
        launched.again()
        return launched


@dataclass(frozen=True)
class Launched:
    """One invocation; any scheduler may look after it."""

    site: Site
    image: Image
    target: JobTarget
    id: InvocationId
    workload: dict[str, Any]

    def again(self) -> None:
        """Start it, as a scheduler does that did not get the answer."""

        def is_taken() -> bool | None:
            try:
                event = json.dumps(self.workload).encode()
                self.site.scheduler().launch(self.target, self.id, event, {})
            except ThrottledError:  # Tests share the account's five a second.
                return None
            return True

        eventually(is_taken)

    def ended(self) -> str:
        """Why it has ended, once another scheduler sees that."""
        scheduler = self.site.scheduler()
        return eventually(lambda: scheduler.ended(self.target, [self.id]).get(self.id))

    def stop(self) -> bool:
        """Let another scheduler revoke it."""
        return self.site.scheduler().stop(self.target, self.id, "its task was cleared")

    def micro_vms(self) -> list[str]:
        """The MicroVMs of its image."""
        listed = self.image.api.list_microvms(imageIdentifier=self.image.arn)["items"]
        return [micro_vm["microvmId"] for micro_vm in listed]

    def says(self, line: str) -> None:
        """Wait until its MicroVM prints a line."""
        (micro_vm,) = self.micro_vms()
        eventually(lambda: line in self.image.log(micro_vm) or None)


@pytest.fixture
def site(local_aws: Server, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Where MicroVMs really run."""
    if "walls by" not in (local_aws.state_dir / "local-aws.log").read_text():
        pytest.skip("bubblewrap does not work here, and MicroVMs need it")
    return Site(local_aws, monkeypatch)


def test_a_micro_vm_is_found_again_by_another_scheduler(site: Site) -> None:
    """By the object beside its payload; nothing gets in, and its duration is the target's."""
    launched = site.launch(built_image(site.aws), duration_s=60, wait=True)
    never = InvocationId(str(uuid.uuid4()))
    adopter = site.scheduler()
    assert adopter.ended(launched.target, [launched.id, never]) == {}
    (id,) = launched.micro_vms()
    micro_vm = site.clients.micro_vms.get_microvm(microvmIdentifier=id)
    assert micro_vm["maximumDurationInSeconds"] == 60
    (connector,) = micro_vm["ingressNetworkConnectors"]
    assert connector.startswith(f"arn:aws:lambda:{REGION}:aws:network-connector:")
    assert not adopter.stop(launched.target, never, "revoked")
    for _ in range(2):
        assert adopter.stop(launched.target, launched.id, "its task was cleared")
    assert id in launched.ended()


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0, "Its program ended well and sent no result"),
        (127, "The image does not know the command `microvm`"),
    ],
)
def test_a_micro_vm_that_ends_without_a_result_says_why(
    site: Site, code: int, meaning: str
) -> None:
    """In Lambda's words, and what they mean."""
    reason = site.launch(built_image(site.aws), exit=code).ended()
    assert f"was terminated: Container Stopped with Exit Code: {code}. {meaning}" in reason


@pytest.mark.parametrize(
    ("image", "workload", "said"),
    [
        ({"environmentVariables": {"ANSWERS": '{"run": [500]}'}}, {}, "answered 500"),
        (
            {"hooks": {**HOOKS, "microvmHooks": {"run": "ENABLED", "runTimeoutInSeconds": 1}}},
            {"delay_s": 600},
            "did not answer within 1 s",
        ),
    ],
)
def test_a_micro_vm_that_does_not_take_its_workload_says_so(
    site: Site, image: dict[str, Any], workload: dict[str, Any], said: str
) -> None:
    """Its run hook refuses, or does not answer in time."""
    reason = site.launch(built_image(site.aws, **image), **workload).ended()
    assert f"the hook run {said}" in reason
    assert "The image's hook server did not take the workload" in reason


def test_a_micro_vm_that_runs_for_too_long_names_the_limit(site: Site) -> None:
    """One that did not stop its task before."""
    reason = site.launch(built_image(site.aws), duration_s=1, wait=True).ended()
    assert "It ran for maximumDurationInSeconds, 1 s: raise that" in reason


def test_a_revoked_micro_vm_is_terminated(site: Site) -> None:
    """By its hook first, which lets it send a result; a second time nothing happens."""
    terminates = {"terminate": "ENABLED", "terminateTimeoutInSeconds": 20}
    image = built_image(site.aws, hooks=hooks_with(microvmHooks=terminates))
    launched = site.launch(image, wait=True)
    launched.says("waiting")
    assert launched.stop()
    launched.says("told to end")
    assert launched.ended()
    launched.stop()


def test_a_micro_vm_whose_run_never_comes_ends_when_airflow_revokes_its_task(site: Site) -> None:
    """It waits for its workload, and the task for its start: Airflow takes that back in time."""
    of_the_build = {"port": HOOKS["port"], "microvmImageHooks": HOOKS["microvmImageHooks"]}
    launched = site.launch(built_image(site.aws, hooks=of_the_build), exit=0)
    assert site.scheduler().ended(launched.target, [launched.id]) == {}
    assert launched.stop()
    assert launched.ended()


def test_a_launch_whose_answer_was_lost_is_made_once(site: Site) -> None:
    """The second call gets the first one's MicroVM."""
    launched = site.launch(built_image(site.aws), wait=True)
    launched.again()
    assert len(launched.micro_vms()) == 1
    assert launched.stop()
    launched.ended()
