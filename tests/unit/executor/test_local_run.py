"""What the command `run` says of what was measured, and how it shows a task's output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lambda_executor.contract.local_run import Ended, Order, Written, decode
from lambda_executor.ops.local_run import summary, task_output, walls
from lambda_executor.ops.local_run.limits import Limits
from lambda_executor.ops.local_run.programs import Seen

LIMITS = Limits(512, 60, 600, "the function f")
ENDED = Ended(
    outcome="completed",
    reason="",
    return_code=0,
    run_s=2.0,
    largest_mb=150.0,
    memory_mb=190.5,
    over_memory_s=None,
    was_killed_for_memory=False,
    tmp_mb=12.0,
    threads=4,
    stop_at_s=54.0,
)


def found(
    ended: Ended = ENDED,
    *written: str,
    state: str | None = "success",
    has_walls: bool = True,
    debugger: str | None = None,
) -> dict[str, summary.Finding]:
    """The findings by their subjects."""
    seen = Seen(ended, written)
    findings = summary.findings(seen, LIMITS, state, has_walls=has_walls, debugger=debugger)
    return {finding.subject: finding for finding in findings}


def problems(findings: dict[str, summary.Finding]) -> list[str]:
    """The subjects that have one."""
    return [subject for subject, finding in findings.items() if finding.is_problem]


def test_a_task_within_all_limits_has_no_problem() -> None:
    """Each value stands beside its limit."""
    findings = found()
    assert problems(findings) == []
    assert findings["time"].text == "2.0 s of 60 s"
    assert findings["memory"].text.startswith("190 MB of 512 MB")
    assert findings["/tmp"].text == "12 MB of 600 MB"


@pytest.mark.parametrize("state", ["failed", "up_for_retry", "running", None])
def test_a_task_that_did_not_succeed_is_a_problem(state: str | None) -> None:
    """Whatever else was measured."""
    assert problems(found(replace(ENDED, reason="on purpose"), state=state)) == ["task"]


@pytest.mark.parametrize("state", ["success", "skipped", "deferred", "up_for_reschedule"])
def test_a_try_that_ends_as_the_task_wants_is_none(state: str) -> None:
    """A deferred task has ended its try, too."""
    assert problems(found(state=state)) == []


def test_the_larger_of_sample_and_kernel_counts() -> None:
    """A peak between two samples is known from the kernel."""
    findings = found(replace(ENDED, largest_mb=700.0))
    assert problems(findings) == ["memory"]
    assert "700 MB of 512 MB" in findings["memory"].text
    assert "would have killed it" in findings["memory"].text


def test_a_task_that_was_killed_for_memory_is_told_so() -> None:
    """And when."""
    ended = replace(ENDED, memory_mb=600.0, over_memory_s=3.7, was_killed_for_memory=True)
    assert "It was killed after 3.7 s, as Lambda" in found(ended)["memory"].text


def test_a_task_that_was_stopped_is_out_of_time() -> None:
    """Also if it ended soon afterwards."""
    ended = replace(ENDED, outcome="deadline", run_s=54.2)
    assert problems(found(ended)) == ["time"]


def test_time_in_a_debugger_is_no_problem_but_is_told() -> None:
    """Nobody knows how much of it the task needed."""
    findings = found(replace(ENDED, run_s=500.0), debugger="pdb")
    assert problems(findings) == []
    assert "asked to stop after 54.0 s, but for pdb" in findings["time"].text


@pytest.mark.parametrize(("has_walls", "used_mb"), [(True, 599.5), (False, 601.0)])
def test_a_full_tmp_is_a_problem(has_walls: bool, used_mb: float) -> None:
    """Behind walls it is as large as Lambda's; without, it may become larger."""
    assert problems(found(replace(ENDED, tmp_mb=used_mb), has_walls=has_walls)) == ["/tmp"]


def test_each_path_outside_of_tmp_is_named_once() -> None:
    """As many as fit."""
    paths = [f"/opt/{number}" for number in range(7)]
    finding = found(ENDED, *paths, *paths)["read-only root"]
    assert finding.is_problem
    assert finding.text == (
        "writing was refused: /opt/0, /opt/1, /opt/2, /opt/3, /opt/4 and 2 more"
    )


def test_without_walls_the_summary_says_what_it_cannot_see() -> None:
    """Other programs may have written."""
    findings = found(has_walls=False)
    assert not findings["read-only root"].is_problem
    assert "other programs are not seen" in findings["read-only root"].text


def test_more_threads_than_lambda_allows_are_a_problem() -> None:
    """1,024 of them are allowed."""
    assert problems(found(replace(ENDED, threads=1024))) == []
    assert problems(found(replace(ENDED, threads=1025))) == ["processes"]


def test_what_was_not_measured_is_a_problem() -> None:
    """Nobody knows whether the task stayed within its limits, which were not enforced either."""
    findings = found(replace(ENDED, not_measured="OSError: no"))
    assert problems(findings) == ["memory", "processes"]
    assert findings["memory"].text.startswith("not measured to the end, because sampling failed")


def test_the_summary_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are the only words that may be longer."""
    monkeypatch.setenv("COLUMNS", "80")
    findings = tuple(found(replace(ENDED, reason="word " * 60), "/opt/file").values())
    lines = [*summary.lines(findings), *summary.head({"run_id": "r"}, LIMITS, (), has_walls=False)]
    assert max(map(len, lines)) <= 80
    assert "1 to fix" in lines


def test_what_one_side_writes_the_other_reads() -> None:
    """The seam between the command and the image's process."""
    order = Order('{"type": "ExecuteTask"}', 512, 60.0, "pdb")
    assert Order.decode(order.encode()) == order
    assert decode(ENDED.encode()) == ENDED
    assert decode(Written("/opt/ä").encode()) == Written("/opt/ä")


def test_a_line_that_was_cut_is_left_out() -> None:
    """The process may have died while it wrote."""
    assert decode(ENDED.encode()[:-5]) is None


def test_given_limits_win_and_the_rest_stays() -> None:
    """The source says which is which."""
    own = LIMITS.but(memory_mb=1024, timeout_s=None, tmp_mb=None)
    assert (own.memory_mb, own.timeout_s, own.tmp_mb) == (1024, 60, 600)
    assert own.source == "the command line, the others: the function f"
    assert LIMITS.but(memory_mb=None) is LIMITS
    assert LIMITS.but(memory_mb=1, timeout_s=2, tmp_mb=3).source == "the command line"


def test_what_is_in_this_machines_tmp_can_be_read_behind_the_walls(tmp_path: Path) -> None:
    """The /tmp behind them is empty but for that."""
    line = walls.command("bwrap", 512, ["/usr", "/tmp", str(tmp_path), "/tmp/none"], ["true"])
    at = [line[i + 1] for i, word in enumerate(line) if word == "--ro-bind"]
    assert at == ["/", *([str(tmp_path)] if tmp_path.is_relative_to("/tmp") else [])]
    assert line[line.index("--size") + 1] == str(512 * 2**20)


def test_a_line_of_the_task_is_shown_with_its_time() -> None:
    """And without the rest of its JSON."""
    line = {"timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "logger": "task.stdout"}
    text = json.dumps({**line, "event": "hello"})
    assert list(task_output.lines(text)) == ["03:04:05 hello"]


def test_lines_about_the_process_are_left_out_unless_they_warn() -> None:
    """A developer looks for the task's."""
    line = {"timestamp": "2026-01-02T03:04:05.678Z", "logger": "handler", "event": "ready"}
    assert list(task_output.lines(json.dumps({**line, "level": "info"}))) == []
    assert list(task_output.lines(json.dumps({**line, "level": "warning"}))) == [
        "03:04:05 warning: ready"
    ]


def test_a_traceback_is_shown_as_python_does() -> None:
    """The place that raised comes last, then the error."""
    frames = [{"filename": "/dags/d.py", "lineno": 3, "name": "f"}]
    error = {"exc_type": "ValueError", "exc_value": "no", "frames": frames}
    line = {"timestamp": "", "level": "error", "logger": "task", "event": "Task failed"}
    shown = list(task_output.lines(json.dumps({**line, "error_detail": [error]})))
    assert [text.strip() for text in shown] == [
        "error: Task failed",
        'File "/dags/d.py", line 3, in f',
        "ValueError: no",
    ]


def test_a_line_that_is_no_json_is_shown_as_it_is() -> None:
    """A crash of Python writes such lines."""
    assert list(task_output.lines("Fatal Python error")) == ["Fatal Python error"]
