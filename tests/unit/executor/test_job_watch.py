"""A job that ended without a result is found, and one that nobody wants is stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

import pytest

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    InDoubtError,
    RejectedError,
    ThrottledError,
    UnreachableError,
)
from lambda_executor.contract.wire import Invocation, InvocationId
from lambda_executor.core.reports import JobEnd
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.engine import job_stops
from lambda_executor.engine.job_stops import GIVE_UP_S, LOOK_AGAIN_S
from lambda_executor.engine.job_watch import JobWatch
from lambda_executor.testing import MemoryJobs
from tests.support import threads

A, B, C = (InvocationId(name) for name in "abc")
LONG = JobTarget("long", Service.BATCH, "{}")
OTHER = JobTarget("other", Service.BATCH, "{}")
KILLED = "OutOfMemoryError: Container killed due to memory usage"
EVENT = Invocation.for_workload(A, "{}").encode()


class Site:
    """A watch, the service, and the invocations that are live."""

    def __init__(self, period_s: float = 30, clock: Callable[[], float] | None = None) -> None:
        self.now_s = 0.0
        self.live: set[InvocationId] = set()
        self.pending: set[InvocationId] = set()
        self.service = MemoryJobs()
        self.watch = JobWatch(
            Service.BATCH,
            self.service,
            is_in_flight=lambda id: id in self.live - self.pending,  # noqa: A006 - an id
            is_live=lambda id: id in self.live,  # noqa: A006 - an id
            period_s=period_s,
            clock=clock or (lambda: self.now_s),
        )

    def run(self, *ids: InvocationId, target: JobTarget = LONG) -> None:
        """Run jobs that another scheduler has started."""
        self.live.update(ids)
        for id in ids:
            self.service.launch(target, id, EVENT, {})
            self.watch.add(id, target, is_started=True)

    def look(self) -> list[JobEnd]:
        """Look once; return what was found."""
        self.watch.look()
        return self.watch.ends()

    def make_stops(self, within_s: float = 0.0) -> int:
        """Make all stops that are due within some time; return how many tries there were."""
        tries, ends_s = 0, self.now_s + within_s
        while (next_s := self.watch._stops.next_s()) <= ends_s:
            self.now_s = max(self.now_s, next_s)
            self.watch.make_stop()
            tries += 1
        self.now_s = ends_s
        return tries


@pytest.fixture
def site() -> Site:
    """A watch without its thread."""
    return Site()


def test_a_job_that_ended_without_a_result_is_found_at_the_second_look(site: Site) -> None:
    """At the first its result may be on its way; the reason is the service's."""
    site.run(A, B)
    assert site.look() == []
    site.service.ends[A] = KILLED
    assert site.look() == []
    assert site.look() == [JobEnd(A, KILLED, Service.BATCH)]


def test_a_job_whose_result_came_is_not_found(site: Site) -> None:
    """Its end is known already."""
    site.run(A)
    site.service.ends[A] = "Essential container in task exited"
    assert site.look() == []
    site.live.clear()
    site.watch.forget([A])
    assert site.look() == []


def test_what_was_found_and_still_is_in_flight_is_found_again(site: Site) -> None:
    """Airflow's database may have been away when its end was to be taken in."""
    site.run(A)
    site.service.ends[A] = KILLED
    found = [end.id for _ in range(4) for end in site.look()]
    assert found == [A, A]


def test_what_is_found_while_nobody_takes_it_does_not_add_up(site: Site) -> None:
    """The scheduler's thread may be held up for hours."""
    site.run(A)
    site.service.ends[A] = KILLED
    for _ in range(100):
        site.watch.look()
    assert site.watch.ends() == [JobEnd(A, KILLED, Service.BATCH)]


def test_nothing_is_asked_while_no_job_is_in_flight(site: Site) -> None:
    """Neither without any, nor for one that is not started yet, nor for one that has ended."""
    site.look()
    site.run(A)
    site.pending = {A}
    site.look()
    site.live.clear()
    site.look()
    assert site.service.asked == []


def test_the_jobs_of_a_target_are_asked_for_together(site: Site) -> None:
    """The service takes many in one call."""
    ids = [InvocationId(str(number)) for number in range(200)]
    site.run(*ids)
    site.run(A, target=OTHER)
    site.look()
    assert site.service.asked == [set(ids), {A}]


@pytest.mark.parametrize("error", [ThrottledError("Too Many Requests"), KeyError("a bug")])
def test_a_target_that_gives_no_answer_says_nothing_about_its_jobs(
    site: Site, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The looks before and after count as in a row, and the next target is asked all the same."""
    site.run(A)
    site.run(B, target=OTHER)
    site.service.ends.update({A: KILLED, B: KILLED})
    site.look()
    site.service.end_failures.append(error)
    assert site.look() == [JobEnd(B, KILLED, Service.BATCH)]
    assert site.look() == [JobEnd(A, KILLED, Service.BATCH)]
    assert "Could not ask for the jobs of batch:long" in caplog.text


def test_a_stop_has_its_reason(site: Site) -> None:
    """The service shows it to whoever looks at the job."""
    site.run(A)
    site.watch.stop(A, "Airflow has revoked its task")
    site.make_stops()
    assert site.service.stops == [(A, "Airflow has revoked its task")]


def test_what_was_never_started_is_not_stopped(site: Site) -> None:
    """Neither a launch that waits, nor one that the service refused."""
    site.live = {A, B}
    site.watch.add(A, LONG)
    site.watch.add(B, LONG)
    site.service.failures.append(ThrottledError("429"))
    with pytest.raises(ThrottledError):
        site.watch.launch(LONG, B, EVENT, {})
    site.watch.stop(A, "revoked")
    site.watch.stop(B, "revoked")
    assert site.make_stops() == 0


@pytest.mark.parametrize("error", [None, InDoubtError("500"), KeyError("a bug")])
def test_a_job_that_may_have_been_started_is_stopped(site: Site, error: Exception | None) -> None:
    """Also if no answer said so or could be read, and if the answer was not taken in yet."""
    site.live = {A}
    site.watch.add(A, LONG)
    launch(site, error)
    site.watch.stop(A, "revoked")
    site.make_stops()
    assert site.service.stops == [(A, "revoked")]


@pytest.mark.parametrize("error", [None, InDoubtError("500"), KeyError("a bug")])
def test_a_job_that_is_revoked_while_it_is_started_is_stopped_afterwards(
    site: Site, error: Exception | None
) -> None:
    """Its revocation found nothing to stop."""
    site.watch.add(A, LONG)
    site.watch.stop(A, "revoked")
    site.watch.forget([A])
    launch(site, error)
    site.make_stops()
    assert site.service.stops == [(A, "its task was revoked while it was started")]
    assert site.watch._started == set()


def launch(site: Site, error: Exception | None) -> None:
    """Start a job whose answer may be lost."""
    if error is None:
        site.watch.launch(LONG, A, EVENT, {})
        return
    site.service.lost_answers.append(error)
    with pytest.raises(type(error)):
        site.watch.launch(LONG, A, EVENT, {})


@pytest.mark.parametrize(
    "error", [ThrottledError("429"), UnreachableError("refused"), CredentialsError("expired")]
)
def test_a_stop_that_fails_for_now_is_tried_again(site: Site, error: AwsError) -> None:
    """After a pause, for minutes."""
    site.run(A)
    site.service.stop_failures.extend([error] * 10)
    site.watch.stop(A, "revoked")
    assert site.make_stops() == 1
    assert site.make_stops(within_s=GIVE_UP_S) == 10
    assert site.service.stops == [(A, "revoked")]


def test_a_stop_that_fails_every_time_is_given_up_with_a_log_line(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A person has to know what may run on; the next stop is made."""
    site.run(A, B)
    site.service.stop_failures.extend([UnreachableError("refused")] * 1000)
    site.watch.stop(A, "revoked")
    site.make_stops(within_s=2 * GIVE_UP_S)
    assert not site.watch._stops
    site.service.stop_failures.clear()
    site.watch.stop(B, "revoked")
    site.make_stops(within_s=60)
    assert site.service.stops == [(B, "revoked")]
    assert "a (batch:long) was not stopped (revoked) and may run on, which costs" in caplog.text


def test_a_stop_is_not_given_up_because_the_service_throttles(site: Site) -> None:
    """Hundreds may be stopped at once, and each would count the throttles of the others."""
    site.run(A)
    site.service.stop_failures.extend([ThrottledError("429")] * 100)
    site.watch.stop(A, "revoked")
    site.make_stops(within_s=6 * GIVE_UP_S)
    assert site.service.stops == [(A, "revoked")]


@pytest.mark.parametrize("misses", range(1, len(LOOK_AGAIN_S) + 1))
def test_a_job_that_is_not_found_is_looked_for_again(
    site: Site, misses: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A service may show a job only some time after it was started."""
    site.watch.add(A, LONG, is_started=True)
    site.watch.stop(A, "revoked")
    assert site.make_stops() == 1
    for after_s in LOOK_AGAIN_S[: misses - 1]:
        assert site.make_stops(within_s=after_s) == 1
    site.run(A)
    assert site.make_stops(within_s=LOOK_AGAIN_S[misses - 1] - 1) == 0
    assert site.make_stops(within_s=1) == 1
    assert site.service.stops == [(A, "revoked")]
    assert "Found no job" not in caplog.text


def test_the_log_says_that_no_job_was_found_to_stop(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A launch in doubt may have started none."""
    site.watch.add(A, LONG, is_started=True)
    site.watch.stop(A, "revoked")
    assert site.make_stops(within_s=3600) == 1 + len(LOOK_AGAIN_S)
    assert site.service.stops == []
    assert "Found no job of a (batch:long) to stop (revoked)" in caplog.text


def test_stops_are_made_when_they_are_due(site: Site) -> None:
    """In this order, whatever the order in which they were asked for."""
    site.run(A, B)
    site.watch.stop(A, "obsolete", in_s=900)
    site.watch.stop(B, "revoked")
    site.make_stops()
    assert site.service.stops == [(B, "revoked")]
    site.make_stops(within_s=900)
    assert site.service.stops == [(B, "revoked"), (A, "obsolete")]


def test_a_stop_that_is_refused_is_not_repeated(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The scheduler's role may lack the permission, and a repetition would not help."""
    site.run(A)
    site.service.stop_failures.append(RejectedError("AccessDenied: batch:TerminateJob"))
    site.watch.stop(A, "revoked")
    assert site.make_stops() == 1
    assert "may run on, which costs money: AccessDenied: batch:TerminateJob" in caplog.text


def test_stops_that_wait_are_bounded(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that is away for hours must not fill the memory; what is dropped is logged."""
    monkeypatch.setattr(job_stops, "MOST_STOPS", 1)
    site.run(A, B)
    site.watch.stop(A, "revoked")
    site.watch.stop(B, "revoked")
    assert site.make_stops() == 1
    assert site.service.stops == [(A, "revoked")]
    assert "b (batch:long) was not stopped" in caplog.text


def test_nothing_is_remembered_of_jobs_that_have_ended(site: Site) -> None:
    """However many there were."""
    for number in range(1000):
        id = InvocationId(str(number))
        site.run(id)
        site.service.ends[id] = KILLED
        site.look()
        site.live.discard(id)
        site.watch.forget([id])
    site.look()
    watch = site.watch
    assert (watch._targets, watch._started, watch._comparisons) == ({}, set(), {})


class Signalling(MemoryJobs):
    """A service that says when it was asked, and that fails the first question."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked_twice = threading.Event()

    def ended(self, target: JobTarget, ids: Collection[InvocationId]) -> Mapping[InvocationId, str]:
        """Fail once, with what nobody expects."""
        ends = super().ended(target, ids)
        if len(self.asked) == 1:
            raise KeyError("a bug")
        self.was_asked_twice.set()
        return ends


def test_the_thread_looks_and_stops_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """No error ends it, a stop does not wait for the next look, and the end waits for stops."""
    caplog.set_level(logging.INFO)
    before = set(threading.enumerate())
    site = Site(period_s=0.001, clock=time.monotonic)
    site.service = service = Signalling()
    site.watch._launcher = site.watch._stops._launcher = service
    site.run(A, B, C)
    site.watch.start()
    assert service.was_asked_twice.wait(10)
    assert "Could not ask for the jobs of batch:long" in caplog.text
    service.stop_failures.append(KeyError("a bug"))
    site.watch.stop(C, "revoked")
    site.watch.stop(A, "revoked")
    assert service.wait_for_stops(1)
    assert "c (batch:long) was not stopped (revoked) and may run on" in caplog.text
    assert "Could not look after jobs" in caplog.text
    site.watch.stop(B, "revoked")
    site.watch.close(10)
    assert [id for id, _ in service.stops] == [A, B]
    assert threads.have_ended(before)


def test_a_stop_is_made_before_the_next_look() -> None:
    """A revoked job costs money for as long as it runs."""
    site = Site(period_s=3600, clock=time.monotonic)
    site.run(A)
    site.watch.start()
    site.watch.stop(A, "revoked")
    assert site.service.wait_for_stops(1)
    site.watch.close(10)
    assert site.service.asked == []


def test_the_end_is_not_held_up_by_stops_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    """Each is tried once more, and the log names it."""
    site = Site(period_s=3600, clock=time.monotonic)
    site.run(A)
    site.service.stop_failures.extend([UnreachableError("refused")] * 100)
    site.watch.stop(A, "revoked")
    site.watch._closed = True
    site.watch._stops.close()
    site.watch.start()
    site.watch.close(10)
    assert len(site.service.stop_failures) == 99
    assert "a (batch:long) was not stopped" in caplog.text
