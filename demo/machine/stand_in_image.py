"""Builds a directory that stands in for an image, without a container engine.

Follows `lambda_image/Dockerfile`, or a small Dockerfile such as an example's: copies the same files
to the same paths below the directory and runs the same Python programs there. The packages go into
a virtual environment in `build/venv`, which is reused until one of their sources changes.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import Template

from demo import paths

VENVS = paths.ROOT / "build" / "venv"

_TASK_ROOT = "/var/task"
#: Images of this base run handlers; others run their own command, such as an ECS task's.
_BASE_OF_FUNCTIONS = "public.ecr.aws/lambda/"
#: The RUN lines that install packages.
_INSTALLS_PACKAGES = re.compile(r"lambda_image\.packaging\.build (airflow|requirements)\b")
#: The files that determine which packages are installed, and how.
_PACKAGES_FROM = (
    *("requirements.txt", "own-requirements.txt"),
    *("lambda_image/packaging/build.py", "lambda_image/packaging/trim.py"),
)
#: The supported instructions; FROM and USER are ignored. Others are errors, so that the image and
#: its stand-in cannot drift apart.
_KNOWN = re.compile(
    r"(ARG |CMD |COPY (--chmod=[0-7]{3} )?(?!--)|ENTRYPOINT \[|ENV |FROM |RUN python [^&|;]+$|"
    r"USER |WORKDIR /var/task$)"
)
_CHMOD = re.compile(r"--chmod=([0-7]{3}) ")


class DockerfileError(Exception):
    """The Dockerfile has an instruction that is not supported, or copies a missing file."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Variables besides the Dockerfile's, such as a folder that functions and Airflow share.

    Attributes:
        variables: The function may write to the folders among the values.
        read_only: The values are folders that it may only read.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    read_only: Mapping[str, str] = field(default_factory=dict)


def build(
    context: Path,
    dockerfile: Path,
    output: Path,
    build_args: Mapping[str, str],
    shared: Shared = Shared(),
) -> None:
    """Build into `output`, with an `image.json` for the embedded AWS.

    Raises:
        DockerfileError: The Dockerfile has an unsupported instruction or copies a missing file.
    """
    recipe = read(dockerfile.read_text(encoding="utf-8"), build_args)
    for line in recipe["COPY"]:
        mode = _CHMOD.match(line)
        *sources, destination = line[mode.end() if mode else 0 :].split()
        for source in sources:
            _copy(context, source, output, destination, int(mode[1], 8) if mode else None)
    runs = recipe.get("RUN", [])
    packages = list(filter(_INSTALLS_PACKAGES.search, runs))
    venv = _environment(output, packages) if packages else _base_environment()
    _run([line for line in runs if line not in packages], output, venv)
    assignments = recipe.get("ENV", [])
    variables = dict(_assignment(word) for line in assignments for word in shlex.split(line))
    description = {
        "entry_point": entry_point(recipe, venv, output),
        "command": json.loads(recipe["CMD"][-1]),
        "working_directory": f"{output}{_TASK_ROOT}",
        "environment": {
            "PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin",
            **{name: _here(value, output) for name, value in variables.items()},
            **shared.variables,
            **shared.read_only,
        },
        "readable": [str(venv), *shared.read_only.values()],
        "writable": [value for value in shared.variables.values() if Path(value).is_absolute()],
    }
    (output / "image.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read(dockerfile: str, build_args: Mapping[str, str]) -> dict[str, list[str]]:
    """The lines of each instruction, in order, with the values of the build arguments.

    Raises:
        DockerfileError: The Dockerfile has an unsupported instruction.
    """
    text = re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE))
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE)) | dict(build_args)
    found: dict[str, list[str]] = {}
    for line in filter(None, Template(text).safe_substitute(arguments).splitlines()):
        if not _KNOWN.match(line):
            raise DockerfileError(
                f"the stand-in image knows no `{line}`: do it in "
                "lambda_image/packaging/build.py, or teach "
                "demo/machine/stand_in_image.py to do the same in a directory"
            )
        instruction, _, rest = line.partition(" ")
        found.setdefault(instruction, []).append(rest)
    return found


def entry_point(recipe: Mapping[str, Sequence[str]], venv: Path, output: Path) -> list[str]:
    """What runs the image's command: its own entry point, or that of Lambda's base image."""
    if own := recipe.get("ENTRYPOINT"):
        return [_here(word, output) for word in json.loads(own[-1])]
    # Only images of functions install packages in the steps that are known here.
    packages = any(map(_INSTALLS_PACKAGES.search, recipe.get("RUN", [])))
    if packages or recipe["FROM"][-1].startswith(_BASE_OF_FUNCTIONS):
        return [f"{venv}/bin/python", "-m", "awslambdaric"]
    return []


def main() -> int:
    """Build one image, for the embedded AWS's stand-in for the docker CLI."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.machine.stand_in_image",
        description="Build a directory that stands in for the function's image.",
    )
    parser.add_argument("--context", type=Path, required=True, help="the build context")
    parser.add_argument("--file", type=Path, required=True, help="the Dockerfile")
    parser.add_argument("--output", type=Path, required=True, help="the directory to fill")
    for name, what in (
        ("--build-arg", "a build argument"),
        ("--env", "another variable; a folder may be written to"),
        ("--read-only", "a variable that names a folder to read"),
    ):
        add = partial(parser.add_argument, name, type=_assignment, action="append", default=[])
        add(metavar="NAME=VALUE", help=f"{what}; may be repeated")
    given = parser.parse_args()
    context, output = given.context.resolve(), given.output.resolve()
    dockerfile = given.file if given.file.is_file() else context / given.file
    try:
        shared = Shared(dict(given.env), dict(given.read_only))
        build(context, dockerfile, output, dict(given.build_arg), shared)
    except (DockerfileError, OSError, subprocess.CalledProcessError) as e:
        print(f"the stand-in image was not built: {e}", file=sys.stderr)
        return 1
    return 0


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{word!r} is not NAME=VALUE")
    return name, value


def _copy(
    context: Path, pattern: str, output: Path, destination: str, mode: int | None = None
) -> None:
    sources = sorted(context.glob(pattern.rstrip("/")))
    if not sources:
        raise DockerfileError(f"COPY {pattern}: nothing of that name in {context}")
    target = Path(f"{output}{destination}")
    (target if destination.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
    for source in sources:
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            # A link stays a link, as COPY leaves it.
            shutil.copytree(source, target, symlinks=True, ignore=ignore, dirs_exist_ok=True)
        else:
            copied = Path(shutil.copy(source, target))
            if mode is not None:
                copied.chmod(mode)


def _environment(output: Path, commands: Sequence[str]) -> Path:
    """The virtual environment with the image's packages, made if it is missing."""
    made_from = [Path(f"{output}{_TASK_ROOT}", name).read_text() for name in _PACKAGES_FROM]
    key = hashlib.sha256(repr([sys.version_info[:2], commands, made_from]).encode()).hexdigest()
    return _venv(f"image-{key[:12]}", partial(_run, commands, output))


def _base_environment() -> Path:
    """The virtual environment of an image without packages: those of Lambda's base image."""
    versions = paths.IMAGE_PACKAGES
    key = hashlib.sha256(repr([sys.version_info[:2], versions.read_text()]).encode()).hexdigest()

    def install(venv: Path) -> None:
        installer = [str(paths.UV), "pip", "install", "--quiet", "--python", str(venv)]
        packages = ["awslambdaric", "boto3"]
        subprocess.run([*installer, "--constraint", str(versions), *packages], check=True)

    return _venv(f"image-base-{key[:12]}", install)


def _venv(name: str, install: Callable[[Path], None]) -> Path:
    """A virtual environment, made if it is missing."""
    venv = VENVS / name
    VENVS.mkdir(parents=True, exist_ok=True)
    with (VENVS / f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Another build must not use an incomplete one.
        if not (venv / "complete").exists():
            print(f"Installing the image's packages into {venv}", flush=True)
            make = [
                str(paths.UV),
                "venv",
                "--quiet",
                "--clear",
                "--python",
                sys.executable,
                str(venv),
            ]
            subprocess.run(make, check=True)
            install(venv)
            (venv / "complete").touch()
    return venv


def _run(commands: Sequence[str], output: Path, venv: Path) -> None:
    """Run the image's programs with the virtual environment's Python, and uv instead of pip."""
    installer = shlex.join([str(paths.UV), "pip", "install", "--quiet", "--python", str(venv)])
    for command in commands:
        arguments = [_here(word, output) for word in shlex.split(command)[1:]]
        subprocess.run(
            [f"{venv}/bin/python", *arguments],
            cwd=f"{output}{_TASK_ROOT}",
            env=os.environ | {"INSTALLER": installer},
            check=True,
        )


def _here(word: str, output: Path) -> str:
    """Replace a path of the image by its path below the directory."""
    return f"{output}{word}" if word.startswith((_TASK_ROOT, "/usr/src")) else word


if __name__ == "__main__":
    sys.exit(main())
