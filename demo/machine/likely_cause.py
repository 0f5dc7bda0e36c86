"""Why a program probably failed, and what to do next, from the end of its log. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause that is known by its traces.

    Attributes:
        traces: What a log or a message has of it.
        text: The cause in words.
        command: The command that shows more or mends it; empty: the same command again.
    """

    traces: re.Pattern[str]
    text: str
    command: str = ""


#: The first whose traces are found is taken.
CAUSES = (
    Cause(
        re.compile(r"No space left on device|Disk quota exceeded|ENOSPC"),
        "no space is left on the disk of this machine",
        command="df -h . /tmp",
    ),
    Cause(
        re.compile(r"MemoryError|Cannot allocate memory|ENOMEM|heap out of memory|exit code -9\b"),
        "the memory of this machine is used up",
        command="free -h",
    ),
    Cause(
        re.compile(r"[Aa]ddress already in use|EADDRINUSE"),
        "another program has taken the port in the meantime",
    ),
    Cause(
        re.compile(
            r"name resolution|[Cc]ould not resolve|ENOTFOUND|EAI_AGAIN|"
            r"[Ff]ailed to (fetch|download)|error sending request|"
            r"No route to host|Network is unreachable|CERTIFICATE_VERIFY_FAILED|UnknownIssuer"
        ),
        "a download failed: no network, or a proxy or its certificate is not set",
        command="env | grep -iE 'proxy|index|cert'",
    ),
    Cause(
        re.compile(r"ModuleNotFoundError|Cannot find module|No such file .*/(\.venv|build/venv)/"),
        "an installation is not complete",
        command="make clean && make setup",
    ),
    Cause(
        re.compile(r"[Pp]ermission denied|EACCES|Read-only file system"),
        "this account may not write there",
        command="ls -ld . build",
    ),
    Cause(
        re.compile(r"\bwithin \d+ s\b"),
        "this machine is too slow or too busy",
        command="uptime",
    ),
)
#: What is said of anything else.
UNKNOWN = Cause(re.compile(""), "none that is known here: the last lines of the log say more")


def likely_cause(text: str) -> Cause:
    """The cause of a failure.

    Args:
        text: Its message, with the last lines of the program's log.
    """
    return next((cause for cause in CAUSES if cause.traces.search(text)), UNKNOWN)
