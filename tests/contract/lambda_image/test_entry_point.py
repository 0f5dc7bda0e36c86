"""The image's entry point: `job` and `microvm` are ours, everything else is the base image's.

The script runs in a file system that has what an image has of it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.job_process import ENTRY_POINT
from tests.support.local_aws import RUNTIME_PYTHON, Function, Server, eventually

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")

#: Prints its process id, its name and its arguments.
_TELLS = '#!/bin/sh\necho "$$ {name}"\nfor each; do printf "<%s>\\n" "$each"; done\n'


def run(folder: Path, *arguments: str, has_base_entry_point: bool = True) -> list[str]:
    """What is run by the entry point, as process 1: its id and name, and its arguments."""
    programs = {"python": folder / "python", "/lambda-entrypoint.sh": folder / "base"}
    for name, file in programs.items():
        file.write_text(_TELLS.format(name=name))
        file.chmod(0o755)
    shell, script = ENTRY_POINT
    walls = [
        *("bwrap", "--unshare-pid", "--as-pid-1", "--ro-bind", "/usr", "/usr"),
        *("--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
        *("--symlink", "usr/lib64", "/lib64", "--ro-bind", str(folder), "/programs"),
        *("--ro-bind", script, "/entry_point.sh", "--setenv", "PATH", "/programs:/bin"),
    ]
    if has_base_entry_point:
        walls += ["--ro-bind", str(programs["/lambda-entrypoint.sh"]), "/lambda-entrypoint.sh"]
    done = subprocess.run(
        [*walls, shell, "/entry_point.sh", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def test_a_job_is_the_first_process_and_gets_its_arguments(tmp_path: Path) -> None:
    """No shell stays between AWS's signal and the job, and no character is lost."""
    event = '{"task_key": "a b  c\'\\"$HOME*\\\\n"}'
    assert run(tmp_path, "job", "--timeout-s", "60", event) == [
        "1 python",
        "<-m>",
        "<lambda_image.job>",
        *("<--timeout-s>", "<60>", f"<{event}>"),
    ]


def test_a_micro_vm_is_the_first_process(tmp_path: Path) -> None:
    """AWS ends it with this process, whose exit code it reports."""
    assert run(tmp_path, "microvm") == ["1 python", "<-m>", "<lambda_image.micro_vm>"]


def test_a_micro_vm_takes_no_arguments(tmp_path: Path) -> None:
    """They would be dropped: as a program of that name, which there is not, it fails."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(tmp_path, "microvm", "--timeout-s", "60")
    assert "microvm: not found" in failed.value.stderr


@pytest.mark.parametrize("arguments", [["handler.lambda_handler"], ["microvms"], [], [""]])
def test_a_function_is_started_by_the_base_image(tmp_path: Path, arguments: list[str]) -> None:
    """Exactly as without an entry point of ours."""
    expected = ["1 /lambda-entrypoint.sh", *(f"<{each}>" for each in arguments)]
    assert run(tmp_path, *arguments) == expected


@pytest.mark.parametrize("has_base_entry_point", [True, False])
def test_a_command_of_several_words_is_run_as_it_is(
    tmp_path: Path, has_base_entry_point: bool
) -> None:
    """The base image's entry point takes one word: the name of a handler."""
    command = ["python", "-m", "airflow.sdk.execution_time.execute_workload", "--json-string", "{}"]
    found = run(tmp_path, *command, has_base_entry_point=has_base_entry_point)
    assert found == ["1 python", *(f"<{each}>" for each in command[1:])]


def test_without_the_base_images_entry_point_lambdas_client_runs(tmp_path: Path) -> None:
    """As AWS has it for images on other bases: its runtime client runs the handler."""
    found = run(tmp_path, "handler.lambda_handler", has_base_entry_point=False)
    assert found == ["1 python", "<-m>", "<awslambdaric>", "<handler.lambda_handler>"]


def function_of(server: Server, handler: str, **settings: Any) -> Function:
    """A function on the embedded AWS whose image has our entry point."""
    image = server.image(
        handler,
        entry_point=[*ENTRY_POINT],
        command=[handler],
        environment={"PATH": f"{RUNTIME_PYTHON.parent}:/usr/bin:/bin"},
    )
    return server.function(Code={"ImageUri": image}, **settings)


def test_the_embedded_aws_starts_a_function_by_it(local_aws: Server) -> None:
    """As Lambda does: the image's entry point, and the handler's name."""
    answer = function_of(local_aws, "local_aws_handlers.handle").invoke({})
    assert "FunctionError" not in answer, answer
    assert answer["Payload"]["invocations"] == 1


def test_the_embedded_aws_takes_snapshots_of_what_it_starts(local_aws: Server) -> None:
    """The shell is gone before the init phase begins, which the snapshot is of."""
    function = function_of(
        local_aws, "local_aws_snapshot_handlers.handle", SnapStart={"ApplyOn": "PublishedVersions"}
    )
    function.client.publish_version(FunctionName=function.name)

    def state() -> str | None:
        found: str = function.client.get_function_configuration(
            FunctionName=function.name, Qualifier="1"
        )["State"]
        return None if found == "Pending" else found

    assert eventually(state) == "Active"
    answer = function.invoke({}, Qualifier="1")
    assert "FunctionError" not in answer, answer
