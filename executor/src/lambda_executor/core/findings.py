"""What a check says: of the scheduler's start and of the doctor. Plain Python."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """Whether something can be used."""

    OK = "ok"  # It is as it should be.
    PROBLEM = "problem"  # Workloads fail, or will, until it is fixed.
    UNKNOWN = "unknown"  # It could not be found out; workloads may run all the same.


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        subject: What was looked at; of an option's value, the option.
        of: Of which function or queue; empty where there is only one.
        status: Whether it can be used.
        said: What was found, in AWS's words where it gives any.
        fix: What to do; empty when there is nothing to do.
    """

    subject: str
    status: Status
    said: str
    fix: str = ""
    of: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether somebody has to do something."""
        return self.status is Status.PROBLEM

    def as_json(self) -> dict[str, str]:
        """As a program reads it."""
        return {
            "subject": self.subject,
            "of": self.of,
            "verdict": self.status.value,  # As programs know it.
            "said": self.said,
            "fix": self.fix,
        }


def ok(subject: str, said: str, of: str = "") -> Finding:
    """It is as it should be."""
    return Finding(subject, Status.OK, said, of=of)


def problem(subject: str, said: str, fix: str, of: str = "") -> Finding:
    """Somebody has to do something."""
    return Finding(subject, Status.PROBLEM, said, fix, of)


def unknown(subject: str, said: str, fix: str, of: str = "") -> Finding:
    """It could not be found out."""
    return Finding(subject, Status.UNKNOWN, said, fix, of)
