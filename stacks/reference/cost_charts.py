"""What a thousand tasks cost here and elsewhere, by how many there are a day, as pictures.

`python -m stacks.reference.cost_charts` writes them below `docs/images`. The costs are those of
`alternatives.py`, in which a month without a task costs something, too: so a thousand tasks are
cheaper, the more there are. The marks are its break-even points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from stacks.reference.alternatives import (
    DAYS_A_MONTH,
    MEASURE,
    SECONDS,
    TASKS_A_DAY,
    Cost,
    Load,
    break_even,
    calculated,
    chart_of,
    length,
)
from stacks.reference.chart import Axis, Line, Mark, Panel, chart, decades
from stacks.reference.prices import READ_ON

#: The names in the picture, which is narrow, by those in the table. `dev` on Spot is left out.
NAMES = {
    MEASURE: "this kit",
    "this kit beside your Airflow": "this kit beside your Airflow",
    "Celery on Fargate, fixed": "Celery, fixed workers",
    "Celery on Fargate, autoscaled": "Celery, ideally scaled",
    "Kubernetes (EKS)": "Kubernetes",
    "MWAA": "MWAA",
    "MWAA Serverless": "MWAA Serverless",
}
#: Points of a line between one power of ten and the next.
_POINTS = 80
_REMARK = (
    "A vertical line: from so many tasks a day another is cheaper than this kit. MWAA Serverless "
    "runs AWS's operators only. Calculated from the stage dev with its Airflow, without Spot; "
    f"prices of {READ_ON}, US East (N. Virginia)."
)


def picture(costs: Mapping[str, Cost], seconds: float) -> str:
    """Return the picture about tasks of this length.

    Args:
        costs: Of a month, by the name of the alternative.
        seconds: How long a task works.
    """
    lines, marks = list[Line](), list[Mark]()
    for style, (key, name) in enumerate(NAMES.items()):
        said = name
        if not key.startswith("this kit"):
            tasks = break_even(costs[MEASURE], costs[key], seconds)
            said = f"{name}: {_from(tasks)}"
            if tasks is not None and TASKS_A_DAY[0] <= tasks <= TASKS_A_DAY[-1]:
                marks.append(Mark(tasks, style=style))
        lines.append(Line(said, list(_points(costs[key], seconds)), style))
    usd = [y for line in lines for _, y in line.points]
    y = Axis("US dollars for 1,000 tasks", decades(min(usd), max(usd)), "${:,g}", logarithmic=True)
    days = Axis("tasks a day", TASKS_A_DAY, "{:,}", logarithmic=True)
    title = f"What 1,000 tasks of {length(seconds)} cost"
    return chart(title, days, [Panel(y, lines, marks)], _REMARK)


def _from(tasks: int | None) -> str:
    if tasks is None:
        return "never cheaper"
    return "always cheaper" if tasks == 1 else f"cheaper from {tasks:,}"


def _points(cost: Cost, seconds: float) -> Iterator[tuple[float, float]]:
    """Return tasks a day and US dollars for a thousand, as far as the load runs there."""
    powers = round(math.log10(TASKS_A_DAY[-1] / TASKS_A_DAY[0]))
    for number in range(powers * _POINTS + 1):
        tasks = round(TASKS_A_DAY[0] * 10 ** (number / _POINTS))
        month = cost(Load(tasks, seconds))
        if month is not None:
            yield tasks, 1000 * month / (tasks * DAYS_A_MONTH)


def main() -> None:
    """Write the pictures."""
    root = Path(__file__).parents[2]
    costs = calculated(root)
    for seconds in SECONDS:
        (root / "docs" / "images" / chart_of(seconds)).write_text(picture(costs, seconds))


if __name__ == "__main__":
    main()
