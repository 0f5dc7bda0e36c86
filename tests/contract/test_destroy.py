"""Taking a stage down: what is emptied, what is refused, and what the CDK CLI is then asked for."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import destroy
from tests.contract.local_aws_fixtures import REGION, Server, eventually


class Stage:
    """A stack with a versioned bucket of the stage `local`, or of one whose name begins like it."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.bucket = f"b-{uuid.uuid4().hex[:12]}"
        self.name = f"airflow-lambda-{name}-part{uuid.uuid4().hex[:6]}"
        resource = {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "BucketName": self.bucket,
                "VersioningConfiguration": {"Status": "Enabled"},
            },
        }
        formation = server.client("cloudformation")
        formation.create_stack(
            StackName=self.name, TemplateBody=json.dumps({"Resources": {"Bucket": resource}})
        )
        eventually(lambda: self.status() == "CREATE_COMPLETE" or None)

    def status(self) -> str:
        """Of the stack."""
        formation = self.server.client("cloudformation")
        return str(formation.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"])

    def put(self) -> None:
        """One object in two versions, and one that was deleted."""
        s3 = self.server.client("s3")
        for body in (b"old", b"new"):
            s3.put_object(Bucket=self.bucket, Key="kept", Body=body)
        s3.put_object(Bucket=self.bucket, Key="deleted", Body=b"")
        s3.delete_object(Bucket=self.bucket, Key="deleted")

    def versions(self) -> int:
        """How many versions and delete markers are in the bucket."""
        listed = self.server.client("s3").list_object_versions(Bucket=self.bucket)
        return len(listed.get("Versions", ())) + len(listed.get("DeleteMarkers", ()))


#: Records what it is asked for; at first a log is written meanwhile, and it fails as with a bucket
#: that is not empty.
CDK = """#!{python}
import json, os, sys
from pathlib import Path
calls = Path({calls!r})
before = calls.read_text().splitlines() if calls.exists() else []
calls.write_text("\\n".join([*before, json.dumps(sys.argv[1:])]))
if len(before) < {failures}:
    boto3.client("s3").put_object(Bucket={bucket!r}, Key="late", Body=b"")
    sys.exit(1)
"""


@pytest.fixture
def cdk(
    local_aws: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Callable[[], list[list[str]]]]:
    """Put something in the place of the CDK CLI, and learn what it was asked for."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)

    def stand_in(bucket: str = "", failures: int = 0) -> Callable[[], list[list[str]]]:
        calls, script = tmp_path / "calls", tmp_path / "cdk"
        script.write_text(
            CDK.format(python=sys.executable, calls=str(calls), bucket=bucket, failures=failures)
        )
        script.chmod(0o755)
        monkeypatch.setattr(destroy, "CDK", script)
        return lambda: [json.loads(line) for line in calls.read_text().splitlines()]

    return stand_in


def test_the_stages_buckets_are_emptied_and_nobody_elses(
    local_aws: Server, cdk: Callable[..., Callable[[], list[list[str]]]]
) -> None:
    """Every version goes, of this stage only, and the CDK CLI is asked once."""
    ours, others = Stage(local_aws, "local"), Stage(local_aws, "local2")
    for stage in (ours, others):
        stage.put()
    calls = cdk()
    assert destroy.main(["local", "--yes", "--cdk", "--app", "cdk.out"]) == 0
    assert (ours.versions(), others.versions()) == (0, 4)
    assert calls() == [["destroy", "--all", "--force", "-c", "stage=local", "--app", "cdk.out"]]


def test_a_log_that_was_written_meanwhile_takes_a_second_round(
    local_aws: Server, cdk: Callable[..., Callable[[], list[list[str]]]]
) -> None:
    """What came after the first emptying is emptied too, before the CDK CLI is asked again."""
    stage = Stage(local_aws, "local")
    calls = cdk(stage.bucket, failures=1)
    assert destroy.main(["local", "--yes"]) == 0
    assert stage.versions() == 0
    assert len(calls()) == 2


def test_what_fails_twice_is_not_hidden(
    local_aws: Server, cdk: Callable[..., Callable[[], list[list[str]]]]
) -> None:
    """A stack that cannot be deleted for another reason ends with the CLI's own exit code."""
    stage = Stage(local_aws, "local")
    calls = cdk(stage.bucket, failures=9)
    assert destroy.main(["local", "--yes"]) == 1
    assert len(calls()) == 2


def test_a_stage_that_keeps_its_data_is_refused(
    cdk: Callable[..., Callable[[], list[list[str]]]],
) -> None:
    """Nothing of a stage with the removal "retain" is deleted, even if nobody is asked."""
    cdk()
    with pytest.raises(SystemExit, match='the removal "retain": its data is to outlive'):
        destroy.main(["prod", "--yes"])


def test_a_stack_that_is_protected_is_refused(
    local_aws: Server, cdk: Callable[..., Callable[[], list[list[str]]]]
) -> None:
    """Whatever cdk.json says by now: what was deployed to be kept is kept, its objects included."""
    stage = Stage(local_aws, "local")
    stage.put()
    cdk()
    protect = local_aws.client("cloudformation").update_termination_protection
    protect(StackName=stage.name, EnableTerminationProtection=True)
    with pytest.raises(SystemExit, match=f"{stage.name} is protected from deletion"):
        destroy.main(["local", "--yes"])
    protect(StackName=stage.name, EnableTerminationProtection=False)
    assert stage.versions() == 4


def test_credentials_of_another_account_are_refused(
    cdk: Callable[..., Callable[[], list[list[str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that is bound to an account is not looked for in another one."""
    cdk()
    # The embedded AWS takes a key of twelve digits for the account's number.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "123456789012")
    with pytest.raises(SystemExit, match="is in the account 000000000000, these credentials are"):
        destroy.main(["local", "--yes"])


def test_without_the_stages_name_nothing_is_touched(
    local_aws: Server,
    cdk: Callable[..., Callable[[], list[list[str]]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The question is answered with the name, and with nothing else."""
    stage = Stage(local_aws, "local")
    stage.put()
    cdk()
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    with pytest.raises(SystemExit, match=r"Nothing was touched\."):
        destroy.main(["local"])
    assert stage.versions() == 4
