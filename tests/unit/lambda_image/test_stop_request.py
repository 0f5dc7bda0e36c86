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
