"""What a month costs here and elsewhere, for so many tasks a day of so many seconds.

`python -m stacks.reference.alternatives` prints `docs/reference/costs-compared.md`. Ours is
calculated from the templates of `dev`; the others from their prices and from what they run at once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stacks.reference.costs import Line, lines, templates_of
from stacks.reference.prices import HOURS_A_MONTH, PRICES, READ_ON, Price

DAYS_A_MONTH = HOURS_A_MONTH / 24
TASKS_A_DAY = (100, 1_000, 10_000, 100_000)
SECONDS = (1, 30, 600)
#: With what the others are compared.
MEASURE = "this kit, `dev` without Spot"

#: Of the day's tasks, so many times the average run at once at its busiest.
PEAK = 3

#: What runs tasks elsewhere, with 1 vCPU for each task as in a function of 1,769 MB.
_WORKER_VCPUS, _WORKER_GB = 2, 8
_NODE_VCPUS = 2
#: The default limit of an account: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_CONCURRENCY = 1000
#: A pod is pulled, started and ended around each task.
_POD_S = 15
#: A Celery worker forks for each task, and Airflow's supervisor starts in it.
_FORK_S = 1


_MWAA = "https://aws.amazon.com/managed-workflows-for-apache-airflow/pricing/"
_EC2 = "https://aws.amazon.com/ec2/pricing/on-demand/"

ELSEWHERE: Mapping[str, Price] = {
    "MWAA, mw1.micro": Price(0.29, "hour", _MWAA, _MWAA),
    "MWAA, mw1.small": Price(0.49, "hour", _MWAA, _MWAA),
    "MWAA, another small worker": Price(0.055, "hour", None, _MWAA),
    "MWAA Serverless": Price(0.08, "task-hour", _MWAA, _MWAA),
    "EKS, cluster": Price(0.10, "hour", None, "https://aws.amazon.com/eks/pricing/"),
    "EC2, m7g.large": Price(0.0816, "hour", None, _EC2),
}


@dataclass(frozen=True, slots=True)
class Load:
    """Tasks of one length, spread over each day.

    Attributes:
        tasks: Tasks a day.
        seconds: How long each works.
    """

    tasks: int
    seconds: float

    def average(self, overhead_s: float) -> float:
        """How many run at once on average, each with its overhead."""
        return self.tasks * (self.seconds + overhead_s) / 86_400

    def at_once(self, overhead_s: float) -> int:
        """How many run at once at the busiest time of the day."""
        return max(1, math.ceil(PEAK * self.average(overhead_s)))


#: A month's cost in US dollars; None: it does not run this load.
Cost = Callable[[Load], float | None]


def alternatives(
    dev: Iterable[Line], dev_on_demand: Iterable[Line], beside: Iterable[Line]
) -> Mapping[str, Cost]:
    """Return the monthly cost of each alternative.

    Args:
        dev: The stage `dev`.
        dev_on_demand: The same without Spot.
        beside: The same without a control plane.
    """
    spot, on_demand, alone = list(dev), list(dev_on_demand), list(beside)
    airflow = _idle(on_demand)  # Airflow's own programs and database, as ours.
    return {
        "this kit, `dev`": partial(_ours, spot),
        MEASURE: partial(_ours, on_demand),
        "this kit beside your Airflow": partial(_ours, alone),
        "Celery on Fargate, fixed": lambda load: airflow + _celery(load.at_once(_FORK_S)),
        "Celery on Fargate, autoscaled": lambda load: airflow + _celery(load.average(_FORK_S)),
        "Kubernetes (EKS)": lambda load: airflow + _kubernetes(load),
        "MWAA": _mwaa,
        "MWAA Serverless": _mwaa_serverless,
    }


def _ours(found: Sequence[Line], load: Load) -> float | None:
    if load.at_once(0) > _CONCURRENCY:
        return None
    a_thousand = sum(line.thousand(load.seconds) for line in found)
    return _idle(found) + load.tasks * DAYS_A_MONTH / 1000 * a_thousand


def _idle(found: Iterable[Line]) -> float:
    return sum(line.idle for line in found)


def _usd(name: str) -> float:
    return {**PRICES, **ELSEWHERE}[name].usd


def _celery(at_once: float) -> float:
    """Workers for so many tasks, and one that waits for tasks."""
    an_hour = _WORKER_VCPUS * _usd("Fargate, arm64") + _WORKER_GB * _usd("Fargate, arm64, memory")
    return max(1, math.ceil(at_once / _WORKER_VCPUS)) * an_hour * HOURS_A_MONTH


def _kubernetes(load: Load) -> float:
    """Nodes for the average: they come and go within minutes."""
    nodes = max(1, load.average(_POD_S) / _NODE_VCPUS)
    return (_usd("EKS, cluster") + nodes * _usd("EC2, m7g.large")) * HOURS_A_MONTH


def _mwaa(load: Load) -> float | None:
    """The smallest environment runs 3 tasks at once; a small one 5 on each of up to 25 workers."""
    at_once = load.at_once(_FORK_S)
    if at_once <= 3:  # noqa: PLR2004 - MWAA's limit
        return _usd("MWAA, mw1.micro") * HOURS_A_MONTH
    more = math.ceil(at_once / 5) - 1
    if more > 24:  # noqa: PLR2004 - MWAA's limit
        return None
    # Further workers are there for the average only.
    busy = min(more, max(0.0, load.average(_FORK_S) / 5 - 1))
    an_hour = _usd("MWAA, mw1.small") + busy * _usd("MWAA, another small worker")
    return an_hour * HOURS_A_MONTH


def _mwaa_serverless(load: Load) -> float | None:
    return load.tasks * DAYS_A_MONTH * load.seconds / 3600 * _usd("MWAA Serverless")


#: Overrides of `dev`.
ON_DEMAND = '{"control_plane": {"spot": false}}'
BESIDE = (
    '{"control_plane": {"kind": "none"}, "database": {"enabled": false}, '
    '"execution": {"execution_api_url": "https://airflow.example.com/execution/"}}'
)


def break_even(ours: Cost, theirs: Cost, seconds: float) -> int | None:
    """Tasks a day from which the other is cheaper; None: it never is below a million."""
    for exponent in range(1201):
        tasks = round(10 ** (exponent / 200))
        here, there = ours(Load(tasks, seconds)), theirs(Load(tasks, seconds))
        if there is not None and here is not None and there < here:
            return tasks
    return None


def render(costs: Mapping[str, Cost]) -> str:
    """Return the reference page."""
    parts = [_HEAD]
    for seconds in SECONDS:
        parts.append(f"\n## Tasks of {length(seconds)}\n\n")
        header = " | ".join(f"{tasks:,} a day" for tasks in TASKS_A_DAY)
        parts.append(f"| a month | {header} |\n|---|{'---|' * len(TASKS_A_DAY)}\n")
        for name, cost in costs.items():
            row = " | ".join(_dollars(cost(Load(tasks, seconds))) for tasks in TASKS_A_DAY)
            parts.append(f"| {name} | {row} |\n")
        about = f"What 1,000 tasks of {length(seconds)} cost, by the tasks a day"
        parts.append(f"\n![{about}](../images/{chart_of(seconds)})\n")
    parts.append(_BREAK_EVEN_HEAD)
    for name, cost in costs.items():
        if not name.startswith("this kit"):
            row = " | ".join(_point(break_even(costs[MEASURE], cost, s)) for s in SECONDS)
            parts.append(f"| {name} | {row} |\n")
    parts.append(_PRICES_HEAD)
    for name, price in ELSEWHERE.items():
        source = "read" if price.source else "not looked up"
        parts.append(f"| {name} | {price.usd:g} | {price.per} | {source} | <{price.page}> |\n")
    return "".join(parts)


def length(seconds: float) -> str:
    """Return how long a task works, as text."""
    return f"{seconds // 60} minutes" if seconds >= 60 else f"{seconds} s"  # noqa: PLR2004


def chart_of(seconds: float) -> str:
    """Return the name of the picture about tasks of this length, which `cost_charts.py` draws."""
    return f"cost-per-thousand-{length(seconds).replace(' ', '-')}.svg"


def _dollars(usd: float | None) -> str:
    return "more than it runs" if usd is None else f"${usd:,.0f}"


def _point(tasks: int | None) -> str:
    if tasks is None:
        return "never"
    return "always" if tasks == 1 else f"{tasks:,}"


_HEAD = f"""\
# What the alternatives cost

Generated by `python -m stacks.reference.alternatives` (`make docs`). Prices of {READ_ON} in
US East (N. Virginia), on demand; nothing here has been compared with a bill.

What is compared: tasks that need one vCPU, spread over the day, at its busiest {PEAK} times the
average at once.

* **This kit** is calculated from the templates of the stage `dev`, with Airflow, database, logs and
  alarms ([cost page](costs.md)); its functions have {1769:,} MB. Beside an Airflow that you have,
  only queues, dashboard and alarms cost something while nothing runs. A new account runs 10 tasks
  at once, most accounts {_CONCURRENCY:,}. For more than 32 at once, raise `execution.parallelism`,
  and give Airflow more than the one vCPU that `dev`, Celery and Kubernetes are calculated with.
* **Celery on Fargate** has the same Airflow and database, and workers of {_WORKER_VCPUS} vCPUs and
  {_WORKER_GB} GB (arm64): *fixed* for the busiest time, or *autoscaled* without any loss, which no
  autoscaler reaches and somebody has to run.
* **Kubernetes** has the same Airflow and database, a cluster, and nodes of {_NODE_VCPUS} vCPUs for
  the average, one or more. Each task occupies its share for {_POD_S} s more: the start of its pod.
* **MWAA** is the smallest environment that runs the load: 3 tasks at once, or 5 on each small
  worker, up to 25 workers.
* **MWAA Serverless** charges each task by its time. It runs AWS's operators only, has no Airflow
  UI, and ends a task after an hour.

Where a task waits for something else most of the time, a Celery or MWAA worker runs more of them at
once than this table says, and a [deferrable operator](../howto/when-not-to-use-it.md) costs nothing
anywhere.
"""

_BREAK_EVEN_HEAD = f"""
## From how many tasks a day is another cheaper?

Against `dev` without Spot. *Never* means: not up to what this kit or the other can run at once.

| | {" | ".join(f"tasks of {length(seconds)}" for seconds in SECONDS)} |
|---|{"---|" * len(SECONDS)}
"""

_PRICES_HEAD = """
## Prices

| what | USD | per | | AWS's own page |
|---|---|---|---|---|
"""


def calculated(root: Path) -> Mapping[str, Cost]:
    """Return the costs of each alternative by the templates of `root/cdk.json`."""
    return alternatives(
        *(lines(templates_of("dev", root, over)) for over in (None, ON_DEMAND, BESIDE))
    )


def main() -> None:
    """Print the page."""
    sys.stdout.write(render(calculated(Path(__file__).parents[2])))


if __name__ == "__main__":
    main()
