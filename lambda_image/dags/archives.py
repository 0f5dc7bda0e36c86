"""Unpacks an archive of DAG files, as plain files below one folder and nothing else."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lambda_executor.contract.dag_manifest import is_plain_path

#: What Python's modules raise for damaged archives.
_UNREADABLE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,  # Also NotImplementedError.
    ValueError,
)


class ArchiveError(Exception):
    """The file is not an archive, or must not be unpacked."""


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Unpack a zip or tar file, compressed or not.

    Raises:
        ArchiveError: The archive cannot be read, or a member is not a file below the folder.
    """
    is_empty = True
    try:
        members = _zipped if zipfile.is_zipfile(archive) else _tarred
        archive.seek(0)
        for name, content in members(archive):
            is_empty = False
            path = name.removeprefix("./")
            if not is_plain_path(path):
                raise ArchiveError(f"the archive has a member {name!r}, which leads elsewhere")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)
            target.chmod(0o444)
    except (*_UNREADABLE, OSError) as e:
        if getattr(e, "errno", None) is not None:  # An error of the disk; gzip and bz2 set none.
            raise
        raise ArchiveError(f"it is no zip or tar file that can be unpacked: {e}") from e
    if is_empty:
        raise ArchiveError("the archive is empty")


def _zipped(archive: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ArchiveError(f"the archive has a link, {member.filename!r}: pack the file")
            if not member.is_dir():
                yield member.filename, opened.open(member)


def _tarred(archive: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=archive) as opened:
        for member in opened:
            if member.isdir():
                continue
            content = opened.extractfile(member) if member.isreg() else None
            if content is None:
                raise ArchiveError(
                    f"the archive has {member.name!r}, which is no plain file: pack the file"
                )
            yield member.name, content
