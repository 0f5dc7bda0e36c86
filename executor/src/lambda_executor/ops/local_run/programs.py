"""The two programs of a run: an Airflow with a database of its own, and the image's process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lambda_executor.contract import local_run
from lambda_executor.contract.errors import LocalRunError
from lambda_executor.contract.local_run import ENTRY_POINT, Ended, Order, Written
from lambda_executor.ops.local_run import task_output
from lambda_executor.ops.terminal import Say

_AIRFLOW_SIDE = "lambda_executor.ops.local_run.airflow_side"
#: How long a program may take to end, in seconds.
_ENDS_WITHIN_S = 10
#: As many of a program's last lines are shown when it has failed.
_LAST = 15


class AirflowSide:
    """The program `airflow_side`, as a context manager.

    Attributes:
        answer: The fields of `airflow_side.Answer`.
    """

    def __init__(
        self, folder: Path, request: Mapping[str, Any], variables: Mapping[str, str], say: Say
    ) -> None:
        self.answer: dict[str, Any] = {}
        self._say = say
        self._log, self._request = folder / "airflow.log", request
        answers, answers_in = os.pipe()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", _AIRFLOW_SIDE, str(answers_in), str(folder)],
                env=os.environ | variables,
                stdin=subprocess.PIPE,
                stdout=log,  # Airflow prints there, too.
                stderr=log,
                text=True,
                pass_fds=[answers_in],
                process_group=0,  # Ctrl-C is for the command, which ends it.
            )
        os.close(answers_in)
        self._answers = os.fdopen(answers, encoding="utf-8")

    def __enter__(self) -> Self:
        try:
            self.answer = self._ask(json.dumps(self._request))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._answers.close()

    def state(self) -> str | None:
        """The state of the task in its database."""
        found: str | None = self._ask("state")["state"]
        return found

    def _ask(self, text: str) -> dict[str, Any]:
        with suppress(BrokenPipeError):  # It has failed, and its answer says why.
            assert self._process.stdin is not None  # noqa: S101 - a pipe
            self._process.stdin.write(f"{text}\n")
            self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            text = self._log.read_text(encoding="utf-8", errors="replace")
            self._say(*text.splitlines()[-_LAST:])
            raise LocalRunError("the Airflow of this run has failed: the lines above say why")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LocalRunError(answer["error"])
        return answer


@dataclass(frozen=True, slots=True)
class Seen:
    """What the image's process has reported."""

    ended: Ended
    written: tuple[str, ...]


@dataclass(slots=True)
class ImageSide:
    """The image's process, which runs the workload of an order.

    Attributes:
        variables: Its variables, beside our own.
    """

    order: Order
    say: Say
    variables: Mapping[str, str]
    _argv: Callable[[Sequence[str]], Sequence[str]] = field(default=lambda argv: argv)

    def behind(self, wrap: Callable[[Sequence[str]], Sequence[str]]) -> None:
        """Run it by another program."""
        self._argv = wrap

    def run(self) -> Seen:
        """Run it to its end, and show its output meanwhile.

        Raises:
            LocalRunError: It has failed.
        """
        order, order_in = os.pipe()
        report, report_in = os.pipe()
        terminal = os.dup(self.say.fileno())  # Not 1, which is the pipe there.
        argv = [sys.executable, "-m", ENTRY_POINT, str(order), str(report_in), str(terminal)]
        with subprocess.Popen(  # noqa: S603 - our own program
            self._argv(argv),
            env=_without_database(os.environ) | dict(self.variables),
            stdin=None if self.order.debugger else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(order, report_in, terminal),
        ) as process:
            for fd in (order, report_in, terminal):
                os.close(fd)
            shown = threading.Thread(target=self._show, args=(process.stdout,), daemon=True)
            shown.start()
            try:
                read, code = self._follow(process, order_in, report)
            finally:
                process.kill()
                # To the end of the output, which the task's processes have, too: they are gone.
                shown.join(_ENDS_WITHIN_S)
                _take_terminal()
        ended = [each for each in read if isinstance(each, Ended)]
        if not ended:
            raise LocalRunError(
                f"the image's process ended with exit code {code} and without a result: the lines "
                "above say why"
            )
        return Seen(ended[0], tuple(each.path for each in read if isinstance(each, Written)))

    def _follow(
        self, process: subprocess.Popen[bytes], order: int, report: int
    ) -> tuple[list[Ended | Written | None], int]:
        """Give it the order; returns what it reports, and its exit code."""
        with suppress(BrokenPipeError), os.fdopen(order, "w", encoding="utf-8") as file:
            file.write(self.order.encode())
        with os.fdopen(report, encoding="utf-8", errors="replace") as lines:
            read = list(map(local_run.decode, lines))
        try:
            return read, process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired as e:
            raise LocalRunError(
                f"the image's process does not end {_ENDS_WITHIN_S} s after its last report"
            ) from e

    def _show(self, output: Any) -> None:  # noqa: ANN401 - a pipe
        for line in output:
            text = line.decode(errors="replace").rstrip("\n")
            self.say(*task_output.lines(text))


def _without_database(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables, without AIRFLOW_HOME and those of the database, which no task has."""
    return {
        name: value
        for name, value in environ.items()
        if name != "AIRFLOW_HOME" and not name.startswith("AIRFLOW__DATABASE__")
    }


def _take_terminal() -> None:
    """Become the group again that the terminal serves; a task in pdb has taken it."""
    with suppress(OSError, ValueError):  # Stdin is no terminal, or this is no main thread.
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            os.tcsetpgrp(0, os.getpgrp())
        finally:
            signal.signal(signal.SIGTTOU, before)
