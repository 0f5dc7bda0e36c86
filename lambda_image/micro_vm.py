"""The entry point of a MicroVM of AWS Lambda: one workload, then the end.

`python -m lambda_image.micro_vm`, which the image's own entry point runs for the command `microvm`.
AWS starts it in the build of a MicroVM image, and calls the hooks in this order:

- `/ready` in the build: 200 once this process is prepared. AWS then takes the snapshot, of which
  every MicroVM is a copy. The process has one thread and no child at that moment.
- `/validate` in the build: does what a workload does, because AWS loads ahead, in every later
  MicroVM, the pages that are touched here. It is said to run in a copy that is thrown away; in case
  the snapshot is taken of it after all, it leaves the process as `/ready` does.
- `/run` in each MicroVM: the workload and its time. It is answered at once, and the main thread
  then runs the workload. What cannot be run is answered by 400, and the MicroVM ends.
- `/terminate` while the workload runs: AWS asks it to stop, and ends the MicroVM after the answer,
  which therefore waits for the result to be sent.

`one_workload` says what the exit codes mean; AWS ends the MicroVM with its main process.
https://docs.aws.amazon.com/lambda/latest/dg/microvms-how-it-works.html
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.micro_vm import RunPayload
from lambda_executor.contract.wire import InvocationId, Outcome
from lambda_image import host, one_workload
from lambda_image.logs import invocation_log
from lambda_image.machine import stop_request
from lambda_image.machine.hook_server import ADDRESS, DONE, Answer, HookServer
from lambda_image.machine.stop_request import StopRequest

if TYPE_CHECKING:
    from lambda_image.init_phase import Parts

#: The hooks that the image of a MicroVM enables.
_HOOKS = ("ready", "validate", "run", "terminate")


@dataclass(frozen=True, slots=True)
class Run:
    """What `/run` gives a MicroVM.

    Attributes:
        micro_vm_id: Names it in AWS: nothing else tells it its name.
        payload: What the executor gave to `RunMicrovm`.
        received_at_s: When it came, on the monotonic clock.
    """

    micro_vm_id: str
    payload: RunPayload
    received_at_s: float

    @classmethod
    def decode(cls, body: bytes, received_at_s: float) -> Run:
        """Read the body of the request.

        Raises:
            DecodeError: It is not one. The reason quotes nothing of the payload.
        """
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise DecodeError("the body of /run is no JSON object")
        micro_vm_id, text = given.get("microvmId"), given.get("runHookPayload")
        if not isinstance(micro_vm_id, str) or not micro_vm_id:
            raise DecodeError("the body of /run has no microvmId")
        if not isinstance(text, str):
            raise DecodeError(
                "the body of /run has no runHookPayload: a MicroVM of this image runs one workload "
                "of the executor, which sets it"
            )
        return cls(micro_vm_id, RunPayload.decode(text), received_at_s)

    @property
    def context(self) -> one_workload.Context:
        """The circumstances of the workload.

        The log stream is not told: it is named after the MicroVM, but `RunMicrovm` may name
        another one, and nobody tells.
        """
        return one_workload.Context(
            self.micro_vm_id, None, self.received_at_s + self.payload.timeout_s
        )


def main(address: tuple[str, int] = ADDRESS) -> int:
    """Prepare this process, run the one workload that it is given, and return the exit code."""
    host.become("MicroVM")
    one_workload.know_region()
    request = StopRequest(cause=stop_request.REASON_OF_MICRO_VM)
    with HookServer(address) as server:
        os.register_at_fork(after_in_child=server.socket.close)
        try:
            parts = _prepared(server, request)
        except Exception as e:  # noqa: BLE001 - whatever it is, the build's log has to tell it
            reason = f"{type(e).__name__}: {e}"
            invocation_log.write("error", "the MicroVM cannot prepare itself", reason=reason)
            return 1
        run = _run_of(server, parts)
        return 1 if run is None else _result_of(run, server, parts, request)


def _prepared(server: HookServer, request: StopRequest) -> Parts:
    """Do what is a function's init phase, without a network and without credentials.

    Nothing is answered while the rehearsal forks processes, which must be one thread's work.
    """

    def wait(_: bytes) -> Answer:
        return 503, "this MicroVM prepares itself"

    with server.in_background(dict.fromkeys(_HOOKS, wait)):
        from lambda_image import init_phase  # noqa: PLC0415 - slow, and its errors are reported

        init_phase.dag_bundles.warm_up(invocation_log.write, fetch=False)
    parts = init_phase.complete(request)
    init_phase.taken.take()
    return parts


def _run_of(server: HookServer, parts: Parts) -> Run | None:
    """Answer hooks until `/run` came; None if it gave nothing that can be run."""
    given: list[Run | None] = []

    def validate(_: bytes) -> Answer:
        _rehearse(parts)
        return DONE

    def run(body: bytes) -> Answer:
        try:
            found = Run.decode(body, time.monotonic())
        except DecodeError as e:
            given.append(None)
            invocation_log.write("error", "the MicroVM was given no workload", reason=str(e))
            return 400, str(e)
        # Until now a signal had nothing to stop: it ends the process, or the kernel drops it if
        # that is process 1.
        stop_request.hold()
        given.append(found)
        return DONE

    def nothing_to_do(_: bytes) -> Answer:
        return DONE

    server.hooks = dict(zip(_HOOKS, (nothing_to_do, validate, run, nothing_to_do), strict=True))
    while not given:
        server.handle_request()
    return given[0]


def _rehearse(parts: Parts) -> None:
    """Do what `/run` leads to, but for the workload itself."""
    from lambda_image import init_phase  # noqa: PLC0415 - loaded by the preparation
    from lambda_image.runtime import rehearsal  # noqa: PLC0415 - as above

    init_phase.taken.restore()
    rehearsal.rehearse(parts.processes, invocation_log.write)
    init_phase.taken.take()


def _result_of(run: Run, server: HookServer, parts: Parts, request: StopRequest) -> int:
    """Run the workload, and return the exit code."""
    from lambda_image import init_phase  # noqa: PLC0415 - loaded by the preparation
    from lambda_image.machine import environment  # noqa: PLC0415 - as above

    event = run.payload.event
    try:
        environment.be_named(run.micro_vm_id)
        init_phase.taken.restore()
        init_phase.begin_restored(parts)  # Forks: before there is another thread.
    except Exception as e:  # noqa: BLE001 - whatever it is, the executor has to be told
        return one_workload.unprepared(event, run.context, e)
    has_ended = threading.Event()
    bring_forward = one_workload.bring_forward(parts.processes)

    def refuse(_: bytes) -> Answer:
        return 409, f"this MicroVM runs a workload: {run.micro_vm_id}"

    def terminate(_: bytes) -> Answer:
        if request.make():
            bring_forward()
        has_ended.wait(stop_request.GRACE_S)
        return DONE

    stop_request.follow(request, bring_forward)
    with server.in_background(dict.fromkeys(_HOOKS, refuse) | {"terminate": terminate}):
        try:
            return one_workload.reported(lambda: _run_workload(run, parts))
        finally:
            has_ended.set()


def _run_workload(run: Run, parts: Parts) -> None:
    """Run the workload and send its result; no scheduler looks for this MicroVM then.

    But it may look for the other one whose duplicate this is.
    """
    sent = parts.handler.handle(run.payload.event, run.context)
    id, outcome = sent.get("task_key"), sent.get("outcome")
    if id and outcome != Outcome.DUPLICATE.value:
        with contextlib.suppress(Exception):  # Whatever it is, the result has been sent.
            parts.payloads.forget_micro_vm(InvocationId(id))


if __name__ == "__main__":
    one_workload.end(main())
