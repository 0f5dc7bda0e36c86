"""The verdict of the soak: a leak of ours fails the run, Airflow's growth and noise do not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.soak.programs import EMBEDDED_AWS, FUNCTION, Usage
from tests.soak.record import Record
from tests.soak.verdict import FEWEST_TRIES, LIMITS, failures, judge
from tests.support.executor_summary import ExecutorCounts

WARM_UP_S = 300.0
#: An hour, with two tries a second.
SAMPLES, EVERY_S, RATE = 90, 40.0, 2
PROGRAMS = (
    *("scheduler", "api-server", "dag-processor", "triggerer", "postgres"),
    *(EMBEDDED_AWS, f"{FUNCTION} 1", f"{FUNCTION} 2"),
)

Grow = Callable[[str, float], Usage]


def record(grow: Grow, samples: int = SAMPLES, in_flight: float = 0) -> Record:
    """A run whose programs use 200 MB, 20 threads and 60 descriptors, with noise, and `grow`.

    Args:
        grow: What a program uses more after so many thousand tries.
        samples: How many there are.
        in_flight: How much more is in flight after each thousand tries.
    """
    chance = random.Random(7)
    found = Record({})
    for number in range(samples):
        at_s, tries = number * EVERY_S, int(number * EVERY_S * RATE)
        used = {
            name: Usage(250, 200 + chance.gauss(0, 1), chance.choice((20, 20, 21)), 60)
            + grow(name, tries / 1000)
            for name in PROGRAMS
        }
        # Imports and pools fill at the beginning, in every program.
        warm = min(at_s / WARM_UP_S, 1)
        used = {name: replace(each, rss_mb=each.rss_mb * warm) for name, each in used.items()}
        held = int(4 + in_flight * tries / 1000)
        found.sample(at_s, tries, used, ExecutorCounts(0, 0, held, 0))
    return found


def nothing(_name: str, _thousands: float) -> Usage:
    """No growth."""
    return Usage()


def of(program: str, leak: Usage) -> Grow:
    """One program's growth with each thousand tries."""

    def grow(name: str, thousands: float) -> Usage:
        if name != program:
            return Usage()
        return Usage(
            leak.pss_mb * thousands,
            leak.rss_mb * thousands,
            int(leak.threads * thousands),
            int(leak.descriptors * thousands),
        )

    return grow


def test_a_flat_run_passes_with_noise_and_a_warm_up() -> None:
    """Every series is judged, none leaks, and nothing fails the run."""
    run = record(nothing)
    judgements = judge(run, WARM_UP_S)
    assert {each.series for each in judgements} == {*PROGRAMS, "executor"}
    assert all(each.per_thousand is not None for each in judgements)
    assert list(failures(run, judgements)) == []


@pytest.mark.parametrize(
    ("program", "measured", "leak"),
    [
        ("scheduler", "rss_mb", Usage(rss_mb=7)),
        ("scheduler", "threads", Usage(threads=2)),
        ("scheduler", "descriptors", Usage(descriptors=3)),
        (f"{FUNCTION} 2", "rss_mb", Usage(rss_mb=2)),
        (f"{FUNCTION} 1", "descriptors", Usage(descriptors=2)),
        (EMBEDDED_AWS, "threads", Usage(threads=2)),
        (EMBEDDED_AWS, "descriptors", Usage(descriptors=4)),
    ],
)
def test_a_leak_of_ours_is_found_and_named(program: str, measured: str, leak: Usage) -> None:
    """The run fails by this series alone."""
    run = record(of(program, leak))
    judgements = judge(run, WARM_UP_S)
    assert [(each.series, each.measured) for each in judgements if each.fails] == [
        (program, measured)
    ]
    (failure,) = failures(run, judgements)
    assert failure.startswith(f"{program}, {measured}: ")


def test_invocations_that_pile_up_in_the_executor_fail_the_run() -> None:
    """What is never settled stays in flight."""
    judgements = judge(record(nothing, in_flight=10), WARM_UP_S)
    assert [each.measured for each in judgements if each.fails] == ["in_flight"]


def test_airflows_own_growth_is_told_and_does_not_fail_the_run() -> None:
    """The api-server has none of our code."""
    run = record(of("api-server", Usage(rss_mb=12)))
    judgements = judge(run, WARM_UP_S)
    (grown,) = (each for each in judgements if each.leaks)
    assert grown.series == "api-server"
    assert grown.per_thousand == pytest.approx(12, abs=0.5)
    assert list(failures(run, judgements)) == []


def test_of_the_scheduler_only_what_is_beyond_localexecutor_counts() -> None:
    """It grows by 7 MB for a thousand: by 4 of them under LocalExecutor too."""
    ours = record(of("scheduler", Usage(rss_mb=7)))
    local = record(of("scheduler", Usage(rss_mb=4)))
    judgements = judge(ours, WARM_UP_S, local)
    (memory,) = (
        each for each in judgements if (each.series, each.measured) == ("scheduler", "rss_mb")
    )
    assert memory.per_thousand == pytest.approx(7, abs=0.5)
    assert memory.beyond == pytest.approx(3, abs=0.5)
    assert not memory.fails


def test_a_run_that_is_too_short_to_judge_fails() -> None:
    """A verdict that nothing was found in must not pass for one that nothing grows."""
    samples = int((WARM_UP_S + 0.9 * FEWEST_TRIES / RATE) / EVERY_S)
    run = record(of("scheduler", Usage(rss_mb=50)), samples)
    assert list(failures(run, judge(run, WARM_UP_S))) == ["the run was too short to judge growth"]


def test_a_task_that_ends_otherwise_and_a_rate_that_is_not_kept_fail_the_run() -> None:
    """Flat series of an Airflow that does nothing would be worthless."""
    run = replace(record(nothing), unexpected=["soak-1 square[2]: failed"], skipped=3)
    found = list(failures(run, judge(run, WARM_UP_S)))
    assert found[0] == "not as expected: soak-1 square[2]: failed"
    assert found[1].startswith("3 runs were not triggered")


def test_a_series_of_ours_that_is_never_judged_fails_the_run() -> None:
    """It would pass for a flat one; a short-lived environment beside a judged one would not."""
    run = record(nothing)
    few = [None] * (SAMPLES - 3) + [1.0] * 3
    run.series["jobs and MicroVMs"] = {"rss_mb": list(few), "descriptors": [1.0] * SAMPLES}
    run.series[f"{FUNCTION} 12"] = {"rss_mb": list(few)}
    run.series["triggerer"]["rss_mb"] = list(few)
    assert list(failures(run, judge(run, WARM_UP_S))) == [
        "jobs and MicroVMs, rss_mb: too few samples to judge it"
    ]


@pytest.mark.parametrize(
    ("second", "last", "fails"),
    [(0.5, 1.6, True), (0.5, 1.4, False), (0.1, 0.9, False), (4.0, 12.5, True)],
)
def test_times_that_grow_fail_the_run(second: float, last: float, fails: bool) -> None:
    """Three times as long as in the second quarter, and not short: the first is the warm-up."""
    run = record(nothing)
    minutes = [9.0] * 5 + [second] * 5 + [None] * 5 + [last] * 5
    run.latency = {"start_s": {"p50": [0.1] * 20}, "settle_s": {"p50": minutes}}
    found = list(failures(run, judge(run, WARM_UP_S)))
    words = f"settle_s: a median of {second:g} s in the second quarter, {last:g} s in the last"
    assert found == [words] * fails


def test_memory_that_is_shared_with_others_is_no_growth() -> None:
    """Another program that maps the same library, and ends, moves the share of each."""
    run = record(of("scheduler", Usage(pss_mb=20)))
    assert not any(each.leaks for each in judge(run, WARM_UP_S))


def test_every_limit_is_of_something_that_a_run_measures() -> None:
    """A limit with a wrong name would never be looked at."""
    run = record(nothing)
    jobs = "jobs and MicroVMs"
    run.series[jobs] = run.series["scheduler"]
    judged = {(each.series.rstrip("12"), each.measured) for each in judge(run, WARM_UP_S)}
    assert judged == {(limit.series.rstrip("*"), limit.measured) for limit in LIMITS}
