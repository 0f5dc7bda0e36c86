"""Snapshots on the embedded AWS: how a version is published, and what its environments share."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from local_aws.lambda_service import restored_environment
from local_aws.lambda_service.credentials import Credentials
from local_aws.lambda_service.environment_log import EnvironmentLog
from local_aws.lambda_service.model import FunctionVersion
from local_aws.lambda_service.restored_environment import SnapStartError, init_limit_s
from local_aws.lambda_service.snapshots import Parts, Snapshots
from local_aws.sandbox import bubblewrap
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand
from local_aws.sandbox.snapshot import Snapshot
from tests.support.local_aws import (
    SERVER_PYTHON,
    Function,
    Server,
    client,
    eventually,
    wait_for_exit,
)

BARE = FunctionVersion(
    *("000000000000", "us-east-1", "f", "1", "r", "image", "role"),
    timeout_s=1,
    memory_mb=512,
    tmp_mb=512,
    variables={},
    log_group="g",
    log_format="Text",
)
HANDLER = "local_aws_snapshot_handlers.handle"
ON = {"ApplyOn": "PublishedVersions"}


@pytest.fixture(params=["local_aws", "strict_aws"])
def server(request: pytest.FixtureRequest) -> Server:
    """A server that copies runtimes, if this machine can, and one that does not."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def copying(local_aws: Server) -> Server:
    """A server that copies runtimes."""
    if "walls by" not in (local_aws.state_dir / "local-aws.log").read_text():
        pytest.skip("bubblewrap does not work here: every environment has its own init phase")
    return local_aws


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, local_aws: Server) -> Iterator[Server]:
    """A server with little time for a restore."""
    assert local_aws.process.poll() is None
    made = Server(tmp_path_factory.mktemp("hasty"), "--restore-timeout", "2")
    yield made
    assert made.stop() == 0


def function_of(server: Server, variables: dict[str, str] | None = None, **more: Any) -> Function:
    """A function with snapshots."""
    environment = {"Variables": variables or {}}
    return server.function(HANDLER, SnapStart=ON, Environment=environment, **more)


def state_of(function: Function) -> dict[str, Any]:
    """The configuration of version 1."""
    found: dict[str, Any] = function.client.get_function_configuration(
        FunctionName=function.name, Qualifier="1"
    )
    return found


def publish(function: Function) -> dict[str, Any]:
    """Publish version 1 and wait for its snapshot; return its configuration."""
    function.client.publish_version(FunctionName=function.name)

    def settled() -> dict[str, Any] | None:
        found = state_of(function)
        return None if found["State"] == "Pending" else found

    return eventually(settled)


def published(server: Server, variables: dict[str, str] | None = None, **more: Any) -> Function:
    """A function with an active version 1."""
    function = function_of(server, variables, **more)
    assert publish(function)["State"] == "Active"
    return function


def invoke(function: Function, event: Any = None) -> dict[str, Any]:
    """Invoke version 1 and return what its handler returned."""
    answer = function.invoke(event, Qualifier="1")
    assert "FunctionError" not in answer, answer
    found: dict[str, Any] = answer["Payload"]
    return found


def at_once(function: Function, folder: Path, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Invoke version 1 with all events, each in its own environment."""
    gate = folder / "gate"
    with ThreadPoolExecutor() as threads:
        answers = []
        for number, event in enumerate(events):
            entered = folder / f"entered-{number}"
            step = {**event, "enter": str(entered), "wait_for": str(gate)}
            answers.append(threads.submit(invoke, function, step))
            eventually(lambda entered=entered: entered.exists() or None)  # type: ignore[misc]
        gate.touch()
        return [answer.result() for answer in answers]


def messages(function: Function, word: str) -> list[str]:
    """The messages of its log that begin with a word."""
    return [message for _, message in function.log_lines() if message.startswith(word)]


def children(pid: int) -> list[str]:
    """The states of a process's children, each a letter; `Z`: ended and not collected."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid:
                found.append(state)
    return found


def refused(function: Function) -> tuple[str, str]:
    """Name and message of the error with which an invocation is refused."""
    with pytest.raises(ClientError) as caught:
        function.invoke(Qualifier="1")
    error = caught.value.response["Error"]
    return error["Code"], error.get("Message", "")


def test_environments_share_their_past(copying: Server, tmp_path: Path) -> None:
    """What the init phase made is the same in all, also the state of `random` and the pid."""
    first, second = at_once(published(copying), tmp_path, {}, {})
    for name in ("born", "random", "file"):
        assert first[name] == second[name]
    assert first["same_pid"]
    assert second["same_pid"]
    assert first["hooks"] == second["hooks"] == ["BEFORE", "AFTER"]


def test_environments_share_nothing_else(copying: Server, tmp_path: Path) -> None:
    """Each has its own randomness, credentials, Runtime API, output and log stream.

    A client that was made in the init phase remembers the address of its credentials there.
    """
    function = published(copying)
    first, second = at_once(function, tmp_path, {"print": "the first"}, {"print": "the second"})
    for name in ("urandom", "tls", "output"):
        assert first[name] != second[name]
    for name in ("AWS_LAMBDA_RUNTIME_API", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        assert first["environment"][name] != second["environment"][name]
    for found in ("credentials", "credentials_by_the_former_address"):
        for name in ("AccessKeyId", "SecretAccessKey", "Token"):
            assert first[found][name] != second[found][name]
    stream = {message: stream for stream, message in function.log_lines()}
    streams = {stream[text] for text in ("the first", "the second", "the init phase prints")}
    assert len(streams) == 3


def test_connections_do_not_survive_but_files_and_pipes_do(copying: Server, tmp_path: Path) -> None:
    """Each environment writes its own copy of an open file; a socket's other end is gone.

    So it is with files that have no name: a deleted one, and one of memory.
    """
    for answer in at_once(published(copying), tmp_path, {}, {}):
        assert answer["sent"] == "BrokenPipeError"
        assert answer["notes"] == ["of the init phase\nof an environment\n"] * 3
        assert answer["again"] == "of the init phase\nof an environment\n"
        assert answer["passed_on"] == "sent"


def test_a_restore_opens_nothing(copying: Server) -> None:
    """An environment has the descriptors of the init phase, but for the way to the emulator."""
    found = invoke(published(copying))["open_files"]
    assert set(found["AFTER"]) <= set(found["BEFORE"])


def test_an_environment_has_its_own_tmp(copying: Server, tmp_path: Path) -> None:
    """/tmp begins as the init phase left it, as large as configured, and is shared with nobody."""
    first, second = at_once(published(copying), tmp_path, {"write": "mine"}, {})
    assert {"mine", "of-the-init-phase"} <= set(first["temporary"])
    assert "mine" not in second["temporary"]
    assert first["file"] == first["born"]


def test_an_environment_is_behind_walls(copying: Server) -> None:
    """As elsewhere: no capabilities, and no process of another environment or of the snapshot."""
    answer = invoke(published(copying))
    assert re.search(r"^CapEff:\t0+$", answer["status"], re.MULTILINE)
    assert re.search(r"^PPid:\t1$", answer["status"], re.MULTILINE)
    assert len(answer["processes"]) == 2


def test_the_environment_holds_what_lambda_gives_and_no_more(server: Server) -> None:
    """Neither keys nor the log stream are in the variables; a child has the same ones."""
    function = published(server, {"OURS": "1"})
    answer = invoke(function)
    environment = answer["environment"]
    assert environment["OURS"] == "1"
    assert environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"
    for name in (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"),
    ):
        assert name not in environment
    address = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    assert address == f"http://{environment['AWS_LAMBDA_RUNTIME_API']}/2021-04-23/credentials"
    assert address in answer["environment_of_a_child"]
    on_demand = function.invoke()["Payload"]
    assert on_demand["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"


def test_the_init_phase_sees_no_trace_of_the_copying(copying: Server) -> None:
    """Variables, modules and import path are as in a runtime that is not copied."""
    function = published(copying)
    restored = invoke(function)
    assert not [name for name in restored["of_the_init_phase"] if "LOCAL_AWS" in name]
    assert "PYTHONPATH" not in restored["of_the_init_phase"]
    assert not [path for path in restored["path"] if "local_aws/src" in path]
    assert not {"sitecustomize", "runtime_copy", "copied_files", "init"} & set(restored["modules"])


def test_credentials_are_those_of_the_role(server: Server) -> None:
    """They are a session of the function's role, for whoever has the token."""
    function = published(server)
    answer = invoke(function)
    found = answer["credentials"]
    identity = client(
        "sts", server.url, found["AccessKeyId"], found["SecretAccessKey"], found["Token"]
    ).get_caller_identity()
    assert identity["Arn"].endswith(f":assumed-role/{function.name}/{function.name}")
    address = answer["environment"]["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    wrong = urllib.request.Request(address, headers={"Authorization": "wrong"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(wrong, timeout=5)
    with caught.value as answer_to_it:
        assert answer_to_it.status == 404


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"kill": signal.SIGKILL}, "signal: killed"),
        ({"allocate_mb": 600}, "signal: killed"),
        ({"sleep_s": 60}, "Task timed out after 3.00 seconds"),
    ],
)
def test_one_environment_fails_alone(
    copying: Server, tmp_path: Path, event: dict[str, Any], message: str
) -> None:
    """The others and the snapshot live on, and its next runtime is restored, not initialised."""
    attempts = tmp_path / "attempts"
    timeout_s = 3 if "sleep_s" in event else 60
    function = published(copying, {"ATTEMPTS": str(attempts)}, Timeout=timeout_s, MemorySize=128)
    with ThreadPoolExecutor() as threads:
        step = {"enter": str(tmp_path / "entered"), "wait_for": str(tmp_path / "gate")}
        other = threads.submit(function.invoke, step, Qualifier="1")
        eventually(lambda: (tmp_path / "entered").exists() or None)
        answer = function.invoke(event, Qualifier="1")
        (tmp_path / "gate").touch()
        assert answer["FunctionError"] == "Unhandled"
        assert answer["Payload"]["errorMessage"].endswith(message)
        if "sleep_s" not in event:  # else the other one has timed out, too
            assert other.result()["Payload"]["born"] == invoke(function)["born"]
    first, second = at_once(function, tmp_path, {}, {})
    assert first["born"] == second["born"]
    assert attempts.read_text().count("begun") == 1


def test_the_log_has_the_restore(server: Server) -> None:
    """REPORT has the restore of the first invocation; INIT_REPORT is in the log at publication."""
    function = published(server)
    (init,) = messages(function, "INIT_REPORT")
    assert re.fullmatch(r"INIT_REPORT Init Duration: \d+\.\d\d ms", init)
    invoke(function)
    invoke(function)
    first, second = messages(function, "REPORT")
    found = re.search(
        r"\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\t.*"
        r"\tRestore Duration: ([\d.]+) ms\tBilled Restore Duration: (\d+) ms$",
        first,
    )
    assert found, first
    duration_ms, billed_ms, restore_ms, billed_restore_ms = map(float, found.groups())
    assert billed_restore_ms <= restore_ms + 1
    assert duration_ms + billed_restore_ms - 2 <= billed_ms <= duration_ms + billed_restore_ms + 2
    assert "Restore" not in second
    assert "Init Duration" not in first + second


@pytest.mark.parametrize(
    ("before", "reason"),
    [("raise", "ValueError: no BEFORE today"), ("exit", "exit status 7")],
)
def test_a_failing_hook_fails_the_version(server: Server, before: str, reason: str) -> None:
    """A version whose init phase or hook fails is `Failed`, with the reason, and runs nothing."""
    function = function_of(server, {"BEFORE": before})
    found = publish(function)
    assert (found["State"], found["StateReasonCode"]) == (
        "Failed",
        "FunctionError.RuntimeInitError",
    )
    assert reason in found["StateReason"]
    assert refused(function)[0] == "ResourceConflictException"
    (report,) = messages(function, "INIT_REPORT")
    assert "\tPhase: init\tStatus: error\tError Type: " in report


def test_a_pending_version_runs_nothing(server: Server) -> None:
    """While the snapshot is being made, every invocation answers ResourceConflictException."""
    function = function_of(server, {"BEFORE": "slow"})
    answer = function.client.publish_version(FunctionName=function.name)
    assert (answer["State"], answer["StateReasonCode"]) == ("Pending", "Creating")
    code, message = refused(function)
    assert (code, "Pending" in message) == ("ResourceConflictException", True)
    with pytest.raises(function.client.exceptions.ResourceConflictException):
        function.invoke_async(Qualifier="1")
    assert state_of(function)["SnapStart"]["OptimizationStatus"] == "On"


def test_a_failing_restore_is_the_invocations_error(server: Server) -> None:
    """A hook that raises after the restore ends the invocation and the environment."""
    function = published(server, {"AFTER": "raise"})
    code, message = refused(function)
    assert code == "SnapStartException"
    assert "no AFTER today" in message
    (report,) = messages(function, "RESTORE_REPORT")
    assert re.search(r"ms\tStatus: error\tError Type: Runtime\.ExitError$", report)
    assert refused(function)[0] == code
    streams = {stream for stream, text in function.log_lines() if text.startswith("RESTORE_REPORT")}
    assert len(streams) == 2


def test_a_slow_restore_times_out(hasty: Server) -> None:
    """Restore and hooks have the time of `--restore-timeout`."""
    function = published(hasty, {"AFTER": "slow"})
    code, message = refused(function)
    assert code == "SnapStartTimeoutException"
    assert "2 seconds" in message
    (report,) = messages(function, "RESTORE_REPORT")
    assert report.endswith("ms\tStatus: timeout")


def test_an_event_whose_restore_fails_is_retried_and_given_up(local_aws: Server) -> None:
    """The dead letter has the reason."""
    dead_letters = local_aws.queue()
    function = published(
        local_aws, {"AFTER": "raise"}, DeadLetterConfig={"TargetArn": dead_letters.arn}
    )
    function.client.put_function_event_invoke_config(
        FunctionName=function.name, Qualifier="1", MaximumRetryAttempts=1
    )
    function.invoke_async(Qualifier="1")
    assert "no AFTER today" in dead_letters.receive()["ErrorMessage"]
    assert len(messages(function, "RESTORE_REPORT")) == 2


def test_a_lost_snapshot_is_made_anew(copying: Server, tmp_path: Path) -> None:
    """The version is `Inactive` as long as that fails, and then `Active` again."""
    attempts = tmp_path / "attempts"
    function = published(copying, {"ATTEMPTS": str(attempts)})
    (snapshot,) = function.processes()
    os.kill(snapshot, signal.SIGKILL)
    wait_for_exit([snapshot])
    (tmp_path / "broken").touch()
    code, message = refused(function)
    assert code == "SnapStartNotReadyException"
    assert "no init today" in message
    assert state_of(function)["State"] == "Inactive"
    assert "no init today" in state_of(function)["StateReason"]
    (tmp_path / "broken").unlink()
    assert invoke(function)["hooks"] == ["BEFORE", "AFTER"]
    assert state_of(function)["State"] == "Active"


def test_without_walls_every_environment_has_its_own_init_phase(
    strict_aws: Server, tmp_path: Path
) -> None:
    """The Runtime API's protocol is the same, but nothing is shared."""
    first, second = at_once(published(strict_aws), tmp_path, {}, {})
    assert first["born"] != second["born"]
    assert first["hooks"] == second["hooks"] == ["BEFORE", "AFTER"]


def test_a_runtime_that_knows_no_snapshots_fails_the_version(local_aws: Server) -> None:
    """It asks for an invocation without waiting to be restored."""
    code = (
        "import os, urllib.request as r; "
        "r.urlopen('http://' + os.environ['AWS_LAMBDA_RUNTIME_API']"
        " + '/2018-06-01/runtime/invocation/next')"
    )
    image = local_aws.image("-", command=["python3", "-c", code, "handler"])
    function = function_of(local_aws, Code={"ImageUri": image})
    found = publish(function)
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "InvalidImage")
    assert "awslambdaric" in found["StateReason"]
    (report,) = messages(function, "INIT_REPORT")
    assert report.endswith("\tPhase: init\tStatus: error\tError Type: Runtime.Unknown")


def test_a_runtime_that_cannot_be_copied_is_initialised_in_every_environment(
    copying: Server, tmp_path: Path
) -> None:
    """An isolated Python ignores `PYTHONPATH`, by which the copying comes in."""
    support = Path(__file__).parents[3] / "tests/support"
    start = f"import sys; sys.path.insert(0, {str(support)!r}); "
    start += "from awslambdaric.__main__ import main; main(['', sys.argv[1]])"
    python = str(support.parents[1] / "build/venv/image/bin/python")
    image = copying.image("-", command=[python, "-I", "-c", start, HANDLER])
    first, second = at_once(published(copying, Code={"ImageUri": image}), tmp_path, {}, {})
    assert first["born"] != second["born"]


def test_an_environment_is_frozen_between_invocations(copying: Server) -> None:
    """Its runtime stops; the snapshot need not."""
    function = published(copying)
    invoke(function)
    eventually(lambda: function.states().count("T") == 1 or None)
    assert len(messages(function, "RESTORE_REPORT")) == 1
    invoke(function)
    assert len(messages(function, "RESTORE_REPORT")) == 1


def test_an_environment_that_has_ended_leaves_no_process(copying: Server) -> None:
    """The snapshot collects the first process of it before it is copied again."""
    function = published(copying, {"AFTER": "raise"})
    (snapshot,) = function.processes()
    refused(function)
    eventually(lambda: not children(snapshot) or None)


def test_a_deleted_version_leaves_no_process(copying: Server) -> None:
    """Its environments end, and then its snapshot."""
    function = published(copying)
    invoke(function)
    processes = function.processes()
    assert len(processes) >= 2
    function.client.delete_function(FunctionName=function.name, Qualifier="1")
    wait_for_exit(processes)


def test_a_version_that_is_deleted_while_it_is_pending_leaves_no_process(server: Server) -> None:
    """Its init phase ends."""
    function = function_of(server, {"BEFORE": "slow"})
    function.client.publish_version(FunctionName=function.name)
    processes = eventually(lambda: function.processes() or None)
    function.client.delete_function(FunctionName=function.name)
    wait_for_exit(processes)


def test_a_version_without_an_image_fails(local_aws: Server) -> None:
    """Whatever prevents the init phase is the version's reason."""
    function = function_of(local_aws)
    code = function.client.get_function(FunctionName=function.name)["Code"]["ResolvedImageUri"]
    name = code.partition("/")[2]
    (local_aws.state_dir / "images/names" / quote(name, safe="")).unlink()
    found = publish(function)
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "InternalError")
    assert f"there is no image {name}" in found["StateReason"]


class Versions:
    """Snapshots of a program, without a server and without walls."""

    def __init__(self, code: str) -> None:
        self._command = RuntimeCommand([sys.executable, "-c", code], Path.cwd(), {}, 512, 512)
        self.logged: list[str] = []
        self.changes: list[tuple[str, ...]] = []
        self.snapshots = Snapshots(
            Confinement("", None),
            self._parts,
            lambda _version, *change: self.changes.append(change),
            10,
        )

    def append(self, lines: list[tuple[int, str]]) -> None:
        """Take lines of the log stream."""
        self.logged.extend(line for _, line in lines)

    def _parts(self, function: FunctionVersion, token: str) -> Parts:
        return Parts(self._command, EnvironmentLog(function, self), Credentials(token, dict))


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "raise SystemExit(3)"])
def test_an_init_phase_has_a_limit(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 130 seconds, or the function's time-out if that is more; here it is cut short."""
    assert init_limit_s(900) == 900
    assert init_limit_s(3) == 130
    limited = "sleep" in code
    if limited:
        monkeypatch.setattr(restored_environment, "_INIT_S", 2.0)
    versions = Versions(code)
    versions.snapshots.publish(BARE)
    versions.snapshots.close()
    ((state, reason, reason_code),) = versions.changes
    assert state == "Failed"
    if limited:
        assert reason_code == "FunctionError.InitTimeout"
        assert reason == "the init phase took more than 2 seconds"
        assert versions.logged[-1].endswith("Status: timeout\tError Type: Sandbox.Timedout")
    else:
        assert reason_code == "FunctionError.RuntimeInitError"
        assert reason.endswith("exit status 3")


def test_the_init_phase_of_an_environment_has_the_same_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be copied, the invocation's error says that it took too long."""
    slow = tmp_path / "slow"
    versions = Versions(
        "import os, time, urllib.request as r; "
        f"time.sleep(60 * os.path.exists({str(slow)!r})); "
        "r.urlopen('http://' + os.environ['AWS_LAMBDA_RUNTIME_API']"
        " + '/2018-06-01/runtime/restore/next')"
    )
    versions.snapshots.publish(BARE)
    assert versions.changes == [("Active", "", "")]
    slow.touch()
    monkeypatch.setattr(restored_environment, "_INIT_S", 2.0)
    environment = versions.snapshots.restore(BARE)
    with pytest.raises(SnapStartError, match=r"took more than 2 seconds$"):
        environment.initialize(10)
    assert not environment.alive
    versions.snapshots.close()


def test_a_snapshot_that_ends_is_not_restored_and_leaves_nothing_open() -> None:
    """Whoever wants to restore it makes it anew, although its processes may not be gone yet."""
    program = bubblewrap.find()
    if not program or bubblewrap.failure_reason(program):
        pytest.skip("bubblewrap does not work here: nothing is copied")
    before = set(Path("/proc/self/fd").iterdir())
    command = RuntimeCommand(
        [sys.executable, "-c", "import time; time.sleep(60)"], Path.cwd(), {}, 512, 512
    )
    snapshot = Snapshot(command, Confinement(program, None))
    snapshot.start({}, lambda: None, lambda: None)
    assert snapshot.alive
    snapshot.end()
    assert not snapshot.alive
    snapshot.sandbox.end()
    snapshot.sandbox.output.close()
    eventually(lambda: set(Path("/proc/self/fd").iterdir()) == before or None)


def test_cloudformation_does_not_wait_for_ever() -> None:
    """A version that stays pending beyond all limits is a reason to fail."""
    code = """
import local_aws.lambda_service.restored_environment as limits
from local_aws.fixes.cloudformation import snap_start
limits._INIT_S, snap_start._MARGIN_S = 0.25, 0.25
pending = {"config": {"State": "Pending"}}
snap_start.lambda_svc._functions["f"] = {"versions": {"1": pending}}
print(snap_start._failure("arn:aws:lambda:us-east-1:000000000000:function:f:1"))
"""
    answer = subprocess.run(
        [str(SERVER_PYTHON), "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout == "it is still pending after 0.5 seconds: look into local-aws.log\n"


def test_a_killed_server_leaves_no_process(copying: Server, tmp_path: Path) -> None:
    """Snapshots and environments end by themselves when the server is killed."""
    assert copying.process.poll() is None
    server = Server(tmp_path / "state")
    try:
        function = published(server)
        invoke(function)
        processes = function.processes()
    finally:
        server.stop(signal.SIGKILL)
    wait_for_exit(processes)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"EphemeralStorage": {"Size": 1024}}, "512 MB"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "tenant isolation"),
        ({"FileSystemConfigs": [{"Arn": "a", "LocalMountPath": "/mnt/a"}]}, "file system"),
    ],
)
def test_what_does_not_go_with_snapshots_is_refused(
    local_aws: Server, more: dict[str, Any], reason: str
) -> None:
    """CreateFunction and UpdateFunctionConfiguration refuse it, with the reason."""
    with pytest.raises(ClientError, match=reason) as caught:
        local_aws.function(HANDLER, SnapStart=ON, **more)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
    function = local_aws.function(HANDLER, **more)
    with pytest.raises(ClientError, match=reason):
        function.client.update_function_configuration(FunctionName=function.name, SnapStart=ON)


def test_provisioned_concurrency_does_not_go_with_snapshots(local_aws: Server) -> None:
    """Neither for the version nor for an alias of it."""
    function = published(local_aws)
    name = {"FunctionName": function.name}
    function.client.create_alias(**name, Name="live", FunctionVersion="1")
    for qualifier in ("1", "live"):
        with pytest.raises(ClientError, match="SnapStart"):
            function.client.put_provisioned_concurrency_config(
                **name, Qualifier=qualifier, ProvisionedConcurrentExecutions=1
            )
