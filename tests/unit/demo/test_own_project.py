"""A DAG repository of one's own: what a person may name, and what is told of a change."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from demo import paths, reload
from demo.installation import own_project, packages, shell_file
from demo.installation.own_project import ProjectError
from demo.installation.project import Project, merged

DAG = "from airflow.sdk import dag\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A DAG folder with one file."""
    made = tmp_path / "dags"
    made.mkdir()
    (made / "mine.py").write_text(DAG)
    return made


def env_file(tmp_path: Path, text: str) -> Path:
    """A `.env` file."""
    file = tmp_path / ".env"
    file.write_text(text)
    return file


def test_a_dag_folder_is_all_that_is_needed(folder: Path) -> None:
    """The project is the folder, followed while Airflow runs."""
    found, notes = own_project.project(folder)
    assert found == Project(folder=folder, is_watched=True)
    assert notes == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The error has the variable, what was typed and where that is."""
    with pytest.raises(ProjectError, match=r"DAGS=nowhere/dags: there is no /.*/nowhere/dags"):
        own_project.project(Path("nowhere/dags"))
    with pytest.raises(ProjectError, match=r"is not a folder, allowed is the folder that holds"):
        own_project.project(env_file(tmp_path, ""))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """What is never uploaded does not count."""
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "mine.pyc").write_text(DAG)
    with pytest.raises(ProjectError, match="is empty: name the folder that holds the DAG files"):
        own_project.project(tmp_path)


def test_a_folder_without_a_dag_is_refused(tmp_path: Path) -> None:
    """Airflow would never read its files."""
    (tmp_path / "words.py").write_text("WORD = 1\n")
    with pytest.raises(ProjectError, match=r'no \.py file in it has the words "dag" and "airflow"'):
        own_project.project(tmp_path)


def test_what_is_uploaded(folder: Path, tmp_path: Path) -> None:
    """Files behind links to folders are; caches, repositories, editors' files are not."""
    elsewhere = tmp_path / "common"
    elsewhere.mkdir()
    (elsewhere / "words.py").write_text("WORD = 1\n")
    (elsewhere / "loop").symlink_to(elsewhere)
    (folder / "common").symlink_to(elsewhere)
    (folder / ".airflowignore").write_text("common/\n")
    (folder / ".#mine.py").symlink_to("somebody@here.1234")
    for name in ("mine.py~", ".mine.py.swp", "4913", "mine.pyc"):
        (folder / name).write_text("")
    for name in (".git", "__pycache__"):
        (folder / name).mkdir()
        (folder / name / "some.py").write_text(DAG)
    assert own_project.files_below(folder) == {
        ".airflowignore": folder / ".airflowignore",
        "common/words.py": folder / "common" / "words.py",
        "mine.py": folder / "mine.py",
    }


def test_variables_are_read_as_they_stand(tmp_path: Path) -> None:
    """Quotes, comments and `export` are understood, and a `$` stays."""
    text = (
        "# connections\n\nAIRFLOW_CONN_DB='postgres://u:p$w@h/db'\nexport ONE=1 # one\n"
        'BOTH="x y"\nEMPTY=\n'
    )
    assert own_project.read_variables(env_file(tmp_path, text)) == {
        "AIRFLOW_CONN_DB": "postgres://u:p$w@h/db",
        "ONE": "1",
        "BOTH": "x y",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    "line",
    [
        "SECRET hunter2",
        "LONE",
        "AA B=hunter2",
        "1A=hunter2",
        "AA='hunter2",
        "_A=hunter2",
        "A-B=hunter2",
    ],
)
def test_a_wrong_line_is_named_without_its_value(tmp_path: Path, line: str) -> None:
    """The error has the file and the line's number, and may not show a secret."""
    file = env_file(tmp_path, f"GOOD=1\n\n{line}\n")
    with pytest.raises(ProjectError) as error:
        own_project.read_variables(file)
    assert f"{file}, line 3: " in str(error.value)
    assert "=hunter2" not in str(error.value)


def test_what_would_break_the_environment_is_ignored_with_a_sentence(
    folder: Path, tmp_path: Path
) -> None:
    """A `.env` file of a production Airflow can be given as it is."""
    text = (
        "AIRFLOW__CORE__AUTH_MANAGER=its.FabAuthManager\n"
        "AIRFLOW__CORE__EXECUTOR=CeleryExecutor\nAIRFLOW__DATABASE__SQL_ALCHEMY_CONN=x\n"
        "AWS_SECRET_ACCESS_KEY=y\nAIRFLOW__CORE__PARALLELISM=4\nAIRFLOW_VAR_COLOUR=blue\n"
    )
    file = env_file(tmp_path, text)
    found, notes = own_project.project(folder, env=file)
    assert found.variables == {"AIRFLOW__CORE__PARALLELISM": "4", "AIRFLOW_VAR_COLOUR": "blue"}
    assert found.needs_restart == (file,)
    (note,) = notes
    assert note.startswith(
        f"{file}: AIRFLOW__CORE__AUTH_MANAGER, AIRFLOW__CORE__EXECUTOR, "
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, AWS_SECRET_ACCESS_KEY are ignored, because"
    )


def test_no_value_of_a_variable_is_shown(folder: Path, tmp_path: Path) -> None:
    """A project can be printed: its variables may be secrets."""
    found, _ = own_project.project(folder, env=env_file(tmp_path, "AA=hunter2\n"))
    assert "hunter2" not in repr(found)


def test_a_project_is_merged_as_a_stage_is() -> None:
    """Objects by key, functions by name, everything else as a whole."""
    ours = {"image": {"dags": "x"}, "functions": [{"name": "default", "reserved_concurrency": 4}]}
    theirs = {
        "image": {"keep_images": 2},
        "functions": [{"name": "default", "memory_mb": 3008}, {"name": "large"}],
        "dags": {"bundles": [1]},
    }
    assert merged(ours, theirs) == {
        "image": {"dags": "x", "keep_images": 2},
        "functions": [
            {"name": "default", "reserved_concurrency": 4, "memory_mb": 3008},
            {"name": "large"},
        ],
        "dags": {"bundles": [1]},
    }


def test_only_packages_that_are_not_there_are_installed() -> None:
    """Names are compared as pip compares them; what has no fixed version is always installed."""
    pins = ["# chosen", "", "Flask-Thing==1.0 ; python_version > '3'", "b==2", "./mine"]
    assert packages.lacking(pins, {"flask-thing": "1.0", "b": "1"}) == ["b==2", "./mine"]


def test_news_of_import_errors() -> None:
    """New and changed errors have their last line, one that is gone is told, others are not."""
    before = {"same.py": "x\nE: 1\n", "changed.py": "E: 1", "gone.py": "E: 1"}
    now = {"same.py": "x\nE: 1\n", "changed.py": "E: 2", "new.py": "Traceback\nE: 3\n\n"}
    assert reload.news(before, now) == [
        "changed.py cannot be imported: E: 2",
        "new.py cannot be imported: E: 3",
        "gone.py has no import error any more",
    ]


def test_a_restart_is_needed_after_a_change_of_fixed_files(tmp_path: Path) -> None:
    """Files and modules below folders have a fingerprint each; what is missing has none."""
    file, module = env_file(tmp_path, ""), tmp_path / "plugins" / "mine.py"
    module.parent.mkdir()
    module.write_text("")
    os.utime(file, ns=(1, 1))
    os.utime(module, ns=(2, 2))
    found = reload.fingerprint([file, module.parent, tmp_path / "missing"])
    assert found == {str(file): 1, str(module): 2}


def test_the_shell_file_is_a_secret_of_its_owner(tmp_path: Path) -> None:
    """An older file with other permissions does not keep them."""
    file = tmp_path / "env.sh"
    file.touch(mode=0o644)
    shell_file.write(file, {"A": "1"})
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("own", ["", "example.com"])
def test_the_shell_file_can_be_sourced(tmp_path: Path, own: str) -> None:
    """Values arrive as they are, the programs are found, a profile of the user's is gone."""
    file = tmp_path / "env.sh"
    shell_file.write(file, {"VALUE": 'it\'s $HOME "x"'})
    shown = f'source {file}; echo "$VALUE|$PATH|$NO_PROXY|$no_proxy|${{AWS_PROFILE-none}}"'
    given = {"PATH": "/usr/bin:/bin", "AWS_PROFILE": "production"}
    done = subprocess.run(
        ["bash", "-euc", shown],
        env=given | ({"NO_PROXY": own} if own else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    programs = f"{paths.BIN}:{paths.CDK.parent}:/usr/bin:/bin"
    direct = "127.0.0.1,localhost" + (f",{own}" if own else "")
    expected = f'it\'s $HOME "x"|{programs}|{direct}|{direct}|none'
    assert done.stdout.strip() == expected
