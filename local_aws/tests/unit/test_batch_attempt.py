"""An attempt ends with its container, or because it is stopped."""

from __future__ import annotations

import threading

from local_aws.batch_service.attempt import OUT_OF_MEMORY, TIMED_OUT, Attempt, Ended, Stop


class FakeContainer:
    """A container that ends when it is stopped, and never by itself."""

    def __init__(self, exit_code: int = 0, *, out_of_memory: bool = False) -> None:
        self.exit_code = exit_code
        self.out_of_memory = out_of_memory
        self.stops: list[float] = []
        self.ended = threading.Event()

    def wait(self, timeout_s: float | None) -> bool:
        """With a time-out, no time passes."""
        return self.ended.wait(0 if timeout_s else 10)

    def stop(self, grace_s: float) -> None:
        """End."""
        self.stops.append(grace_s)
        self.exit_code = 143
        self.ended.set()


def ended(exit_code: int, *, out_of_memory: bool = False) -> Ended:
    """How an attempt ends whose container has ended by itself."""
    container = FakeContainer(exit_code, out_of_memory=out_of_memory)
    container.ended.set()
    return Attempt().follow(container, None)


def test_the_exit_code_decides() -> None:
    """Zero is success; the reason is the same."""
    assert ended(0) == Ended("Essential container in task exited", 0, succeeded=True)
    assert ended(1) == Ended("Essential container in task exited", 1)


def test_a_container_without_memory_has_a_reason() -> None:
    """It is the container's, not the job's."""
    assert ended(137, out_of_memory=True).reason == OUT_OF_MEMORY


def test_a_container_that_takes_too_long_is_stopped() -> None:
    """It has thirty seconds to end, and the job is not tried again."""
    container = FakeContainer()
    found = Attempt().follow(container, 60)
    assert found == Ended(TIMED_OUT.status_reason, 143, final=True)
    assert container.stops == [30]


def test_a_stop_before_the_container_ends_it_at_once() -> None:
    """The container starts, because nothing can prevent it any more, and is asked to end."""
    attempt, container = Attempt(grace_s=1), FakeContainer()
    attempt.stop(Stop("enough"))
    assert attempt.follow(container, None) == Ended("enough", 143, final=True)
    assert container.stops == [1]


def test_the_first_stop_counts() -> None:
    """A second one neither changes the reason nor asks again."""
    attempt, container = Attempt(), FakeContainer()
    attempt.stop(Stop("Host EC2 (instance i-1) terminated.", retried=True, with_host=True))
    attempt.stop(Stop("enough"))
    found = attempt.follow(container, None)
    assert found == Ended("Host EC2 (instance i-1) terminated.", None)
    assert container.stops == [30]
