"""Synchronous invocations on the embedded AWS behave like Lambda's."""

from __future__ import annotations

import base64
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_aws import Server, client, eventually, wait_for_exit


def stream_of(answer: dict[str, Any]) -> str:
    """The log stream of the environment that answered."""
    return str(answer["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"])


def test_a_warm_environment_serves_the_next_invocation(local_aws: Server) -> None:
    """Two invocations one after the other run in the same process."""
    function = local_aws.function()
    first, second = function.invoke()["Payload"], function.invoke()["Payload"]
    assert (first["invocations"], second["invocations"]) == (1, 2)
    assert stream_of(first) == stream_of(second)


def test_the_handler_sees_the_request_id_of_the_response(local_aws: Server) -> None:
    """The caller, the handler and the log know an invocation by one id."""
    answer = local_aws.function().invoke()
    assert answer["Payload"]["request_id"] == answer["ResponseMetadata"]["RequestId"]


def test_the_environment_holds_what_lambda_gives_and_no_more(local_aws: Server) -> None:
    """The handler's variables are Lambda's, the function's and the image's alone."""
    function = local_aws.function(Environment={"Variables": {"OURS": "1"}}, MemorySize=256)
    environment = function.invoke()["Payload"]["environment"]
    assert environment["OURS"] == "1"
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == function.name
    assert environment["_HANDLER"] == "local_aws_handlers.handle"
    others = {name for name in environment if not name.startswith(("AWS_", "_"))}
    # LD_LIBRARY_PATH and PYTHONPATH are what awslambdaric itself adds, where it does.
    assert others <= {
        *("PATH", "LANG", "TZ", "HOME", "LAMBDA_TASK_ROOT", "OURS", "PYTHONDONTWRITEBYTECODE"),
        *("LD_LIBRARY_PATH", "PYTHONPATH", "LC_CTYPE", "PWD", "TMPDIR"),
    }


def test_the_handler_runs_as_the_execution_role(local_aws: Server) -> None:
    """The environment's credentials are a session of the function's role."""
    function = local_aws.function()
    environment = function.invoke()["Payload"]["environment"]
    identity = client(
        "sts",
        local_aws.url,
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        environment["AWS_SESSION_TOKEN"],
    ).get_caller_identity()
    assert identity["Arn"].endswith(f":assumed-role/{function.name}/{function.name}")


def test_an_unknown_function_is_not_found(local_aws: Server) -> None:
    """A name or qualifier that does not exist answers ResourceNotFoundException."""
    lambda_ = local_aws.client("lambda")
    with pytest.raises(lambda_.exceptions.ResourceNotFoundException):
        lambda_.invoke(FunctionName="nobody")
    with pytest.raises(lambda_.exceptions.ResourceNotFoundException):
        local_aws.function().invoke(Qualifier="nobody")


def test_a_dry_run_runs_nothing(local_aws: Server, tmp_path: Path) -> None:
    """`DryRun` answers 204 and does not call the handler."""
    record = tmp_path / "record"
    answer = local_aws.function().invoke({"record": str(record)}, InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert not record.exists()


def test_a_full_function_throttles(local_aws: Server, tmp_path: Path) -> None:
    """Beyond the reserved concurrency a synchronous invocation is answered with 429."""
    function, running, gate = local_aws.function(), tmp_path / "running", tmp_path / "gate"
    function.reserve(1)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(function.invoke, {"record": str(running), "wait_for": str(gate)})
        eventually(lambda: running.exists() or None)
        with pytest.raises(function.client.exceptions.TooManyRequestsException) as caught:
            function.invoke()
        gate.touch()
        assert first.result()["StatusCode"] == 200
    assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_a_time_out_kills_every_process(local_aws: Server, tmp_path: Path) -> None:
    """A time-out kills every process of the environment, even a child with its own session."""
    function, child = local_aws.function(Timeout=1), tmp_path / "child"
    answer = function.invoke({"leave_child": str(child), "sleep_s": 60})
    assert answer["FunctionError"] == "Unhandled"
    assert re.fullmatch(
        rf"\S+Z {answer['ResponseMetadata']['RequestId']} Task timed out after 1.00 seconds",
        answer["Payload"]["errorMessage"],
    )
    assert child.exists()
    assert function.processes() == []


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"exit": 3}, "exit status 3"),
        ({"kill": int(signal.SIGKILL)}, "signal: killed"),
        ({"kill": int(signal.SIGSEGV)}, "signal: segmentation fault"),
    ],
)
def test_a_crash_is_reported_and_the_environment_replaced(
    local_aws: Server, step: dict[str, int], reason: str
) -> None:
    """A runtime that ends fails its invocation with the reason; the next one starts another."""
    function = local_aws.function()
    answer = function.invoke(step)
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["Payload"] == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request_id} Error: Runtime exited with error: {reason}",
    }
    assert function.invoke()["Payload"]["invocations"] == 1


def test_a_response_that_is_too_large_discards_the_environment(local_aws: Server) -> None:
    """More than 6 MB of response is an error, and the environment is not used again."""
    function = local_aws.function()
    answer = function.invoke({"return_mb": 7})
    assert answer["Payload"]["errorType"] == "Function.ResponseSizeTooLarge"
    assert function.invoke()["Payload"]["invocations"] == 1


def test_a_handler_that_cannot_be_imported_fails_its_invocations(local_aws: Server) -> None:
    """The runtime's own init error is returned."""
    answer = local_aws.function("no_such_module.handle").invoke()
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "Runtime.ImportModuleError"


def test_an_exception_leaves_the_environment_warm(local_aws: Server) -> None:
    """A handler's exception fails the invocation and does not end the environment."""
    function = local_aws.function()
    answer = function.invoke({"raise": "no"})
    assert answer["Payload"]["errorMessage"] == "no"
    assert function.invoke()["Payload"]["invocations"] == 2


def test_a_version_keeps_its_configuration_and_pool(local_aws: Server) -> None:
    """An alias runs its version's own settings, in environments of that version alone."""
    function = local_aws.function(Environment={"Variables": {"V": "one"}})
    name = {"FunctionName": function.name}
    one = function.client.publish_version(**name)["Version"]
    function.client.create_alias(**name, Name="live", FunctionVersion=one)
    function.client.update_function_configuration(**name, Environment={"Variables": {"V": "two"}})
    live, latest = function.invoke(Qualifier="live"), function.invoke()
    assert live["ExecutedVersion"] == one
    assert live["Payload"]["environment"]["V"] == "one"
    assert live["Payload"]["arn"].endswith(f":{function.name}:live")
    assert latest["Payload"]["environment"]["V"] == "two"
    assert stream_of(live["Payload"]) != stream_of(latest["Payload"])


def test_a_changed_function_starts_afresh(local_aws: Server) -> None:
    """A change of configuration ends the warm environments made before it."""
    function = local_aws.function()
    function.invoke()
    (old,) = function.processes()
    function.client.update_function_configuration(FunctionName=function.name, Timeout=9)
    wait_for_exit([old])
    assert function.invoke()["Payload"]["invocations"] == 1


def test_a_deleted_function_leaves_no_process(local_aws: Server) -> None:
    """Deleting a function ends its warm environments."""
    function = local_aws.function()
    function.invoke()
    processes = function.processes()
    assert processes
    function.client.delete_function(FunctionName=function.name)
    wait_for_exit(processes)


def test_a_deleted_log_group_stays_deleted(local_aws: Server, tmp_path: Path) -> None:
    """An environment that outlives its function does not recreate the log group."""
    function, logs = local_aws.function(), local_aws.client("logs")
    group, running, gate = f"/aws/lambda/{function.name}", tmp_path / "running", tmp_path / "gate"
    with ThreadPoolExecutor() as threads:
        last = threads.submit(function.invoke, {"record": str(running), "wait_for": str(gate)})
        eventually(lambda: running.exists() or None)
        function.client.delete_function(FunctionName=function.name)
        logs.delete_log_group(logGroupName=group)
        gate.touch()
        assert last.result()["StatusCode"] == 200
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []


def test_the_log_stream_reads_like_lambdas(local_aws: Server) -> None:
    """The environment's stream has START, the output, END and REPORT, in this order."""
    function = local_aws.function()
    answer = function.invoke({"print": "hello\nworld"})
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = function.log_lines()
    stream = answer["Payload"]["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"]
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream)
    assert {name for name, _ in lines} == {stream}
    start, *printed, end, report = [message for _, message in lines]
    assert start == f"START RequestId: {request_id} Version: $LATEST"
    assert printed == ["hello", "world"]
    assert end == f"END RequestId: {request_id}"
    assert report.startswith(f"REPORT RequestId: {request_id}\tDuration: ")
    assert "Init Duration" in report


def test_a_json_log_has_json_platform_events(local_aws: Server) -> None:
    """With `LogFormat: JSON` the platform's lines are JSON objects, in the configured log group."""
    function = local_aws.function(LoggingConfig={"LogFormat": "JSON", "LogGroup": "/of/our/own"})
    function.invoke()
    events = local_aws.client("logs").filter_log_events(logGroupName="/of/our/own")["events"]
    assert [json.loads(event["message"])["type"] for event in events] == [
        "platform.start",
        "platform.report",
    ]


def test_the_tail_of_the_log_comes_with_the_answer(local_aws: Server) -> None:
    """`LogType: Tail` returns the end of this invocation's log."""
    answer = local_aws.function().invoke({"print": "at the end"}, LogType="Tail")
    assert "at the end" in base64.b64decode(answer["LogResult"]).decode()
