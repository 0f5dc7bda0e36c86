"""Images and MicroVMs of the embedded AWS, whose main process is `local_aws_hook_server.py`."""

from __future__ import annotations

import contextlib
import json
import uuid
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from tests.support.local_aws import REGION, RUNTIME_PYTHON, Server, eventually
from tests.support.service_model import assert_fits_model

SERVICE = "lambda-microvms"
BASE = f"arn:aws:lambda:{REGION}:aws:microvm-image:al2023-1"
HOOK_SERVER = Path(__file__).with_name("local_aws_hook_server.py")
#: Longer than a busy machine needs.
LONG_S = 20
HOOKS = {
    "port": 9000,
    "microvmImageHooks": {"ready": "ENABLED", "readyTimeoutInSeconds": LONG_S},
    "microvmHooks": {"run": "ENABLED", "runTimeoutInSeconds": LONG_S},
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }
    ],
}


#: What a build role may do.
BUILD = (
    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
    {"Effect": "Allow", "Action": ["ecr:Batch*", "ecr:Get*"], "Resource": "*"},
)


def hooks_with(**of_group: dict[str, Any]) -> dict[str, Any]:
    """The hooks of the tests, with changes: `hooks_with(microvmHooks={"terminate": "ENABLED"})`."""
    changed: dict[str, Any] = {**HOOKS}
    for group, more in of_group.items():
        changed[group] = {**changed[group], **more}
    return changed


def role_for_lambda(aws: Server, *statements: dict[str, Any]) -> str:
    """The ARN of a new role that MicroVMs can have, with these permissions."""
    iam, name = aws.client("iam"), f"r-{uuid.uuid4().hex[:12]}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    if statements:
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    return str(role["Role"]["Arn"])


def artifact(aws: Server, dockerfile: str = "") -> str:
    """Upload a code artifact; by default its Dockerfile is FROM the image of the hook server."""
    s3, bucket = aws.client("s3"), f"bucket-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("Dockerfile", dockerfile or f"FROM {base_image(aws)}\n")
    s3.put_object(Bucket=bucket, Key="artifact.zip", Body=content.getvalue())
    return f"s3://{bucket}/artifact.zip"


def base_image(aws: Server) -> str:
    """The URI of a container image that runs the hook server."""
    return aws.image(entry_point=[str(RUNTIME_PYTHON)], command=[str(HOOK_SERVER)])


@dataclass(frozen=True)
class Image:
    """A MicroVM image."""

    aws: Server
    arn: str
    role: str

    @property
    def api(self) -> Any:
        """The client."""
        return self.aws.client(SERVICE)

    def settled(self) -> dict[str, Any]:
        """Its description once it is not being built."""

        def description() -> dict[str, Any] | None:
            answer = self.api.get_microvm_image(imageIdentifier=self.arn)
            assert_fits_model(SERVICE, "GetMicrovmImage", answer)
            return None if answer["state"] in {"CREATING", "UPDATING"} else dict(answer)

        return eventually(description)

    def version(self, number: str = "1") -> dict[str, Any]:
        """The description of a version."""
        answer = self.api.get_microvm_image_version(imageIdentifier=self.arn, imageVersion=number)
        assert_fits_model(SERVICE, "GetMicrovmImageVersion", answer)
        return dict(answer)

    def update(self, **changes: Any) -> dict[str, Any]:
        """Begin to build another version."""
        answer = self.api.update_microvm_image(
            imageIdentifier=self.arn, **settings(self.aws, self.role, **changes)
        )
        assert_fits_model(SERVICE, "UpdateMicrovmImage", answer)
        return dict(answer)

    def run(self, payload: dict[str, Any] | None = None, **request: Any) -> MicroVm:
        """Run a MicroVM, as soon as the rate allows."""
        return MicroVm(self, self.run_answer(payload, **request)["microvmId"])

    def run_answer(self, payload: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
        """The answer of RunMicrovm, as soon as the rate allows."""
        given = {"runHookPayload": json.dumps(payload)} if payload is not None else {}

        def answer() -> dict[str, Any] | None:
            try:
                return dict(
                    self.api.run_microvm(
                        **{
                            "imageIdentifier": self.arn,
                            "executionRoleArn": self.role,
                            "maximumDurationInSeconds": 600,
                            **given,
                            **request,
                        }
                    )
                )
            except ClientError as e:
                if e.response["Error"]["Code"] == "ThrottlingException":
                    return None
                raise

        found = eventually(answer)
        assert_fits_model(SERVICE, "RunMicrovm", found)
        return found

    def log(self, stream: str, group: str = "") -> list[str]:
        """The lines of the log stream with this end of the name."""
        logs = self.aws.client("logs")
        group = group or f"/aws/lambda-microvms/{self.arn.rpartition(':')[2]}"
        try:
            events = logs.filter_log_events(logGroupName=group)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []  # The first line makes it.
        return [e["message"] for e in events if e["logStreamName"].endswith(stream)]


@dataclass(frozen=True)
class MicroVm:
    """A MicroVM of an image."""

    image: Image
    id: str

    def describe(self) -> dict[str, Any]:
        """Its description now."""
        answer = self.image.api.get_microvm(microvmIdentifier=self.id)
        assert_fits_model(SERVICE, "GetMicrovm", answer)
        return dict(answer)

    def once(self, *states: str) -> dict[str, Any]:
        """Its description once it is in one of these states."""

        def description() -> dict[str, Any] | None:
            described = self.describe()
            return described if described["state"] in states else None

        return eventually(description)

    def ended(self) -> dict[str, Any]:
        """Its description once it has ended."""
        return self.once("TERMINATED")

    def log(self) -> list[str]:
        """The lines that it has printed."""
        return self.image.log(self.id)

    def says(self, line: str) -> None:
        """Wait until it prints a line."""
        eventually(lambda: line in self.log() or None)

    def report(self) -> dict[str, Any]:
        """What it says of itself, once it has ended."""
        assert self.ended()["stateReason"] == "Container Stopped with Exit Code: 0"
        found: dict[str, Any] = json.loads(self.log()[-1])
        return found


def settings(aws: Server, role: str, **changes: Any) -> dict[str, Any]:
    """The configuration of an image; its code artifact is the hook server."""
    uri = changes.pop("uri", "") or artifact(aws)
    return {
        "baseImageArn": BASE,
        "buildRoleArn": role,
        "codeArtifact": {"uri": uri},
        "hooks": HOOKS,
        "resources": [{"minimumMemoryInMiB": 512}],
        **changes,
    }


def begin_image(aws: Server, **changes: Any) -> Image:
    """Begin to build an image."""
    role = role_for_lambda(aws, *BUILD)
    answer = aws.client(SERVICE).create_microvm_image(
        name=f"i-{uuid.uuid4().hex[:12]}", **settings(aws, role, **changes)
    )
    assert_fits_model(SERVICE, "CreateMicrovmImage", answer)
    assert (answer["state"], answer["imageVersion"]) == ("CREATING", "1")
    return Image(aws, answer["imageArn"], role)


def built_image(aws: Server, **changes: Any) -> Image:
    """An image that has been built."""
    image = begin_image(aws, **changes)
    described = image.settled()
    assert described["state"] == "CREATED", image.version()
    return image


def processes_of(arn: str) -> list[int]:
    """The process ids of an image's build, snapshot and MicroVMs."""
    named = f"\0AWS_LAMBDA_MICROVM_IMAGE_ARN={arn}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if named in b"\0" + path.read_bytes():
                found.append(int(path.parent.name))
    return found
