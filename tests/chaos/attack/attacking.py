"""Does to the environment what is due, and remembers when."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.attack.actions import ACTIONS, Action, Doing
from tests.chaos.attack.evidence import Window
from tests.chaos.attack.faults import Fault, moments
from tests.chaos.attack.site import Site


@dataclass
class _UnderWay:
    """An action that has begun."""

    fault: Fault
    action: Action
    began_s: float
    due_s: float = 0.0  # On the monotonic clock.


@dataclass
class Attack:
    """The actions of one run.

    Attributes:
        happened: How often each fault has happened.
        windows: When each of them lasted.
        errors: Tracebacks of actions that have failed themselves.
    """

    site: Site
    faults: tuple[Fault, ...]
    seed: int
    rounds: int
    happened: Counter[str] = field(default_factory=Counter)
    windows: list[Window] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._due = moments(self.faults, self.seed, self.rounds)
        self._chance = random.Random(f"actions {self.seed}")
        self._under_way: list[_UnderWay] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way that has to be undone."""
        return not self._under_way

    def go_on(self, started: float) -> None:
        """Begin what is due once this share of the tasks has started, and go on with the rest."""
        while self._due and self._due[0].after <= started:
            fault = self._due.pop(0).fault
            action = ACTIONS[fault.action](Doing(self.site, fault, self._chance))
            self._under_way.append(_UnderWay(fault, action, time.time()))
            self.site.environment.screen.say(f"  {fault.name}: {fault.does}")
        self._under_way = [each for each in self._under_way if not self._step(each)]

    def finish(self) -> None:
        """Undo what is under way, each at its time."""
        while not self.is_over:
            self.go_on(-1.0)
            time.sleep(0.2)

    def _step(self, each: _UnderWay) -> bool:
        """Go on with an action if it is due; return whether it is over."""
        if each.due_s > time.monotonic():
            return False
        try:
            each.due_s = time.monotonic() + next(each.action)
        except StopIteration as end:
            self.happened[each.fault.name] += end.value
        except Exception:  # noqa: BLE001 - it must not hide what it has done to the executor.
            self.errors.append(f"{each.fault.name}: {traceback.format_exc()}")
        else:
            return False
        self.windows.append(Window(each.fault.name, each.began_s, time.time()))
        return True
