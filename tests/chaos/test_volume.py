"""The engine alone under a load of many invocations with faults: nothing lost, stuck or run twice.

20,000 invocations, 200,000 in `make chaos` (`INVOCATIONS`), on a given clock: hours pass in
seconds. The second half of the tests breaks a promise on purpose and sees that it is named.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.core.backlog import Waiting
from lambda_executor.core.dispatch_queue import DispatchQueue
from lambda_executor.core.ledger import Ledger, Settlement
from lambda_executor.core.places import Places
from lambda_executor.engine.acknowledgements import Acknowledgements
from lambda_executor.engine.arrivals import Arrivals
from lambda_executor.engine.dispatcher import Dispatcher
from lambda_executor.engine.engine import Engine
from lambda_executor.engine.jobs import Jobs
from lambda_executor.engine.reconciliation import Reconciler
from tests.chaos.volume import oracle
from tests.chaos.volume.faults import Faults, Shares
from tests.chaos.volume.figures import Figures
from tests.chaos.volume.oracle import GROWTH_PER_INVOCATION, MOST_GROWTH, Oracle
from tests.chaos.volume.runs import Runs
from tests.chaos.volume.simulation import run

ROOT = Path(__file__).parents[2]
INVOCATIONS = int(os.environ.get("INVOCATIONS", "20000"))
SEED = int(os.environ.get("SEED", "1"))
#: Invocations that show a promise that is broken all the time, and more of the rare faults.
FEW = 1500
HARD = Faults(3, Shares(duplicated_event=0.4, stalled_job=0.2), kills=())


def check(figures: Figures, seed: int) -> None:
    """Fail with the figures and with the command that repeats them, if a promise was broken."""
    command = f"python -m tests.chaos.volume --invocations {INVOCATIONS} --seed {seed}"
    assert not figures.violations, f"{figures}\n\nseed {seed}; to repeat it: {command}"


@pytest.mark.timeout(1800)
def test_no_invocation_is_lost_stuck_or_run_twice() -> None:
    """Every workload ends, and none fails without a fault; memory does not grow with the ended."""
    figures = run(INVOCATIONS, Faults(SEED))
    print(figures)  # noqa: T201 - shown by `pytest -s`
    if "INVOCATIONS" in os.environ:
        home = ROOT / "build" / "chaos"
        home.mkdir(parents=True, exist_ok=True)
        (home / "volume.json").write_text(json.dumps({"seed": SEED, **asdict(figures)}) + "\n")
    check(figures, SEED)
    assert figures.invocations >= INVOCATIONS
    never = [name for name, each in figures.faults.items() if not each.injected]
    assert not never, "these faults were never injected"


def test_a_fault_that_was_never_possible_is_in_the_table() -> None:
    """Or it would not be missed above: every share, every outage, and the kills."""
    figures = run(50, Faults(SEED))
    outages = {
        f"outage: {name}" for name in ("unreachable", "throttled", "credentials", "database")
    }
    shares = {each.name for each in fields(Shares)}
    assert set(figures.faults) == shares | outages | {"killed_scheduler"}
    never = {name for name, each in figures.faults.items() if not each.possible}
    assert "hung_job" in never, "no job was marked, so none could hang"
    assert never & outages


def test_the_same_seed_makes_the_same_simulation() -> None:
    """Also in another process, in which sets have another order."""
    outputs = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.volume", "--invocations", str(FEW), "--seed", "5"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        )
        measured = ("memory blocks", "processor time")
        outputs.append([e for e in done.stdout.splitlines() if not e.startswith(measured)])
    assert outputs[0] == outputs[1]


# ---- promises that are broken on purpose ----

Patch = pytest.MonkeyPatch


def start_without_asking(patch: Patch) -> None:
    """The function starts a task without asking Airflow."""
    patch.setattr(Runs, "is_let_start", lambda *_: True)


def fail_what_is_in_doubt(patch: Patch) -> None:
    """An invocation in doubt fails, as if it had been refused."""
    patch.setattr(Engine, "_leave_in_flight", Engine._fail)


def lose_some(patch: Patch) -> None:
    """Of 25 dispatches the engine forgets one before it is sent."""
    push, numbers = DispatchQueue.push, itertools.count(1)

    def push_most(self: Any, dispatch: Any, now_s: float) -> None:
        if next(numbers) % 25:
            push(self, dispatch, now_s)

    patch.setattr(DispatchQueue, "push", push_most)


def send_twice(patch: Patch) -> None:
    """Each event is sent once more after it was taken."""
    send = Dispatcher._send

    def again(self: Any, dispatch: Any, ended: Any = None) -> Any:
        return send(self, dispatch, ended) or send(self, dispatch, ended)

    patch.setattr(Dispatcher, "_send", again)


def never_delete_some(patch: Patch) -> None:
    """The messages about one of 16 invocations are handled and never acknowledged."""
    delivered = Acknowledgements.delivered

    def most(self: Any, delivery: Any) -> None:
        if not delivery.id.endswith("0"):
            delivered(self, delivery)

    patch.setattr(Acknowledgements, "delivered", most)


def settle_twice(patch: Patch) -> None:
    """The ledger settles an invocation each time that it is asked to."""
    settle, keys = Ledger.settle, {}

    def again(self: Any, id: Any, **end: Any) -> Any:
        settlement = settle(self, id, **end)
        if settlement is not None:
            keys[id] = settlement.key
        return settlement or (Settlement(keys[id], id, **end) if id in keys else None)

    patch.setattr(Ledger, "settle", again)


def never_reconcile(patch: Patch) -> None:
    """Nobody looks for lost results."""
    patch.setattr(Reconciler, "check", lambda _: None)


def acknowledge_at_once(patch: Patch) -> None:
    """A message is deleted as soon as it was received."""
    patch.setattr(
        Acknowledgements,
        "delivered",
        lambda _, delivery: delivery.poller.acknowledge([delivery.receipt]),
    )


def send_all(patch: Patch) -> None:
    """A function has a place for everything."""
    patch.setattr(Places, "are_free", lambda *_: True)


def send_the_least_urgent(patch: Patch) -> None:
    """What is least urgent leaves first."""

    def push(self: Any, dispatch: Any, now_s: float) -> None:
        self._push(Waiting((dispatch.priority, next(self._order)), dispatch, now_s))

    patch.setattr(DispatchQueue, "push", push)


def never_stop_jobs(patch: Patch) -> None:
    """No job is stopped."""
    patch.setattr(Jobs, "stop", lambda *_, **__: None)


def never_adopt_tasks(patch: Patch) -> None:
    """Nobody takes over the invocations of a scheduler that was killed."""
    patch.setattr(Engine, "adopt", lambda *_: None)


def forget_nothing(patch: Patch) -> None:
    """The engine keeps why a start did nothing, also after the end."""
    patch.setattr(Arrivals, "drop", lambda *_: None)


def test_an_adoption_that_does_nothing_is_named(monkeypatch: Patch) -> None:
    """The new scheduler never hears of the end of what was sent, started or not."""
    deadly = Faults(3, kills=(1 / 3, 2 / 3))
    assert not run(FEW, deadly).violations
    never_adopt_tasks(monkeypatch)
    violations = run(FEW, deadly).violations
    assert any("never ended: scheduler" in violation for violation in violations), violations
    assert any("stayed queued without a fault" in violation for violation in violations), violations


@pytest.mark.parametrize(
    ("break_it", "promise"),
    [
        (start_without_asking, "run twice within a try"),
        (fail_what_is_in_doubt, "failed for an untrue reason (the invoke failed 2 times"),
        (lose_some, "stayed queued without a fault"),
        (send_twice, "sent again although it was taken"),
        (never_delete_some, "left in a queue"),
        (settle_twice, "notified twice"),
        (never_reconcile, "never ended: scheduler 0: {'slots'"),
        (acknowledge_at_once, "deleted before its event was taken"),
        (send_all, "in flight, 30 places"),
        (send_the_least_urgent, "sent before what is more urgent"),
        (never_stop_jobs, "never ended: jobs"),
        (forget_nothing, "in scheduler 0._arrivals._did_nothing"),
    ],
)
def test_a_broken_promise_is_named(
    break_it: Callable[[Patch], None], promise: str, monkeypatch: Patch
) -> None:
    """So the zeros of the simulation mean something."""
    monkeypatch.setattr(oracle, "MOST_VIOLATIONS", 1)
    break_it(monkeypatch)
    violations = run(FEW, HARD).violations
    assert any(promise in violation for violation in violations), violations


def test_the_table_says_which_fault_was_not_survived(monkeypatch: Patch) -> None:
    """A task that ran twice is held against its duplicated event, not against failed receives."""
    start_without_asking(monkeypatch)
    figures = run(FEW, Faults(3, Shares(duplicated_event=0.4, failed_receive=0.4)))
    guilty, innocent = figures.faults["duplicated_event"], figures.faults["failed_receive"]
    assert 0 < guilty.violations <= oracle.MOST_VIOLATIONS
    assert guilty.survived < guilty.injected
    assert innocent.violations == 0
    assert innocent.survived == innocent.injected > 0
    row = next(line for line in str(figures).splitlines() if line.startswith("duplicated_event"))
    assert row.split()[1:] == [
        str(count)
        for count in (guilty.possible, guilty.injected, guilty.survived, guilty.violations)
    ]


def test_nothing_is_named_if_nothing_is_broken() -> None:
    """With the same faults, so that each of the promises above was broken by its own change."""
    assert not run(FEW, HARD).violations


def test_memory_that_grows_with_each_invocation_is_named() -> None:
    """One block for each invocation is too much; as much in both halves is not."""
    watch = Oracle()
    watch.peaks = [1_000_000, 1_100_000]
    watch.check_growth(200_000)
    assert watch.violations == [
        "memory grows: 100000 blocks more in the second half of 200000 invocations"
    ]
    steady = Oracle()
    steady.peaks = [1_000_000, 1_000_000 + MOST_GROWTH + int(GROWTH_PER_INVOCATION * 100_000)]
    steady.check_growth(200_000)
    assert not steady.violations
