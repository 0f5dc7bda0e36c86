"""`make bench`: our executor beside the reference, in one run, at the same latency.

Each executor is a process of its own with a fake AWS of its own; rounds are interleaved, so that
what else the machine does meets both, and medians are taken. What is measured and why:
docs/reference/benchmarks.md. The exit code tells only that everything was measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import methodcaller
from statistics import median
from typing import Any

from tests.bench.fake_aws import Settings
from tests.bench.report import Report
from tests.bench.running import Run, measure
from tests.bench.subject import Name

NAMES: tuple[Name, Name] = ("ours", "reference")
FAST = 0.02
SLOW = 0.2
ROUNDS = 3
#: The reference takes them one by one: fewer give the same rate in a bearable time.
WORKLOADS = {"ours": 2000, "reference": 200}
#: How many times the reference's rate ours should have.
FASTER = 60
#: Seconds between two heartbeats, beside the usual 0.02.
OTHER_BEATS_S = (0.05, 1.0)
IDLE_S = 60.0
RECEIVE = "ReceiveMessage"
DELETES = ("DeleteMessage", "DeleteMessageBatch")


def throughput(report: Report, seed: int) -> list[float]:
    """Both at 20 ms, in turns; returns our rates."""
    runs: dict[Name, list[Run]] = {name: [] for name in NAMES}
    for number in range(ROUNDS):
        for name in NAMES:
            runs[name] += measure(
                name, Settings(FAST), workloads=WORKLOADS[name], seed=seed + number
            )
    rates = figures(runs, lambda run: run.tasks_per_s)
    report.compare(
        "tasks a second", rates, "/s", f">= {FASTER} x", holds=lambda _, ratio: ratio >= FASTER
    )
    report.compare(
        "processor time a task",
        figures(runs, lambda run: run.processor_ms),
        "ms",
    )
    report.compare(
        "longest heartbeat",
        figures(runs, lambda run: run.longest_heartbeat_ms),
        "ms",
        "<= 50 ms",
        holds=lambda ours, _: ours <= 50,
    )
    for call, calls in (("receives a result", (RECEIVE,)), ("deletes a result", DELETES)):
        report.compare(
            call,
            figures(runs, methodcaller("calls_per_result", *calls)),
            "",
            "<= 0.13",
            holds=lambda ours, _: ours <= 0.13,
        )
    for beat_s in OTHER_BEATS_S:
        others: list[Run] = []
        for number in range(ROUNDS):
            (run,) = measure(
                "ours", Settings(FAST), workloads=2000, beat_s=beat_s, seed=seed + number
            )
            others.append(run)
        beats = [run.longest_heartbeat_ms for run in others]
        label = f"longest heartbeat, one every {beat_s:g} s"
        report.note(label, beats, "ms", "<= 50 ms", median(beats) <= 50)
        report.compare(
            f"tasks a second, a heartbeat every {beat_s:g} s",
            {"ours": [run.tasks_per_s for run in others], "reference": rates["reference"]},
            "/s",
        )
    report.raw["failed"] = figures(runs, lambda run: run.figures.failed)
    return rates["ours"]


def scale(report: Report, seed: int) -> None:
    """Ours with 1,000 and 10,000 workloads, and at ten times the latency, in turns."""
    few, many, slow, fast = ([] for _ in range(4))
    for number in range(2):
        few += measure("ours", Settings(FAST), workloads=1000, seed=seed + number)
        many += measure("ours", Settings(FAST), workloads=10_000, seed=seed + number)
        fast += measure("ours", Settings(FAST), workloads=2000, seed=seed + number)
        slow += measure("ours", Settings(SLOW), workloads=2000, seed=seed + number)
    share = [m.tasks_per_s / f.tasks_per_s for m, f in zip(many, few, strict=True)]
    report.note("rate at 10,000 / at 1,000", share, "", ">= 0.9", median(share) >= 0.9)
    grown = [run.figures.memory_mb[1] - run.figures.memory_mb[0] for run in many]
    report.note("memory growth at 10,000", grown, "MB", "< 100 MB", median(grown) < 100)
    beats = [run.longest_heartbeat_ms for run in many]
    report.note("longest heartbeat at 10,000", beats, "ms", "<= 100 ms", median(beats) <= 100)
    share = [s.tasks_per_s / f.tasks_per_s for s, f in zip(slow, fast, strict=True)]
    report.note("rate at 200 ms / at 20 ms", share, "", ">= 0.7", median(share) >= 0.7)


def latency(report: Report, seed: int) -> None:
    """How long a result waits: one scheduler of each, and three of ours on one deployment."""
    aws = Settings(FAST, shortest_s=0.1, longest_s=2.0, seed=seed)
    bound_ms = 100 + FAST * 1000
    runs: dict[Name, list[Run]] = {name: [] for name in NAMES}
    three: list[Run] = []
    for number in range(2):
        load: dict[str, Any] = {"workloads_per_s": 10.0, "workloads": 80, "seed": seed + number}
        for name in NAMES:
            runs[name] += measure(name, aws, **load)
        three += measure("ours", aws, schedulers=3, **load)
    report.compare(
        "result latency p95",
        figures(runs, lambda run: run.latency_p95_ms),
        "ms",
        f"<= {bound_ms:.0f} ms",
        holds=lambda ours, _: ours <= bound_ms,
    )
    p95s = [run.latency_p95_ms for run in three]
    most = 2 * median(report.raw["result latency p95"]["ours"])
    report.note("the same, three schedulers", p95s, "ms", "<= 2 x one", median(p95s) <= most)
    busy = measure("ours", aws, workloads=1000, workloads_per_s=100.0, seed=seed)
    p95s = [run.latency_p95_ms for run in busy]
    report.note(
        "the same, 100 results a second", p95s, "ms", f"<= {bound_ms:.0f} ms", p95s[0] <= bound_ms
    )


def throttled(report: Report, seed: int) -> None:
    """Ours against a Lambda that takes 100 invokes a second."""
    rate = 100.0
    (run,) = measure("ours", Settings(FAST, invokes_per_s=rate), workloads=600, seed=seed)
    refused = run.calls.get("Invoke throttled", 0) / run.figures.succeeded
    used = run.tasks_per_s / rate
    failed = run.figures.failed
    report.note("throttled to 100/s: failed", [failed], "", "none", failed == 0)
    report.note("throttled to 100/s: of it used", [used], "", "", holds=True)
    report.note("throttled to 100/s: 429 a result", [refused], "", "", holds=True)


def idle(seed: int) -> dict[Name, list[float]]:
    """SQS calls a minute and queue of each, without workloads, side by side."""

    def calls(name: Name) -> list[float]:
        (run,) = measure(name, Settings(FAST), idle_s=IDLE_S, beat_s=1.0, seed=seed)
        sqs = sum(run.calls.get(call, 0) for call in (RECEIVE, *DELETES))
        return [sqs / 2 * 60 / IDLE_S]

    with ThreadPoolExecutor() as pool:
        return dict(zip(NAMES, pool.map(calls, NAMES), strict=True))


def figures(runs: dict[Name, list[Run]], of: Callable[[Run], float]) -> dict[Name, list[float]]:
    """One figure of every run."""
    return {name: [round(of(run), 4) for run in runs[name]] for name in NAMES}


def main() -> int:
    """Measure everything, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121, help="of priorities and durations")
    seed = parser.parse_args().seed
    report = Report("executor", seed)
    with ThreadPoolExecutor() as pool:
        # Nothing happens in them, so they do not disturb the others.
        idling = pool.submit(idle, seed)
        throughput(report, seed)
        scale(report, seed)
        latency(report, seed)
        throttled(report, seed)
        calls = idling.result()
        name = "idle SQS calls a minute and queue"
        report.note(name, calls["ours"], "", "<= 4", median(calls["ours"]) <= 4)
        report.note(f"{name}, the reference", calls["reference"], "", "", holds=True)
    report.publish(
        f"the reference was given {WORKLOADS['reference']} workloads where ours had "
        f"{WORKLOADS['ours']}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
