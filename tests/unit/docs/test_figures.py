"""What the pages claim in words is what was measured or calculated, rounded."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.bench import taken
from tests.bench.taken import Run
from tests.unit.docs.test_links import ROOT

README, BENCHMARKS = "README.md", "docs/reference/benchmarks.md"
#: A number as people write it.
N = r"\$?([\d,]+(?:\.\d+)?)"


@cache
def run(benchmark: str) -> Run:
    """The committed run of a benchmark."""
    return Run.read(taken.committed(benchmark))


def both(benchmark: str, figure: str) -> tuple[float, float]:
    """Ours, and what it is compared with."""
    row = run(benchmark).rows[figure]
    assert row.other is not None
    return row.ours, row.other


def dollars(page: str, row: str, column: int) -> float:
    """An amount of a page, from the first row of a table that begins so."""
    text = (ROOT / "docs" / "reference" / page).read_text()
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} |"))
    return float(line.strip("| ").split("|")[column].strip().lstrip("$"))


RATES = both("executor", "tasks a second")
SLOW_RATES = both("executor", "tasks a second, a heartbeat every 1 s")
WARM, REFERENCE_WARM = both("handler", "warm task, 2 CPUs, stalled ones not counted")
WARM_1, REFERENCE_WARM_1 = both("handler", "warm task, 1 CPU, stalled ones not counted")
STALLED_1 = both("handler", "warm task, 1 CPU")[1]
LOCAL_WARM = both("handler", "warm task beside LocalExecutor's")[1]
COLD = both("handler", "cold: process start to first line")
RESTORED_MS, WARM_LINE_MS = both("handler", "restored: to first line, beside our warm one")
CPU, REFERENCE_CPU = both("handler", "processor time of a task")
KEPT, REFERENCE_KEPT = both("handler", "warm task, TLS, 20 ms round trip, stalled ones not counted")
NEW = run("handler").rows["the same, with new connections for every task"].ours
TOGETHER, LOCAL_TOGETHER = both("end_to_end", "200 tasks end to end")
REFERENCE_TOGETHER = both("end_to_end", "beside the reference")[1]
UNSTALLED = both("end_to_end", "the same without the stalls")
WITHIN_SLOTS = both("end_to_end", "the same, ours with 8 in flight at most")[0]
SCHEDULER, LOCAL_SCHEDULER = both("end_to_end", "processor time: scheduler")

#: The page, the claim, and the figures behind its numbers.
CLAIMS: list[tuple[str, str, tuple[float, ...]]] = [
    (
        README,
        rf"\| invocations a second \(with a heartbeat each second\) \| {N} \({N}\) \| {N}, `AwsL",
        (RATES[0], SLOW_RATES[0], RATES[1]),
    ),
    (
        README,
        rf"\| a task in a warm function \| {N} ms \| {N} ms, its handler; {N} ms, `LocalExecutor`",
        (WARM, REFERENCE_WARM, LOCAL_WARM),
    ),
    (
        README,
        rf"\| the same over TLS, with a round trip of 20 ms \| {N} ms \| {N} ms, its handler",
        (KEPT, REFERENCE_KEPT),
    ),
    (
        README,
        rf"\| 200 tasks, end to end \([^|]*\) \| {N} s \({N} s\) \| {N} s, .*?; {N} s, .*? {N} s a",
        (TOGETHER, WITHIN_SLOTS, REFERENCE_TOGETHER, LOCAL_TOGETHER, LOCAL_TOGETHER - UNSTALLED[1]),
    ),
    (
        README,
        rf"\| a start from a snapshot, [^|]* \| {N} s \| {N} s, its handler, which has none",
        (RESTORED_MS / 1000, COLD[1]),
    ),
    (README, rf"\| a cold start without a snapshot \| {N} s \| {N} s, its handler", COLD),
    (
        README,
        rf"\| 1,000 tasks of a minute \| {N} \|",
        (dollars("costs.md", "**together**", 4),),
    ),
    (
        README,
        rf"\| an idle month of `dev`, [^|]* \| {N} on Spot, {N} without \| {N}, the smallest MWAA",
        (
            dollars("costs.md", "**together**", 2),
            dollars("costs-compared.md", "this kit, `dev` without Spot", 1),
            dollars("costs-compared.md", "MWAA", 1),
        ),
    ),
    (
        "docs/reference/comparison.md",
        rf"200 tasks on two cores took {N} of its time, and {N} without stalls",
        (TOGETHER / LOCAL_TOGETHER, UNSTALLED[0] / UNSTALLED[1]),
    ),
    (
        "docs/reference/comparison.md",
        rf"\[{N} to {N} times the dispatch rate, and a warm task in a {N}th of the time",
        (SLOW_RATES[0] / SLOW_RATES[1], RATES[0] / RATES[1], REFERENCE_WARM / WARM),
    ),
    (
        BENCHMARKS,
        rf"A warm task is {N} times as fast as the reference's on two CPUs and {N} times on one",
        (REFERENCE_WARM / WARM, REFERENCE_WARM_1 / WARM_1),
    ),
    (BENCHMARKS, rf"\({N} times on one CPU if they are\)", (STALLED_1 / WARM_1,)),
    (BENCHMARKS, rf"Its processor time is 1/{N} of the reference's", (REFERENCE_CPU / CPU,)),
    (BENCHMARKS, rf"a cold start is {N} of the reference's", (COLD[0] / COLD[1],)),
    (BENCHMARKS, rf"kept connections save a task {N} ms", (NEW - KEPT,)),
    (
        BENCHMARKS,
        rf"\*\*The scheduler's target is missed\*\*: {N} times LocalExecutor's processor time",
        (SCHEDULER / LOCAL_SCHEDULER,),
    ),
]


def rounded_like(claimed: str, figure: float) -> float:
    """The figure with the decimals of the claim, or with as many zeros at its end."""
    digits = claimed.replace(",", "")
    _, point, decimals = digits.partition(".")
    places = len(decimals) if point else len(digits.rstrip("0")) - len(digits)
    return round(figure, places)


@pytest.mark.parametrize(
    ("page", "claim", "figures"), CLAIMS, ids=[claim.replace(N, "N") for _, claim, _ in CLAIMS]
)
def test_a_claim_is_what_was_measured(page: str, claim: str, figures: tuple[float, ...]) -> None:
    """With the digits that the claim has."""
    text = " ".join((ROOT / page).read_text().split())
    found = re.search(claim, text)
    assert found, f"{page} does not say so any more: change this test"
    for claimed, figure in zip(found.groups(), figures, strict=True):
        assert float(claimed.replace(",", "")) == rounded_like(claimed, figure), found[0]


def test_every_row_of_the_readmes_figures_has_its_measurement() -> None:
    """A row is one of the claims above, and links the page that has its figure."""
    tables = [
        (ROOT / README).read_text().partition(f"| {heading}")[2].partition("\n\n")[0]
        for heading in ("measured side by side", "calculated from")
    ]
    rows = [row for table in tables for row in table.splitlines()[2:]]
    assert len(rows) >= 8
    for row in rows:
        assert any(re.match(claim, row) for page, claim, _ in CLAIMS if page == README), row
        assert "](docs/reference/" in row, row


@pytest.mark.parametrize(
    ("claimed", "figure", "holds"),
    [
        ("1,530", 1533.4, True),
        ("1,530", 1538.0, False),
        ("20", 19.51, True),
        ("20", 26.0, False),
        ("1.0", 0.98, True),
        ("1.0", 0.94, False),
        ("0.06", 0.0551, True),
        ("53", 53.6, False),
    ],
)
def test_a_claim_that_is_not_what_was_measured_is_found(
    claimed: str, figure: float, holds: bool
) -> None:
    """By each of the digits that it has."""
    assert (float(claimed.replace(",", "")) == rounded_like(claimed, figure)) == holds
