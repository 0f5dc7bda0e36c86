"""A scheduler is asked for its executor's summary at a moment that does it no harm."""

from __future__ import annotations

import subprocess
import sys

from tests.support import executor_summary

#: Works and sleeps by turns, as a scheduler does, and says where each signal has met it.
PROGRAM = """
import signal, sys, time
where = "works"
signal.signal(signal.SIGUSR2, lambda *_: print(where, flush=True))
print("began", flush=True)
while True:
    where = "works"
    until_s = time.monotonic() + 0.05
    while time.monotonic() < until_s:
        pass
    where = "sleeps"
    time.sleep(1)
"""
#: Never sleeps.
BUSY = """
import signal
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
print("began", flush=True)
while True:
    pass
"""


def test_a_scheduler_is_asked_while_it_sleeps() -> None:
    """Airflow logs in the signal's handler: in the middle of a log line that would block it."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=-1, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "began\n"
        for _ in range(4):
            assert executor_summary.ask(program.pid, 60)
            assert program.stdout.readline() == "sleeps\n"
        program.kill()


def test_a_scheduler_that_never_sleeps_is_not_asked() -> None:
    """The next sample may find it asleep."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=-1, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "began\n"
        assert not executor_summary.ask(program.pid, 0.2)
        program.kill()
