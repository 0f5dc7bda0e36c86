"""Archives of DAG files that are damaged."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from lambda_image.dags.archives import ArchiveError, unpack

#: Of text, which compresses, and of bytes that do not.
CONTENT = b"print('hello')\n" * 20 + random.Random(1).randbytes(200)


def tarred(mode: str) -> bytes:
    """A tar file."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as opened:  # type: ignore[call-overload]
        member = tarfile.TarInfo("dags/a.py")
        member.size = len(CONTENT)
        opened.addfile(member, io.BytesIO(CONTENT))
    return archive.getvalue()


def zipped(compression: int) -> bytes:
    """A zip file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as opened:
        opened.writestr("dags/a.py", CONTENT)
    return archive.getvalue()


@pytest.mark.filterwarnings("ignore:.*file may be corrupt.*")
@pytest.mark.parametrize(
    "archive",
    [
        *(tarred(mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")),
        *(zipped(compression) for compression in (0, 8, 12, 14)),
    ],
    ids=["tar", "gz", "bz2", "xz", "stored", "deflated", "zip bz2", "zip lzma"],
)
def test_a_damaged_archive_is_an_archive_error(archive: bytes, tmp_path: Path) -> None:
    """Damage anywhere is an `ArchiveError` or goes unnoticed; it is never another error."""
    unpack(io.BytesIO(archive), tmp_path / "sound")
    assert (tmp_path / "sound" / "dags" / "a.py").read_bytes() == CONTENT
    errors = 0
    for at in range(0, len(archive), 7):
        damaged = bytearray(archive)
        damaged[at : at + 2] = bytes(byte ^ 0xA5 for byte in damaged[at : at + 2])
        try:
            unpack(io.BytesIO(bytes(damaged)), tmp_path / str(at))
        except ArchiveError:
            errors += 1
    assert errors


def test_an_error_of_the_disk_is_no_damage(tmp_path: Path) -> None:
    """An error of the target disk is not reported as a damaged archive."""
    (tmp_path / "dags").write_text("a file in the way")
    with pytest.raises(FileExistsError):
        unpack(io.BytesIO(zipped(8)), tmp_path)
