"""Builds, where there is no container engine, a directory that stands in for the image.

Reads `lambda_image/Dockerfile` and does what its lines say: the same files at the same places
below the directory, the same variables, the same command. The packages come from the same
`requirements.txt`, in a virtual environment kept in `build/venv` for each content of that file.
An instruction it does not know is an error, so that image and stand-in cannot drift apart.
It must not know what the handler does, nor the embedded AWS that asks for the directory.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo import paths

UV = paths.ROOT / "build" / "uv" / "bin" / "uv"
VENVS = paths.ROOT / "build" / "venv"

_TASK_ROOT = "/var/task"
_REQUIREMENTS = f"{_TASK_ROOT}/requirements.txt"
_OWN_REQUIREMENTS = f"{_TASK_ROOT}/own-requirements.txt"
_TRIM = f"{_TASK_ROOT}/lambda_image/trim.py"
_EXECUTOR = "/usr/src/executor"
_PIP = "python -m pip install --root-user-action=ignore --no-cache-dir"
_COMPILE = f"python -m compileall -q --invalidation-mode unchecked-hash {_TASK_ROOT}"
#: What the Dockerfile runs; `build` and `_environment` do the same.
_RUNS = frozenset(
    {
        (
            f"{_PIP} --no-compile --no-deps --requirement {_REQUIREMENTS} "
            f'"apache-airflow-core==${{AIRFLOW_VERSION}}" && python {_TRIM}'
        ),
        (
            f"{_PIP} --no-compile --requirement {_OWN_REQUIREMENTS} --constraint {_REQUIREMENTS} "
            f"&& python {_TRIM} --only-compile"
        ),
        f"{_PIP} --no-compile --no-deps --target {_TASK_ROOT} {_EXECUTOR}",
        _COMPILE,
    }
)
_IGNORED = frozenset({"FROM", "USER"})  # The base image, and a user that a directory has not.


class DockerfileError(Exception):
    """The Dockerfile says something that a directory cannot stand in for."""


@dataclass(slots=True)
class Recipe:
    """What a Dockerfile says.

    Attributes:
        copies: Source pattern in the context, and destination.
        variables: The image's environment.
        command: The handler, as in `CMD`.
        working_directory: Where the runtime starts.
        airflow_version: The Airflow that the packages must be.
    """

    copies: list[tuple[str, str]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    working_directory: str = _TASK_ROOT
    airflow_version: str = ""

    @classmethod
    def read(cls, text: str, build_args: Mapping[str, str]) -> Recipe:
        """Read a Dockerfile.

        Raises:
            DockerfileError: It has an instruction that a directory cannot stand in for.
        """
        recipe, arguments = cls(), dict[str, str]()
        for instruction, rest in _instructions(text):
            value = _substitute(rest, arguments)
            match instruction:
                case "ARG":
                    name, _, default = value.partition("=")
                    arguments[name] = build_args.get(name, default)
                case "ENV":
                    recipe.variables |= dict(_assignment(word) for word in shlex.split(value))
                case "COPY":
                    *sources, destination = _words(value)
                    recipe.copies += [(source, destination) for source in sources]
                case "CMD":
                    recipe.command = json.loads(value)
                case "WORKDIR":
                    recipe.working_directory = value
                case "RUN" if rest in _RUNS:
                    pass
                case _ if instruction in _IGNORED:
                    pass
                case _:
                    raise DockerfileError(
                        f"the stand-in image knows no `{instruction} {value}`: teach "
                        "demo/image_builder.py to do the same in a directory"
                    )
        recipe.airflow_version = arguments.get("AIRFLOW_VERSION", "")
        return recipe


def build(
    context: Path,
    dockerfile: Path,
    output: Path,
    build_args: Mapping[str, str],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Make the directory, with `image.json` for the embedded AWS.

    Args:
        context: The build context.
        dockerfile: What to do.
        output: Where to build.
        build_args: Values of the Dockerfile's arguments.
        extra: Variables beyond the Dockerfile's: what one machine makes possible, such as a
            folder that function and control plane share. The function may write the folders
            that are named here, and no other of the machine's.
    """
    recipe = Recipe.read(dockerfile.read_text(encoding="utf-8"), build_args)
    for source, destination in recipe.copies:
        _copy(context, source, output / destination.lstrip("/"), into=destination.endswith("/"))
    python = _environment(output, recipe.airflow_version)
    task_root = output / _TASK_ROOT.lstrip("/")
    executor = output / _EXECUTOR.lstrip("/")
    install = [*_install(python), "--no-deps", "--target", task_root, executor]
    subprocess.run(install, check=True)
    subprocess.run([python, *_COMPILE.split()[1:-1], task_root], check=True)
    shared = extra or {}
    here = {name: _here(value, output) for name, value in recipe.variables.items()}
    description = {
        "command": [str(python), "-m", "awslambdaric", *recipe.command],
        "working_directory": _here(recipe.working_directory, output),
        "environment": {
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            **here,
            **shared,
        },
        "readable": [str(python.parent.parent)],
        "writable": [value for value in shared.values() if Path(value).is_absolute()],
    }
    (output / "image.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Build one image; the embedded AWS's stand-in for the docker CLI calls this."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.image_builder",
        description="Build a directory that stands in for the function's image.",
    )
    parser.add_argument("--context", type=Path, required=True, help="the build context")
    parser.add_argument("--file", type=Path, required=True, help="the Dockerfile")
    parser.add_argument(
        "--output", type=Path, required=True, help="where to build; gets image.json"
    )
    parser.add_argument(
        "--build-arg",
        metavar="NAME=VALUE",
        type=_assignment,
        action="append",
        default=[],
        help="a build argument; may be given more than once",
    )
    parser.add_argument(
        "--env",
        metavar="NAME=VALUE",
        type=_assignment,
        action="append",
        default=[],
        help="a variable beyond the Dockerfile's; may be given more than once",
    )
    given = parser.parse_args()
    dockerfile = given.file if given.file.is_file() else given.context / given.file
    try:
        build(
            given.context.resolve(),
            dockerfile,
            given.output.resolve(),
            dict(given.build_arg),
            dict(given.env),
        )
    except (DockerfileError, OSError, subprocess.CalledProcessError) as e:
        print(f"the stand-in image was not built: {e}", file=sys.stderr)
        return 1
    return 0


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, _, rest = line.partition(" ")
        yield instruction.upper(), " ".join(rest.split())


def _substitute(value: str, arguments: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: arguments.get(match[1], ""), value)


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{word!r} is not NAME=VALUE")
    return name, value


def _words(value: str) -> list[str]:
    words = value.split()
    if len(words) < 2 or value.startswith("--"):  # noqa: PLR2004 - a source and the destination
        raise DockerfileError(f"the stand-in image knows COPY without options, not {value!r}")
    return words


def _copy(context: Path, pattern: str, destination: Path, *, into: bool) -> None:
    sources = sorted(context.glob(pattern.rstrip("/")))
    if not sources:
        raise DockerfileError(f"COPY {pattern}: nothing of that name in {context}")
    for source in sources:
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, destination, ignore=ignore, dirs_exist_ok=True)
            continue
        target = destination / source.name if into else destination
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _environment(output: Path, airflow_version: str) -> Path:
    """The virtual environment with the image's packages, made once for each set; its Python."""
    wanted = [output / path.lstrip("/") for path in (_REQUIREMENTS, _OWN_REQUIREMENTS, _TRIM)]
    requirements, own_requirements, trim = wanted
    made_of = [str(sys.version_info[:2]), airflow_version]
    made_of += [path.read_text(encoding="utf-8") for path in wanted]
    venv = VENVS / f"image-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]}"
    python, complete = venv / "bin" / "python", venv / "complete"
    VENVS.mkdir(parents=True, exist_ok=True)
    with (VENVS / f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two builds at once must not share a half-made one.
        if not complete.exists():
            print(f"Installing {requirements.name} into {venv}", flush=True)
            subprocess.run(
                [UV, "venv", "--quiet", "--clear", "--python", sys.executable, venv], check=True
            )
            airflow = f"apache-airflow-core=={airflow_version}"
            install = _install(python)
            subprocess.run([*install, "--no-deps", "-r", requirements, airflow], check=True)
            subprocess.run([python, trim], check=True)
            subprocess.run([*install, "-r", own_requirements, "-c", requirements], check=True)
            subprocess.run([python, trim, "--only-compile"], check=True)
            complete.touch()
    return python


def _install(python: Path) -> list[str | Path]:
    return [UV, "pip", "install", "--quiet", "--python", python]


def _here(value: str, output: Path) -> str:
    """A path of the image, in the directory that stands in for it."""
    if value == _TASK_ROOT or value.startswith(f"{_TASK_ROOT}/"):
        return str(output / value.lstrip("/"))
    return value


if __name__ == "__main__":
    sys.exit(main())
