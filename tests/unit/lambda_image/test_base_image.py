"""Which base images the build refuses."""

from __future__ import annotations

import platform

import pytest

from lambda_image.packaging import build

AMAZON_LINUX = {"ID": "amzn", "VERSION_ID": "2023", "PRETTY_NAME": "Amazon Linux 2023.9"}
AMAZON_LINUX_2 = {"ID": "amzn", "VERSION_ID": "2", "PRETTY_NAME": "Amazon Linux 2"}
DEBIAN = {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}


@pytest.mark.parametrize(
    ("release", "libc", "python"),
    [
        (AMAZON_LINUX, ("glibc", "2.34"), (3, 12)),
        (AMAZON_LINUX, ("glibc", "2.34"), (3, 13)),
        (DEBIAN, ("glibc", "2.36"), (3, 11)),
        ({}, ("", ""), (3, 12)),
    ],
)
def test_a_base_with_wheels_is_taken(
    release: dict[str, str], libc: tuple[str, str], python: tuple[int, int]
) -> None:
    """Amazon Linux 2023 has wheels for all packages, and so has the base of the tests."""
    assert build.fault_of_base(release, libc, python) == ""


@pytest.mark.parametrize(
    ("release", "libc", "python", "what"),
    [
        (AMAZON_LINUX_2, ("glibc", "2.26"), (3, 11), "Amazon Linux 2 with Python 3.11"),
        (AMAZON_LINUX_2, ("", ""), (3, 12), "Amazon Linux 2 with Python 3.12"),
        ({"PRETTY_NAME": "Old"}, ("glibc", "2.17"), (3, 12), "Old with Python 3.12 and glibc 2.17"),
        ({"PRETTY_NAME": "Alpine"}, ("musl", "1.2.5"), (3, 12), "and musl 1.2.5"),
        (AMAZON_LINUX, ("glibc", "2.34"), (3, 14), "Amazon Linux 2023.9 with Python 3.14"),
        (AMAZON_LINUX, ("glibc", "2.34"), (3, 10), "Python 3.10"),
    ],
)
def test_a_base_without_wheels_is_refused(
    release: dict[str, str], libc: tuple[str, str], python: tuple[int, int], what: str
) -> None:
    """The message has what was given, what is allowed, and what to do."""
    said = build.fault_of_base(release, libc, python)
    assert what in said
    assert "allowed is" in said
    assert "BASE_IMAGE" in said


def test_nothing_is_installed_on_a_base_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of the build ends with the message."""
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: AMAZON_LINUX_2)
    with pytest.raises(SystemExit, match="the base image is Amazon Linux 2 with Python"):
        build.airflow("3.3.2")
