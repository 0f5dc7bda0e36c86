"""The image store: directories that stand in for container images, found by name.

An image is a directory with an `image.json`. The stand-in for the docker CLI writes while the data
plane reads, so every name is a symbolic link that is replaced atomically.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

DESCRIPTION = "image.json"


class ImageError(Exception):
    """An image is missing or invalid; the message names it and the fix."""


def image_name(uri: str) -> str:
    """A pushed image's name in the store: its URI without the registry's host."""
    return uri.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Image:
    """The content of `image.json`.

    Attributes:
        entry_point: What runs, as in Docker's ENTRYPOINT. Without it in `image.json`, it is all of
            `command` but the last word, which is the handler of a function.
        command: Its default arguments, as in Docker's CMD.
        readable: The image's directory and other paths that the process needs even if they are
            below the machine's /tmp.
        writable: Writable directories besides /tmp.
    """

    entry_point: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    variables: Mapping[str, str]
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()

    @classmethod
    def read(cls, directory: Path) -> Image:
        """Read a builder's output.

        Raises:
            ImageError: It is missing or invalid.
        """
        path = directory / DESCRIPTION
        try:
            described = json.loads(path.read_text())
            command = described["command"]
            entry_point = described.get("entry_point", [])
            working_directory = described["working_directory"]
            variables = described.get("environment", {})
            readable, writable = described.get("readable", []), described.get("writable", [])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise ImageError(
                f"{path} does not describe an image ({e!r}): expected an object with `command`, "
                "`entry_point`, `working_directory`, `environment`, `readable` and `writable`"
            ) from e
        if (
            not command
            or not all(_strings(items) for items in (command, entry_point, readable, writable))
            or not isinstance(working_directory, str)
            or not isinstance(variables, dict)
            or not all(isinstance(value, str) for value in variables.values())
        ):
            raise ImageError(
                f"{path}: `command` must be a non-empty list of strings, `entry_point` a list of "
                "strings, `working_directory` a string, `environment` an object of strings, "
                "`readable` and `writable` lists of absolute paths"
            )
        if "entry_point" not in described:
            entry_point, command = command[:-1], command[-1:]
        return cls(
            tuple(entry_point),
            tuple(command),
            working_directory,
            variables,
            readable=(directory, *map(Path, readable)),
            writable=tuple(map(Path, writable)),
        )


def _strings(items: object) -> bool:
    return isinstance(items, list) and all(isinstance(item, str) for item in items)


class ImageStore:
    """The images below `root`, which is made if it is missing."""

    def __init__(self, root: Path) -> None:
        self._content = root / "content"
        self._names = root / "names"
        self._content.mkdir(parents=True, exist_ok=True)
        self._names.mkdir(parents=True, exist_ok=True)

    def new_directory(self) -> Path:
        """Make an empty directory for a builder's output; its name is the image's id."""
        directory = self._content / uuid.uuid4().hex
        directory.mkdir()
        return directory.resolve()

    def name(self, name: str, directory: Path) -> None:
        """Name an image; another image of that name loses it."""
        link = self._names / quote(name, safe="")
        fresh = link.with_name(f".{uuid.uuid4().hex}")
        fresh.symlink_to(directory.resolve())
        os.replace(fresh, link)  # noqa: PTH105 - atomic

    def find(self, name: str) -> Path:
        """The directory of the image of that name.

        Raises:
            ImageError: There is none.
        """
        link = self._names / quote(name, safe="")
        if not link.exists():
            raise ImageError(f"there is no image {name} in {self._names.parent}: build or push it")
        return link.resolve()
