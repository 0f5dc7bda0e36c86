"""How Airflow's supervisor sees a child of the zygote."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from lambda_image.machine.zygote import End
from lambda_image.runtime.processes import _Tracker


class Ended:
    """A child that has ended."""

    pid = 4711

    def __init__(self, exit_code: int) -> None:
        self._exit_code = exit_code

    def end(self) -> End:
        """Its end."""
        return End(self._exit_code)


@pytest.mark.parametrize(
    ("exit_code", "name"),
    [(0, None), (124, None), (-signal.SIGKILL, "SIGKILL"), (-(signal.SIGRTMIN + 6), None)],
)
def test_an_exit_code_has_the_name_of_its_signal_if_there_is_one(
    exit_code: int, name: str | None
) -> None:
    """Python names only the first and the last real-time signal."""
    ended: Any = Ended(exit_code)
    found = _Tracker(ended).wait(0)
    assert (int(found), getattr(found, "name", None)) == (exit_code, name)
