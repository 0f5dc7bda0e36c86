"""Whatever somebody names a task, a file or a reason: the commands show it, and obey none of it.

`tests/contract/executor/test_cli_dead_letters.py` has the same for the list of dead letters.
"""

from __future__ import annotations

import ast
from pathlib import Path

import boto3
import pytest
from airflow.models.log import Log
from sqlalchemy import Engine, insert

from lambda_executor.ops import terminal
from tests.support.account import Account
from tests.support.command_line import complaint, run

ATTACK = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202eforged"
OPS = Path(terminal.__file__).parent


def is_harmless(answer: str) -> bool:
    """Whether a terminal shows an answer as it is."""
    return all(character.isprintable() for line in answer.split("\n") for character in line)


def test_only_the_terminals_module_writes_answers() -> None:
    """It makes every text visible; the others write to stderr what holds no text from outside."""
    found = []
    for path in OPS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or path == Path(terminal.__file__):
                continue
            called = ast.unparse(node.func)
            if called == "print" or called.startswith(("sys.stdout", "sys.stderr", "os.write")):
                found.append(f"{path.name}: {ast.unparse(node)}")
    assert sorted(found) == [
        # Into a pipe: the command reads it, and shows what is in it by that module.
        "airflow_side.py: os.write(answers, f'{json.dumps(answer)}\\n'.encode())",
        (
            "dead_letter_commands.py: sys.stderr.write("
            "'Name the dispatch ids that `dead-letters list` shows, or say --all\\n')"
        ),
        "dead_letter_commands.py: sys.stderr.write(f'{number} dead letters read\\n')",
    ]


def test_status_obeys_no_task(
    account: Account, database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """The reasons of the latest failures, and the names of their tasks."""
    account.write_parameter()
    failed = Log("lambda executor", extra=f"reason {ATTACK}")
    row = {"event": failed.event, "dttm": failed.dttm, "extra": failed.extra}
    with database.begin() as connection:
        connection.execute(insert(Log).values(row | {"dag_id": ATTACK, "task_id": ATTACK}))
    _, answer = run(capfd, "status")
    assert r"\x1b[2J" in answer
    assert is_harmless(answer)


@pytest.mark.usefixtures("account")
def test_a_push_obeys_no_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The names of local files, and of objects that others put into the bucket."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="bucket", Key=f"dags/{ATTACK.replace('/', '')}.py", Body=b"x")
    (tmp_path / f"local{ATTACK}.py").touch()
    for words in (("--dry-run",), ()):
        code, answer = run(capfd, "dags", "push", str(tmp_path), "s3://bucket/dags/", *words)
        assert code == 0
        assert answer.count(r"\x1b[2J") == 2
        assert is_harmless(answer)


def test_a_complaint_obeys_no_argument(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is wrong goes to stderr."""
    said = complaint(capfd, "dags", "push", str(tmp_path / ATTACK), "s3://bucket/dags/")
    assert r"\x1b[2J" in said
    assert is_harmless(said)
