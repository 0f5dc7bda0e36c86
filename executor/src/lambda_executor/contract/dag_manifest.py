"""The location of DAG files in S3, and the manifest that names the objects of one version.

`dags push` writes the files under their own names, then the manifest of the version, which stays,
and last the current manifest. A reader learns with one call whether anything changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from lambda_executor.contract.errors import ConfigError, DecodeError

#: The class that reads what `dags push` writes, as Airflow's list of DAG bundles names it.
BUNDLE_CLASS = "lambda_executor.bundles.S3ManifestBundle"
#: Airflow's name for the bundle of a configuration without bundles. A stage keeps it, so that DAGs
#: stay the same DAGs when their files move to S3.
BUNDLE_NAME = "dags-folder"
#: How often the DAG processor of a stage asks for a new version. A check is one GET, "not modified"
#: while nothing changed: $0.21 a month (https://aws.amazon.com/s3/pricing/).
REFRESH_INTERVAL_S = 5

_LEFT_OUT = re.compile(r"__pycache__|node_modules|.*\.pyc|.*\.egg-info|\.(?!airflowignore$).*")
_VIRTUAL_ENVIRONMENT = "pyvenv.cfg"  # https://docs.python.org/3/library/venv.html

#: The folder below the prefix, and in every tree on disk, that holds no DAG files.
OWN_FOLDER = ".lambda-executor"
MANIFEST_NAME = f"{OWN_FOLDER}/manifest.json"
MANIFEST_VERSION = 1

#: For so many days after the push that replaced it, a version can still be fetched: `dags push`
#: keeps its manifest, and the bucket of a stage its files.
KEPT_DAYS = 30

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_URI = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<key>.*))?")

_VERSION = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class DagLocation:
    """The location of one DAG folder in S3."""

    bucket: str
    key: str  # The prefix: empty, or with a slash at its end.

    @classmethod
    def parse(cls, uri: str) -> DagLocation:
        """Read a URI.

        Raises:
            ConfigError: The text is not the URI of a folder.
        """
        match = _URI.fullmatch(uri.strip())
        key = (match["key"] or "") if match else ""
        if match is None or key.startswith("/") or "//" in key:
            raise ConfigError(
                f"{uri!r} is no place for DAG files: give the URI of a folder, s3://bucket/prefix/"
            )
        if key and not key.endswith("/"):
            key += "/"  # Without it `dags` would match `dags-old/` too.
        return cls(match["bucket"], key)

    @property
    def manifest_key(self) -> str:
        """The key of the current manifest."""
        return f"{self.key}{MANIFEST_NAME}"

    @property
    def versions_prefix(self) -> str:
        """The prefix of the manifests of all versions."""
        return f"{self.key}{OWN_FOLDER}/versions/"

    def version_key(self, version: str) -> str:
        """The key of the manifest of one version."""
        return f"{self.versions_prefix}{version}.json"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file as S3 holds it."""

    etag: str
    size_bytes: int
    sha256: str
    version_id: str | None = None  # None: the bucket keeps no versions.

    def is_valid(self) -> bool:
        """Whether what was read from JSON has the right types."""
        texts = self.etag, self.sha256, "" if self.version_id is None else self.version_id
        return (
            all(isinstance(text, str) and text.isascii() for text in texts)
            and type(self.size_bytes) is int
            and self.size_bytes >= 0
        )


@dataclass(frozen=True, slots=True)
class DagManifest:
    """One version of a DAG folder: the files by their path below the prefix."""

    files: Mapping[str, StoredFile]

    @property
    def version(self) -> str:
        """A hash of all paths and contents."""
        text = "".join(f"{path}\0{file.sha256}\n" for path, file in sorted(self.files.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def keeps_versions(self) -> bool:
        """Whether the files of this version can still be read when others have replaced them."""
        return all(file.version_id for file in self.files.values())

    def encode(self) -> bytes:
        """Return the manifest as it is stored in S3."""
        files = {path: asdict(file) for path, file in sorted(self.files.items())}
        content = {"manifest_version": MANIFEST_VERSION, "version": self.version, "files": files}
        return json.dumps(content, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> DagManifest:
        """Read a manifest.

        Raises:
            DecodeError: It is not a manifest of this format, or a path is not below the folder.
        """
        try:
            content = json.loads(raw)
            version = content["manifest_version"]
            files = {path: StoredFile(**file) for path, file in content["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise DecodeError(f"{MANIFEST_NAME} is not a manifest: {type(e).__name__}") from None
        if not all(map(StoredFile.is_valid, files.values())):
            raise DecodeError(f"{MANIFEST_NAME} is not a manifest: a value has a wrong type")
        if version != MANIFEST_VERSION:
            raise DecodeError(
                f"{MANIFEST_NAME} has manifest_version {version!r}, this release reads "
                f"{MANIFEST_VERSION}: push with the release that reads it"
            )
        for path in files:
            if not is_plain_path(path):
                raise DecodeError(f"{MANIFEST_NAME} names {path!r}, which leads out of the folder")
            if is_own(path):
                raise DecodeError(f"{MANIFEST_NAME} names {path!r}, which is no DAG file")
        return cls(files)


def bundle_config(uri: str) -> Mapping[str, object]:
    """Return the entry of `[dag_processor] dag_bundle_config_list` for a folder in S3."""
    arguments = {"s3_uri": uri, "refresh_interval": REFRESH_INTERVAL_S}
    return {"name": BUNDLE_NAME, "classpath": BUNDLE_CLASS, "kwargs": arguments}


def is_version(text: str) -> bool:
    """Whether a text is the name of a version, which is also the name of a file."""
    return _VERSION.fullmatch(text) is not None


def is_own(path: str) -> bool:
    """Whether a path below the prefix is for manifests, and not for DAG files."""
    return PurePosixPath(path).parts[:1] == (OWN_FOLDER,)


def is_left_out(path: Path) -> bool:
    """Whether a file or folder beside DAG files is not for tasks, so that nothing takes it along.

    Hidden files may hold secrets (`.env`); `.airflowignore` is the DAG processor's.
    """
    return bool(_LEFT_OUT.fullmatch(path.name)) or (path / _VIRTUAL_ENVIRONMENT).exists()


def is_plain_path(path: str) -> bool:
    """Whether a path stays below the folder that it is joined to, and has no other spelling.

    A key in S3 is UTF-8, which a name on a disk need not be.
    """
    pure = PurePosixPath(path)
    return (
        str(pure) == path
        and path != "."
        and not pure.is_absolute()
        and ".." not in pure.parts
        and not any(character in path for character in "\\\0")
        and not any("\ud800" <= character <= "\udfff" for character in path)  # Not in UTF-8.
    )
