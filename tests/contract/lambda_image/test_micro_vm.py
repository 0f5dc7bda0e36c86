"""A MicroVM's process, with Airflow's real task runtime, from the image's build to its end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_executor.contract.dag_manifest import bundle_config
from lambda_executor.contract.micro_vm import RunPayload
from lambda_executor.contract.wire import Outcome, micro_vm_key, payload_key
from lambda_image.machine.stop_request import REASON_OF_MICRO_VM
from tests.support.handler_process import ROOT, TOKEN, task
from tests.support.job_process import CREDENTIALS, ID
from tests.support.killable import KILLABLE
from tests.support.micro_vm_process import (
    MICRO_VM_ID,
    Builder,
    MicroVm,
    builder_of,
    metadata_variables,
    run_body,
)
from tests.support.minors import python_of
from tests.support.snapshot import IMAGE

GRACE_S = 6.0

DAGS = f"""
import signal, time
from airflow.sdk import BaseOperator, dag, task
{KILLABLE}
@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task")
    @task
    def blocks_signals():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {{signal.SIGKILL}})
        print("executing")
        time.sleep(60)
    @task
    def says_its_credentials():
        import boto3
        print("they are", boto3.session.Session().get_credentials().get_frozen_credentials())
    for each in (says, blocks_signals, says_its_credentials):
        each()
    Killable(task_id="is_killable")

handled()
"""

#: A module that a DAG file imports, and that is loaded in the preparation.
WAITS = """
import pathlib, time
while not pathlib.Path("go on").exists():
    time.sleep(0.02)
"""

#: Registers hooks on import that say when they run.
SAYS_HOOKS = """
import snapshot_restore_py
snapshot_restore_py.register_before_snapshot(print, "hook: before", flush=True)
snapshot_restore_py.register_after_restore(print, "hook: after", flush=True)
"""

#: Registers a hook on import, as a library that knows SnapStart does.
HOOKED = """
import snapshot_restore_py
@snapshot_restore_py.register_{when}
def hook():
    raise ValueError("no disk for the cache")
"""


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    """Where MicroVMs come from."""
    with builder_of(tmp_path, DAGS) as builder:
        yield builder


def with_module(builder: Builder, name: str, text: str) -> dict[str, str]:
    """The variables with which the DAG file's imports find one more installed module."""
    place = builder.folder / "packages"
    place.mkdir()
    (place / f"{name}.py").write_text(text)
    hooks = next(IMAGE.glob("lib/python*/site-packages/snapshot_restore_py.py"), None)
    if hooks is not None:
        (place / hooks.name).symlink_to(hooks)
    (builder.folder / "dags" / "handled.py").write_text(f"import {name}\n{DAGS}")
    return {"PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}:{place}"}


def executing(micro_vm: MicroVm, task_id: str) -> MicroVm:
    """The MicroVM with a task that is executing."""
    micro_vm.start(task(task_id))
    micro_vm.wait_until(lambda: "executing" in micro_vm.log())
    return micro_vm


def test_a_task_runs_and_its_end_is_reported(builder: Builder) -> None:
    """The Execution API hears of the success, the queue of the end; then the MicroVM ends."""
    micro_vm = builder.build()
    result = micro_vm.run(task("says"))
    assert (result.id, result.outcome, result.return_code) == (ID, Outcome.COMPLETED, 0)
    assert (result.reason, result.task_state, result.cold) == ("", "success", True)
    assert (result.request_id, result.log_stream) == (MICRO_VM_ID, None)
    assert (result.init_ms, result.restore_ms is None) == (None, False)
    assert builder.server.told_states() == ["success"]
    assert builder.server.payloads == {}
    start = next(body for _, path, body in builder.server.calls if path.endswith("/run"))
    assert start["hostname"] == MICRO_VM_ID
    (settled,) = [line for line in micro_vm.lines() if line["event"] == "invocation settled"]
    assert (settled["request_id"], settled["task_id"]) == (MICRO_VM_ID, "says")
    assert "said by the task" in micro_vm.task_log()
    assert TOKEN not in micro_vm.log()
    assert list(micro_vm.temporary.iterdir()) == []  # Its private folders are gone.


def test_every_airflow_is_prepared_validated_and_run(builder: Builder, minor: str) -> None:
    """Ready, it is one thread without a child, which is what a snapshot keeps best."""
    micro_vm = builder.build(python=python_of(minor))
    micro_vm.prepare()
    assert micro_vm.threads_and_children() == (1, 0)
    assert micro_vm.post("validate") == (200, "")
    assert micro_vm.threads_and_children() == (1, 0)
    assert builder.server.calls == []  # No API server hears of the rehearsals.
    result = micro_vm.run(task("says"))
    assert (result.outcome, result.task_state) == (Outcome.COMPLETED, "success")
    log = micro_vm.log()
    assert "no rehearsal" not in log
    assert log.count("Done. Returned value was: None") == 3, log  # Two rehearsals, and the task.


def test_until_it_is_prepared_it_is_to_be_asked_again(builder: Builder) -> None:
    """No hook is refused: AWS would take the build for failed."""
    micro_vm = builder.build(variables=with_module(builder, "waits", WAITS))
    for hook in ("ready", "validate", "run"):
        status, reason = micro_vm.asked_until_it_answers(hook)
        assert (status, reason) == (503, "this MicroVM prepares itself")
    (builder.folder / "go on").touch()
    micro_vm.prepare()
    assert "DAG imports not" not in micro_vm.log()


def test_an_image_is_built_without_a_network_and_without_credentials(builder: Builder) -> None:
    """The first request of a MicroVM is for its workload."""
    bundles = json.dumps([bundle_config("s3://dags/of-the-stage")])
    in_s3 = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": bundles}
    micro_vm = builder.build(variables=metadata_variables(builder.server) | in_s3)
    micro_vm.prepare()
    assert micro_vm.post("validate")[0] == 200
    assert builder.server.asked == []


def test_the_role_comes_from_the_metadata_and_is_in_no_log(builder: Builder) -> None:
    """Both for the MicroVM's own process and for the task's."""
    micro_vm = builder.build(variables=metadata_variables(builder.server))
    assert micro_vm.run(task("says_its_credentials")).task_state == "success"
    (said,) = [line for line in micro_vm.task_log() if line.startswith("they are")]
    assert CREDENTIALS["AccessKeyId"] in said
    for log in (micro_vm.log(), said):
        assert CREDENTIALS["SecretAccessKey"] not in log
        assert CREDENTIALS["Token"] not in log


def test_a_task_is_stopped_before_the_micro_vms_end(builder: Builder) -> None:
    """The time is the payload's, and the margins are those of a function."""
    margins = {
        "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "10",
        "AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "4",
    }
    result = builder.build(variables=margins).run(task("is_killable"), timeout_s=15)
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, 0)
    assert result.reason.startswith("stopped 10 s before the end of the MicroVM's time-out")
    assert "maximumDurationInSeconds" in result.reason
    assert builder.server.told_states() == ["up_for_retry"]


def test_a_terminated_task_is_stopped_and_tried_again(builder: Builder) -> None:
    """The hook is answered once the result has been sent: AWS ends the MicroVM then."""
    micro_vm = executing(builder.build(), "is_killable")
    assert micro_vm.post("terminate") == (200, "")
    assert len(builder.server.results) == 1
    result = micro_vm.ended()
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, 0)
    assert result.reason == f"stopped: {REASON_OF_MICRO_VM}"
    assert (result.task_state, builder.server.told_states()) == ("up_for_retry", ["up_for_retry"])
    assert f"stopped: {REASON_OF_MICRO_VM}" in micro_vm.task_log()
    assert micro_vm.log().count('"on_kill was called"') == 1


def test_every_airflow_lets_a_terminated_task_be_tried_again(builder: Builder, minor: str) -> None:
    """Whether AWS asks by the hook or by a signal, or by both."""
    micro_vm = executing(builder.build(python=python_of(minor)), "is_killable")
    micro_vm.terminate_by_signal()
    assert micro_vm.post("terminate") == (200, "")
    assert micro_vm.ended().reason == f"stopped: {REASON_OF_MICRO_VM}"
    assert builder.server.told_states() == ["up_for_retry"]


def test_a_task_that_does_not_stop_is_killed_in_time(builder: Builder) -> None:
    """The result is there before AWS stops waiting for the hook."""
    micro_vm = executing(builder.build(grace_s=GRACE_S), "blocks_signals")
    asked_at_s = time.monotonic()
    assert micro_vm.post("terminate") == (200, "")
    assert time.monotonic() - asked_at_s < GRACE_S
    result = micro_vm.ended()
    assert (result.outcome, result.return_code) == (Outcome.DEADLINE, -9)
    assert f"killed {GRACE_S / 2:g} s after the request to stop" in result.reason
    assert builder.server.told_states() == ["up_for_retry"]


def test_a_micro_vm_that_is_terminated_before_the_task_starts_nothing(builder: Builder) -> None:
    """What was fetched meanwhile is not run any more."""
    micro_vm = builder.build()
    asked = threading.Thread(target=lambda: micro_vm.post("terminate"))

    def terminate() -> None:
        asked.start()
        time.sleep(0.5)  # The request is taken while the answer is awaited.

    builder.server.on_fetch = terminate
    result = micro_vm.run(task("says"))
    asked.join()
    assert result.outcome is Outcome.REJECTED
    assert result.reason == f"not started: {REASON_OF_MICRO_VM}"
    assert builder.server.calls == []


def test_a_micro_vm_without_a_workload_has_nothing_to_stop(builder: Builder) -> None:
    """AWS ends it after the answer."""
    micro_vm = builder.build()
    micro_vm.prepare()
    assert micro_vm.post("terminate") == (200, "")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body of /run is no JSON object"),
        (b'{"runHookPayload": "{}"}', "the body of /run has no microvmId"),
        (b'{"microvmId": "microvm-1"}', "the body of /run has no runHookPayload"),
        (run_body("what-is-secret"), "the payload of /run is not JSON"),
        (run_body('{"event": {"a": "what-is-secret"}, "timeout_s": 0}'), "has the timeout_s 0"),
    ],
)
def test_what_cannot_be_run_ends_the_micro_vm(builder: Builder, body: bytes, says: str) -> None:
    """AWS gets the reason, and the log, which quotes nothing of the payload."""
    micro_vm = builder.build()
    micro_vm.prepare()
    status, reason = micro_vm.post("run", body)
    assert (status, says in reason) == (400, True)
    assert micro_vm.wait() == 1
    assert says in micro_vm.log()
    assert "what-is-secret" not in micro_vm.log()
    assert builder.server.asked == []


def test_an_event_that_is_no_invocation_ends_the_micro_vm(builder: Builder) -> None:
    """As a job: nobody can be told, so the exit code says so."""
    micro_vm = builder.build()
    micro_vm.prepare()
    assert micro_vm.post("run", run_body(RunPayload({"a": 1}, 60).encode())) == (200, "")
    assert micro_vm.wait() == 1
    assert "without a usable task_key" in micro_vm.log()


def test_an_event_whose_refusal_was_sent_ends_the_micro_vm_as_reported(builder: Builder) -> None:
    """The executor has the result; nothing that follows says otherwise."""
    event = {"task_key": ID, "command": 1, "reply_to": f"{builder.server.url}/sqs/results"}
    micro_vm = builder.build()
    micro_vm.prepare()
    assert micro_vm.post("run", run_body(RunPayload(event, 60).encode())) == (200, "")
    assert micro_vm.ended().outcome is Outcome.REJECTED
    assert "has not reported its result" not in micro_vm.log()


def test_a_duplicate_leaves_the_id_of_the_micro_vm_that_runs(builder: Builder) -> None:
    """A scheduler that adopts the invocation can still find and terminate that one."""
    micro_vm = builder.build()
    micro_vm.prepare()
    body = micro_vm.body(task("says"))
    del builder.server.payloads[payload_key(ID)]  # The other one has taken it.
    assert micro_vm.post("run", body) == (200, "")
    assert micro_vm.ended().outcome is Outcome.DUPLICATE
    assert list(builder.server.payloads) == [micro_vm_key(ID)]


def test_a_micro_vm_runs_one_workload(builder: Builder) -> None:
    """A second one is refused, and the first one goes on."""
    micro_vm = executing(builder.build(), "is_killable")
    status, reason = micro_vm.post("run", micro_vm.body(task("says")))
    assert (status, reason) == (409, f"this MicroVM runs a workload: {MICRO_VM_ID}")
    assert builder.server.results == []
    micro_vm.post("terminate")
    assert micro_vm.ended().task_state == "up_for_retry"


def test_a_queue_that_is_gone_fails_the_micro_vm(builder: Builder) -> None:
    """AWS's word about the end, the exit code, is all that the executor gets."""
    builder.server.has_queue = False
    micro_vm = builder.build()
    micro_vm.start(task("says"))
    assert micro_vm.wait() == 1
    assert "the MicroVM has not reported its result" in micro_vm.log()


def test_an_image_that_cannot_be_prepared_is_not_built(builder: Builder) -> None:
    """The process ends, with the reason in the build's log."""
    margins = {
        "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "5",
        "AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "5",
    }
    micro_vm = builder.build(variables=margins)
    assert micro_vm.wait() == 1
    (line,) = [each for each in micro_vm.lines() if "prepare" in each["event"]]
    assert "STOP_MARGIN_S is 5" in line["reason"]


def test_a_librarys_hook_that_fails_before_the_snapshot_fails_the_build(builder: Builder) -> None:
    """Hooks of libraries that know SnapStart run here, too."""
    hooked = with_module(builder, "hooked", HOOKED.format(when="before_snapshot"))
    micro_vm = builder.build(variables=hooked)
    assert micro_vm.wait() == 1
    assert "ValueError: no disk for the cache" in micro_vm.log()


def test_a_validated_process_may_be_in_the_snapshot(builder: Builder) -> None:
    """AWS need not throw it away: what the restore has renewed and opened is gone again."""
    micro_vm = builder.build(variables=with_module(builder, "hooked", SAYS_HOOKS))
    micro_vm.prepare()
    assert micro_vm.post("validate") == (200, "")
    assert micro_vm.run(task("says")).outcome is Outcome.COMPLETED
    said = [line["event"] for line in micro_vm.lines() if line["event"].startswith("hook: ")]
    assert said == ["hook: before", "hook: after"] * 2


def test_a_librarys_hook_that_fails_after_the_restore_is_reported(builder: Builder) -> None:
    """By the validation of the image; and if a MicroVM is run all the same, by its result."""
    hooked = with_module(builder, "hooked", HOOKED.format(when="after_restore"))
    micro_vm = builder.build(variables=hooked)
    micro_vm.prepare()
    assert micro_vm.post("validate") == (500, "ValueError: no disk for the cache")
    result = micro_vm.run(task("says"))
    assert (result.outcome, result.request_id) == (Outcome.REJECTED, MICRO_VM_ID)
    assert result.reason == (
        "nothing was started: the MicroVM cannot prepare itself: ValueError: no disk for the cache"
    )
    assert builder.server.calls == []
