"""What starting from snapshots costs, and what it saves: a burst of tasks from zero.

`python -m stacks.reference.snapshots` prints `docs/reference/costs-of-snapshots.md`, and with
`--chart` the picture on it. Memory and processor are those of the stage `prod`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from stacks.config import FunctionConfig
from stacks.config.loading import load
from stacks.reference.chart import Axis, Line, Mark, Panel, ticks_to
from stacks.reference.chart import chart as draw
from stacks.reference.prices import PRICES, READ_ON
from stacks.reference.rates import snapshot_a_month

#: Seconds from the start of the handler's process to a task's first line, all of them billed, on a
#: slow machine (docs/reference/benchmarks.md#the-handler has how).
COLD_S = 1.87
#: Seconds from the end of the restore to a task's first line, all of them billed (likewise).
AFTER_RESTORE_S = 0.09
#: Seconds that Lambda itself takes to restore a small function, which it does not bill. Measured by
#: others: https://chariotsolutions.com/blog/post/whats-the-point-of-lambda-snapstart
RESTORE_S = 0.5
#: Seconds from an event to a task's first line in a warm execution environment.
WARM_S = 0.07

TASKS = 1_000
TASK_S = 1.0
ENVIRONMENTS = (1_000, 200, 50)
BURSTS_A_DAY = (1, 24, 96)
_DAYS_A_MONTH = 365 / 12

CHART = "docs/images/costs-of-snapshots.svg"
#: The end of the chart's axis of time: Lambda's limit of the init phase is 10 s.
_LONGEST_INIT_S = 15


@dataclass(frozen=True, slots=True)
class Start:
    """How an execution environment starts: what a task waits for, and what it costs.

    Attributes:
        waits_s: Seconds until a task's first line.
        usd: US dollars.
    """

    waits_s: float
    usd: float


@dataclass(frozen=True, slots=True)
class Burst:
    """Tasks that are all queued at one moment while no execution environment is there."""

    environments: int
    tasks: int = TASKS
    seconds: float = TASK_S

    def ends_after_s(self, start: Start) -> float:
        """Return the seconds until the last task has ended."""
        rounds = math.ceil(self.tasks / self.environments)
        return start.waits_s + self.seconds + (rounds - 1) * (WARM_S + self.seconds)

    def usd(self, start: Start, a_second: float) -> float:
        """Return the cost, if a second of the function costs so much."""
        warm = self.tasks - self.environments
        each = PRICES["Lambda, requests"].usd / 1e6 + self.seconds * a_second
        return self.tasks * each + warm * WARM_S * a_second + self.environments * start.usd


def a_second(function: FunctionConfig) -> float:
    """Return what a second of a function costs, in US dollars."""
    return function.memory_mb / 1024 * PRICES[f"Lambda, {function.architecture}"].usd


def cold(function: FunctionConfig, init_s: float = COLD_S) -> Start:
    """Return a start without a snapshot, which takes `init_s` until a task's first line."""
    return Start(init_s, init_s * a_second(function))


def restored(function: FunctionConfig) -> Start:
    """Return a start from a snapshot."""
    restore = function.memory_mb / 1024 * PRICES["Lambda, restore of a snapshot"].usd
    return Start(RESTORE_S + AFTER_RESTORE_S, restore + AFTER_RESTORE_S * a_second(function))


def break_even_s(function: FunctionConfig) -> float:
    """Return how long a cold start must take to cost as much as one from a snapshot."""
    return restored(function).usd / a_second(function)


def render(function: FunctionConfig) -> str:
    """Return the reference page.

    Args:
        function: The one whose memory and processor are charged for.
    """
    start, snapshot = cold(function), restored(function)
    rows = []
    for environments in ENVIRONMENTS:
        burst = Burst(environments)
        cells = [
            cell
            for each in (start, snapshot)
            for cell in (
                f"${burst.usd(each, a_second(function)):.4f}",
                f"{burst.ends_after_s(each):.1f} s",
            )
        ]
        more = burst.usd(snapshot, a_second(function)) - burst.usd(start, a_second(function))
        rows.append(f"| {environments:,} | {' | '.join(cells)} | ${more:.4f} |\n")
    return _HEAD.format(
        memory=function.memory_mb,
        architecture=function.architecture,
        month=snapshot_a_month(function.memory_mb),
        cold=1000 * start.usd,
        restored=1000 * snapshot.usd,
        rows="".join(rows),
        months="".join(_month(function, bursts) for bursts in BURSTS_A_DAY),
        saved=start.waits_s - snapshot.waits_s,
        a_saved_second=(snapshot.usd - start.usd) / (start.waits_s - snapshot.waits_s),
        warm=_kept_warm(function),
        even=break_even_s(function),
        even_x86=break_even_s(function.model_copy(update={"architecture": "x86_64"})),
    )


def _month(function: FunctionConfig, bursts: int) -> str:
    a_day = bursts * TASKS
    starts = a_day * _DAYS_A_MONTH
    without, with_snapshots = (starts * start(function).usd for start in (cold, restored))
    kept = snapshot_a_month(function.memory_mb)
    saved_h = starts * (cold(function).waits_s - restored(function).waits_s) / 3600
    return (
        f"| {bursts} | ${without:,.2f} | ${with_snapshots:,.2f} + ${kept:.2f} | "
        f"${with_snapshots + kept - without:,.2f} | {saved_h:,.0f} h |\n"
    )


def _kept_warm(function: FunctionConfig) -> float:
    """Return what it costs for an hour to keep an environment warm for every task of the burst."""
    gb_seconds = TASKS * function.memory_mb / 1024 * 3600
    return gb_seconds * PRICES["Lambda, provisioned concurrency"].usd


def chart(function: FunctionConfig) -> str:
    """Return the picture: what the burst's starts cost, by how long a cold one takes."""
    seconds = range(_LONGEST_INIT_S + 1)
    without = [(float(s), TASKS * cold(function, s).usd) for s in seconds]
    flat = TASKS * restored(function).usd
    panel = Panel(
        Axis("US dollars", ticks_to(max(flat, without[-1][1])), form="${:.2f}"),
        [Line("cold", without), Line("from a snapshot", [(0.0, flat), (without[-1][0], flat)])],
        [
            Mark(COLD_S, f"Airflow alone: {COLD_S:g} s"),
            Mark(break_even_s(function), f"the same price: {break_even_s(function):.1f} s"),
        ],
    )
    return draw(
        f"What {TASKS:,} starts cost: {function.memory_mb:,} MB, {function.architecture}",
        Axis("seconds that a cold start takes", [0, 3, 6, 9, 12, _LONGEST_INIT_S]),
        [panel],
    )


_HEAD = f"""\
# What starts from snapshots cost

Generated by `python -m stacks.reference.snapshots` (`make docs`). Prices of {READ_ON} in US East
(N. Virginia), [with their sources](costs.md#prices); nothing here has been compared with a bill.

A function with [`snap_start`](stage-config.md#functions) starts its execution environments from a
snapshot that was made when its version was published. **That buys time, not money**: a restore
costs more than the second in which Airflow is imported.

| {{memory:,}} MB, {{architecture}} | without snapshots | with snapshots |
|---|---|---|
| a month of each version that is kept | $0 | ${{month:.2f}} |
| a thousand starts | ${{cold:.4f}} | ${{restored:.4f}} |
| from a start to a task's first line | {COLD_S:g} s | {RESTORE_S + AFTER_RESTORE_S:g} s |

The cold start of {COLD_S:g} s and the {AFTER_RESTORE_S:g} s from a restore to the task's first line
were measured on 2026-11-29, on a machine about half as fast as that of
[today's figures](benchmarks.md#the-handler), and without the seconds in which Lambda fetches an
image that it has not cached. The restore itself takes about {RESTORE_S:g} s on AWS, as
others report of small functions. The metric `RestoreDuration` of the
[dashboard](../howto/observability.md) says what yours takes.

## A burst of {TASKS:,} tasks from zero

All {TASKS:,} tasks of {TASK_S:g} s are queued at one moment, and no execution environment is there.
The first task of each environment waits for its start, the others for those before them.

| environments | cold: it costs | and ends after | restored: it costs | and ends after | more |
|---|---|---|---|---|---|
{{rows}}
A burst on {TASKS:,} environments every day, every hour, or every quarter of an hour, if the
environments have gone in between:

| bursts a day | cold starts, a month | starts and one version, a month | more | less waiting |
|---|---|---|---|---|
{{months}}
## When it pays

* **People or other systems wait for tasks that are short and come after a pause.** A second less of
  waiting costs ${{a_saved_second:.5f}} for each task that starts an environment, and
  ${{month:.2f}} a month. To keep {TASKS:,} environments warm instead (`provisioned_concurrency`)
  costs ${{warm:.2f}} an hour.
* **Your DAG files import a lot.** Snapshots cost less than cold starts of more than
  {{even:.1f}} s (arm64; {{even_x86:.1f}} s with x86_64). Without a snapshot, Lambda ends an init
  phase after 10 s and begins again.

![What a thousand starts cost, by the seconds of a cold one](../images/costs-of-snapshots.svg)

## When it does not

* **A stage that is idle most of the time.** The snapshot of its version is charged for all the
  time. `dev` of this repository has no snapshots: one would add a fifth to its price.
* **A load without pauses.** Warm environments run nearly all tasks, and few are started.
* **Tasks of minutes.** Nobody notices a second.
* **Many versions.** Each old version costs the same again until it is deleted: `make prune` keeps
  one before the live version instead of three, if they have snapshots
  ([old versions](../howto/upgrade-and-rollback.md#old-versions)).
"""


def function_of_prod(root: Path) -> FunctionConfig:
    """Return the default function of the stage `prod` of `root/cdk.json`."""
    context = json.loads((root / "cdk.json").read_text())["context"]
    return load(context["stages"], "prod").default_function


def main() -> None:
    """Print the page, or the picture."""
    parser = argparse.ArgumentParser(prog="python -m stacks.reference.snapshots")
    parser.add_argument("--chart", action="store_true", help="the picture instead of the page")
    given = parser.parse_args()
    function = function_of_prod(Path(__file__).parents[2])
    sys.stdout.write(chart(function) if given.chart else render(function))


if __name__ == "__main__":
    main()
