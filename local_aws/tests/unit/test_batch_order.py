"""Jobs start by the priority of their queues, and as far as there are vCPUs."""

from __future__ import annotations

from local_aws.batch_service.order import Environment, Queue, Waiting, placements

ONE, TWO = Environment("one", 1), Environment("two", 2)


def queue(arn: str, priority: int, *environments: Environment) -> Queue:
    """A job queue."""
    return Queue(arn, priority, environments)


def test_a_queue_of_higher_priority_comes_first() -> None:
    """Though its job was submitted later, it gets the only vCPU."""
    low, high = queue("low", 1, ONE), queue("high", 2, ONE)
    assert placements([Waiting("a", 1, low), Waiting("b", 1, high)], {}) == [("b", "one")]


def test_jobs_of_a_queue_start_in_their_order() -> None:
    """As many as there are vCPUs, the running jobs counted."""
    waiting = [Waiting(id, 0.5, queue("q", 1, TWO)) for id in "abcd"]
    assert placements(waiting, {"two": 0.5}) == [("a", "two"), ("b", "two"), ("c", "two")]


def test_the_next_environment_takes_what_does_not_fit() -> None:
    """In the queue's order of environments."""
    both = queue("q", 1, ONE, TWO)
    waiting = [Waiting("a", 1, both), Waiting("b", 1, both)]
    assert placements(waiting, {}) == [("a", "one"), ("b", "two")]


def test_a_large_job_is_not_overtaken_in_its_queue() -> None:
    """A small job behind it waits too; one of another queue does not."""
    large = queue("large", 2, TWO)
    waiting = [
        Waiting("a", 2, large),
        Waiting("b", 1, large),
        Waiting("c", 1, queue("other", 1, TWO)),
    ]
    assert placements(waiting, {"two": 1}) == [("c", "two")]


def test_without_an_environment_nothing_starts() -> None:
    """All of the queue's environments are disabled."""
    assert placements([Waiting("a", 1, queue("q", 1))], {}) == []
