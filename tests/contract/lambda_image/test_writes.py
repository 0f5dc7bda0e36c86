"""Which paths are reported as written outside of /tmp, by Python's real audit events."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_executor.contract.local_run import Written, decode
from tests.support.distribution import ROOT

#: Watches its own fork, as the image's process does; the hook cannot be removed again.
PROGRAM = """
import os, shutil, sys, tempfile
from pathlib import Path
from lambda_image.machine import writes

writes.report_to(int(sys.argv[1]))
outside = Path(sys.argv[2])
link = Path(tempfile.gettempdir(), "link")
if pid := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
TEMPORARY_FOLDER = """
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "more" / "deep").mkdir(parents=True)
    (folder / "more" / "deep" / "file").write_text("text")
    (folder / "file").write_text("text")
    (folder / "link").symlink_to(outside)
    (folder / "more" / "link").symlink_to(outside / "file")
    (folder / "removed").symlink_to(outside / "file")
    (folder / "removed").unlink()
    (folder / "link").rename(folder / "renamed")
    shutil.copytree(folder, folder.parent / f"{folder.name}-copy", symlinks=True)
    shutil.rmtree(folder.parent / f"{folder.name}-copy")
"""


def reported(folder: Path, code: str) -> set[str]:
    """What is reported of a program with a temporary folder and a folder outside of it."""
    for name in ("tmp", "outside"):
        (folder / name).mkdir()
    (folder / "outside" / "file").write_text("kept", encoding="utf-8")
    report, report_in = os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-c", PROGRAM + code, str(report_in), str(folder / "outside")],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)},
            pass_fds=[report_in],
            check=True,
        )
    finally:
        os.close(report_in)
    with os.fdopen(report, encoding="utf-8") as lines:
        return {found.path for found in map(decode, lines) if isinstance(found, Written)}


@pytest.fixture
def away() -> Iterator[Path]:
    """A folder that is not below /tmp."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="writes-", dir=ROOT / "build") as name:
        yield Path(name)


def test_a_task_that_uses_only_its_temporary_folder_is_not_reported(away: Path) -> None:
    """`shutil.rmtree` names files relative to a descriptor, and links lead out of the folder."""
    assert reported(away, TEMPORARY_FOLDER) == set()
    assert (away / "outside" / "file").read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("(outside / 'new').write_text('text')", {"new"}),
        ("(outside / 'file').unlink()", {"file"}),
        ("(outside / 'file').rename(outside / 'moved')", {"file", "moved"}),
        ("(outside / 'folder').mkdir(); (outside / 'folder').rmdir()", {"folder"}),
        ("os.link(outside / 'file', outside / 'second')", {"second"}),
        ("(outside / 'link').symlink_to('/dev/null')", {"link"}),
        ("(outside / 'file').chmod(0o600)", {"file"}),
        ("os.truncate(outside / 'file', 1)", {"file"}),
        ("os.unlink('file', dir_fd=os.open(outside, os.O_RDONLY))", {"file"}),
        ("os.chdir(outside); os.mkdir('here'); open('there', 'w')", {"here", "there"}),
        (
            "link.symlink_to(outside); (link / 'file').unlink(); (link / 'new').write_text('new')",
            {"file", "new"},
        ),
        ("link.symlink_to(outside / 'file'); link.write_text('text')", {"file"}),
    ],
)
def test_what_changes_outside_is_reported(away: Path, code: str, names: set[str]) -> None:
    """By its real path: also through a link, and by a name relative to a descriptor."""
    assert reported(away, code) == {str(away / "outside" / name) for name in names}
