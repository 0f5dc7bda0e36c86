"""A hook is called once within its time, whatever the process at the other end does."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from pathlib import Path

import pytest

from local_aws.micro_vm_service.hooks import HookError, Hooks
from local_aws.micro_vm_service.image_build import ImageVersion
from local_aws.micro_vm_service.micro_vm import MicroVm, Run
from local_aws.sandbox.hook_socket import HookSocket
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand
from tests.support.micro_vms import HOOK_SERVER, HOOKS

#: More than any kernel keeps for a process that accepts none.
MANY = 100_000


def test_an_answer_that_never_ends_is_late() -> None:
    """The time-out is for the whole answer: each byte of it comes in time."""
    hooks, ended = HookSocket(9000), threading.Event()

    def trickle() -> None:
        theirs = socket.socket(fileno=hooks.theirs)
        _, [descriptor], *_ = socket.recv_fds(theirs, 64, 1)
        theirs.detach()
        with socket.socket(fileno=descriptor) as connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.0 200 ")
            while not ended.wait(0.01):
                connection.sendall(b"O")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with pytest.raises(HookError, match="the hook run did not answer within 1 s"):
            Hooks(9000, {"run": 1}).call("run", hooks, {})
    finally:
        ended.set()
        thread.join()
        hooks.close()


def test_a_process_that_accepts_nothing_holds_nobody_up() -> None:
    """Once no more connections can be handed over, that is an error, not a wait."""

    def hand_over_many(hooks: HookSocket) -> None:
        for _ in range(MANY):
            hooks.connect().close()

    with contextlib.closing(HookSocket(9000)) as hooks, pytest.raises(TimeoutError):
        hand_over_many(hooks)


def test_an_error_of_the_emulator_leaves_no_process() -> None:
    """It is not taken for the MicroVM's own."""

    def changed(state: str, _reason: str | None) -> None:
        if state == "RUNNING":
            raise OSError("there is no record")

    command = RuntimeCommand(
        [sys.executable, str(HOOK_SERVER)],
        Path("/"),
        {"PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "none"},
        memory_mb=512,
        tmp_mb=64,
    )
    image = ImageVersion(command, Hooks.read(HOOKS), Confinement("", cgroups=None), print)
    image.build({})
    body = {"microvmId": "m", "runHookPayload": '{"wait": true}'}
    micro_vm = MicroVm(image, Run(body, 600, {}, 0), print, changed)
    with pytest.raises(OSError, match="there is no record"):
        micro_vm.live()
    assert micro_vm._container is not None
    assert micro_vm._container.ended
