"""The zygote when something goes wrong around it."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Before each program: its children end with their order for an exit code.
BEGIN = """
import contextlib, os, select, signal, time
from lambda_image.machine.zygote import Times, Zygote, ZygoteError

def enter(order, fds):
    os._exit(order)

def times():
    return Times(time.monotonic() + 30, time.monotonic() + 30)

def handle(number, do):
    signal.signal(number, lambda *_: do())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})

def code_of(child):
    select.select([child.exit], [], [], 10)
    return child.end().exit_code

"""

#: A process of a workload, whose `pidfd` is `left`: its parent has killed the zygote.
LEFT_BY_THE_DEAD = """
reader, writer = os.pipe()
is_told, tell = os.pipe()
def starts_another_and_ends_its_parent(order, fds):
    if os.fork() == 0:
        os.setsid()
        os.write(writer, str(os.getpid()).encode())
        time.sleep(60)
    os.read(is_told, 1)  # The zygote tells of this process before it dies.
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
zygote = Zygote(starts_another_and_ends_its_parent)
child = zygote.spawn(0, [], times())
os.write(tell, b"x")
left = os.pidfd_open(int(os.read(reader, 16)))
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has its own zygote."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )


def test_a_fork_that_fails_is_told() -> None:
    """The handler gets the reason and gives the environment up."""
    done = run("""
fork, handler = os.fork, os.getpid()
def fails_in_the_zygote():
    if os.getpid() != handler:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = fails_in_the_zygote
zygote = Zygote(enter)
try:
    zygote.spawn(0, [], times())
except ZygoteError as e:
    print(e, zygote.is_lost)
""")
    assert done.stdout == (
        "no process can be started: [Errno 11] Resource temporarily unavailable True\n"
    )
    assert done.stderr == ""


def test_a_zygote_that_is_gone_is_told() -> None:
    """The handler learns of a zygote that was killed between two workloads."""
    done = run("""
zygote = Zygote(enter)
os.kill(zygote.pid, signal.SIGKILL)
try:
    zygote.spawn(0, [], times())
except ZygoteError as e:
    print(e, zygote.is_lost)
""")
    assert done.stdout == "the process that starts the workloads' processes died True\n"


def test_it_outlives_a_handler_that_does_not_listen() -> None:
    """The zygote forks the next child even if nobody reads the end of the last one."""
    done = run("""
zygote = Zygote(lambda order, fds: os._exit(order) if order else time.sleep(60))
zygote.spawn(0, [], times()).exit.close()
print(code_of(zygote.spawn(3, [], times())))
""")
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_nothing_but_the_handler_goes_on_as_one() -> None:
    """An error in a fork ends the fork: it must not become a second handler."""
    done = run("""
def fails(order, fds):
    raise ZeroDivisionError
try:
    zygote = Zygote(fails)
except ZeroDivisionError:
    print("a second one")
else:
    print(code_of(zygote.spawn(0, [], times())))
""")
    assert done.stdout == "1\n"
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("left_s", [0.1, -5])
def test_one_that_was_stopped_is_not_waited_for(left_s: float) -> None:
    """A stopped zygote is killed with its child when the time is over, and is lost."""
    done = run(f"""
zygote = Zygote(lambda order, fds: time.sleep(60))
child = zygote.spawn(0, [], times())
os.kill(zygote.pid, signal.SIGSTOP)
os.waitid(os.P_PID, zygote.pid, os.WSTOPPED)
begin_s = time.monotonic()
child.close(begin_s + {left_s})
print(time.monotonic() - begin_s < 1, child.end().lost)
os.waitpid(zygote.pid, 0)
with contextlib.suppress(ProcessLookupError):
    assert select.select([os.pidfd_open(child.pid)], [], [], 10)[0]
""")
    assert done.stdout == "True True\n", done.stderr
    assert done.stderr == ""


def test_an_order_of_any_size_reaches_the_child() -> None:
    """An order may be larger than the buffers of sockets and pipes."""
    done = run("""
zygote = Zygote(lambda order, fds: os._exit(len(order) >> 20))
print(code_of(zygote.spawn(b"x" * (20 << 20), [], times())))
""")
    assert (done.stdout, done.stderr) == ("20\n", "")


def test_a_child_without_an_end_is_waited_for() -> None:
    """Neither infinite times nor very long ones are more than the system's calls can take."""
    done = run("""
zygote = Zygote(lambda order, fds: os._exit(3) if not time.sleep(0.2) else None)
for end_s in (float("inf"), time.monotonic() + 400 * 86400):
    print(code_of(zygote.spawn(0, [], Times(end_s, end_s))))
""")
    assert (done.stdout, done.stderr) == ("3\n3\n", "")


def test_an_end_that_comes_nearer_stops_the_child_with_its_own_signal() -> None:
    """The signal tells the child why; the handler hears that it was stopped."""
    done = run("""
from lambda_image.machine.zygote import REQUEST_SIGNAL

def stops(order, fds):
    handle(REQUEST_SIGNAL, lambda: os._exit(5))
    os.write(fds[0], b"r")
    time.sleep(60)

zygote = Zygote(stops)
is_ready, ready = os.pipe()
child = zygote.spawn(0, [ready], Times(float("inf"), float("inf")))
os.read(is_ready, 1)
child.hasten(Times(time.monotonic(), time.monotonic() + 20, REQUEST_SIGNAL))
print(code_of(child), child.end().stopped, child.end().killed)
""")
    assert (done.stdout, done.stderr) == ("5 True False\n", "")


@pytest.mark.parametrize("name", ["STOP_SIGNAL", "REQUEST_SIGNAL"])
def test_a_child_that_is_to_stop_at_once_can_still_handle_that(name: str) -> None:
    """The signal waits until the child handles it: by default it would end the process."""
    done = run(f"""
from lambda_image.machine.zygote import {name}

def prepares_itself(order, fds):
    time.sleep(0.2)
    handle({name}, lambda: os._exit(5))

zygote = Zygote(prepares_itself)
child = zygote.spawn(0, [], Times(0, time.monotonic() + 20, {name}))
print(code_of(child), child.end().stopped)
""")
    assert (done.stdout, done.stderr) == ("5 True\n", "")


def test_an_end_that_comes_nearer_again_does_not_stop_the_child_twice() -> None:
    """A child that has been asked to stop is not asked again, and is killed in time."""
    done = run("""
asked = []
def counts(order, fds):
    handle(order, lambda: os.write(fds[0], b"s"))
    os.write(fds[0], b"r")
    while True:
        time.sleep(60)

from lambda_image.machine.zygote import STOP_SIGNAL
zygote = Zygote(counts)
said, says = os.pipe()
child = zygote.spawn(STOP_SIGNAL, [says], Times(float("inf"), float("inf")))
os.read(said, 1)
for _ in range(2):
    child.hasten(Times(time.monotonic(), time.monotonic() + 0.4))
    time.sleep(0.1)
print(code_of(child), child.end().killed, os.read(said, 9))
child.hasten(Times(0, 0))  # It has ended: nothing happens.
""")
    assert (done.stdout, done.stderr) == ("-9 True b's'\n", "")


def test_what_a_workload_started_ends_although_the_zygote_died_first() -> None:
    """Its orphans become the handler's: beside the next process they would go on unseen."""
    done = run(f"""{LEFT_BY_THE_DEAD}
select.select([child.exit], [], [], 10)
print(child.end().lost, select.select([left], [], [], 10)[0] == [left])
""")
    assert done.stdout == "True True\n", done.stderr


def test_what_the_handler_adopted_does_not_stay_as_a_zombie() -> None:
    """A program that the handler runs may leave one behind, as git does with its maintenance.

    It uses up a process of the 1,024 that a function may have; one that still runs goes on.
    """
    done = run("""
import subprocess
from pathlib import Path

def handlers_children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

zygote = Zygote(enter)
orphan, runs = (
    int(subprocess.check_output(["sh", "-c", "sleep 60 >&- 2>&- & echo $!"])) for _ in range(2)
)
os.kill(orphan, signal.SIGKILL)
os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
zygote.reap_orphans()
print(sorted(map(int, handlers_children())) == sorted([zygote.pid, runs]))
os.kill(runs, signal.SIGKILL)
os.waitid(os.P_PID, runs, os.WEXITED | os.WNOWAIT)
print(code_of(zygote.spawn(3, [], times())))
os.kill(zygote.pid, signal.SIGKILL)
os.waitid(os.P_PID, zygote.pid, os.WEXITED | os.WNOWAIT)
zygote.reap_orphans()
zygote.close()
zygote.reap_orphans()
""")
    assert (done.stdout, done.stderr) == ("True\n3\n", "")


def test_what_a_workload_started_ends_although_its_end_was_interrupted() -> None:
    """The handler's time may be over when the processes are stopped and not yet killed."""
    done = run(f"""{LEFT_BY_THE_DEAD}
from lambda_image.machine import zygote as module
from lambda_image.machine.time_limit import OutOfTime
stock = module._signal_all
def interrupted(processes, number):
    stock(processes, number)
    module._signal_all = stock
    raise OutOfTime
module._signal_all = interrupted
select.select([child.exit], [], [], 10)
try:
    child.end()
except OutOfTime:
    child.close(time.monotonic() + 10)
print(select.select([left], [], [], 10)[0] == [left])
""")
    assert done.stdout == "True\n", done.stderr
