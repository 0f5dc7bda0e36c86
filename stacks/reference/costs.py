"""The cost of a stage by type of resource, calculated from its templates.

`python -m stacks.reference.costs` prints `docs/reference/costs.md`. A type of resource without a
price is an error, so that nothing new is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk

from lambda_executor.contract.help import with_page
from stacks.composition import build
from stacks.config.loading import StageConfigError, load
from stacks.reference.prices import FREE, HOURS_A_MONTH, PRICES, READ_ON
from stacks.reference.rates import RATES, SQS_REQUESTS, Cost, Resource, Template

STAGES = ("dev", "prod")

#: Seconds that a task runs: only its start (docs/reference/benchmarks.md), and a minute.
TASKS = {"that do nothing": 0.1, "of a minute": 60.0}


@dataclass(frozen=True, slots=True)
class Line:
    """All resources of one type, and the cost of each."""

    type: str
    count: int
    costs: tuple[Cost, ...]
    note: str

    @property
    def idle(self) -> float:
        """Cost of a month without a task."""
        return sum(cost.idle for cost in self.costs)

    def thousand(self, seconds: float) -> float:
        """Cost of a thousand workloads: each uses one function, one results queue and one log."""
        return max((cost.thousand(seconds) for cost in self.costs), default=0.0)


def lines(templates: Iterable[Template]) -> list[Line]:
    """Return the cost of a stage by type of resource, the most expensive first.

    Raises:
        KeyError: There is no price for a type of resource, or for a size of it.
    """
    costs: dict[str, list[Cost]] = {}
    for template in templates:
        for name, resource in template["Resources"].items():
            type_ = resource["Type"]
            if type_ in FREE:
                cost = Cost()
            elif type_ in RATES:
                cost = RATES[type_][0](Resource(name, resource.get("Properties", {}), template))
            else:
                raise KeyError(f"{type_} has no price in stacks/reference/rates.py: add it there")
            costs.setdefault(type_, []).append(cost)
    found = [
        Line(type_, len(each), tuple(each), RATES[type_][1] if type_ in RATES else "free")
        for type_, each in costs.items()
    ]
    return sorted(found, key=lambda line: (-line.idle, line.note == "free", line.type))


def templates_of(stage: str, root: Path, override: str | None = None) -> list[Template]:
    """Synthesize the templates of a stage of `root/cdk.json`.

    Raises:
        StageConfigError: There is no such stage, or it cannot work with this override.
    """
    context = json.loads((root / "cdk.json").read_text())["context"]
    config = load(context["stages"], stage, override)
    with tempfile.TemporaryDirectory() as folder:
        app = cdk.App(context=context, outdir=folder)
        build(app, stage, config, root=root)
        app.synth()
        return [json.loads(path.read_text()) for path in Path(folder).glob("*.template.json")]


def table(stage: str, found: Iterable[Line]) -> str:
    """Return the table of one stage for a terminal of 80 columns, without what costs nothing."""
    rows = [
        ["", "", "idle", *("1,000 tasks" for _ in TASKS)],
        [f"{stage}, US dollars", "count", "a month", *(f"of {s:g} s" for s in TASKS.values())],
    ]
    sums = [0.0] * (1 + len(TASKS))
    for line in found:
        costs = [line.idle, *(line.thousand(seconds) for seconds in TASKS.values())]
        if any(costs):
            sums = [before + usd for before, usd in zip(sums, costs, strict=True)]
            kind = line.type.removeprefix("AWS::").replace("::", " ")
            rows.append([kind, str(line.count), *(f"{usd:.2f}" for usd in costs)])
    rows.append(["together", "", *(f"{usd:.2f}" for usd in sums)])
    text = "".join(f"{a:36} {b:>5} {c:>9} {d:>12} {e:>12}\n" for a, b, c, d, e in rows)
    return f"{text}\nPrices of {READ_ON} in us-east-1: docs/reference/costs.md\n"


def render(stages: Mapping[str, Iterable[Template]]) -> str:
    """Return the reference page."""
    parts = [_HEAD]
    for stage, templates in stages.items():
        parts.append(_stage(stage, lines(templates)))
    parts.append(_PRICES_HEAD)
    for name, price in PRICES.items():
        source = f"[read]({price.source})" if price.source else "not looked up"
        if price.read_on != READ_ON:
            source += f" on {price.read_on}"
        parts.append(
            f"| {name} | {_amount(price.usd)} | {price.per} | {source} | <{price.page}> |\n"
        )
    return "".join(parts)


def _stage(stage: str, found: list[Line]) -> str:
    priced = [line for line in found if line.note != "free"]
    rows = [
        f"\n## `{stage}`\n\n| resource | count | idle, a month | "
        + " | ".join(f"1,000 tasks {kind}" for kind in TASKS)
        + " | what is counted |\n|---|---|---|---|---|---|\n"
    ]
    for line in priced:
        tasks = [line.thousand(seconds) for seconds in TASKS.values()]
        rows.append(_row(f"`{line.type}`", line.count, line.idle, tasks, line.note))
    idle = sum(line.idle for line in priced)
    together = [sum(line.thousand(seconds) for line in priced) for seconds in TASKS.values()]
    rows.append(_row("**together**", "", idle, together, ""))
    free = ", ".join(f"`{line.type}` ({line.count})" for line in found if line.note == "free")
    return "".join(rows) + f"\nFree: {free}.\n"


def _amount(usd: float) -> str:
    return f"{usd:.10f}".rstrip("0").ljust(4, "0")


def _row(name: str, count: object, idle: float, tasks: list[float], note: str) -> str:
    amounts = [f"${idle:.2f}", *(f"${usd:.4f}" for usd in tasks)]
    return f"| {name} | {count} | {' | '.join(amounts)} | {note} |\n"


_HEAD = f"""\
# What a stage costs

Generated by `python -m stacks.reference.costs` (`make docs`) from the templates of `cdk.json`; a
test fails when a resource is missing. The prices are for US East (N. Virginia), on demand, and of
Fargate Spot where the stage uses it, without free tiers and discounts, read on {READ_ON}; their
sources are at the end. Nothing here has been
compared with a bill ([what is unproven](../unproven.md)).

*Idle* is a month of {HOURS_A_MONTH} hours in which no task runs and one scheduler polls all queues.
Tasks run in the default function and cost its memory and time. A task *that does nothing* occupies
a warm execution environment for {TASKS["that do nothing"]} s ([measured](benchmarks.md)). A result
takes {SQS_REQUESTS} requests: it is sent once, and received and deleted in batches.

Not counted: traffic to the Internet and between zones, AWS services that tasks use, cold starts (a
few seconds of the function's memory each) and [starts from a snapshot](costs-of-snapshots.md),
tasks on [other targets](costs-of-targets.md), the control plane's log, and an Airflow outside the
stage.
"""

_PRICES_HEAD = f"""
## Prices

Read on {READ_ON}, mostly on pages that repeat AWS's own, which could not be reached. *Not looked
up* is a price that was on none of them: check it.

| what | USD | per | source | AWS's own page |
|---|---|---|---|---|
"""


def main() -> int:
    """Print the reference page, or the table of one stage."""
    parser = argparse.ArgumentParser(
        prog="python -m stacks.reference.costs",
        description="What a stage costs, calculated from its templates; nothing is deployed.",
    )
    parser.add_argument("stage", nargs="?", help="a stage of cdk.json; without it: the page")
    parser.add_argument(
        "--override", help="values that are merged over the stage's: JSON, or @ and a file's path"
    )
    given = parser.parse_args()
    root = Path(__file__).parents[2]
    if given.stage is None:
        sys.stdout.write(render({stage: templates_of(stage, root) for stage in STAGES}))
        return 0
    try:
        found = lines(templates_of(given.stage, root, given.override or None))
    except StageConfigError as e:
        print(with_page(str(e)), file=sys.stderr)  # noqa: T201 - the command's answer
        return 1
    sys.stdout.write(table(given.stage, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
