"""Two schedulers, Airflow and AWS under a load of many invocations, with everything at fault.

It is a discrete-event simulation: one thread, a given clock, and one seed. The engine is the real
one, and so is everything that it sends and reads.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from tests.chaos.volume.agenda import Agenda
from tests.chaos.volume.airflow import Airflow
from tests.chaos.volume.aws import Aws
from tests.chaos.volume.faults import Chance, Faults
from tests.chaos.volume.figures import Figures, tallies
from tests.chaos.volume.messages import Messages
from tests.chaos.volume.oracle import Oracle
from tests.chaos.volume.scheduler import Scheduler

#: The tasks that are scheduled, and wait for a slot.
BACKLOG = 200
#: The least and the most seconds between two polls of a scheduler. They vary, as those of threads
#: do: a message of another scheduler is handed back for whole seconds, and at equal intervals the
#: same scheduler would receive it at that very moment, again and again, before its owner could.
POLL_S = (0.2, 0.3)
#: Seconds between two questions for the ends of jobs, and between two checks.
LOOK_S, CHECK_S = 30.0, 60.0
#: Seconds from the executor's part of a loop to the scheduler's, and from there to the next loop.
EVENTS_S, PAUSE_S = (0.02, 0.5), (0.3, 1.0)
#: Seconds after which a killed scheduler is started again, and its tasks are offered for adoption.
RESTART_S, ADOPTED_S = 15.0, 45.0
#: Seconds after the last dispatch in which everything must end. A callback without a result takes
#: more than two hours: `longest_wait_s` from its adoption, and as long again.
DRAIN_S = 4 * 3600.0
#: How many settled invocations are remembered, as a share of all, and at least. The product
#: remembers 100,000; here memory is to stop growing early. A scheduler settles up to 25 a second,
#: and the last copy of a result comes some two minutes later.
REMEMBERED, LEAST_REMEMBERED = 1 / 20, 5000
#: Invocations from which on memory is compared: a block for each of the second half is then far
#: more than what the simulation itself keeps varies by. With fewer, only the engines are counted.
STEADY = 100_000
#: How often memory is measured.
SAMPLES = 32
#: Once so few workloads are open, everything is done more slowly, because only time is missing.
FEW, SLOWNESS = 50, 20.0
#: Seconds after the last end in which duplicates still come.
LAST_S = 120.0
#: The parts of a loop after which schedulers are killed, by turns.
DEATHS = ("stepped", "queued", "taken")


class Simulation:
    """One simulation.

    Args:
        invocations: How many there are.
        faults: What goes wrong.

    Attributes:
        schedulers: The last of each number.
    """

    def __init__(self, invocations: int, faults: Faults) -> None:
        self.faults = faults
        self.agenda = Agenda()
        self.chance = Chance(faults)
        self.oracle = Oracle()
        self.airflow = Airflow(self.agenda, self.chance, self.oracle)
        self.messages = Messages(self.oracle, self.living)
        self.aws = Aws(faults, self.agenda, self.airflow, self.chance, self.oracle, self.messages)
        self.airflow.is_away = lambda: self.aws.is_away("database")
        self._invocations = invocations
        self._killed = 0
        self._measured = 0
        self._drain_ends_s = 0.0
        self._settled_at_s = 0.0
        self._slowness = 1.0
        self.schedulers = [self._scheduler(0), self._scheduler(1)]

    def run(self) -> Figures:
        """Run it to its end."""
        began_s = time.process_time()
        with self.agenda.in_force(self.faults.seed):
            self._run()
        return Figures(
            self.airflow.dispatched,
            self.agenda.now_s,
            time.process_time() - began_s,
            tallies(self.chance, self.oracle),
            dict(sorted(self.oracle.counts.items())),
            self.oracle.most,
            (self.oracle.peaks[0], self.oracle.peaks[1]),
            tuple(self.oracle.violations),
        )

    def _run(self) -> None:
        for number in range(len(self.schedulers)):
            self._start(number)
        self.agenda.after(CHECK_S, self._keep_house)
        while not self._is_over():
            self.agenda.next()
        if not self.oracle.is_over:
            self._check_end()

    # ---- schedulers ----

    def _scheduler(self, number: int) -> Scheduler:
        scheduler = Scheduler(self, number, self.faults.skew_s * (1 - 2 * number))
        scheduler.engine.ledger._settled_memory = max(
            LEAST_REMEMBERED, int(self._invocations * REMEMBERED)
        )
        return scheduler

    def _start(self, number: int) -> None:
        scheduler = self.schedulers[number]
        scheduler.check()
        self._loop(scheduler)
        self._poll(scheduler)
        self._repeat(scheduler, LOOK_S, scheduler.look)
        self._repeat(scheduler, CHECK_S, scheduler.check)

    def _poll(self, scheduler: Scheduler) -> None:
        self.messages.acting = scheduler
        scheduler.poll()
        in_s = self.chance.between(*POLL_S) * self._slowness
        self.agenda.after(in_s, self._poll, scheduler)

    def _repeat(self, scheduler: Scheduler, every_s: float, act: Callable[[], None]) -> None:
        act()
        self.agenda.after(every_s, self._repeat, scheduler, every_s, act)

    def _loop(self, scheduler: Scheduler) -> None:
        """Let a scheduler begin a loop, and end it some time later."""
        if not self._drain_ends_s:
            self.airflow.fill(BACKLOG)
        scheduler.begin_loop()
        self._watch_load()
        self.agenda.after(self.chance.between(*EVENTS_S), self._end_loop, scheduler)

    def _end_loop(self, scheduler: Scheduler) -> None:
        if scheduler.is_alive:
            scheduler.end_loop()
        if scheduler.is_alive:
            in_s = self.chance.between(*PAUSE_S) * self._slowness
            self.agenda.after(in_s, self._loop, scheduler)
        else:
            self.agenda.after(RESTART_S, self._restart, scheduler.number)
            self.agenda.after(ADOPTED_S, self._adopt)

    def _watch_load(self) -> None:
        """Kill a scheduler when its time has come, measure, and end the load."""
        dispatched, killed = self.airflow.dispatched, self._killed
        kills = self.faults.kills[killed:]
        if kills and dispatched >= kills[0] * self._invocations:
            self.schedulers[killed % 2].dies_after = DEATHS[killed % len(DEATHS)]
            self._killed += 1
        if self._drain_ends_s:
            return
        if dispatched >= (self._measured + 1) * self._invocations / SAMPLES:
            self.oracle.measure(2 * self._measured // SAMPLES)
            self._measured += 1
            for scheduler in self.living():
                name, engine = f"scheduler {scheduler.number}", scheduler.engine
                self.oracle.check_kept(name, engine, scheduler.count_open())
        if dispatched >= self._invocations:
            self._drain_ends_s = self.agenda.now_s + DRAIN_S

    def living(self) -> list[Scheduler]:
        """The schedulers that have not been killed."""
        return [scheduler for scheduler in self.schedulers if scheduler.is_alive]

    def _restart(self, number: int) -> None:
        self.schedulers[number] = self._scheduler(number)
        self._start(number)

    def _adopt(self) -> None:
        orphans = self.airflow.orphans()
        if orphans and (living := self.living()):
            self.chance.drawn.choice(living).adopt(orphans)

    # ---- the rest ----

    def _keep_house(self) -> None:
        """What happens once a minute: Airflow's checks, and what the twins may forget."""
        self.agenda.after(CHECK_S, self._keep_house)
        self._adopt()
        self.airflow.end_waits()
        self.airflow.forget(self.living())
        self.aws.forget()
        if self._drain_ends_s and self.airflow.open < FEW:
            self._slowness = SLOWNESS
        # Once everything has ended, the last copies and duplicates still arrive.
        if self._drain_ends_s and not self._settled_at_s and not self._open():
            self._settled_at_s = self.agenda.now_s

    def _is_over(self) -> bool:
        now_s = self.agenda.now_s
        is_late = self._drain_ends_s and now_s > self._drain_ends_s
        is_settled = self._settled_at_s and now_s > self._settled_at_s + LAST_S
        return bool(is_late or is_settled or self.oracle.is_over)

    def _open(self) -> dict[str, object]:
        """What has not ended, by who has it."""
        found: dict[str, object] = {}
        for scheduler in self.living():
            if open := scheduler.open():
                found[f"scheduler {scheduler.number}"] = open
        if rows := self.airflow.waiting():
            found["Airflow"] = [str(row.flight or row) for row in rows[:10]]
        if jobs := self.aws.jobs_alive():
            found["jobs"] = jobs
        return found

    def _check_end(self) -> None:
        """Check that nothing is lost or stuck, and that memory did not grow."""
        for scheduler in self.living():  # What has just been received again is acknowledged.
            scheduler.begin_loop()
            scheduler.end_loop()
            scheduler.begin_loop()
        self.aws.empty()
        for name, what in self._open().items():
            self.oracle.broken("never ended", f"{name}: {what}")
        created, ended = (
            self.airflow.created,
            sum(count for name, count in self.oracle.counts.items() if ": " in name),
        )
        if created != ended:
            self.oracle.broken("lost", f"{created - ended} of {created} workloads")
        for scheduler in self.living():
            self.oracle.check_nothing_kept(f"scheduler {scheduler.number}", scheduler.engine)
        if self._invocations >= STEADY:
            self.oracle.check_growth(self.airflow.dispatched)


def run(invocations: int, faults: Faults) -> Figures:
    """Run one simulation to its end."""
    gc.collect()
    gc.freeze()  # What the process has loaded says nothing, and would be looked through each time.
    try:
        return Simulation(invocations, faults).run()
    finally:
        gc.unfreeze()
