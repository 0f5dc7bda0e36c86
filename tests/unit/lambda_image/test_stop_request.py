"""The signal that asks a job to stop: who gets it, and when it came."""

from __future__ import annotations

import subprocess
import sys

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
