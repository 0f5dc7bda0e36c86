"""Scaling rate, walls and cgroups of the embedded AWS, where they are pure."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_aws.lambda_service.model import FunctionKey
from local_aws.lambda_service.scaling import ScalingRate
from local_aws.sandbox.bubblewrap import Walls, command
from local_aws.sandbox.cgroup import MemoryCgroup, candidates
from local_aws.sandbox.mount import Mount

ONE, OTHER = (FunctionKey("0", "r", name) for name in ("one", "other"))


def test_a_burst_empties_the_bucket_and_time_fills_it() -> None:
    """A full bucket at once, then one after the other, and never more than a bucket saved."""
    now_s = [0.0]
    rate = ScalingRate(5, now_s=lambda: now_s[0])
    assert [rate.take(ONE) for _ in range(6)] == [True] * 5 + [False]
    assert rate.take(OTHER)
    now_s[0] = 2.0  # a fifth of the period: one environment
    assert [rate.take(ONE) for _ in range(2)] == [True, False]
    now_s[0] = 1000.0
    assert [rate.take(ONE) for _ in range(6)] == [True] * 5 + [False]


def test_the_walls_hide_the_machines_tmp_but_not_what_is_needed_of_it() -> None:
    """Readable paths below /tmp are below /mnt in the sandbox; writable ones stay."""
    walls = Walls(
        512,
        readable=(Path("/tmp/checkout"), Path("/usr/lib"), Path("/mnt/disk"), Path("/data/logs/a")),
        writable=(Path("/data/logs"),),
        working_directory=Path("/tmp/checkout/task"),
    )
    line = command("bwrap", walls, ["/tmp/checkout/python", "init.py"])
    joined = " ".join(line)
    assert "--ro-bind / / " in joined
    assert (
        f"--size {512 * 1024 * 1024} --tmpfs /tmp --tmpfs /mnt "
        "--ro-bind /tmp/checkout /mnt/tmp/checkout --ro-bind /mnt/disk /mnt/disk "
        "--remount-ro /mnt --bind /data/logs /data/logs "
        "--chdir /mnt/tmp/checkout/task -- /mnt/tmp/checkout/python init.py"
    ) in joined
    assert "/usr/lib" not in line


def test_without_paths_below_tmp_nothing_is_moved() -> None:
    """The machine's /mnt is as visible as its other folders."""
    walls = Walls(512, (Path("/data"),), (), Path("/data"))
    assert "/mnt" not in " ".join(command("bwrap", walls, ["/tmp/python"]))


def test_a_mounted_folder_hides_the_machines_mnt() -> None:
    """What is mounted has its own name, and nothing else of `/mnt` is seen."""
    mount = Mount(Path("/state/efs/fs-1/shared"), Path("/mnt/shared"))
    walls = Walls(512, (), (), Path("/data"), mounts=(mount,))
    joined = " ".join(command("bwrap", walls, ["python"]))
    mounted = "--tmpfs /mnt --bind /state/efs/fs-1/shared /mnt/shared --remount-ro /mnt"
    assert mounted in joined


@pytest.mark.parametrize("path", ["/data", "/mnt", "/mnt/../etc"])
def test_nothing_is_mounted_elsewhere(path: str) -> None:
    """The root file system of a sandbox has no other place for it."""
    with pytest.raises(ValueError, match="allowed are folders below /mnt"):
        Mount(Path("/state"), Path(path))


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("/tmp/checkout", "/mnt/tmp/checkout"),
        ("/tmp/checkout/a:/usr:/tmp/checkout", "/mnt/tmp/checkout/a:/usr:/mnt/tmp/checkout"),
        ('[{"path": "/tmp/checkout/venv/a"}]', '[{"path": "/mnt/tmp/checkout/venv/a"}]'),
        ("--path=/tmp/checkout/b", "--path=/mnt/tmp/checkout/b"),
        ("/tmp/checkout-2/a /tmp/checkout2", "/tmp/checkout-2/a /tmp/checkout2"),
        ("/data/tmp/checkout", "/data/tmp/checkout"),
        ("/tmp/other", "/tmp/other"),
    ],
)
def test_what_names_a_moved_path_names_its_place_in_the_sandbox(text: str, inside: str) -> None:
    """Arguments and variables name one path or several, alone or in JSON."""
    walls = Walls(512, (Path("/tmp/checkout"), Path("/tmp/checkout/venv")), (), Path("/"))
    assert walls.inside(text) == inside


def test_a_memory_cgroup_is_looked_for_from_the_own_one_upwards(tmp_path: Path) -> None:
    """v1 and v2, each from the process's own cgroup to the root of its hierarchy."""
    v1, v2 = tmp_path / "memory", tmp_path / "unified"
    (v1 / "a/b").mkdir(parents=True)
    (v2 / "user.slice/session").mkdir(parents=True)
    mounts = (
        f"cgroup {tmp_path}/cpu cgroup rw,cpu 0 0\n"
        f"cgroup {v1} cgroup rw,memory 0 0\n"
        f"cgroup2 {v2} cgroup2 rw 0 0\n"
    )
    own = "5:cpu:/\n4:memory:/a/b\n0::/user.slice/session\n"
    assert list(candidates(mounts, own)) == [
        *(v1 / "a/b", v1 / "a", v1),
        *(v2 / "user.slice/session", v2 / "user.slice", v2),
    ]


def test_a_cgroup_outside_of_what_is_mounted_is_skipped(tmp_path: Path) -> None:
    """In a container the path of the own cgroup may be the machine's, and not be there."""
    assert list(candidates(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n", "0::/docker/ab/cd\n")) == [
        tmp_path
    ]


def test_a_limit_that_cannot_be_lifted_is_in_the_log_and_the_others_are_lifted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot is usable with it, only with less memory for its copies."""
    cgroup = MemoryCgroup(tmp_path / "cgroup", 1024)
    stubborn, other = (tmp_path / f"cgroup/memory{name}.limit_in_bytes" for name in (".memsw", ""))
    stubborn.mkdir()
    cgroup.lift()
    assert other.read_text() == "-1"
    assert f"the memory limit {stubborn} stays: Is a directory" in caplog.text
