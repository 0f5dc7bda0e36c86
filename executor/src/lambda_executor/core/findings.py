"""The findings of `airflow lambda-executor check`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lambda_executor.contract.help import help_link


class Status(Enum):
    """Whether the subject of a check can be used."""

    OK = "ok"  # Nothing has to be done.
    PROBLEM = "problem"  # Workloads fail, or will, until it is fixed.
    UNKNOWN = "unknown"  # The check had no answer; workloads may run all the same.


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: The kind of resource that was checked, such as `function`.
        fix: Empty: there is nothing to do.
        command: A command or a setting to copy, for the fix; empty: there is none.
        of: The name of the function or queue; empty where there is only one.
    """

    subject: str
    status: Status
    detail: str
    fix: str = ""
    command: str = ""
    of: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether somebody has to fix something."""
        return self.status is Status.PROBLEM

    @property
    def help(self) -> str:
        """The address of the documentation's section about it; empty: nothing to do, or none."""
        if self.status is Status.OK:
            return ""
        return help_link(f"{self.detail}: {self.fix}") or help_link(self.detail)

    def as_json(self) -> dict[str, str]:
        """Return the finding for `check --json`."""
        return {
            "subject": self.subject,
            "of": self.of,
            "verdict": self.status.value,
            "detail": self.detail,
            "fix": self.fix,
            "command": self.command,
            "help": self.help,
        }


def ok(subject: str, detail: str, of: str = "") -> Finding:
    """Make a finding that needs no fix."""
    return Finding(subject, Status.OK, detail, of=of)


def problem(subject: str, detail: str, fix: str, command: str, of: str = "") -> Finding:
    """Make a finding that somebody has to fix, with a command or a setting to copy."""
    return Finding(subject, Status.PROBLEM, detail, fix, command, of)


def unknown(subject: str, detail: str, fix: str, command: str = "", of: str = "") -> Finding:
    """Make a finding of a check that had no answer."""
    return Finding(subject, Status.UNKNOWN, detail, fix, command, of)
