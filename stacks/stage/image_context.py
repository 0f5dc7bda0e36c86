"""The folder that the stage's image is built from.

It has the files that the Dockerfile copies and no others, under the same names wherever they come
from: so the image's tag depends only on their content.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lambda_executor.contract.dag_manifest import is_left_out
from stacks.config import ImageConfig
from stacks.config.loading import StageConfigError

#: The Dockerfile, and the DAG folder and the file with more packages, in the context.
DOCKERFILE = "lambda_image/Dockerfile"
DAGS = "dags"
REQUIREMENTS = "requirements.txt"

_FOLDERS = ("lambda_image", "executor/src")
_FILES = ("executor/README.md", "executor/pyproject.toml")
#: The packages of each version of Airflow; the context has the stage's version only.
_LOCKS = "lambda_image/locks"

#: A line of a requirements file that names another file or folder of this machine.
#: https://pip.pypa.io/en/stable/reference/requirements-file-format/
_OTHER_FILE = re.compile(
    r"\s*(?:(?:-r|--requirement|-c|--constraint)[\s=]*(?!\s*https?://)"
    r"|(?:-e|--editable)[\s=]*(?!\s*\w+\+)|\.{0,2}/|file:|\S+\s*@\s*file:)\S*"
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the files of an image come from, checked.

    Attributes:
        root: The root of this repository.
    """

    root: Path
    dags: Path
    requirements: Path | None
    lock: Path

    @classmethod
    def of(cls, root: Path, config: ImageConfig) -> Sources:
        """Find the files of a stage's image.

        Raises:
            StageConfigError: A file or folder cannot be used: its value, the path and the fix.
        """
        return cls(
            root,
            _dags(root, config.dags),
            _requirements(root, config.requirements) if config.requirements else None,
            _lock(root, config.airflow_version),
        )

    def copy_to(self, context: Path) -> None:
        """Copy the files into an empty folder."""
        for folder in _FOLDERS:
            _copy_tree(self.root / folder, context / folder, skipped=(self.root / _LOCKS).resolve())
        _copy_tree(self.dags, context / DAGS)
        (context / _LOCKS).mkdir()
        shutil.copyfile(self.lock, context / _LOCKS / self.lock.name)
        for file in _FILES:
            shutil.copyfile(self.root / file, context / file)
        if self.requirements:
            shutil.copyfile(self.requirements, context / REQUIREMENTS)


def _dags(root: Path, value: str) -> Path:
    folder = _path(root, value)
    if folder is None or not folder.exists():
        fix, what = "create it, or name the folder with your DAG files", "does not exist"
    elif not folder.is_dir():
        fix, what = f"name its folder, {folder.parent}", "is not a folder"
    elif not _has_dag_file(folder):
        fix, what = "put DAG files there, or name their folder", "has no DAG file (.py, .zip)"
    else:
        return folder
    raise _refused("dags", value, folder, what, "a folder with DAG files", fix)


def _requirements(root: Path, value: str) -> Path:
    file, allowed = _path(root, value), "a file with packages in pip's format"
    if file is None or not file.exists():
        fix = "create it, or name the file with the packages"
        raise _refused("requirements", value, file, "does not exist", allowed, fix)
    if not file.is_file():
        fix = "name the file in it, such as requirements.txt"
        raise _refused("requirements", value, file, "is not a file", allowed, fix)
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if _OTHER_FILE.match(line):
            what = f"names another file in line {number} ({line.strip()}), which the image has not"
            fix = "write the packages themselves into it (`uv pip compile` makes such a file)"
            raise _refused("requirements", value, file, what, allowed, fix)
    return file


def _lock(root: Path, version: str) -> Path:
    file = root / _LOCKS / f"{version}.txt"
    if not file.is_file():
        known = sorted(path.stem for path in file.parent.glob("*.txt"))
        raise StageConfigError(
            f'image.airflow_version is "{version}", and its packages are not listed in {file}; '
            f"listed are {', '.join(known)}: choose one of these, or make the list with "
            f"`make image-requirements AIRFLOW_VERSION={version}` and commit it"
        )
    return file


def _path(root: Path, value: str) -> Path | None:
    """The absolute path that a value means; None: the home folder in it is not known."""
    try:
        return Path(os.path.normpath(root / Path(value).expanduser()))
    except RuntimeError:
        return None


def _refused(  # noqa: PLR0913, PLR0917 - the parts of one sentence
    name: str, value: str, path: Path | None, what: str, allowed: str, fix: str
) -> StageConfigError:
    where = path or "a home folder that is not known here"
    return StageConfigError(
        f'image.{name} is "{value}", which is {where} and {what}, allowed is {allowed}: {fix}'
    )


def _has_dag_file(folder: Path) -> bool:
    for _, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not is_left_out(Path(folder, name))]
        if any(name.endswith((".py", ".zip")) for name in files):
            return True
    return False


def _copy_tree(
    source: Path, target: Path, skipped: Path | None = None, above: tuple[Path, ...] = ()
) -> None:
    """Copy a folder without what no task needs.

    A link to something in the folder stays a link; of one that leads out of it, the content is
    copied, because the image has nothing else. A broken link stays: a function may mount its
    target.
    """
    root = source.resolve()
    above = (*above, root)
    target.mkdir(parents=True)
    for folder, folders, files in os.walk(root, followlinks=False):
        here = Path(folder)
        there = target / here.relative_to(root)

        def is_wanted(name: str, here: Path = here) -> bool:
            return not is_left_out(here / name) and here / name != skipped

        kept = list(filter(is_wanted, folders))
        folders[:] = [name for name in kept if not (here / name).is_symlink()]
        for name in folders:
            (there / name).mkdir()
        links = [name for name in kept if name not in folders]
        for name in (*links, *filter(is_wanted, files)):
            _copy_one(here / name, there / name, root, above)


def _copy_one(path: Path, target: Path, root: Path, above: tuple[Path, ...]) -> None:
    if not path.is_symlink():
        _copy_file(path, target)
        return
    real = path.resolve()
    if real.is_relative_to(root):
        target.symlink_to(os.path.relpath(real, path.parent.resolve()))
    elif real.is_file():
        _copy_file(real, target)
    elif real.is_dir() and not any(folder.is_relative_to(real) for folder in above):
        _copy_tree(real, target, above=above)
    else:
        target.symlink_to(path.readlink())


def _copy_file(path: Path, target: Path) -> None:
    """Copy a file; a program stays one, and every user of the image may read it."""
    shutil.copyfile(path, target)
    target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
