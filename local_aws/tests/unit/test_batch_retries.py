"""A retry strategy decides whether a failed job is tried again."""

from __future__ import annotations

import pytest

from local_aws.batch_service.attempt import Ended
from local_aws.batch_service.retries import is_retried

FAILED = Ended("Essential container in task exited", 3, "OutOfMemoryError: killed")
TWICE = {"attempts": 2}
SPOT = {"onStatusReason": "Host EC2*", "action": "RETRY"}
LEAVE = {"onReason": "*", "action": "EXIT"}


def test_a_job_has_as_many_attempts_as_its_strategy_gives() -> None:
    """One without a strategy."""
    assert not is_retried({}, 1, FAILED)
    assert is_retried(TWICE, 1, FAILED)
    assert not is_retried(TWICE, 2, FAILED)


def test_success_and_a_stop_for_good_are_not_retried() -> None:
    """Whatever the strategy says."""
    assert not is_retried(TWICE, 1, Ended("", 0, succeeded=True))
    assert not is_retried(TWICE, 1, Ended("terminated by hand", 143, final=True))


@pytest.mark.parametrize(
    ("conditions", "retried"),
    [
        ([SPOT, LEAVE], False),
        ([{"onStatusReason": "essential*", "action": "retry"}, LEAVE], True),
        ([{"onExitCode": "3", "action": "EXIT"}], False),
        ([{"onExitCode": "33", "action": "EXIT"}], True),
        ([{"onReason": "OutOfMemoryError*", "action": "EXIT"}], False),
        ([{"onReason": "OutOfMemoryError*", "onExitCode": "4", "action": "EXIT"}], True),
        ([{"onReason": "OutOfMemoryError", "action": "EXIT"}], True),
    ],
)
def test_the_first_condition_that_fits_decides(
    conditions: list[dict[str, str]], retried: bool
) -> None:
    """All parts of a condition must fit; if none does, the job is retried."""
    assert is_retried({"attempts": 2, "evaluateOnExit": conditions}, 1, FAILED) == retried


def test_an_unknown_exit_code_fits_no_number() -> None:
    """The container was lost with its host."""
    lost = Ended("Host EC2 (instance i-1) terminated.")
    strategy = {"attempts": 2, "evaluateOnExit": [{"onExitCode": "1*", "action": "EXIT"}]}
    assert is_retried(strategy, 1, lost)
