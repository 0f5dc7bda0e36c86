"""The memory of a job, as its container's cgroup or AWS has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambda_image import host
from lambda_image.machine import memory


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job's cgroup, which is empty."""
    monkeypatch.setattr(host, "_name", "job")
    monkeypatch.setattr(memory, "_given_mb", None)
    return tmp_path


def write(cgroup: Path, **files: str) -> None:
    """Write files of version 2, and of version 1 below `memory`."""
    (cgroup / "memory").mkdir()
    for name, text in files.items():
        (cgroup / name.replace("__", "/").replace("_of_", ".")).write_text(text)


@pytest.mark.parametrize(
    ("files", "given_mb", "limit"),
    [
        ({"memory_of_max": "4294967296\n"}, None, "the job's memory of 4096 MB"),
        ({"memory_of_max": "max\n"}, None, "the job's memory"),
        ({"memory_of_max": "max\n"}, 512, "the job's memory of 512 MB"),
        ({"memory_of_max": "4294967296\n"}, 512, "the job's memory of 4096 MB"),
        ({"memory__memory_of_limit_in_bytes": "536870912\n"}, None, "the job's memory of 512 MB"),
        ({"memory__memory_of_limit_in_bytes": "9223372036854771712\n"}, None, "the job's memory"),
        ({}, 2048, "the job's memory of 2048 MB"),
        ({}, None, "the job's memory"),
    ],
)
def test_the_limit_is_what_is_known(
    cgroup: Path, files: dict[str, str], given_mb: int | None, limit: str
) -> None:
    """The kernel's own word comes first: a container may have less than its task."""
    write(cgroup, **files)
    memory.be_limited_to(given_mb)
    assert memory.limit(cgroup) == limit


@pytest.mark.parametrize(
    "files",
    [
        {"memory_of_events": "low 0\nmax 8\noom 7\noom_kill 3\noom_group_kill 0\n"},
        {"memory__memory_of_oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"},
    ],
)
def test_the_kills_are_those_of_the_container(cgroup: Path, files: dict[str, str]) -> None:
    """On an instance other containers run out of memory too."""
    write(cgroup, **files)
    assert memory.oom_kills(cgroup) == 3


def test_a_function_asks_for_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda says how much memory a function has, and its kernel is the function's own."""
    write(tmp_path, memory_of_max="4294967296\n", memory_of_events="oom_kill 987654321\n")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
    assert memory.limit(tmp_path) == "the function's memory of 1769 MB"
    assert memory.oom_kills(tmp_path) < 987654321


def test_the_memory_of_a_micro_vm_is_known_from_its_cgroup_only(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may use more than its image asks for."""
    monkeypatch.setattr(host, "_name", "MicroVM")
    assert memory.limit(cgroup) == "the MicroVM's memory"
    write(cgroup, memory_of_max="8589934592\n")
    assert memory.limit(cgroup) == "the MicroVM's memory of 8192 MB"
