"""Limits of an execution environment on the embedded AWS: memory, /tmp, the file system."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

import pytest

from tests.support.local_aws import ROOT, Function, Server


@pytest.fixture(params=["local_aws", "strict_aws"])
def server(request: pytest.FixtureRequest) -> Server:
    """A server with each kind of sandbox that works here."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def walled(local_aws: Server) -> Server:
    """A server whose sandboxes have walls."""
    if "walls by" not in confinement(local_aws):
        pytest.skip("bubblewrap does not work here: sandboxes have no walls")
    return local_aws


@pytest.fixture
def limited(strict_aws: Server) -> Server:
    """A server whose memory limits are the kernel's."""
    if "by cgroup" not in confinement(strict_aws):
        pytest.skip("no memory cgroup can be made here: limits are looked at")
    return strict_aws


def confinement(server: Server) -> str:
    """The kind of sandboxes, as its log says."""
    log = (server.state_dir / "local-aws.log").read_text()
    (line,) = re.findall(r"execution environments: (.*)", log)
    return str(line)


def max_memory_mb(function: Function) -> int:
    """`Max Memory Used` of the last REPORT line."""
    report = [message for _, message in function.log_lines() if message.startswith("REPORT")][-1]
    found = re.search(r"\tMax Memory Used: (\d+) MB", report)
    assert found, report
    return int(found[1])


def test_too_much_memory_kills(server: Server) -> None:
    """An environment that uses more than `MemorySize` is killed, as on Lambda."""
    function = server.function(MemorySize=128)
    answer = function.invoke({"allocate_mb": 400})
    assert answer["Payload"]["errorType"] == "Runtime.ExitError"
    assert answer["Payload"]["errorMessage"].endswith("signal: killed")
    assert max_memory_mb(function) == 128


def test_too_much_memory_of_a_child_kills_the_child(server: Server) -> None:
    """The process that uses most is killed; a small runtime survives."""
    answer = server.function(MemorySize=128).invoke({"child_allocates_mb": 400})
    assert answer["Payload"]["did"] == -9


def test_a_peak_is_enough(limited: Server) -> None:
    """With the kernel's limit, even a short peak of memory kills."""
    answer = limited.function(MemorySize=128).invoke({"peak_mb": 400})
    assert answer["Payload"]["errorMessage"].endswith("signal: killed")


def test_the_report_has_the_peak_memory(server: Server) -> None:
    """`Max Memory Used` includes a short peak and does not exceed the memory size."""
    function = server.function(MemorySize=512)
    function.invoke({"peak_mb": 200})
    assert 200 <= max_memory_mb(function) <= 300


def test_tmp_is_as_large_as_configured(walled: Server) -> None:
    """Beyond `EphemeralStorage` a write fails as on a full disk, within the memory limit."""
    function = walled.function(MemorySize=128, EphemeralStorage={"Size": 200})
    assert function.invoke({"write": "fits", "write_mb": 150})["Payload"]["did"] == 0
    assert function.invoke({"write": "more", "write_mb": 60})["Payload"]["did"] == errno.ENOSPC


def test_nothing_else_can_be_written(walled: Server) -> None:
    """The image and the machine's files are read-only, even for root."""
    image = str(Path(__file__).parent / "should-not-be-there")
    for path in (image, "/should-not-be-there", "/dev/shm/should-not-be-there"):
        assert walled.function().invoke({"write": path})["Payload"]["did"] == errno.EROFS


def test_the_user_has_no_name_and_no_home(walled: Server) -> None:
    """As in Lambda: whatever needs either of them fails here, too."""
    user = walled.function().invoke({"user": True})["Payload"]["did"]
    assert user.pop("uid") >= 993
    assert user == {
        "name": None,
        "home": None,
        "home_of_a_shell": "",
        "home_can_be_written": False,
    }


def test_without_walls_the_home_of_this_machines_user_is_not_reached(strict_aws: Server) -> None:
    """The user has a name there, so HOME must lead away from its folder."""
    user = strict_aws.function().invoke({"user": True})["Payload"]["did"]
    assert user["home"] == user["home_of_a_shell"] == "/home/sbx_user1051"
    assert not user["home_can_be_written"]


def test_tmp_is_empty_even_if_the_image_is_below_the_machines(
    walled: Server, tmp_path: Path
) -> None:
    """A clone of this project below /tmp is such a case: its files are elsewhere in the sandbox."""
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(ROOT / "tests/support/local_aws_handlers.py", code / "in_tmp.py")
    image = walled.image(
        "in_tmp.handle",
        working_directory=str(code),
        readable=[str(code), str(ROOT)],
        writable=[],
        environment={"OF_THE_IMAGE": f"{code}:/tmp/other", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    answer = walled.function(Code={"ImageUri": image}).invoke({"write": "/mnt/file"})["Payload"]
    assert answer["temporary"] == []
    assert answer["did"] == errno.EROFS
    assert answer["environment"]["OF_THE_IMAGE"] == f"/mnt{code}:/tmp/other"
    assert answer["environment"]["LAMBDA_TASK_ROOT"] == f"/mnt{code}"


def test_no_privilege_is_left(walled: Server) -> None:
    """The handler has no capabilities, and sees no process of the machine."""
    status = walled.function().invoke({"read": "/proc/self/status"})["Payload"]["did"]
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert re.search(r"^PPid:\t1$", status, re.MULTILINE)
