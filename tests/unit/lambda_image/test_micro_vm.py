"""What `/run` gives a MicroVM, and what is new in each MicroVM of one snapshot."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.micro_vm import RunPayload
from lambda_image import host
from lambda_image.deadline import Margins
from lambda_image.micro_vm import Run

PAYLOAD = RunPayload({"task_key": "k"}, 600)


def test_a_run_is_read() -> None:
    """The MicroVM's id is the request's, and its time begins when the hook came."""
    body = json.dumps({"microvmId": "m-1", "runHookPayload": PAYLOAD.encode(), "more": 1}).encode()
    run = Run.decode(body, 100.0)
    assert (run.micro_vm_id, run.payload) == ("m-1", PAYLOAD)
    assert run.context.aws_request_id == "m-1"
    assert (run.context.ends_at_s, run.context.log_stream_name) == (700.0, None)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"[]",
        b"[" * 100_000,
        json.dumps({"microvmId": 1, "runHookPayload": PAYLOAD.encode()}).encode(),
        json.dumps({"microvmId": "", "runHookPayload": PAYLOAD.encode()}).encode(),
        json.dumps({"microvmId": "m", "runHookPayload": {"event": {}, "timeout_s": 1}}).encode(),
        json.dumps({"microvmId": "m", "runHookPayload": '{"event": [], "timeout_s": 1}'}).encode(),
        json.dumps({"microvmId": "m", "runHookPayload": '{"event": {}}'}).encode(),
    ],
)
def test_anything_else_is_refused(body: bytes) -> None:
    """As one kind of error."""
    with pytest.raises(DecodeError, match=r"/run"):
        Run.decode(body, 0.0)


def test_the_remedy_for_a_short_time_is_the_targets_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option of a function or a job has that name."""
    monkeypatch.setattr(host, "_name", "MicroVM")
    assert Margins(None, None).deadline(600, 0).stop_reason == (
        "stopped 20 s before the end of the MicroVM's time-out, which left 600.0 s for it: raise "
        "maximumDurationInSeconds of the target (AWS's limit is 28800 s), or give the task less to "
        "do. For a target with more time, set the task's execution_timeout or queue, or "
        "{'lambda_executor': {'on_deadline': 'next_target'}} as its executor_config"
    )


def said_in_a_micro_vm(program: str) -> list[str]:
    """What a program prints that has a snapshot to take in a MicroVM."""
    begin = """
import os, random
from lambda_image import host
host.become("MicroVM")
from lambda_image.logs import log_output
from lambda_image.machine import environment, snapshot
taken = snapshot.Snapshot()
"""
    done = subprocess.run(
        [sys.executable, "-c", begin + program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_each_micro_vm_of_a_snapshot_is_another_one() -> None:
    """Numbers, name and credentials are those of no other."""
    said = said_in_a_micro_vm("""
taken.take()
of_snapshot, name = random.getstate(), environment.hostname()
os.environ["AWS_SECRET_ACCESS_KEY"] = "the-key-of-this-copy"
log_output.install()
taken.restore()
print(random.getstate() != of_snapshot, environment.hostname() != name, taken.restore_ms() > 0)
print("the-key-of-this-copy")
""")
    assert [json.loads(line)["event"] for line in said] == ["True True True", "***"]


def test_the_hooks_of_libraries_are_inside_of_ours() -> None:
    """As Lambda's runtime orders those of a function."""
    said = said_in_a_micro_vm("""
import sys, types
taken.surround(lambda: print("ours before"), lambda: print("ours after"))
sys.modules["snapshot_restore_py"] = types.SimpleNamespace(
    get_before_snapshot=lambda: [(print, (each, "before"), {}) for each in ("first", "second")],
    get_after_restore=lambda: [(print, (each, "after"), {"end": "!\\n"}) for each in "ab"],
)
taken.take()
taken.restore()
""")
    assert said == [
        *("second before", "first before", "ours before"),
        *("ours after", "a after!", "b after!"),
    ]


def test_without_lambdas_module_there_are_no_hooks_of_libraries() -> None:
    """An image on another base need not have it."""
    assert said_in_a_micro_vm("taken.take(), taken.restore()") == []
