"""The location of DAG files in S3, and the manifest that names the objects of one version.

`dags push` writes the manifest last. The function reads it to learn with one call whether anything
changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from lambda_executor.contract.errors import ConfigError, DecodeError

#: The manifest's name below the prefix.
MANIFEST_NAME = ".lambda-executor-manifest.json"
MANIFEST_VERSION = 1

ARCHIVE_SUFFIXES = (".zip", ".tar.gz", ".tgz")

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_URI = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<key>.*))?")


@dataclass(frozen=True, slots=True)
class DagLocation:
    """The location of one DAG folder in S3."""

    bucket: str
    key: str  # Of an archive, or the prefix of a folder: empty, or with a slash at its end.

    @classmethod
    def parse(cls, uri: str) -> DagLocation:
        """Read a URI.

        Raises:
            ConfigError: The text is not the URI of a DAG folder.
        """
        match = _URI.fullmatch(uri.strip())
        key = (match["key"] or "") if match else ""
        if match is None or key.startswith("/") or "//" in key:
            raise ConfigError(
                f"{uri!r} is no place for DAG files: give s3://bucket/prefix/ for a folder, or "
                f"s3://bucket/key with a key that ends in {', '.join(ARCHIVE_SUFFIXES)}"
            )
        if key and not key.endswith(("/", *ARCHIVE_SUFFIXES)):
            key += "/"  # Without it `dags` would match `dags-old/` too.
        return cls(match["bucket"], key)

    @property
    def is_archive(self) -> bool:
        """Whether one object holds the whole folder."""
        return self.key.endswith(ARCHIVE_SUFFIXES)

    @property
    def manifest_key(self) -> str:
        """The key of the manifest."""
        return f"{self.key}{MANIFEST_NAME}"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file as S3 holds it."""

    etag: str
    size_bytes: int
    sha256: str
    version_id: str | None = None  # None: the bucket keeps no versions.


@dataclass(frozen=True, slots=True)
class DagManifest:
    """One version of a DAG folder: the files by their path below the prefix."""

    files: Mapping[str, StoredFile]

    @property
    def version(self) -> str:
        """A hash of all paths and contents."""
        text = "".join(f"{path}\0{file.sha256}\n" for path, file in sorted(self.files.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def encode(self) -> bytes:
        """Return the manifest as it is stored in S3."""
        files = {path: asdict(file) for path, file in sorted(self.files.items())}
        content = {"manifest_version": MANIFEST_VERSION, "version": self.version, "files": files}
        return json.dumps(content, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> DagManifest:
        """Read a manifest.

        Raises:
            DecodeError: It is not a manifest of this version, or a path leads out of the folder.
        """
        try:
            content = json.loads(raw)
            version = content["manifest_version"]
            files = {path: StoredFile(**file) for path, file in content["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise DecodeError(f"{MANIFEST_NAME} is not a manifest: {type(e).__name__}") from None
        if version != MANIFEST_VERSION:
            raise DecodeError(
                f"{MANIFEST_NAME} has manifest_version {version!r}, this release reads "
                f"{MANIFEST_VERSION}: push with the release that the function has"
            )
        for path in files:
            if not is_plain_path(path):
                raise DecodeError(f"{MANIFEST_NAME} names {path!r}, which leads out of the folder")
        return cls(files)


def is_plain_path(path: str) -> bool:
    """Whether a path stays below the folder that it is joined to, and has no other spelling."""
    pure = PurePosixPath(path)
    return (
        str(pure) == path
        and path != "."
        and not pure.is_absolute()
        and ".." not in pure.parts
        and not any(character in path for character in "\\\0")
    )
