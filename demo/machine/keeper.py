"""Keeps one program running after its starter has ended: `python -m demo.machine.keeper`.

While the starter lives, it watches its programs itself, and the keeper ends with its program. Later
a program that ends by itself is started again, each time after a longer wait. The keeper reports
that in the program's log and on the starter's terminal. It passes on the signal to stop.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demo import paths
from demo.machine.log_tail import log_tail
from demo.machine.process_table import adopt_orphans, as_user, descendants, end_with_parent, kill

#: After a run of so many seconds, a program may be started again as often as at first.
STEADY_S = 600.0
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
#: Blocked in the keeper, so that none arrives between two waits.
_AWAITED = _STOP | {signal.SIGCHLD}


@dataclass
class Restarts:
    """How often a program is started again, and after which waits in seconds."""

    waits_s: Sequence[float]
    used: int = field(default=0, init=False)

    def next_wait_s(self, ran_s: float) -> float | None:
        """The wait after a run of so many seconds; None: the program is not started again."""
        if ran_s >= STEADY_S:
            self.used = 0
        if self.used == len(self.waits_s):
            return None
        self.used += 1
        return self.waits_s[self.used - 1]


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps a program.

    Its standard output is the program's log, its standard error the starter's terminal, if any.
    """

    name: str
    argv: Sequence[str]
    cwd: Path
    user: str | None
    log: Path
    restarts: Restarts

    def run(self) -> int:
        """Keep the program until it is to stop or is not started again; its last exit code."""
        starter = os.getppid()
        adopt_orphans()
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        while True:
            started_s = time.monotonic()
            code, stopped = self._run_once()
            kill(descendants())  # They would hold its port.
            if stopped or os.getppid() == starter:
                return code
            ran_s = time.monotonic() - started_s
            wait_s = self.restarts.next_wait_s(ran_s)
            self._report(f"{self.name} {_ended(code)} after {ran_s:.0f} s.", wait_s)
            if wait_s is None or signal.sigtimedwait(_STOP, wait_s) is not None:
                return code

    def _run_once(self) -> tuple[int, bool]:
        """Run the program to its end; its exit code, and whether it was asked to end."""
        end_with_us = end_with_parent(signal.SIGTERM)

        def in_child() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            end_with_us()

        program = subprocess.Popen(
            self.argv,
            cwd=self.cwd,
            stderr=subprocess.STDOUT,
            preexec_fn=in_child,  # noqa: PLW1509  # two system calls; there is one thread
            **as_user(self.user),
        )
        while (code := program.poll()) is None:
            received = signal.sigwait(_AWAITED)
            if received in _STOP:
                program.send_signal(received)
                return program.wait(), True
        return code, False

    def _report(self, ended: str, wait_s: float | None) -> None:
        if wait_s is not None:
            text = f"{ended} It starts again in {wait_s:g} s. Its log is {self.log}"
            tail = ""
        else:
            often = f"any more, after {self.restarts.used} times" if self.restarts.used else "again"
            text = (
                f"{ended} It is not started {often}: `make local-down` ends the rest, "
                "`make local` then starts everything anew."
            )
            tail = f"{log_tail(self.log)}\n"
        print(text, flush=True)
        with contextlib.suppress(OSError):  # The terminal may be closed by now.
            if sys.stderr.isatty():
                print(f"\n{text}\n{tail}", end="", file=sys.stderr, flush=True)


def command(keeper: Keeper) -> list[str]:
    """The arguments of a process that runs this keeper, in the repository's folder."""
    options = [
        *("--name", keeper.name, "--cwd", str(keeper.cwd), "--log", str(keeper.log)),
        *(word for wait_s in keeper.restarts.waits_s for word in ("--wait", str(wait_s))),
        *(("--user", keeper.user) if keeper.user else ()),
    ]
    return [str(paths.PYTHON), "-m", "demo.machine.keeper", *options, "--", *keeper.argv]


def main() -> int:
    """Keep the program of the command line; the exit status is the program's."""
    parser = argparse.ArgumentParser(prog="python -m demo.machine.keeper")
    parser.add_argument("--name", required=True)
    parser.add_argument("--cwd", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--wait", type=float, action="append", default=[])
    parser.add_argument("--user")
    parser.add_argument("argv", nargs="+")
    given = parser.parse_args()
    keeper = Keeper(
        name=given.name,
        argv=given.argv,
        cwd=given.cwd,
        user=given.user,
        log=given.log,
        restarts=Restarts(given.wait),
    )
    try:
        code = keeper.run()
    except OSError as e:
        print(f"{keeper.name} could not be started ({e}): run `make setup`", flush=True)
        return 127
    return code if code >= 0 else 128 - code


def _ended(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"died of {signal.Signals(-code).name}"


if __name__ == "__main__":
    sys.exit(main())
