"""The Dockerfile and the directory that stands in for its image agree."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from demo.machine import stand_in_image
from demo.machine.stand_in_image import DockerfileError, Shared
from tests.support.handler_process import image_variables

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "lambda_image" / "Dockerfile"


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in with our own DAGs, on the packages of this environment."""
    monkeypatch.setattr(stand_in_image, "_environment", lambda *_: Path(sys.prefix))
    stand_in_image.build(ROOT, DOCKERFILE, tmp_path, {"DAGS": "dags"}, Shared({"ONLY_HERE": "1"}))
    return tmp_path


def test_the_stand_in_has_the_images_variables_and_command(image: Path) -> None:
    """The Dockerfile's variables and command hold, with paths of the directory."""
    task_root = image / "var/task"
    description = json.loads((image / "image.json").read_text())
    expected = image_variables() | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(task_root / "dags"),
        "PYTHONPATH": str(task_root),
    }
    assert expected.items() <= description["environment"].items()
    assert set(description["environment"]) - set(expected) == {"PATH", "ONLY_HERE"}
    assert description["working_directory"] == str(task_root)
    assert description["entry_point"] == ["/bin/sh", f"{task_root}/lambda_image/entry_point.sh"]
    assert description["command"] == ["handler.lambda_handler"]


def test_the_image_has_what_the_handler_imports(image: Path) -> None:
    """Our modules are below the task root, compiled, and nowhere else."""
    task_root = image / "var/task"
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "import lambda_executor.contract.wire, lambda_executor.contract.options\n"
        "import lambda_image.invocation.handling\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('lambda_')))"
    )
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=task_root, check=True, capture_output=True, text=True)
    for file in done.stdout.split():
        assert Path(file).is_relative_to(task_root)
    assert (task_root / "handler.py").read_bytes() == (
        ROOT / "lambda_image/handler.py"
    ).read_bytes()
    assert list(task_root.glob("__pycache__/handler.*.pyc"))
    assert {path.name for path in (task_root / "dags").glob("*.py")} == {
        path.name for path in (ROOT / "dags").glob("*.py")
    }


def test_the_image_of_a_clone_under_a_strict_umask_can_be_read_by_every_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever modes the files have on the machine that builds: Lambda's user is not root.

    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
    """
    monkeypatch.setattr(stand_in_image, "_environment", lambda *_: Path(sys.prefix))
    clone, output = tmp_path / "clone", tmp_path / "image"
    umask = os.umask(0o077)
    try:
        for folder in ("lambda_image", "executor", "dags"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(
                ROOT / folder, clone / folder, ignore=ignored, copy_function=shutil.copyfile
            )
        (clone / "dags" / "tool").write_text("#!/bin/sh\n")
        (clone / "dags" / "tool").chmod(0o700)
        (clone / "dags" / "gone").symlink_to("/no/such/file")
        for path in (clone, *filter(Path.is_dir, clone.rglob("*"))):
            path.chmod(0o700)
        stand_in_image.build(clone, clone / "lambda_image/Dockerfile", output, {})
    finally:
        os.umask(umask)
    task_root = output / "var/task"
    modes = {
        path: stat.S_IMODE(path.lstat().st_mode) for path in (task_root, *task_root.rglob("*"))
    }
    links = [path for path in modes if path.is_symlink()]
    assert [link.name for link in links] == ["gone"]
    assert not [
        f"{path} {mode:o}"
        for path, mode in modes.items()
        if path not in links and not (mode & 0o004 and (mode & 0o001 or path.is_file()))
    ]
    assert modes[task_root / "dags/tool"] & 0o111 == 0o111


@pytest.mark.parametrize(
    "instruction",
    [
        "RUN dnf install git",
        "RUN python a.py && dnf install git",
        "COPY --chown=1 a /b",
        "VOLUME /x",
    ],
)
def test_an_instruction_that_a_directory_cannot_do_is_an_error(instruction: str) -> None:
    """The image cannot gain what its stand-in lacks without notice."""
    in_two_lines = instruction.replace(" install", " \\\n  install")
    with pytest.raises(DockerfileError, match=f"knows no `{re.escape(instruction)}`"):
        stand_in_image.read(f"FROM x\n{in_two_lines}\n", {})


def test_a_source_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """The error names a DAG folder that is not in the build context."""
    recipe = tmp_path / "Dockerfile"
    recipe.write_text("ARG DAGS=dags\nCOPY ${DAGS}/ /var/task/dags/\n")
    with pytest.raises(DockerfileError, match=r"COPY my/dags/: nothing of that name"):
        stand_in_image.build(tmp_path, recipe, tmp_path / "out", {"DAGS": "my/dags"})


def test_a_build_argument_has_its_default() -> None:
    """An argument that is not given has the Dockerfile's default."""
    text = "ARG DAGS=dags\nCOPY ${DAGS}/ /d/\n"
    assert stand_in_image.read(text, {})["COPY"] == ["dags/ /d/"]
    assert stand_in_image.read(text, {"DAGS": "mine"})["COPY"] == ["mine/ /d/"]


def test_the_command_describes_itself() -> None:
    """`--help` names every argument that the stand-in docker CLI passes."""
    command = [sys.executable, "-m", "demo.machine.stand_in_image", "--help"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for argument in ("--context", "--file", "--output", "--build-arg", "--env"):
        assert argument in done.stdout
