"""What the soak reads of real processes: their memory, threads and descriptors, by sandbox."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from demo.machine.process_table import descendants, kill
from tests.soak.programs import Usage, _sandboxes, usage
from tests.support.waiting import until

#: Does something, says so, and waits until its standard input closes.
_THEN_WAIT = "; print('ready', flush=True); sys.stdin.read()"


@contextmanager
def program(code: str, *before: str) -> Iterator[psutil.Process]:
    """A Python program that has done what it shall; `before` is a command that starts it."""
    with subprocess.Popen(
        [*before, sys.executable, "-c", f"import sys; {code}{_THEN_WAIT}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        yield psutil.Process(started.pid)
        assert started.stdin is not None
        started.stdin.close()


def test_memory_threads_and_descriptors_are_those_of_the_process() -> None:
    """Forty MB, three threads and five files more than a program that does nothing."""
    much = (
        "import threading, time; held = b'x' * 40 * 2**20; "
        "[threading.Thread(target=time.sleep, args=(600,), daemon=True).start() for _ in '123']; "
        "files = [open('/dev/null') for _ in '12345']"
    )
    with program("import threading, time") as bare, program(much) as large:
        one, other = usage([bare]), usage([large])
        assert other.pss_mb - one.pss_mb == pytest.approx(40, abs=4)
        assert other.rss_mb - one.rss_mb == pytest.approx(40, abs=4)
        assert other.threads - one.threads == 3
        assert other.descriptors - one.descriptors == 5
        both = usage([bare, large])
        assert (both.threads, both.descriptors) == (
            one.threads + other.threads,
            one.descriptors + other.descriptors,
        )


def test_a_process_that_has_ended_uses_nothing() -> None:
    """Between the look at the process table and the reading, tasks end."""
    with program("pass") as process:
        pass
    assert usage([process]) == Usage()


def test_each_sandbox_is_apart_also_if_one_is_below_another() -> None:
    """Of three, one is below another: as an environment that is a copy of a snapshot's process.

    The program that makes the walls is outside of them, and belongs to the sandbox that it made.
    """
    walls = "unshare --map-root-user --pid --fork --kill-child"
    if subprocess.run([*walls.split(), "true"], check=False, capture_output=True).returncode:
        pytest.skip("there are no user namespaces here")
    commands = (
        ["sleep", "600"],
        [*walls.split(), "sleep", "600"],
        [*walls.split(), "sh", "-c", f"{walls} tail -f /dev/null & sleep 600; true"],
    )
    with program(f"import subprocess; [subprocess.Popen(each) for each in {commands!r}]") as root:
        try:
            found = until(lambda: _names(root, processes=8), "all have started", timeout_s=60)
        finally:
            kill(descendants(root))
    assert found == [
        ["sh", "sleep", "unshare", "unshare"],
        ["sleep"],
        ["sleep", "unshare"],
        ["tail"],
    ]


def _names(root: psutil.Process, processes: int) -> list[list[str]] | None:
    """The names of the processes in each sandbox, once there are so many."""
    sandboxes = _sandboxes(root).values()
    if sum(map(len, sandboxes)) < processes:
        return None
    return sorted(sorted(each.name() for each in inside) for inside in sandboxes)
