"""RunMicrovm restores a process from its image, and it ends as on AWS."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.support.local_aws import ACCOUNT, Server, client, eventually, wait_for_exit
from tests.support.micro_vms import (
    HOOKS,
    SERVICE,
    Image,
    begin_image,
    built_image,
    hooks_with,
    processes_of,
    role_for_lambda,
)
from tests.support.service_model import assert_fits_model

TERMINATE = hooks_with(microvmHooks={"terminate": "ENABLED", "terminateTimeoutInSeconds": 20})


@pytest.fixture(scope="module", params=["local_aws", "strict_aws"], ids=["auto", "no walls"])
def image(request: pytest.FixtureRequest) -> Image:
    """An image that most tests share: of a machine that has walls if it can, and of one without."""
    aws: Server = request.getfixturevalue(request.param)
    return built_image(aws)


@pytest.fixture(scope="module")
def copied(local_aws: Server) -> Image:
    """An image whose MicroVMs are copies."""
    if "walls by" not in (local_aws.state_dir / "local-aws.log").read_text():
        pytest.skip("bubblewrap does not work here: every MicroVM starts its process anew")
    return built_image(local_aws)


def refusal(image: Image, **request: Any) -> tuple[str, int, str]:
    """Code, status and message of RunMicrovm's error."""
    with pytest.raises(ClientError) as refused:
        image.run_answer(**request)
    response = refused.value.response
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    return response["Error"]["Code"], status, response["Error"]["Message"]


def test_a_micro_vm_runs_and_ends_with_its_process(image: Image) -> None:
    """It is PENDING at first; the exit code is in the reason."""
    answer = image.run_answer({"exit": 3})
    assert (answer["state"], answer["imageVersion"]) == ("PENDING", "1")
    assert answer["maximumDurationInSeconds"] == 600
    micro_vm = image.run({"exit": 0})
    ended = micro_vm.ended()
    assert ended["stateReason"] == "Container Stopped with Exit Code: 0"
    assert ended["terminatedAt"] >= ended["startedAt"]
    failed = eventually(lambda: ended_of(image, answer["microvmId"]))
    assert failed["stateReason"] == "Container Stopped with Exit Code: 3"
    listed = image.api.list_microvms(imageIdentifier=image.arn)
    assert_fits_model(SERVICE, "ListMicrovms", listed)
    assert {answer["microvmId"], micro_vm.id} <= {item["microvmId"] for item in listed["items"]}


def ended_of(image: Image, micro_vm_id: str) -> dict[str, Any] | None:
    """The description of a MicroVM, if it has ended."""
    described: dict[str, Any] = image.api.get_microvm(microvmIdentifier=micro_vm_id)
    return described if described["state"] == "TERMINATED" else None


def test_two_micro_vms_begin_with_the_same_memory(copied: Image) -> None:
    """They run at a time, with one port and one process id, and with files of their own."""
    first, second = (copied.run({}) for _ in range(2))
    one, other = first.report(), second.report()
    assert [one[name] for name in ("made", "next", "pid")] == [
        other[name] for name in ("made", "next", "pid")
    ]
    assert "made" in one["temporary"]


def test_two_micro_vms_run_at_a_time(image: Image) -> None:
    """Both serve hooks on the same port."""
    both = [image.run({"wait": True}) for _ in range(2)]
    for micro_vm in both:
        micro_vm.says("waiting")
        assert micro_vm.describe()["state"] == "RUNNING"
    for micro_vm in both:
        image.api.terminate_microvm(microvmIdentifier=micro_vm.id)
        assert "stateReason" not in micro_vm.ended()


def test_the_variables_are_those_of_aws(image: Image) -> None:
    """There are no keys, and only the AWS of this machine is reached."""
    found = image.run({}).report()["environment"]
    name = image.arn.rpartition(":")[2]
    assert {n: v for n, v in found.items() if n.startswith("AWS_LAMBDA_")} == {
        "AWS_LAMBDA_MICROVM_IMAGE_NAME": name,
        "AWS_LAMBDA_MICROVM_IMAGE_ARN": image.arn,
        "AWS_LAMBDA_MICROVM_IMAGE_VERSION": "1",
    }
    assert {n for n in found if n.startswith("AWS_")} - set(_lambda_names(found)) == {
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_METADATA_SERVICE_TIMEOUT",
    }


def _lambda_names(found: dict[str, str]) -> list[str]:
    return [name for name in found if name.startswith("AWS_LAMBDA_")]


def test_a_run_hook_that_fails_ends_the_micro_vm(image: Image) -> None:
    """One that answers no 200, and one that is late; the reason says which."""
    refusing = built_image(image.aws, environmentVariables={"ANSWERS": '{"run": [500]}'})
    assert refusing.run({}).ended()["stateReason"] == "the hook run answered 500 instead of 200"
    hooks = {**HOOKS, "microvmHooks": {"run": "ENABLED"}}  # one second, as on AWS
    slow = built_image(image.aws, hooks=hooks)
    ended = slow.run({"delay_s": 600}).ended()
    assert ended["stateReason"] == "the hook run did not answer within 1 s"


def test_a_micro_vm_is_terminated(image: Image) -> None:
    """Its hook is called before it is killed; a second time nothing happens."""
    told = built_image(image.aws, hooks=TERMINATE)
    micro_vm = told.run({"wait": True})
    micro_vm.says("waiting")
    for _ in range(2):
        answer = told.api.terminate_microvm(microvmIdentifier=micro_vm.id)
        assert_fits_model(SERVICE, "TerminateMicrovm", answer)
    micro_vm.ended()
    assert "hook terminate 200" in micro_vm.log()
    told.api.terminate_microvm(microvmIdentifier=micro_vm.id)
    with pytest.raises(ClientError, match="mvm-none not found"):
        told.api.terminate_microvm(microvmIdentifier="mvm-none")


def test_a_micro_vm_has_a_longest_duration(image: Image) -> None:
    """Then it is terminated."""
    micro_vm = image.run({"wait": True}, maximumDurationInSeconds=1)
    assert micro_vm.ended()["stateReason"] == "Maximum duration reached"


def test_too_much_memory_kills_the_process(image: Image) -> None:
    """The exit code is that of SIGKILL."""
    ended = image.run({"allocate_mb": 16_000}).ended()
    assert ended["stateReason"] == "Container Stopped with Exit Code: 137"


def test_the_client_token_makes_it_one_micro_vm(image: Image) -> None:
    """With other parameters it is a conflict."""
    token = uuid.uuid4().hex
    first = image.run_answer({"exit": 0}, clientToken=token)
    again = image.run_answer({"exit": 0}, clientToken=token)
    assert first["microvmId"] == again["microvmId"]
    code, status, _ = refusal(image, payload={"exit": 1}, clientToken=token)
    assert (code, status) == ("ConflictException", 409)


def test_a_wrong_request_is_refused(image: Image) -> None:
    """With the codes of the API."""
    iam = image.aws.client("iam")
    name = f"r-{uuid.uuid4().hex[:12]}"
    untrusting = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    image.run({"exit": 0}, runHookPayload=json.dumps({"exit": 0}).ljust(4096)).ended()
    for request, code, status in (
        ({"runHookPayload": "x" * 4097}, "ValidationException", 400),
        ({"maximumDurationInSeconds": 0}, "ValidationException", 400),
        ({"maximumDurationInSeconds": 28_801}, "ValidationException", 400),
        ({"clientToken": "x" * 129}, "ValidationException", 400),
        ({"executionRoleArn": untrusting}, "ValidationException", 400),
        ({"executionRoleArn": f"{untrusting}-none"}, "ValidationException", 400),
        ({"imageIdentifier": image.arn.rpartition(":")[2]}, "ValidationException", 400),
        ({"imageIdentifier": f"{image.arn}-none"}, "ResourceNotFoundException", 404),
        ({"imageVersion": "9"}, "ResourceNotFoundException", 404),
    ):
        assert refusal(image, **request)[:2] == (code, status), request
    failing = begin_image(image.aws, environmentVariables={"BEFORE": "exit"})
    failing.settled()
    assert refusal(failing)[:2] == ("ConflictException", 409)


def test_runs_are_throttled(image: Image) -> None:
    """Five a second; more answer 429."""
    codes = set()
    for _ in range(30):
        try:
            image.api.run_microvm(imageIdentifier="none")
        except ClientError as e:
            status = e.response["ResponseMetadata"]["HTTPStatusCode"]
            codes.add((e.response["Error"]["Code"], status))
    assert codes - {("ValidationException", 400)} == {("ThrottlingException", 429)}


def test_output_goes_to_a_log_group(image: Image) -> None:
    """Of the image, of the request, or to none."""
    micro_vm = image.run({})
    micro_vm.ended()
    assert "hook run 200" in micro_vm.log()
    group = f"g-{uuid.uuid4().hex}"
    configured = {"cloudWatch": {"logGroup": group, "logStream": "mine"}}
    image.run({}, logging=configured).ended()
    assert "hook run 200" in image.log("mine", group)
    silent = image.run({}, logging={"disabled": {}})
    silent.ended()
    assert silent.log() == []


def test_the_role_is_that_of_the_request(enforcing_aws: Server) -> None:
    """The SDK fetches its session from the metadata service, and its permissions count."""
    enforced = built_image(enforcing_aws)
    queue = enforcing_aws.queue()
    role = role_for_lambda(
        enforcing_aws, {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue.arn}
    )
    may = enforced.run({"call": queue.url}, executionRoleArn=role)
    may.ended()
    assumed = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/{may.id}"
    assert may.log()[-2:] == [assumed, "sent"]
    may_not = enforced.run({"call": queue.url}, executionRoleArn=role_for_lambda(enforcing_aws))
    may_not.ended()
    assert "AccessDenied" in may_not.log()[-1]
    without = enforced.run({"exit": 4}, executionRoleArn=None)
    assert without.ended()["stateReason"] == "Container Stopped with Exit Code: 4"
    assert without.log() == []


def test_the_metadata_service_wants_a_token(image: Image) -> None:
    """As IMDSv2; a MicroVM that has ended is not served."""
    role = role_for_lambda(image.aws)
    micro_vm = image.run({"wait": True}, executionRoleArn=role)
    micro_vm.says("waiting")
    endpoint = micro_vm.log()[-2]
    roles = f"{endpoint}/latest/meta-data/iam/security-credentials/"
    with httpx.Client(trust_env=False) as http:
        assert http.get(roles).status_code == 401
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = http.put(f"{endpoint}/latest/api/token", headers=ttl).text
        given = {"X-aws-ec2-metadata-token": token}
        assert http.get(roles, headers=given).text == "execution_role"
        session = http.get(f"{roles}execution_role", headers=given).json()
        keys = session["AccessKeyId"], session["SecretAccessKey"], session["Token"]
        arn = client("sts", image.aws.url, *keys).get_caller_identity()["Arn"]
        assert arn.endswith(f"/{micro_vm.id}")
        assert http.get(f"{endpoint}/latest/meta-data/", headers=given).status_code == 404
        image.api.terminate_microvm(microvmIdentifier=micro_vm.id)
        micro_vm.ended()
        eventually(lambda: http.get(roles, headers=given).status_code == 404 or None)


@pytest.fixture(params=["auto", "process"])
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with memory for two MicroVMs, on which a MicroVM ends late."""
    limits = ("--micro-vm-memory", "1", "--micro-vm-exit-delay", "600")
    server = Server(tmp_path / "state", *limits, "--sandbox", request.param)
    yield server
    if server.process.poll() is None:
        server.stop()


def test_memory_has_a_quota_and_all_ends_with_the_server(small: Server) -> None:
    """A MicroVM whose process has ended counts until it is TERMINATED."""
    image = built_image(small)
    ending = image.run({"exit": 0})
    waiting = image.run({"wait": True})
    waiting.says("waiting")
    code, status, _ = refusal(image, payload={})
    assert (code, status) == ("ServiceQuotaExceededException", 402)
    assert ending.describe()["state"] == "RUNNING"
    processes = processes_of(image.arn)
    assert processes
    assert small.stop() == 0
    wait_for_exit(processes)


def test_a_killed_server_leaves_no_micro_vm(small: Server) -> None:
    """Nor a snapshot."""
    image = built_image(small)
    image.run({"wait": True}).says("waiting")
    processes = processes_of(image.arn)
    assert processes
    small.stop(signal.SIGKILL)
    wait_for_exit(processes)


def test_a_micro_vm_without_a_run_hook_runs(image: Image) -> None:
    """Its process waits in the hook server, as at the end of the build."""
    micro_vm = built_image(image.aws, hooks={**HOOKS, "microvmHooks": {}}).run()
    micro_vm.once("RUNNING")
    image.api.terminate_microvm(microvmIdentifier=micro_vm.id)
    micro_vm.ended()


def test_without_walls_a_micro_vm_starts_its_process_anew(strict_aws: Server) -> None:
    """It waits until that is ready, as the build does, and only then calls the hook `run`."""
    image = built_image(strict_aws, environmentVariables={"ANSWERS": '{"ready": [503, 200]}'})
    asked = ["hook ready 503", "hook ready 200"]
    assert image.log("[1]build") == asked
    first, second = image.run({}), image.run({})
    assert first.report()["made"] != second.report()["made"]
    for micro_vm in (first, second):
        assert micro_vm.log()[:-1] == [*asked, "hook run 200"]


def test_without_walls_a_micro_vm_that_is_not_ready_ends(
    strict_aws: Server, tmp_path: Path
) -> None:
    """Its process may fail although that of the build did not; the reason names the hook."""
    answers = tmp_path / "answers.json"
    image = built_image(strict_aws, environmentVariables={"OTHER_ANSWERS": str(answers)})
    answers.write_text('{"ready": [500]}')
    micro_vm = image.run({})
    reason = micro_vm.ended()["stateReason"]
    assert reason.startswith("the hook ready answered 500 instead of 200 or 503")
    assert micro_vm.log() == ["hook ready 500"]


def test_without_walls_one_that_waits_to_be_ready_is_terminated(
    strict_aws: Server, tmp_path: Path
) -> None:
    """Its hook `run` is never called."""
    answers = tmp_path / "answers.json"
    image = built_image(strict_aws, environmentVariables={"OTHER_ANSWERS": str(answers)})
    answers.write_text('{"ready": [503]}')
    micro_vm = image.run({})
    micro_vm.says("hook ready 503")
    assert micro_vm.describe()["state"] == "PENDING"
    image.api.terminate_microvm(microvmIdentifier=micro_vm.id)
    assert "stateReason" not in micro_vm.ended()
    assert "hook run 200" not in micro_vm.log()
