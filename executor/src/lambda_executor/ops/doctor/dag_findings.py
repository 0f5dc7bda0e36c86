"""The doctor's rules about the DAG files of a function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lambda_executor.contract.probe import BundleAnswer, DagFiles, ProbeAnswer
from lambda_executor.core.findings import Finding, ok, problem, unknown
from lambda_executor.ops.doctor.diagnosis import DEPLOY

#: The most names of files in one finding.
_NAMES = 5


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions that the scheduler runs on."""

    airflow: str
    python: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a function is compared with.

    Attributes:
        here: The versions of the scheduler.
        dag_files: The files of the DAGs that Airflow knows.
        dags_folder: The scheduler's own DAG folder.
        all_run_here: Whether the tasks of all DAGs run on this function, unless they say otherwise.
    """

    here: Versions
    dag_files: DagFiles
    dags_folder: str
    all_run_here: bool


def dag_files(name: str, answer: ProbeAnswer, expected: Expected) -> Iterator[Finding]:
    """Whether the function has the files of the DAGs that Airflow knows."""
    if not expected.dag_files:
        yield ok("DAG files", "Airflow knows no DAG yet", name)
        return
    if answer.bundles is None:
        yield unknown(
            "DAG files",
            "its image is older than this question",
            "deploy the image of this release",
            DEPLOY,
            name,
        )
        return
    before = 0
    for bundle, paths in expected.dag_files.items():
        for finding in _bundle(name, bundle, len(paths), answer.bundles.get(bundle), expected):
            before += 1
            yield finding
    if not before:
        files = sum(map(len, expected.dag_files.values()))
        yield ok("DAG files", f"none of the {files} that Airflow knows is missing", name)


def _bundle(
    name: str, bundle: str, files: int, answer: BundleAnswer | None, expected: Expected
) -> Iterator[Finding]:
    """Yield what is wrong with one bundle."""
    worse = problem if expected.all_run_here else unknown
    if answer is None:
        yield worse(
            "DAG files",
            f"the function does not know the DAG bundle {bundle!r}, which has {files} of the "
            "files that Airflow knows",
            *_for_unknown_bundle(bundle),
            name,
        )
    elif answer.error:
        yield problem(
            "DAG files",
            answer.error,
            "correct what it says; this command writes the folder that a function reads",
            _push(answer, expected),
            name,
        )
    elif answer.missing:
        names = ", ".join(answer.missing[:_NAMES])
        more = len(answer.missing) - _NAMES
        in_s3 = answer.source.startswith("s3:")
        where = answer.source if in_s3 else "the function's image"
        from_image = "build and deploy the image with the DAGs that the DAG processor reads"
        yield worse(
            "DAG files",
            f"{len(answer.missing)} of the {files} files of bundle {bundle!r} that Airflow knows "
            f"are not in {where}: {names}"
            f"{f' and {more} more' if more > 0 else ''}",
            "push the folder that the DAG processor reads" if in_s3 else from_image,
            _push(answer, expected),
            name,
        )


def _for_unknown_bundle(bundle: str) -> tuple[str, str]:
    """Return a fix and its command."""
    if bundle == "example_dags":  # Airflow's own name, which no list of bundles may have.
        fix = "leave Airflow's examples out here, or load them in the function too"
        return fix, "AIRFLOW__CORE__LOAD_EXAMPLES=False"
    fix = (
        "give the function the DAG processor's list of bundles (dags.bundles of the stage), which "
        "the command prints"
    )
    return fix, "airflow config get-value dag_processor dag_bundle_config_list"


def _push(answer: BundleAnswer, expected: Expected) -> str:
    if answer.source.startswith("s3:"):
        return f"airflow lambda-executor dags push {expected.dags_folder} {answer.source}"
    return DEPLOY
