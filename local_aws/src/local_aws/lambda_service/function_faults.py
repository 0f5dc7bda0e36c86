"""Faults that somebody wants to happen to functions: which ones, and how an invocation gets its."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from local_aws.lambda_service.model import FunctionVersion
from local_aws.sandbox.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Attack:
    """A fault during one invocation.

    Attributes:
        after_s: Seconds from the start of the invocation.
        frozen_s: How long every process stands still; None: every process is killed.
        withdraw: Called if the invocation was over before.
    """

    after_s: float
    frozen_s: float | None
    withdraw: Callable[[], None]


class FunctionFaults(Protocol):
    """Decides about faults."""

    def duplicated(self, function: FunctionVersion, /) -> float | None:
        """Seconds until an accepted event is delivered once more; None: it is not."""

    def killed_in_init(self, function: FunctionVersion, /) -> bool:
        """Whether the runtime is killed during its init phase or its restore."""

    def attack(self, function: FunctionVersion, /) -> Attack | None:
        """What happens during an invocation; None: nothing."""


class NoFaults:
    """Nothing happens."""

    def duplicated(self, _function: FunctionVersion, /) -> float | None:
        """Deliver each event once."""
        return None

    def killed_in_init(self, _function: FunctionVersion, /) -> bool:
        """Let the runtime live."""
        return False

    def attack(self, _function: FunctionVersion, /) -> Attack | None:
        """Leave the invocation alone."""
        return None


@contextmanager
def under(attack: Attack | None, sandbox: Sandbox) -> Iterator[None]:
    """Carry out an attack during the block; nothing of it happens after the block."""
    if attack is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(
        target=_carry_out, args=(attack, sandbox, over), name="attack", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _carry_out(attack: Attack, sandbox: Sandbox, over: threading.Event) -> None:
    if over.wait(attack.after_s):
        attack.withdraw()
    elif attack.frozen_s is None:
        sandbox.stop()
    else:
        sandbox.freeze()
        over.wait(attack.frozen_s)
        sandbox.thaw()
