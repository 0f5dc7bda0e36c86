"""The Dockerfile of a MicroVM image says what runs; what cannot be followed is refused."""

from __future__ import annotations

import pytest

from local_aws.micro_vm_service.dockerfile import Dockerfile, DockerfileError


def test_what_is_not_said_is_the_images() -> None:
    """One line is enough; comments and empty lines do not count."""
    found = Dockerfile.read("# a comment\n\nFROM registry/image@sha256:0")
    assert found == Dockerfile("registry/image@sha256:0")
    assert (found.entry_point, found.command, found.working_directory) == (None, None, None)


def test_words_and_texts() -> None:
    """The exec form is a list of words; the shell form is run by a shell; the last one counts."""
    found = Dockerfile.read(
        'from a/b\nCMD one\ncmd ["two", "three"]\nENTRYPOINT exec it \\\n  now\nWORKDIR /a/b'
    )
    assert found.command == ("two", "three")
    assert found.entry_point == ("/bin/sh", "-c", "exec it now")
    assert found.working_directory == "/a/b"


def test_variables() -> None:
    """Several in a line, with quotation marks; a later one replaces an earlier one."""
    found = Dockerfile.read("FROM a/b\nENV A=1 B='two words'\nENV A=3")
    assert found.variables == {"A": "3", "B": "two words"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the Dockerfile has no FROM"),
        ("FROM a/b\nFROM c/d", "line 2 of the Dockerfile (FROM c/d): there is one FROM"),
        ("FROM a/b AS c", "line 1 of the Dockerfile (FROM a/b AS c): there is one FROM"),
        ("FROM a/b\n\nCOPY x /", "line 3 of the Dockerfile (COPY x /): the embedded AWS builds"),
        ("FROM a/b\nENV PATH=$PATH:/x", "the embedded AWS does not replace variables"),
        ("FROM a/b\nENV NAME value", "it is not ENV NAME=VALUE ..."),
    ],
)
def test_what_cannot_be_followed(text: str, reason: str) -> None:
    """The reason names the line."""
    with pytest.raises(DockerfileError) as refused:
        Dockerfile.read(text)
    assert reason in str(refused.value)
