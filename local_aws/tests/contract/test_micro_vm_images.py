"""CreateMicrovmImage runs the process of a code artifact until it is ready, and keeps it."""

from __future__ import annotations

import json
import uuid
import zipfile
from io import BytesIO
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_aws import (
    ACCOUNT,
    REGION,
    RUNTIME_PYTHON,
    Server,
    eventually,
    wait_for_exit,
)
from tests.support.micro_vms import (
    BASE,
    HOOKS,
    SERVICE,
    artifact,
    base_image,
    begin_image,
    built_image,
    hooks_with,
    processes_of,
    role_for_lambda,
    settings,
)
from tests.support.service_model import assert_fits_model


def failure(aws: Server, **changes: Any) -> str:
    """Why the first version of an image fails."""
    image = begin_image(aws, **changes)
    described, version = image.settled(), image.version()
    assert (described["state"], described["latestFailedImageVersion"]) == ("CREATE_FAILED", "1")
    assert (version["state"], version["status"]) == ("FAILED", "INACTIVE")
    assert "latestActiveImageVersion" not in described
    return str(version["stateReason"])


def refusal(call: Any, **request: Any) -> tuple[str, str]:
    """Code and message of an error."""
    with pytest.raises(ClientError) as refused:
        call(**request)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.fixture
def copying(local_aws: Server) -> Server:
    """A server that copies processes."""
    if "walls by" not in (local_aws.state_dir / "local-aws.log").read_text():
        pytest.skip("bubblewrap does not work here: nothing is copied")
    return local_aws


@pytest.fixture(params=["local_aws", "strict_aws"], ids=["auto", "no walls"])
def either_aws(request: pytest.FixtureRequest) -> Server:
    """A server that copies processes if it can, and one that starts them anew."""
    aws: Server = request.getfixturevalue(request.param)
    return aws


def test_an_image_is_built_from_its_artifact(either_aws: Server) -> None:
    """Its process is asked until it is ready, and one MicroVM is validated and thrown away."""
    hooks = hooks_with(microvmImageHooks={"validate": "ENABLED", "validateTimeoutInSeconds": 20})
    variables = {"ANSWERS": '{"ready": [503, 503, 200], "validate": [503, 200]}'}
    image = built_image(either_aws, hooks=hooks, environmentVariables=variables)
    described, version = image.settled(), image.version()
    assert (described["state"], described["latestActiveImageVersion"]) == ("CREATED", "1")
    assert (version["state"], version["status"]) == ("SUCCESSFUL", "ACTIVE")
    assert version["environmentVariables"] == variables
    assert image.log("[1]build") == [
        "hook ready 503",
        "hook ready 503",
        "hook ready 200",
        "hook validate 503",
        "hook validate 200",
    ]
    images = image.api.list_microvm_images(nameFilter=described["name"])
    assert_fits_model(SERVICE, "ListMicrovmImages", images)
    assert [item["imageArn"] for item in images["items"]] == [image.arn]


def test_the_dockerfile_changes_the_image(either_aws: Server) -> None:
    """Its command and variables count; those of the request come last."""
    lines = [
        "# a comment",
        f"FROM {base_image(either_aws)}",
        f'ENTRYPOINT ["{RUNTIME_PYTHON}", \\',
        '  "-u"]',
        'CMD ["local_aws_hook_server.py"]',
        "ENV A=file B='of the file'",
        "USER nobody",
    ]
    uri = artifact(either_aws, "\n".join(lines))
    image = built_image(either_aws, uri=uri, environmentVariables={"A": "request"})
    found = image.run().report()["environment"]
    assert (found["A"], found["B"]) == ("request", "of the file")


@pytest.mark.parametrize(
    ("dockerfile", "reason"),
    [
        ("FROM {image}\nRUN true", "line 2 of the Dockerfile (RUN true): the embedded AWS builds"),
        ("FROM {image} AS x", "line 1 of the Dockerfile (FROM"),
        (
            "FROM {image}\nENV P=$P",
            "line 2 of the Dockerfile (ENV P=$P): the embedded AWS does not",
        ),
        ("CMD x", "the Dockerfile has no FROM"),
        ("FROM {image}\nWORKDIR /no", "the image has no folder /no (WORKDIR): leave WORKDIR out"),
        ("FROM registry/none:1", "FROM registry/none:1: there is no image none:1"),
        ("FROM {image}\nENV BEFORE=exit", "the process ended with exit code 9 while the image was"),
        ("FROM {image}\nENV BEFORE=thread", "its process has 2 threads when it accepts"),
        ("FROM {image}\nENV BEFORE=process", "2 processes run in it: the embedded AWS copies one"),
        ("FROM {image}\nENV ANSWERS='{{\"ready\": [500]}}'", "the hook ready answered 500 instead"),
    ],
)
def test_an_artifact_that_cannot_be_built(copying: Server, dockerfile: str, reason: str) -> None:
    """The version says why."""
    uri = artifact(copying, dockerfile.format(image=base_image(copying)))
    assert reason in failure(copying, uri=uri)


def test_an_artifact_that_is_none(copying: Server) -> None:
    """The version says what is missing."""
    assert "cannot be read" in failure(copying, uri="s3://none/artifact.zip")
    bucket = f"bucket-{uuid.uuid4().hex}"
    s3 = copying.client("s3")
    s3.create_bucket(Bucket=bucket)
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("folder/Dockerfile", "FROM x")
    for key, body, reason in (
        ("text", b"no archive", "cannot be read: File is not a zip file"),
        ("zip", content.getvalue(), "has no Dockerfile at its root"),
    ):
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        assert f"s3://{bucket}/{key} {reason}" in failure(copying, uri=f"s3://{bucket}/{key}")


def test_a_process_that_is_never_ready(copying: Server) -> None:
    """Its time is limited, also if it has no hook server; both are said."""
    hooks = hooks_with(microvmImageHooks={"readyTimeoutInSeconds": 1})
    never = {"ANSWERS": '{"ready": [503]}'}
    reason = failure(copying, hooks=hooks, environmentVariables=never)
    assert "the hook ready did not answer 200 within 1 s" in reason
    shell = artifact(copying, f'FROM {base_image(copying)}\nENTRYPOINT ["sleep", "600"]')
    assert "copies one process with one thread" in failure(copying, hooks=hooks, uri=shell)


def test_a_validation_that_fails(either_aws: Server) -> None:
    """An image that cannot be restored is not used."""
    hooks = hooks_with(microvmImageHooks={"validate": "ENABLED", "validateTimeoutInSeconds": 20})
    variables = {"ANSWERS": '{"validate": [500]}'}
    reason = failure(either_aws, hooks=hooks, environmentVariables=variables)
    assert reason == "the hook validate answered 500 instead of 200 or 503"


def test_an_update_is_another_version(either_aws: Server) -> None:
    """It replaces the whole configuration; one that fails leaves the version before it active."""
    image = built_image(either_aws, environmentVariables={"V": "1"}, description="d")
    assert image.update(environmentVariables={"V": "2"})["imageVersion"] == "2"
    assert image.settled()["state"] == "UPDATED"
    assert "description" not in image.version("2")
    assert image.run().report()["environment"]["V"] == "2"
    assert image.run(imageVersion="1").report()["environment"]["V"] == "1"
    image.update(environmentVariables={"BEFORE": "exit"})
    described = image.settled()
    assert described["state"] == "UPDATE_FAILED"
    assert (described["latestActiveImageVersion"], described["latestFailedImageVersion"]) == (
        "2",
        "3",
    )
    listed = image.api.list_microvm_image_versions(imageIdentifier=image.arn)
    assert_fits_model(SERVICE, "ListMicrovmImageVersions", listed)
    assert [item["imageVersion"] for item in listed["items"]] == ["1", "2", "3"]


def test_an_image_is_deleted(either_aws: Server) -> None:
    """Versions one by one, but not the active one; the image twice; then it runs no more."""
    image = built_image(either_aws)
    image.update()
    image.settled()
    versions = {"imageIdentifier": image.arn}
    answer = image.api.delete_microvm_image_version(**versions, imageVersion="1")
    assert_fits_model(SERVICE, "DeleteMicrovmImageVersion", answer)
    delete = image.api.delete_microvm_image_version
    assert refusal(delete, **versions, imageVersion="1")[0] == "ResourceNotFoundException"
    assert refusal(delete, **versions, imageVersion="2")[0] == "ConflictException"
    for _ in range(2):
        answer = image.api.delete_microvm_image(imageIdentifier=image.arn)
        assert_fits_model(SERVICE, "DeleteMicrovmImage", answer)
    assert refusal(image.api.get_microvm_image, **versions)[0] == "ResourceNotFoundException"
    assert refusal(image.api.run_microvm, **versions)[0] == "ResourceNotFoundException"


def test_a_wrong_request_is_refused(local_aws: Server) -> None:
    """Before anything is built."""
    create = local_aws.client(SERVICE).create_microvm_image
    role = role_for_lambda(local_aws)
    right = {"name": "wrong", **settings(local_aws, role, uri="s3://none/artifact.zip")}
    local_aws.client("iam").create_role(RoleName="untrusting", AssumeRolePolicyDocument="{}")
    untrusting = role.rpartition("/")[0] + "/untrusting"
    run_only = {"port": 9000, "microvmHooks": {"run": "ENABLED"}}
    for wrong, reason in (
        ({"name": "a b"}, "name must be 1 to 64"),
        ({"baseImageArn": BASE.replace(":aws:", ":000000000000:")}, "is no managed MicroVM image"),
        ({"buildRoleArn": untrusting}, "must allow sts:AssumeRole and sts:TagSession"),
        ({"buildRoleArn": f"{untrusting}-none"}, "does not exist"),
        ({"hooks": {**HOOKS, "port": None}}, "hooks.port is required"),
        ({"hooks": run_only}, "the hook ready must be enabled"),
        ({"resources": [{"minimumMemoryInMiB": 8193}]}, "the most is 8192"),
        ({"codeArtifact": None}, "codeArtifact is required"),
    ):
        code, message = refusal(create, **{**right, **wrong})
        assert (code, reason in message) == ("ValidationException", True), message
    create(**right)
    assert refusal(create, **right)[0] == "ConflictException"
    by_name = local_aws.client(SERVICE).update_microvm_image
    del right["name"]
    code, message = refusal(by_name, imageIdentifier="wrong", **right)
    assert (code, "must be the ARN" in message) == ("ValidationException", True)


def test_the_build_role_needs_permissions(enforcing_aws: Server) -> None:
    """For the artifact and for the container image."""
    image = built_image(enforcing_aws)
    uri = image.version()["codeArtifact"]["uri"]
    artifact_arn = f"arn:aws:s3:::{uri.removeprefix('s3://')}"
    repository = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/handlers"
    needed = [("s3:GetObject", artifact_arn), ("ecr:GetAuthorizationToken", "*")]
    needed += [("ecr:BatchGetImage", repository), ("ecr:GetDownloadUrlForLayer", repository)]
    for number, (action, resource) in enumerate(needed, 2):
        allowed = [
            {"Effect": "Allow", "Action": other, "Resource": of}
            for other, of in needed
            if other != action
        ]
        role = role_for_lambda(enforcing_aws, *allowed)
        image.update(buildRoleArn=role, uri=uri)
        assert image.settled()["state"] == "UPDATE_FAILED"
        reason = image.version(str(number))["stateReason"]
        assert reason == f"the role {role} may not do {action} on {resource}"


def test_a_bucket_that_refuses_plain_http_lets_the_build_read(enforcing_aws: Server) -> None:
    """As the assets' bucket of a bootstrapped account does."""
    image = built_image(enforcing_aws)
    uri = image.version()["codeArtifact"]["uri"]
    bucket = uri.removeprefix("s3://").partition("/")[0]
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    enforcing_aws.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
    image.update(uri=uri)
    assert image.settled()["state"] == "UPDATED"


def test_the_process_has_the_build_role_while_it_is_built(either_aws: Server) -> None:
    """A session that it asks for then is not that of a MicroVM."""
    image = built_image(either_aws, environmentVariables={"BEFORE": "identity"})
    (arn, *_) = image.log("[1]build")
    role = image.role.rpartition("/")[2]
    assert arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/build"


def test_a_process_may_begin_anew(either_aws: Server) -> None:
    """It leaves a hook unanswered, serves the next ones, and sees nothing of the emulator's."""
    image = built_image(either_aws, environmentVariables={"BEFORE": "restart"})
    assert image.log("[1]build") == ["restart", "hook ready 200"]
    both = [image.run({}) for _ in range(2)]
    for micro_vm in both:
        environment = micro_vm.report()["environment"]
        assert environment["BEFORE"] == "restarted"
        assert not {"LOCAL_AWS_SNAPSHOT", "PYTHONPATH"} & environment.keys()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"BEFORE": "exit"}, "the process ended with exit code 9 while the image was built"),
        (
            {"ANSWERS": '{"ready": [500]}'},
            "the hook ready answered 500 instead of 200 or 503 (the embedded AWS starts a process",
        ),
    ],
)
def test_without_walls_the_build_starts_the_process_once(
    strict_aws: Server, variables: dict[str, str], reason: str
) -> None:
    """What fails then fails the version."""
    assert reason in failure(strict_aws, environmentVariables=variables)


@pytest.mark.parametrize("before", ["thread", "process"])
def test_without_walls_a_process_is_not_copied(strict_aws: Server, before: str) -> None:
    """So it may have threads and other processes when it is ready."""
    image = built_image(strict_aws, environmentVariables={"BEFORE": before})
    assert image.run({"exit": 5}).ended()["stateReason"].endswith("Exit Code: 5")


def test_an_image_that_is_deleted_is_built_no_further(either_aws: Server) -> None:
    """Its process ends."""
    image = begin_image(either_aws, environmentVariables={"ANSWERS": '{"ready": [503]}'})
    eventually(lambda: image.log("[1]build") or None)
    processes = processes_of(image.arn)
    assert processes
    image.api.delete_microvm_image(imageIdentifier=image.arn)
    wait_for_exit(processes)
