"""What goes wrong in a simulation, as data: the share of each fault, the times, and one seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from tests.chaos.volume.rows import Flight

if TYPE_CHECKING:
    from tests.chaos.volume.rows import Row


#: The name of the fault that ends a scheduler.
KILLED = "killed_scheduler"


@dataclass(frozen=True, slots=True)
class Shares:
    """How often each fault happens, as a share of what it can happen to.

    Attributes:
        duplicated_event: Lambda, or a second attempt of a job, starts an invocation once more.
        lost_event: Lambda takes an event and never does anything with it.
        expired_event: Lambda gives up an event that was not started.
        killed_environment: An environment or a job dies in the middle of a task.
        crashed_process: The process of a task dies, and the handler reports that.
        failed_task: The task's own code fails.
        marked_task: A person ends a task that runs.
        unstarted_job: A job ends before it starts.
        stalled_job: A job waits for ever.
        hung_job: A job runs on after a person has ended its task.
        throttled_send: A send is throttled.
        lost_answer: A send is taken, and its answer is lost.
        server_error: A send is not taken, and answered by an error that does not say so.
        rejected_send: A send is refused for good.
        unknown_queue: A task names a queue that has no target.
        failed_upload: The payload bucket does not take a payload.
        lost_result: A result or a dead letter is never stored.
        malformed_result: One is cut in the middle, so it is lost, too.
        duplicated_result: One is delivered twice.
        delayed_result: One is late, and so behind others.
        failed_receive: A receive fails.
        failed_delete: A batch of deletes fails.
        failed_look: A service cannot be asked for its jobs.
        failed_stop: A job cannot be stopped now.
        failed_notification: Airflow cannot be notified of an end.
    """

    duplicated_event: float = 0.10
    lost_event: float = 0.001
    expired_event: float = 0.005
    killed_environment: float = 0.05
    crashed_process: float = 0.01
    failed_task: float = 0.02
    marked_task: float = 0.002
    unstarted_job: float = 0.01
    stalled_job: float = 0.005
    hung_job: float = 0.5
    throttled_send: float = 0.05
    lost_answer: float = 0.01
    server_error: float = 0.01
    rejected_send: float = 0.001
    unknown_queue: float = 0.001
    failed_upload: float = 0.02
    lost_result: float = 0.02
    malformed_result: float = 0.03
    duplicated_result: float = 0.10
    delayed_result: float = 0.05
    failed_receive: float = 0.01
    failed_delete: float = 0.02
    failed_look: float = 0.05
    failed_stop: float = 0.05
    failed_notification: float = 0.002


@dataclass(frozen=True, slots=True)
class Outage:
    """Something is away for a while, again and again.

    Attributes:
        name: What: `unreachable`, `throttled`, `credentials` or `database`.
        first_s: When it goes away first.
        every_s: Seconds between two beginnings.
        lasts_s: How long it is away.
    """

    name: str
    first_s: float
    every_s: float
    lasts_s: float

    def is_now(self, now_s: float) -> bool:
        """Whether it is away."""
        return now_s >= self.first_s and (now_s - self.first_s) % self.every_s < self.lasts_s


OUTAGES = (
    Outage("unreachable", 61, 700, 15),
    Outage("throttled", 151, 900, 10),
    Outage("credentials", 211, 1300, 40),
    Outage("database", 101, 400, 20),
)


@dataclass(frozen=True, slots=True)
class Faults:
    """All faults of one simulation; the same faults and seed make the same simulation.

    Attributes:
        seed: Of everything that is left to chance.
        shares: How often each fault happens.
        outages: What is away, and when.
        kills: When a scheduler is killed, as shares of all invocations; they take turns.
        skew_s: How far the schedulers' clocks are ahead of the functions', and behind them.
    """

    seed: int = 1
    shares: Shares = Shares()
    outages: tuple[Outage, ...] = OUTAGES
    kills: tuple[float, ...] = (1 / 3, 2 / 3)
    skew_s: float = 30.0

    def names(self) -> list[str]:
        """The names of all that these faults may be counted under."""
        outages = [f"outage: {outage.name}" for outage in self.outages]
        return [each.name for each in fields(self.shares)] + outages + [KILLED] * bool(self.kills)


class Chance:
    """Draws everything that is left to chance, and counts the faults.

    Attributes:
        drawn: The source of chance.
        injected: How often each fault has happened.
        possible: How often each fault could have happened; 0 also says that one could not.
        of_workloads: How often each fault has happened to certain workloads.
    """

    def __init__(self, faults: Faults) -> None:
        self.drawn = random.Random(faults.seed)
        self.injected: Counter[str] = Counter()
        self.possible: Counter[str] = Counter(dict.fromkeys(faults.names(), 0))
        self.of_workloads: Counter[str] = Counter()
        self._shares = {
            each.name: getattr(faults.shares, each.name) for each in fields(faults.shares)
        }

    def hits(self, fault: str, *about: Flight | Row | None) -> bool:
        """Draw whether a fault happens now, to a workload or to something else."""
        if self.drawn.random() >= self._shares[fault]:
            self.possible[fault] += 1
            return False
        self.met(fault, *about)
        return True

    def met(self, fault: str, *about: Flight | Row | None) -> None:
        """Count a fault that happens now, to one workload, or to several at once, or to none."""
        self.possible[fault] += 1
        self.injected[fault] += 1
        for one in about:
            if isinstance(one, Flight):
                one.met |= {fault}
        rows = [one.row if isinstance(one, Flight) else one for one in about if one]
        for row in rows:
            row.met += (fault,)
        self.of_workloads[fault] += bool(rows)

    def between(self, least: float, most: float) -> float:
        """Draw a number, each as likely as the others."""
        return self.drawn.uniform(least, most)

    def duration_s(self, least_s: float, most_s: float) -> float:
        """Draw a duration: many are short, and few are long."""
        share: float = self.drawn.random()
        return float(least_s * (most_s / least_s) ** share)
