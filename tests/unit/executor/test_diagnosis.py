"""The doctor's rules, each on its own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lambda_executor.aws import EventFacts, FunctionFacts, ProbeReply, QueueFacts
from lambda_executor.contract.probe import BundleAnswer, ProbeAnswer
from lambda_executor.contract.token_lifetime import TASK_QUEUED_TIMEOUT
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_executor.core.findings import Finding, Status
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.ops.doctor import diagnosis, probe_findings
from lambda_executor.ops.doctor.dag_findings import Expected, Versions
from lambda_executor.setup.time_limits import TimeLimit

FUNCTION = FunctionFacts(
    state="Active",
    state_reason="",
    last_update="Successful",
    last_update_reason="",
    timeout_s=300,
    dead_letter_arn="arn:dead",
)
EVENTS = EventFacts(retries=0, age_s=540, destination_arn="")
QUEUE = QueueFacts("arn:dead", visible=0, hidden=0, retention_s=86400, visibility_timeout_s=120)
HERE = Expected(Versions(airflow="3.3.2", python="3.12.4"), {}, "dags", all_run_here=True)
ANSWER = ProbeAnswer("3.3.2", "3.12.4", WIRE_VERSION, "https://airflow/execution/", "", 3, 5)
LIMIT = TimeLimit(TASK_QUEUED_TIMEOUT, 600)
F = FunctionTarget("f")


def probed(**changes: object) -> dict[str, Finding]:
    """The findings for an answer with some changes."""
    answer = replace(ANSWER, **changes)  # type: ignore[arg-type] # of one field each
    reply = ProbeReply(json.dumps(answer.encode()).encode())
    return {finding.subject: finding for finding in probe_findings.probed(F, reply, HERE)}


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("Active", Status.OK),
        ("Inactive", Status.OK),
        ("Pending", Status.PROBLEM),
        ("Failed", Status.PROBLEM),
    ],
)
def test_a_function_must_be_invokable(state: str, status: Status) -> None:
    """An invocation activates an inactive function; in the other states it does not run."""
    assert diagnosis.function(F, replace(FUNCTION, state=state)).status is status


def test_a_failed_update_is_a_problem_and_one_in_progress_is_not() -> None:
    """The previous version runs on while a function is updated."""
    failed = replace(FUNCTION, last_update="Failed", last_update_reason="no image")
    assert "no image" in diagnosis.function(F, failed).detail
    assert diagnosis.function(F, failed).is_problem
    updating = diagnosis.function(F, replace(FUNCTION, last_update="InProgress"))
    assert (updating.status, "in progress" in updating.detail) == (Status.OK, True)


def test_the_earlier_limit_of_time_outs_is_named_beside_the_one_of_now() -> None:
    """Who has 900 s may want more, and learns that a Region may refuse it."""
    assert "time-out 900 s (Lambda's limit is 1800 s, in some Regions 900 s)" in (
        diagnosis.function(F, replace(FUNCTION, timeout_s=900)).detail
    )
    for seconds in (300, 1800):
        found = diagnosis.function(F, replace(FUNCTION, timeout_s=seconds))
        assert found.detail.endswith(f"time-out {seconds} s")


@pytest.mark.parametrize(
    ("snapshot", "state", "status", "fix"),
    [
        ("On", "Active", Status.OK, ""),
        ("On", "Inactive", Status.PROBLEM, "invoke the version once"),
        ("Off", "Active", Status.PROBLEM, "function_qualifier"),
    ],
)
def test_what_is_invoked_has_the_snapshot_that_it_shall_have(
    snapshot: str, state: str, status: Status, fix: str
) -> None:
    """Only published versions have one, and Lambda refuses to invoke one that is inactive."""
    found = diagnosis.snapshot(F, replace(FUNCTION, snapshot=snapshot, state=state))
    assert found.status is status
    assert fix in found.fix


#: Lambda's text when the image is an index.
INDEX = "The image manifest, config or layer media type for the source image is not supported"


@pytest.mark.parametrize(
    "facts",
    [
        replace(FUNCTION, last_update="Failed", last_update_reason=INDEX),
        replace(FUNCTION, state="Failed", state_reason=INDEX),
    ],
)
def test_an_index_instead_of_an_image_is_told_how_to_be_built(facts: FunctionFacts) -> None:
    """Lambda's text names only the media type; the fix names the options of the build."""
    assert "--platform with --provenance=false --sbom=false" in diagnosis.function(F, facts).fix


@pytest.mark.parametrize(("age_s", "is_problem"), [(540, False), (600, False), (601, True)])
def test_an_event_must_not_outlive_its_token(age_s: int, is_problem: bool) -> None:
    """The event age is at most the time for which a task may wait for its start."""
    finding = diagnosis.event_age("f", replace(EVENTS, age_s=age_s), LIMIT, "")
    assert finding.is_problem is is_problem


def test_one_route_of_dead_letters_is_enough() -> None:
    """The function's dead-letter queue or its on-failure destination must be the right queue."""

    def finding(queue_arn: str, destination_arn: str) -> Finding:
        function = replace(FUNCTION, dead_letter_arn=queue_arn)
        events = replace(EVENTS, destination_arn=destination_arn)
        return diagnosis.dead_letters("f", function, events, QUEUE, "")

    assert not finding("arn:other", "arn:dead").is_problem
    assert not finding("arn:dead", "arn:other").is_problem
    assert "go to arn:other and not to arn:dead" in finding("arn:other", "").detail
    assert "go nowhere" in finding("", "").detail


def test_a_queue_keeps_messages_longer_than_a_function_runs() -> None:
    """Otherwise the result of a long task is gone before it can be received."""
    assert not diagnosis.queue("results queue", "q", QUEUE, 900).is_problem
    assert diagnosis.queue("results queue", "q", replace(QUEUE, retention_s=900), 900).is_problem


def test_a_good_answer_is_good_throughout() -> None:
    """Equal versions and a reachable Execution API give only OK findings."""
    assert {finding.status for finding in probed().values()} == {Status.OK}


@pytest.mark.parametrize(
    ("changes", "subject", "status"),
    [
        ({"airflow": "3.3.9"}, "Airflow", Status.OK),
        ({"airflow": "3.2.2"}, "Airflow", Status.PROBLEM),
        ({"airflow": "3.30.0"}, "Airflow", Status.PROBLEM),
        ({"python": "3.11.7"}, "Python", Status.OK),
        ({"wire_version": WIRE_VERSION + 1}, "wire", Status.PROBLEM),
        ({"execution_api_error": "ConnectError"}, "Execution API", Status.PROBLEM),
        ({"execution_api_ms": 2400}, "Execution API", Status.OK),
        ({"execution_api_ms": 2600}, "Execution API", Status.PROBLEM),
    ],
)
def test_an_answer_is_compared(changes: dict[str, object], subject: str, status: Status) -> None:
    """Airflow's minor version and the wire version must match, and the API is fast enough."""
    finding = probed(**changes)[subject]
    assert finding.status is status
    assert str(next(iter(changes.values()))) in finding.detail


def test_another_airflow_in_the_image_is_mended_by_lines_to_copy() -> None:
    """The stage's setting and its deploy, and the build of an image of one's own."""
    finding = probed(airflow="3.2.2")["Airflow"]
    version = HERE.here.airflow
    assert f'"image": {{"airflow_version": "{version}"}}' in finding.fix
    assert (
        "`docker build --platform=linux/amd64 --provenance=false --sbom=false -f "
        f"lambda_image/Dockerfile --build-arg AIRFLOW_VERSION={version} "
        f"-t airflow-lambda:{version} .`"
    ) in finding.fix
    assert finding.command == "node_modules/.bin/cdk deploy --all -c stage=<stage>"


@pytest.mark.parametrize(
    ("failure", "message", "status"),
    [
        # The reference's handler, and an older one of ours.
        ("AttributeError", "'list' object has no attribute 'get'", Status.UNKNOWN),
        ("DecodeError", "not an invocation, and without a usable task_key", Status.UNKNOWN),
        # The image does not even import.
        ("Runtime.ImportModuleError", "No module named 'airflow'", Status.PROBLEM),
        ("Sandbox.Timedout", "Task timed out after 3.00 seconds", Status.PROBLEM),
    ],
)
def test_no_answer_is_unknown_unless_the_handler_was_never_reached(
    failure: str, message: str, status: Status
) -> None:
    """A handler without probes may run workloads; one that cannot start does not."""
    (finding,) = probe_findings.probed(F, ProbeReply(b"{}", failure, message), HERE)
    assert finding.status is status
    assert message in finding.detail


def test_an_answer_of_something_else_is_unknown() -> None:
    """The reference's handler returns nothing from an invocation."""
    (finding,) = probe_findings.probed(F, ProbeReply(b"null"), HERE)
    assert (finding.subject, finding.status) == ("probe", Status.UNKNOWN)


def test_a_slow_api_is_not_said_to_be_unreachable() -> None:
    """It was reached: the network is right, and the time-out is named."""
    error = "ReadTimeout: timed out"
    finding = probed(execution_api_error=error, execution_api_ms=10_000)["Execution API"]
    assert finding.is_problem
    assert "was reached and is slow: no answer within 10000 ms" in finding.detail
    assert "[workers] execution_api_timeout" in finding.detail
    assert finding.command == "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT=30"


def test_one_command_makes_all_settings_of_invocations_right() -> None:
    """`put` would remove the settings that it does not name, and `update` needs some to exist."""
    none = EventFacts(retries=2, age_s=21_600, destination_arn="", exist=False)
    live = FunctionTarget("f", "live")
    assert diagnosis.event_settings(live, none, LIMIT, "arn:dead") == (
        "aws lambda put-function-event-invoke-config --function-name f --qualifier live "
        "--maximum-retry-attempts 0 --maximum-event-age-in-seconds 600 "
        """--destination-config '{"OnFailure": {"Destination": "arn:dead"}}'"""
    )
    some = replace(none, exist=True)
    assert diagnosis.event_settings(F, some, LIMIT) == (
        "aws lambda update-function-event-invoke-config --function-name f "
        "--maximum-retry-attempts 0 --maximum-event-age-in-seconds 600"
    )


def files(answer: dict[str, BundleAnswer] | None, *, all_run_here: bool = True) -> list[Finding]:
    """The findings about DAG files of an answer."""
    dag_files = {"dags-folder": ["a.py", "b.py"], "team": ["c.py"]}
    expected = replace(HERE, dag_files=dag_files, all_run_here=all_run_here)
    reply = ProbeReply(json.dumps(replace(ANSWER, bundles=answer).encode()).encode())
    return [f for f in probe_findings.probed(F, reply, expected) if f.subject == "DAG files"]


def test_a_function_has_every_dag_file() -> None:
    """A bundle that is fetched for each task has the files of its version."""
    here = {"dags-folder": BundleAnswer("image"), "team": BundleAnswer("bundle")}
    assert [f.status for f in files(here)] == [Status.OK]


def test_missing_dag_files_come_with_the_command_that_brings_them() -> None:
    """Each source has its own: a push, a deploy, or the list of bundles."""
    pushed = BundleAnswer("s3://bucket/dags/", missing=("b.py",))
    built = BundleAnswer("image", missing=("c.py",))
    push, deploy = files({"dags-folder": pushed, "team": built})
    assert push.is_problem
    assert "1 of the 2 files of bundle 'dags-folder'" in push.detail
    assert "not in s3://bucket/dags/: b.py" in push.detail
    assert push.command == "airflow lambda-executor dags push dags s3://bucket/dags/"
    assert deploy.is_problem
    assert deploy.command.startswith("node_modules/.bin/cdk deploy")
    (unknown_bundle,) = files({"dags-folder": BundleAnswer("image")})
    assert "does not know the DAG bundle 'team'" in unknown_bundle.detail
    assert "dag_bundle_config_list" in unknown_bundle.command


def test_dags_may_run_elsewhere() -> None:
    """What other functions or executors may run is no certain problem; an old image is none."""
    missing = {"dags-folder": BundleAnswer("image", missing=("b.py",)), "team": BundleAnswer("x")}
    assert [f.status for f in files(missing, all_run_here=False)] == [Status.UNKNOWN]
    assert [f.status for f in files(None)] == [Status.UNKNOWN]


def test_files_that_cannot_be_fetched_are_a_problem() -> None:
    """No task of the function can start."""
    answer = BundleAnswer("s3://bucket/dags/", error="the DAG files could not be fetched: denied")
    assert [f.is_problem for f in files({"dags-folder": answer, "team": answer})] == [True, True]


def test_a_paused_function_is_a_problem() -> None:
    """A reserved concurrency of 0 is a pause; none, or more, is not."""
    assert diagnosis.reservation(F, 0).is_problem
    assert not diagnosis.reservation(F, 5).is_problem
    assert not diagnosis.reservation(F, None).is_problem


def test_a_pause_is_ended_by_a_command_and_not_by_a_deploy() -> None:
    """A deploy changes what differs between two templates, and a pause is in neither."""
    paused = diagnosis.reservation(F, 0)
    assert "a deploy does not" in paused.fix
    assert "put-function-concurrency" in paused.fix
    assert paused.command.startswith("aws lambda delete-function-concurrency --function-name ")
