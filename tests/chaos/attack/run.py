"""One attacked run: starts the DAGs, does what is due, and collects the evidence."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import httpx

from demo import paths
from demo.outcome.airflow_api import FINAL, Api
from demo.screen import Phase, Screen
from tests.chaos.attack import gathering, site
from tests.chaos.attack.attacking import Attack
from tests.chaos.attack.evidence import Evidence
from tests.chaos.attack.faults import FAULTS, Fault
from tests.chaos.attack.kinds import Spec, plan
from tests.chaos.attack.site import Site, has_started
from tests.support.airflow_rest import rest

POLL_S = 0.5
#: How often Airflow is asked whether all has ended, and how long it may take, in seconds.
ASK_EVERY_S, ANSWER_S = 3.0, 5.0
START_TIMEOUT_S = 300.0
#: A rule that is expected to hit so often has hit: 1 of 20,000 runs is an exception.
SURELY = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run.

    Attributes:
        seed: Of the tasks, of the rules and of the moments.
        tasks: How many.
        rounds: How often each action happens.
        stuck_s: If no task has recorded anything for so long, what has not ended is stuck.
        empty_s: How long to wait until the queues are empty. Messages that no scheduler claims stay
            for some minutes; 0: they may be left.
        reference: Whether the reference's executor runs the tasks.
        faults: What is done to them.
    """

    seed: int
    tasks: int
    rounds: int = 1
    stuck_s: float = 300.0
    empty_s: float = 0.0
    reference: bool = False
    faults: tuple[Fault, ...] = FAULTS

    @property
    def chosen(self) -> tuple[Fault, ...]:
        """The faults without those that such a run cannot have."""
        return tuple(f for f in self.faults if f.is_possible(self.tasks, reference=self.reference))


def run(home: paths.Home, settings: Settings, screen: Screen) -> Evidence:
    """Run a plan under attack.

    Raises:
        ProcessError: The environment did not start.
        RunsError: Airflow did not read the DAGs.
    """
    specs = plan(settings.seed, settings.tasks, reference=settings.reference)
    with site.running(home, specs, screen, reference=settings.reference) as here:
        with screen.phase("Starting the DAG runs"):
            _start(here, {spec.dag_id for spec in specs})
        here.seed(settings.seed)
        here.began_s = time.time()
        here.add_rules(*(fault.rule for fault in settings.chosen if fault.rule))
        attack = Attack(here, settings.chosen, settings.seed, settings.rounds)
        with screen.phase(f"Attacking {len(specs)} tasks, seed {settings.seed}") as phase:
            _attack(here, attack, specs, settings.stuck_s, phase)
        counts = here.injected()
        here.remove_rules()
        return _gather(here, specs, attack, counts, settings)


def _attack(
    here: Site, attack: Attack, specs: Sequence[Spec], stuck_s: float, phase: Phase
) -> None:
    """Do what is due until all DAG runs have ended, or nothing goes on any more."""
    asked_s, lines, unfinished = 0.0, 0, 1
    progress_s = time.monotonic()
    while (unfinished or not attack.is_over) and time.monotonic() < progress_s + stuck_s:
        started = here.recorder.started()
        attack.go_on(started / len(specs))
        for name in here.revive():
            here.environment.screen.say(f"  {name} has ended, and is started again")
        here.measure_new()
        phase.detail(f"{started} of {len(specs)} tasks have started")
        if len(here.recorder.lines) > lines:
            lines, progress_s = len(here.recorder.lines), time.monotonic()
        if time.monotonic() > asked_s + ASK_EVERY_S:
            unfinished, asked_s = _unfinished(here), time.monotonic()
        time.sleep(POLL_S)
    attack.finish()


def _start(here: Site, dag_ids: set[str]) -> None:
    environment = here.environment
    with Api(environment.airflow.url) as api:
        api.wait_for_dags(dag_ids, START_TIMEOUT_S)
        for child in here.schedulers.values():
            child.wait_until(partial(has_started, child), "starts", START_TIMEOUT_S)
        here.measure_new()
        for dag_id in sorted(dag_ids):
            api.trigger(dag_id)
            api.unpause(dag_id)


def _unfinished(here: Site) -> int:
    """How many DAG runs have not ended; one if Airflow does not answer."""
    with rest(here.environment) as api:
        try:
            answer = api.get("/dags/~/dagRuns", params={"limit": 100}, timeout=ANSWER_S)
            runs = answer.raise_for_status().json()["dag_runs"]
        except httpx.HTTPError:
            return 1
    return sum(run["state"] not in FINAL for run in runs)


def _gather(
    here: Site,
    specs: list[Spec],
    attack: Attack,
    counts: Mapping[str, tuple[int, int]],
    settings: Settings,
) -> Evidence:
    screen = here.environment.screen
    happened = {name: injected for name, (_, injected) in counts.items()} | attack.happened
    unclaimed = sum(happened.get(fault.name, 0) for fault in settings.chosen if fault.copies)
    with screen.phase("Waiting until everything has settled") as phase:
        in_slots, left, unchecked = gathering.wait_until_settled(
            here, unclaimed, settings.empty_s, phase
        )
    with screen.phase("Reading what Airflow says"):
        with Api(here.environment.airflow.url) as api:
            tries = list(api.tries())
        reasons, failed_at_s, unrecorded = gathering.reasons(here, tries)
        opened_at_s = gathering.opened(here, reasons)
    with screen.phase("Looking for secrets and for what is left"):
        secrets = gathering.secrets_in_logs(here)
        left = [*left, *gathering.processes_left(here)]
        not_removed = sum(happened.get(each.name, 0) for each in settings.chosen if each.keeps)
        left += gathering.payloads_left(here, tries, not_removed)
    faults = {fault: happened.get(fault.name, 0) for fault in settings.chosen}
    return Evidence(
        plan=specs,
        tries=tries,
        unrecorded=unrecorded,
        lines=list(here.recorder.lines),
        reasons=reasons,
        opened_at_s=opened_at_s,
        failed_at_s=failed_at_s,
        faults={fault: count for fault, count in faults.items() if count},
        windows=attack.windows,
        not_done=[*attack.errors, *_not_done(faults, counts)],
        left=left,
        unchecked=unchecked,
        in_slots=in_slots,
        secrets=secrets,
        is_reference=settings.reference,
        airflow=gathering.airflow_version(),
    )


def _not_done(faults: Mapping[Fault, int], counts: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """The faults that have not happened, although they should have."""
    for fault, count in faults.items():
        seen, _ = counts.get(fault.name, (0, 0))
        is_rare = bool(fault.rule) and seen * fault.rule["share"] < SURELY
        if not count and not is_rare:
            yield f"{fault.name} has not happened ({seen} calls)"
