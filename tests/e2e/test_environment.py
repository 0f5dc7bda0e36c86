"""The deployed environment with enforced permissions, and with deploys while it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.installation.environment import Environment
from demo.machine.processes import ProcessError
from demo.outcome.airflow_api import Api
from lambda_executor.contract import options
from tests.support.airflow_rest import rest, returned
from tests.support.redeploy import redeploy
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)  # The first test waits for the environment.

TIMEOUT_S = 150.0
#: Says which deploy an image is of; beside the DAG files, so a part of the image.
MARKER = "marker.txt"
NO_IMAGE = "sha256:" + "0" * 64


def forbidden_to_everybody(here: Environment) -> Iterator[dict[str, Any]]:
    """Calls that neither the scheduler nor a task may make."""
    function, bucket = here.outputs["FunctionName"], here.outputs["PayloadBucketName"]
    for service, operation, arguments in (
        ("lambda", "update_function_configuration", {"FunctionName": function, "Timeout": 1}),
        ("lambda", "delete_function", {"FunctionName": function}),
        (
            "lambda",
            "put_function_concurrency",
            {"FunctionName": function, "ReservedConcurrentExecutions": 0},
        ),
        ("s3", "list_objects_v2", {"Bucket": bucket}),
        ("s3", "get_object", {"Bucket": bucket, "Key": "elsewhere/object"}),
        ("s3", "put_object", {"Bucket": bucket, "Key": "elsewhere/object"}),
        ("s3", "delete_bucket", {"Bucket": bucket}),
        (
            "secretsmanager",
            "get_secret_value",
            {"SecretId": here.outputs["DatabaseSecretArn"]},
        ),
        ("secretsmanager", "list_secrets", {}),
        (
            "ssm",
            "put_parameter",
            {"Name": here.outputs["ConfigParameterName"], "Value": "{}", "Overwrite": True},
        ),
        ("iam", "list_roles", {}),
        ("iam", "create_user", {"UserName": "curious"}),
        ("logs", "describe_log_groups", {}),
        ("logs", "delete_log_group", {"logGroupName": here.outputs["LogGroupName"]}),
        ("logs", "create_log_group", {"logGroupName": "/elsewhere"}),
        ("sqs", "list_queues", {}),
        ("sqs", "purge_queue", {"QueueUrl": here.outputs["ResultsQueueUrl"]}),
        ("rds", "describe_db_instances", {}),
        ("cloudformation", "describe_stacks", {}),
        ("ecr", "describe_repositories", {}),
    ):
        yield call(service, operation, arguments)


def call(service: str, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Describe one call."""
    what = f"{service}:{operation} {json.dumps(arguments)}"
    return {"what": what, "service": service, "operation": operation, "arguments": arguments}


def set_going(here: Environment, dag_id: str) -> None:
    """Run a DAG once."""
    with Api(here.airflow.url) as api:
        api.wait_for_dags([dag_id], TIMEOUT_S)
        api.trigger(dag_id)
        api.unpause(dag_id)


def states(here: Environment, dag_id: str) -> list[str]:
    """The states of a DAG's tasks."""
    with rest(here) as api:
        path = f"/dags/{dag_id}/dagRuns/~/taskInstances"
        found = api.get(path, params={"limit": 100}).raise_for_status().json()
    return [each["state"] for each in found["task_instances"]]


def test_the_scheduler_is_denied_what_it_does_not_need(here: Environment) -> None:
    """The scheduler's role may do its work, and is refused everything else."""
    credentials = here.aws.client("sts").assume_role(
        RoleArn=here.outputs["SchedulerRoleArn"], RoleSessionName="curious"
    )["Credentials"]
    bucket = here.outputs["PayloadBucketName"]
    asked = [
        *forbidden_to_everybody(here),
        *(
            call("sqs", "send_message", {"QueueUrl": here.outputs[queue], "MessageBody": "{}"})
            for queue in ("ResultsQueueUrl", "DeadLetterQueueUrl")
        ),
        *(
            call("s3", operation, {"Bucket": bucket, "Key": f"{options.PAYLOAD_PREFIX}of-a-task"})
            for operation in ("get_object", "delete_object")
        ),
        call(
            "lambda",
            "get_function_concurrency",
            {"FunctionName": here.outputs["FunctionName"]},
        ),
    ]
    answers = {}
    for each in asked:
        operation = getattr(here.aws.client(each["service"], credentials), each["operation"])
        try:
            operation(**each["arguments"])
            answers[each["what"]] = "allowed"
        except ClientError as e:
            answers[each["what"]] = e.response["Error"]["Code"]
    assert {what: code for what, code in answers.items() if "AccessDenied" not in code} == {}
    assert len(answers) == len(asked)


def test_a_task_is_denied_what_its_function_does_not_need(here: Environment) -> None:
    """The function's role can send results, and is refused everything that it does not need."""
    queue, function = here.outputs["ResultsQueueUrl"], here.outputs["FunctionName"]
    asked = [
        *forbidden_to_everybody(here),
        call("sqs", "receive_message", {"QueueUrl": queue}),
        call("sqs", "get_queue_attributes", {"QueueUrl": queue}),
        call("lambda", "invoke", {"FunctionName": function, "Payload": "{}"}),
        call("lambda", "get_function", {"FunctionName": function}),
        call("ssm", "get_parameter", {"Name": here.outputs["ConfigParameterName"]}),
        call(
            "sts",
            "assume_role",
            {"RoleArn": here.outputs["SchedulerRoleArn"], "RoleSessionName": "curious"},
        ),
    ]
    with rest(here) as api:
        body = {"key": "forbidden", "value": json.dumps(asked)}
        api.post("/variables", json=body).raise_for_status()
    set_going(here, "curious")
    until(lambda: states(here, "curious") == ["success"] or None, "the run gets there", TIMEOUT_S)
    (answers,) = returned(here, "curious", "ask")
    assert answers.pop("function") in answers.pop("role")
    assert {what: code for what, code in answers.items() if "AccessDenied" not in code} == {}
    assert len(answers) == len(asked)


def test_a_second_deploy_changes_nothing(here: Environment) -> None:
    """The same commit and configuration changes no stack."""
    formation = here.aws.client("cloudformation")

    def ours() -> dict[str, Any]:
        stacks = formation.describe_stacks()["Stacks"]
        return {s["StackName"]: (s.get("LastUpdatedTime"), s["CreationTime"]) for s in stacks}

    log = here.home.logs / "cdk-deploy.log"
    before, seen = ours(), len(log.read_text())
    redeploy(here)
    assert ours() == before
    said = log.read_text()[seen:]
    unchanged = set(re.findall(r"(airflow-lambda-local-\S+) \(no changes\)", said))
    assert unchanged == set(before) - {"CDKToolkit"}


def test_a_deploy_while_tasks_run_loses_none(here: Environment) -> None:
    """Fifty tasks succeed although the image changes meanwhile; both versions ran some of them."""
    set_going(here, "fifty")
    until(lambda: "running" in states(here, "fifty") or None, "the run gets there", TIMEOUT_S)
    (here.home.dags / MARKER).write_text("second")
    redeploy(here)
    with rest(here) as api:
        body = {"key": "fifty_may_go_on", "value": "yes"}
        api.post("/variables", json=body).raise_for_status()
    until(
        lambda: states(here, "fifty").count("success") == 50 or None,
        "the run gets there",
        TIMEOUT_S,
    )
    words = [str(value).split() for value in returned(here, "fifty", "tell")]
    assert len(words) == 50
    by_version = {version: {marker for v, marker in words if v == version} for version, _ in words}
    assert sorted(by_version.values(), key=str) == [{"none"}, {"second"}]
    older, newer = sorted(by_version, key=int)
    assert by_version[newer] == {"second"}
    assert (
        here.aws.client("lambda").get_alias(
            FunctionName=here.outputs["FunctionName"], Name=here.outputs["FunctionAlias"]
        )["FunctionVersion"]
        == newer
    ), older


def test_one_call_rolls_a_deploy_back(here: Environment) -> None:
    """A task that starts afterwards runs the version before, with that one's DAG files."""
    client, marker = here.aws.client("lambda"), here.home.dags / MARKER
    alias = {"FunctionName": here.outputs["FunctionName"], "Name": here.outputs["FunctionAlias"]}
    words = marker.read_text() if marker.exists() else "none"
    sound = client.get_alias(**alias)["FunctionVersion"]
    marker.write_text("faulty")
    redeploy(here)
    faulty = client.get_alias(**alias)["FunctionVersion"]
    assert int(sound) < int(faulty)
    client.update_alias(**alias, FunctionVersion=sound)
    try:
        set_going(here, "version")
        until(
            lambda: states(here, "version") == ["success"] or None, "the run gets there", TIMEOUT_S
        )
    finally:
        client.update_alias(**alias, FunctionVersion=faulty)
    assert returned(here, "version", "tell") == [[sound, words]]


def test_a_task_reads_what_the_stage_gives_it_and_nothing_else(here: Environment) -> None:
    """A task reads a bucket by a statement of the stage and no other, and gets its secrets.

    The password is in no template, no setting of a function and no line of a log.
    """
    password = "hunter-2-of-the-orders"
    s3 = here.aws.client("s3")
    for bucket in ("orders", "others"):
        s3.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        s3.put_object(Bucket=bucket, Key="today.csv", Body=b"1,2,3")
    secret = here.aws.client("secretsmanager").create_secret(
        Name="orders",
        SecretString=json.dumps({"url": f"postgres://me:{password}@db/", "password": password}),
    )["ARN"]
    statement = {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::orders/*",
    }
    secrets = {"AIRFLOW_CONN_ORDERS": f"{secret}:url::", "ORDERS_PASSWORD": f"{secret}:password::"}
    redeploy(here, workloads={"statements": [statement], "secrets": secrets})
    set_going(here, "permitted")
    until(
        lambda: states(here, "permitted") == ["success", "success"] or None,
        "the run gets there",
        TIMEOUT_S,
    )
    assert returned(here, "permitted", "read") == [{"orders": "1,2,3", "others": "AccessDenied"}]
    assert returned(here, "permitted", "connect") == [[True, True]]

    formation, function = here.aws.client("cloudformation"), here.outputs["FunctionName"]
    for stack in formation.describe_stacks()["Stacks"]:
        template = formation.get_template(StackName=stack["StackName"])["TemplateBody"]
        assert password not in json.dumps(template)
    settings = here.aws.client("lambda").get_function_configuration(FunctionName=function)
    assert secret in json.dumps(settings["Environment"])
    assert password not in json.dumps(settings, default=str)
    events = here.aws.client("logs").filter_log_events(
        logGroupName=here.outputs["LogGroupName"], filterPattern='"the password is"'
    )["events"]
    assert events
    assert all("the password is ***" in event["message"] for event in events)
    role = here.outputs["FunctionRoleArn"]
    assert role == settings["Role"]


def test_an_image_that_does_not_exist_is_rolled_back(here: Environment) -> None:
    """The deploy fails with the image's name, and the function is unchanged."""
    function = here.outputs["FunctionName"]
    client = here.aws.client("lambda")

    def now() -> tuple[Any, ...]:
        alias = client.get_alias(FunctionName=function, Name=here.outputs["FunctionAlias"])
        code = client.get_function(FunctionName=function)["Code"]
        return alias["FunctionVersion"], code["ImageUri"]

    before, left = now(), here.deployed()
    repository = before[1].partition("@")[0].rpartition(":")[0] or before[1].partition("@")[0]
    with pytest.raises(ProcessError, match=NO_IMAGE):
        redeploy(here, image={"uri": f"{repository}@{NO_IMAGE}"})
    status = here.aws.client("cloudformation").describe_stacks(
        StackName="airflow-lambda-local-execution"
    )["Stacks"][0]["StackStatus"]
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert (now(), here.deployed()) == (before, left)
