"""A DAG repository outside of this one, as its owner names it: `make local DAGS=../my-repo/dags`.

Checks what a person types before anything starts. Every error names the value and the fix.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from demo.installation.project import Project
from lambda_executor.contract.dag_manifest import is_left_out, is_plain_path
from lambda_executor.contract.names import VARIABLE

#: What editors leave beside a file while it is open. Never uploaded.
EDITORS_FILES = (".#*", "*~", "*.sw?", "4913", "*.tmp", "*___jb_*___")
#: What Airflow's DAG processor looks for in a file before it reads it.
#: https://airflow.apache.org/docs/apache-airflow/stable/configurations-ref.html#dag-discovery-safe-mode
_DAG_WORDS = (b"dag", b"airflow")

#: Variables of a `.env` file that would break the environment: `make local` sets them, or must not.
RESERVED = (
    "AIRFLOW_HOME",
    "AIRFLOW_CONFIG",
    "AIRFLOW_LAMBDA_*",
    "AIRFLOW__API_AUTH__*",
    "AIRFLOW__API__BASE_URL",
    "AIRFLOW__API__HOST",
    "AIRFLOW__API__PORT",
    "AIRFLOW__API__SECRET_KEY*",
    "AIRFLOW__API__SSL_*",
    "AIRFLOW__CELERY__*",
    "AIRFLOW__CORE__AUTH_MANAGER*",
    "AIRFLOW__CORE__DAGS_FOLDER",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
    "AIRFLOW__CORE__EXECUTOR",
    "AIRFLOW__CORE__FERNET_KEY*",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE",
    "AIRFLOW__CORE__PLUGINS_FOLDER",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_*",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_*",
    "AIRFLOW__DATABASE__*",
    "AIRFLOW__LAMBDA_EXECUTOR__*",
    "AIRFLOW__LOGGING__*",
    "AIRFLOW__SECRETS__*",
    "AWS_*",
    "HOME",
    "LAMBDA_*",
    "LD_*",
    "PATH",
    "PYTHON*",
    "TMPDIR",
)


class ProjectError(Exception):
    """What was named cannot be run; the message is for the person who named it."""


def project(
    folder: Path,
    requirements: Path | None = None,
    env: Path | None = None,
    plugins: Path | None = None,
) -> tuple[Project, list[str]]:
    """The project, and a sentence for each thing that was ignored.

    Raises:
        ProjectError: Something is missing, empty or cannot be read.
    """
    folder = _existing(folder, "DAGS", "the folder that holds the DAG files", is_folder=True)
    _check_has_dags(folder)
    if requirements:
        requirements = _existing(requirements, "REQUIREMENTS", "a file in pip's format")
    if plugins:
        plugins = _existing(plugins, "PLUGINS", "Airflow's plugins folder", is_folder=True)
    variables: dict[str, str] = {}
    if env:
        env = _existing(env, "ENV", "a file with a line NAME=value for each variable")
        variables = read_variables(env)
    kept = {name: value for name, value in variables.items() if not is_reserved(name)}
    ignored = sorted(variables.keys() - kept.keys())
    notes = []
    if ignored:
        notes.append(
            f"{env}: {', '.join(ignored)} {'is' if len(ignored) == 1 else 'are'} ignored, because "
            "`make local` has its own executor, database, folders and AWS"
        )
    found = Project(
        folder=folder,
        requirements=requirements,
        variables=kept,
        plugins=plugins,
        is_watched=True,
        needs_restart=tuple(path for path in (requirements, env, plugins) if path),
    )
    return found, notes


def is_reserved(name: str) -> bool:
    """Whether a variable would break the environment."""
    return any(fnmatch(name, pattern) for pattern in RESERVED)


def read_variables(file: Path) -> dict[str, str]:
    """The variables of a `.env` file; `$` has no meaning in a value.

    Raises:
        ProjectError: A line is not `NAME=value`, or the file is not text.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as e:
        raise ProjectError(f"ENV={file} cannot be read: {e}") from e
    for each in bindings:
        if _is_wrong(each):
            shown = each.original.string.strip().partition("=")[0]
            raise ProjectError(  # Without the value, which may be a secret.
                f"{file}, line {_line(each)}: {shown!r} is not the start of NAME=value, allowed "
                "is a name of two or more letters, digits and _, a letter first: correct it"
            )
    return {each.key: each.value for each in bindings if each.key and each.value is not None}


def files_below(folder: Path) -> dict[str, Path]:
    """The files to upload, by their path below the folder, also those behind links to folders.

    Raises:
        ProjectError: A name cannot be a key in S3.
    """

    def walk(at: Path, prefix: str, above: frozenset[Path]) -> Iterator[tuple[str, Path]]:
        for each in sorted(at.iterdir()):
            if is_left_out(each) or any(fnmatch(each.name, pattern) for pattern in EDITORS_FILES):
                continue
            if each.is_dir():
                real = each.resolve()
                if real not in above:  # A link to a folder that contains it.
                    yield from walk(each, f"{prefix}{each.name}/", above | {real})
            elif each.is_file():
                yield f"{prefix}{each.name}", each

    found = dict(walk(folder, "", frozenset({folder.resolve()})))
    for path in found:
        if not is_plain_path(path):
            raise ProjectError(f"{folder}: {path!r} cannot be a key in S3: rename the file")
    return found


def _check_has_dags(folder: Path) -> None:
    files = files_below(folder)
    if not files:
        raise ProjectError(f"DAGS={folder} is empty: name the folder that holds the DAG files")
    if not any(map(_may_hold_dag, files.values())):
        raise ProjectError(
            f'DAGS={folder} has no DAG: no .py file in it has the words "dag" and "airflow", '
            "which Airflow looks for: name the folder that holds the DAG files"
        )


def _may_hold_dag(file: Path) -> bool:
    if file.suffix == ".zip":
        return True
    if file.suffix != ".py":
        return False
    content = file.read_bytes().lower()
    return all(word in content for word in _DAG_WORDS)


def _existing(path: Path, variable: str, what: str, *, is_folder: bool = False) -> Path:
    found = path.expanduser().resolve()
    kind = "a folder" if is_folder else "a file"
    if not found.exists():
        raise ProjectError(f"{variable}={path}: there is no {found}, allowed is {what}: correct it")
    if found.is_dir() != is_folder:
        raise ProjectError(f"{variable}={path} is not {kind}, allowed is {what}: correct it")
    return found


def _is_wrong(binding: Binding) -> bool:
    if binding.error or (binding.key and binding.value is None):
        return True
    return binding.key is not None and not VARIABLE.fullmatch(binding.key)


def _line(binding: Binding) -> int:
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
