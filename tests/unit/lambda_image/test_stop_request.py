"""The signal that asks a job to stop: who gets it, and when it came."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from lambda_image.machine.stop_request import StopRequest

#: Before each program, which is the process that AWS asks to stop.
BEGIN = """
import os, signal, time
from lambda_image.machine import stop_request
stop_request.hold()
"""


def run(program: str) -> str:
    """What a program prints that holds the signal."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_fork_gets_the_signal_and_what_it_executes_too() -> None:
    """Whichever code forks: a task of stock Airflow does not go through the zygote."""
    said = run("""
for program in (["sleep", "60"], None):
    pid = os.fork()
    if pid == 0 and program:
        os.execvp(program[0], program)
    elif pid == 0:
        time.sleep(60)
    os.kill(pid, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.kill(os.getpid(), signal.SIGTERM)
print(signal.SIGTERM in signal.sigpending())
""")
    assert said.split() == ["-15", "-15", "True"]


def test_a_signal_that_was_kept_may_have_come_at_once() -> None:
    """The service counts from then; the request does not wait for the next signal."""
    said = run("""
stop_request._held_at_s -= 10
os.kill(os.getpid(), signal.SIGTERM)
request = stop_request.StopRequest()
stop_request.follow(request, lambda: None)
print(time.monotonic() - request.made_at_s >= 10)
""")
    assert said == "True\n"


def test_a_signal_that_was_kept_for_long_leaves_time_for_a_report() -> None:
    """The container is still there: so it came later."""
    said = run("""
stop_request._held_at_s -= 3600
os.kill(os.getpid(), signal.SIGTERM)
request = stop_request.StopRequest()
stop_request.follow(request, lambda: None)
print(time.monotonic() < request.ends_at_s)
""")
    assert said == "True\n"


def test_of_two_threads_that_make_it_one_is_the_first() -> None:
    """AWS's hook and its signal may come at once, and the task is asked to stop once."""
    both = threading.Barrier(2)

    def clock_s() -> float:
        with contextlib.suppress(threading.BrokenBarrierError):  # The other one has to wait.
            both.wait(0.2)
        return 100.0

    request = StopRequest(clock_s)
    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda _: request.make(), range(2)))
    assert sorted(made) == [False, True]
    assert request.made_at_s == 100.0
