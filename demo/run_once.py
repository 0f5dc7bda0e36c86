"""`run`: deploy, run every DAG once, destroy everything, and report."""

from __future__ import annotations

from datetime import UTC, datetime

from demo import paths
from demo.installation import environment, leftovers
from demo.installation.leftovers import Resource
from demo.installation.project import Project
from demo.outcome import exercise, summary
from demo.outcome.exercise import Ended
from demo.outcome.report import page
from demo.outcome.report.versions import versions
from demo.screen import Screen


def run(screen: Screen, home: paths.Home, what: Project, command: str) -> int:
    """Run it and return the exit status.

    Args:
        screen: Where to show progress and the summary.
        home: Where to keep the files and the report.
        what: The DAGs.
        command: What a person types to run it again.

    Raises:
        EnvironmentInUseError: Another process uses this home.
        ProcessError: A program did not start, or ended by itself.
        RunsError: Airflow refused a request, or a time-out has passed.
    """
    with environment.running(home, what, screen) as here:
        ended = exercise.run_all(here)
        screen.show(summary.by_dag(ended.runs, ended.rows, screen.console.width))
        totals = summary.totals(ended.rows, ended.wall_s, here.concurrency)
        screen.show("\n".join(totals))
        unexpected = ended.unexpected(here)
        try:
            remaining = here.take_down()
        finally:  # What ran is worth a report also if it cannot be destroyed.
            write_report(home, ended, course(screen, command, totals, unexpected))
    for line in last_lines(home, command, unexpected, remaining):
        screen.say(line)
    return 1 if unexpected or remaining else 0


def last_lines(
    home: paths.Home, command: str, unexpected: list[str], remaining: list[Resource]
) -> list[str]:
    """What the terminal ends with; after a failure: likely cause, log, next command, report."""
    lines = [leftovers.describe(remaining)]
    lines += [f"Not as expected: {difference}" for difference in unexpected]
    if unexpected:
        lines.append("Likely cause: the log of the task or of the scheduler has it.")
        lines.append(f"Logs: {paths.shown(home.task_logs)} (tasks), {paths.shown(home.logs)}")
    if remaining:
        lines.append("Likely cause: a stack was not deleted, or did not delete all of its own.")
        lines.append(f"Log: {paths.shown(home.logs / 'cdk-destroy.log')}")
    if unexpected or remaining:
        lines.append(f"Next: open the report below; when it is mended, {command}")
    else:
        lines.append("Every DAG run ended as expected.")
    return [*lines, f"The report, with a timeline: {paths.shown(home.report)}"]


def course(screen: Screen, command: str, totals: list[str], unexpected: list[str]) -> page.Course:
    """How the demo ran until now."""
    return page.Course(
        command=command,
        made_at=f"{datetime.now(UTC):%d %B %Y at %H:%M} UTC",
        versions=versions(),
        phases=screen.phases,
        totals=totals,
        unexpected=unexpected,
    )


def write_report(home: paths.Home, ended: Ended, how: page.Course) -> None:
    """Write the page into the home."""
    home.report.write_text(page.page(ended.rows, how), encoding="utf-8")
