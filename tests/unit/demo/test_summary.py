"""The demo's terminal: the summary in 80 columns, progress, what comes after a failure."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from demo import __main__ as command_line
from demo import paths, run_once
from demo.installation.leftovers import Resource
from demo.machine.likely_cause import UNKNOWN, likely_cause
from demo.machine.processes import ProcessError
from demo.outcome import summary
from demo.outcome.airflow_api import Run, RunsError, Try
from demo.outcome.tries import Row, join
from demo.screen import Screen
from tests.support.tries import KEY, invocation, ran


def piped(*, is_ci: bool = False) -> tuple[Screen, io.StringIO]:
    """A screen that is not a terminal."""
    output = io.StringIO()
    return Screen(Console(file=output, width=80, highlight=False), is_ci=is_ci), output


def terminal(*, is_ci: bool = False, no_color: bool = False) -> tuple[Screen, io.StringIO]:
    """A screen that is a terminal of 80 columns."""
    output = io.StringIO()
    console = Console(
        file=output,
        force_terminal=True,
        width=80,
        highlight=False,
        no_color=no_color,
        color_system="standard",
        _environ={"TERM": "xterm"},
    )
    return Screen(console, is_ci=is_ci), output


def shown(renderable: RenderableType) -> list[str]:
    """The lines of something in a pipe of 80 columns."""
    screen, output = piped()
    screen.show(renderable)
    assert "\x1b" not in output.getvalue()
    return [line.rstrip() for line in output.getvalue().splitlines()]


def of_many() -> list[Row]:
    """Six tries of each kind, three of them of functions."""
    keys = [replace(KEY, map_index=index) for index in range(6)]
    found = [
        invocation(keys[0], start="cold", run_ms=9000.0, queue_to_start_ms=9000.0),
        invocation(keys[1], run_ms=10.0, queue_to_start_ms=1.0),
        invocation(keys[2], run_ms=30.0, queue_to_start_ms=3.0),
        *(
            invocation(key, target=name)
            for key, name in zip(keys[3:], ("ECS", "Batch", "Batch"), strict=True)
        ),
    ]
    return join([ran(key) for key in keys], found)


# --- the summary ---


def test_each_dag_has_a_line() -> None:
    """With the ends of its runs, its tries, and what ran them."""
    skipped = Try(replace(KEY, dag_id="other"), "skipped", "")
    runs = [Run("dag", "demo", "success"), Run("other", "demo", "failed")]
    heads, *lines = shown(summary.by_dag(runs, of_many() + join([skipped], []), 80))
    assert heads.split() == ["DAG", "ended", "tries", "cold", "restored", "warm", "jobs"]
    assert [line.split() for line in lines] == [
        ["dag", "success", "6", "1", "-", "2", "3"],
        ["other", "failed", "1", "-", "-", "-", "-"],
    ]


def test_runs_of_one_dag_may_end_in_several_ways() -> None:
    """A run of its schedule failed, and ours did not."""
    runs = [Run("dag", "demo", "success"), Run("dag", "scheduled__1", "failed")]
    _, line = shown(summary.by_dag(runs, [], 80))
    assert line.split()[:2] == ["dag", "mixed"]


def test_no_line_is_wider_than_80_columns() -> None:
    """Whatever the names are and however large the numbers."""
    longest = replace(KEY, dag_id="example_task_mapping_second_order")
    endless = replace(KEY, dag_id="d" * 250, task_id="t" * 250)
    rows = join(
        [ran(longest), ran(endless)],
        [
            invocation(key, start=start, target=target, queue_to_start_ms=1e9, run_ms=1e9)
            for key in (longest, endless)
            for start in ("cold", "warm")
            for target in ("function", "Batch", "ECS", "MicroVM")
        ],
    )
    runs = [Run(key.dag_id, "demo", "success") for key in (longest, endless)]
    lines = shown(summary.by_dag(runs, rows, 80))
    assert f"{longest.dag_id}" in {line.split()[0] for line in lines}
    assert "".join(line.split()[0] for line in lines[1:-1]) == endless.dag_id
    lines += summary.totals(rows * 1000, wall_s=99_999.9, concurrency=1000)
    assert max(map(len, lines)) <= 80


def test_the_medians_are_of_warm_functions_alone() -> None:
    """Cold starts are counted, but not in the medians; nor are jobs, which are counted apart."""
    assert summary.totals(of_many(), wall_s=4.2, concurrency=4) == [
        "3 invocations of functions: 1 cold, 0 restored, 2 warm",
        "median wait in the queue of warm functions: 2 ms",
        "median run of warm functions: 20 ms",
        "3 jobs: 2 Batch, 1 ECS",
        "the function default has 4 environments, two for each core",
        "wall time of the DAG runs: 4.2 s",
    ]


# --- the screen ---


def test_a_phase_is_timed_without_ansi() -> None:
    """In a pipe, a phase is two plain lines, and the report gets its time."""
    screen, output = piped()
    with screen.phase("Doing [it]"):
        pass
    assert output.getvalue().count("Doing [it]") == 2
    assert re.search(r"Doing \[it\]: done in \d+\.\d s", output.getvalue())
    assert "\x1b" not in output.getvalue()
    assert [name for name, _ in screen.phases] == ["Doing [it]"]


@pytest.mark.parametrize("make", [piped, terminal])
def test_ci_gets_no_progress(make: object) -> None:
    """No spinner, and no line that the next one outdates; a phase still has its two lines."""
    assert callable(make)
    screen, output = make(is_ci=True)
    with screen.phase("Doing it") as phase:
        for n in range(9):
            phase._shown_at_s = -1e9  # As if the last line were long ago.
            phase.detail(f"step {n}")
    assert "step" not in output.getvalue()
    assert len(output.getvalue().splitlines()) == 2
    assert "\x1b" not in output.getvalue()


@pytest.mark.parametrize(
    ("value", "is_ci"), [("true", True), ("1", True), ("false", False), ("", False)]
)
def test_ci_is_known_by_its_variable(
    value: str, is_ci: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all services set it."""
    monkeypatch.setenv("CI", value)
    assert Screen().is_ci is is_ci


def test_progress_in_a_pipe_is_a_line_now_and_then() -> None:
    """Never wider than a terminal."""
    screen, output = piped()
    with screen.phase("Doing it") as phase:
        phase.detail("too early")
        phase._shown_at_s = -1e9
        phase.detail("x" * 300)
    lines = output.getvalue().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80


def test_no_colour_is_no_colour() -> None:
    """The state of a DAG is told by its word."""
    table = summary.by_dag([Run("dag", "demo", "failed")], [], 80)
    for no_color, has_red in ((False, True), (True, False)):
        screen, output = terminal(no_color=no_color)
        screen.show(table)
        assert ("\x1b[31m" in output.getvalue()) is has_red
        assert "failed" in output.getvalue()


def test_a_long_line_is_broken_between_words_in_a_terminal() -> None:
    """A path stays whole, and the lines of a log stay as they are."""
    path, log = "/" + "deep/" * 20 + "file", "  | " + "a log line " * 12
    screen, output = terminal()
    screen.say(f"{'some words ' * 12}{path}\n{log}")
    lines = output.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines if path not in line and "|" not in line)
    assert path in "\n".join(lines)
    assert log.rstrip() in [line.rstrip() for line in lines]


# --- after a failure ---


@pytest.mark.parametrize(
    ("log", "text"),
    [
        ("OSError: [Errno 28] No space left on device", "no space is left on the disk"),
        ("could not bind: Address already in use", "another program has taken the port"),
        ("npm ERR! getaddrinfo EAI_AGAIN example.com", "a download failed"),
        ("uv: error sending request for url", "a download failed"),
        ("ModuleNotFoundError: No module named 'boto3'", "an installation is not complete"),
        ("mkdir: Permission denied", "this account may not write there"),
        ("embedded-aws ended with exit code -9 before it", "the memory of this machine"),
        ("postgres did not get as far as 'answers' within 90 s.", "too slow or too busy"),
        ("Resource handler returned message", UNKNOWN.text),
    ],
)
def test_a_failure_has_a_likely_cause(log: str, text: str) -> None:
    """It is read from the message and the end of the log."""
    assert text in likely_cause(log).text


@pytest.mark.parametrize(
    ("error", "log"),
    [
        (ProcessError("a ended.\n  | No space left on device", paths.ROOT / "a.log"), "Log: a.log"),
        (RunsError("Airflow answered: No space left on device"), "Logs: build/demo/logs"),
        (OSError("No space left on device"), "Logs: build/demo/logs"),
    ],
)
def test_every_failure_ends_with_cause_log_help_and_next_command(
    error: Exception,
    log: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also one that nobody has foreseen, after its traceback."""

    def fail(*_: object) -> int:
        raise error

    monkeypatch.chdir(paths.ROOT)
    monkeypatch.setattr(command_line, "_run", fail)
    monkeypatch.setattr("sys.argv", ["demo", "run", "--example", "s3_etl"])
    assert command_line.main() == 1
    printed = capsys.readouterr()
    *_, cause, place, help_, command = (line[10:] for line in printed.out.splitlines())
    assert cause == "Likely cause: no space is left on the disk of this machine"
    assert place == log
    assert help_ == "Help: docs/troubleshooting/local.md#likely-cause"
    assert command == "Next: df -h . /tmp, then make demo EXAMPLE=s3_etl"
    assert ("Traceback" in printed.err) is isinstance(error, OSError)


@pytest.mark.parametrize(
    ("unexpected", "remaining", "told"),
    [
        ([], [], []),
        (["dag has no DAG run"], [], ["Not as expected", "Likely cause", "Logs", "Next"]),
        ([], [Resource("sqs", "QueueUrls", "queue")], ["Likely cause", "Log", "Next"]),
    ],
)
def test_the_last_line_names_the_report(
    unexpected: list[str],
    remaining: list[Resource],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a failure, too: before it are the likely cause, the log and the next command."""
    monkeypatch.chdir(paths.ROOT)
    _, *lines, last = run_once.last_lines(paths.DEMO, "make demo", unexpected, remaining)
    assert last == "The report, with a timeline: build/demo/report.html"
    assert [line.partition(":")[0] for line in lines if ": " in line] == told
    assert ("Every DAG run ended as expected." in lines) is (not told)
