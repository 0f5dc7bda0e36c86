"""The Dockerfile of a MicroVM image, as far as it can be followed without a container engine."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

#: Their effect is none here: a sandbox has a user of its own, and ports are not published.
_IGNORED = ("EXPOSE", "LABEL", "USER")
_KNOWN = "FROM, CMD, ENTRYPOINT, ENV, WORKDIR, USER, LABEL and EXPOSE"


class DockerfileError(Exception):
    """The Dockerfile cannot be followed; the message names the line."""


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """What it says.

    Attributes:
        image: The URI after FROM.
        entry_point: None: the image's.
        command: None: the image's, unless there is an entry point, which leaves it out.
        working_directory: None: the image's.
        variables: In addition to the image's.
    """

    image: str
    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_directory: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Dockerfile:
        """Read it.

        Raises:
            DockerfileError: It has no FROM, or a line that an image of the image store cannot have.
        """
        found: dict[str, str] = {}
        variables: dict[str, str] = {}
        for number, line in _instructions(text):
            name, _, argument = line.partition(" ")
            instruction, argument = name.upper(), argument.strip()
            if instruction == "ENV":
                variables |= _assignments(number, line, argument)
            elif instruction in {"FROM", "CMD", "ENTRYPOINT", "WORKDIR"}:
                if instruction == "FROM" and ("FROM" in found or len(argument.split()) != 1):
                    raise _error(number, line, "there is one FROM, with an image and nothing else")
                found[instruction] = argument
            elif instruction not in _IGNORED:
                raise _error(number, line, f"the embedded AWS builds nothing and knows {_KNOWN}")
        if "FROM" not in found:
            raise DockerfileError("the Dockerfile has no FROM")
        return cls(
            found["FROM"],
            _words(found.get("ENTRYPOINT")),
            _words(found.get("CMD")),
            found.get("WORKDIR"),
            variables,
        )


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """The number and the text of each instruction, without comments and with its continuations."""
    begun, parts = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        begun = begun or number
        parts.append(content.removesuffix("\\").strip())
        if not content.endswith("\\"):
            yield begun, " ".join(parts)
            begun, parts = 0, []
    if parts:
        yield begun, " ".join(parts)


def _words(argument: str | None) -> tuple[str, ...] | None:
    """The words of the exec form, or the shell that runs the shell form."""
    if argument is None:
        return None
    try:
        words = json.loads(argument)
    except ValueError:
        return ("/bin/sh", "-c", argument)
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return tuple(words)
    return ("/bin/sh", "-c", argument)


def _assignments(number: int, line: str, argument: str) -> dict[str, str]:
    if re.search(r"(?<!\\)\$", argument):
        raise _error(number, line, "the embedded AWS does not replace variables")
    words = shlex.split(argument)
    if not words or not all("=" in word for word in words):
        raise _error(number, line, "it is not ENV NAME=VALUE ...")
    return dict(word.split("=", 1) for word in words)


def _error(number: int, line: str, reason: str) -> DockerfileError:
    return DockerfileError(f"line {number} of the Dockerfile ({line}): {reason}")
