"""The rules in force: which call each of them hits, and how often they did."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from local_aws.fault_injection.rules import InvalidRuleError, Rule

logger = logging.getLogger("local_aws.fault_injection")

#: The name of the role that makes the current request, for what carries out faults inside of an
#: operation.
caller: ContextVar[str] = ContextVar("caller", default="")


@dataclass(slots=True)
class _Count:
    """How many calls a rule applied to, and how many it hit."""

    seen: int = 0
    injected: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """A call that a rule hits."""

    rule: Rule
    _faults: Faults

    def withdraw(self) -> None:
        """Do not count it: the call was over before anything happened to it."""
        self._faults.withdraw(self.rule.name)


class Faults:
    """The rules in force. All threads may use it.

    Args:
        services: The names of services that a rule may have.
    """

    def __init__(self, services: Collection[str]) -> None:
        self._known = frozenset(services)
        self._lock = threading.Lock()
        self._seed = 0
        self._rules: tuple[Rule, ...] = ()
        self._counts: dict[str, _Count] = {}
        self._services: frozenset[str] = frozenset()

    def replace(self, document: object) -> None:
        """Put other rules in force; a rule whose name stays continues to count.

        Raises:
            InvalidRuleError: The document or one of its rules is wrong; the old rules stay.
        """
        seed, rules = self._read(document)
        with self._lock:
            self._seed, self._rules = seed, rules
            self._counts = {rule.name: self._counts.get(rule.name, _Count()) for rule in rules}
            self._services = frozenset(rule.service for rule in rules)

    def document(self) -> dict[str, Any]:
        """The rules and their counts."""
        with self._lock:
            rules = [(rule, self._counts[rule.name]) for rule in self._rules]
            return {
                "seed": self._seed,
                "rules": [
                    {**rule.document(), "seen": count.seen, "injected": count.injected}
                    for rule, count in rules
                ],
            }

    @property
    def active(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    def concern(self, service: str) -> bool:
        """Whether there is a rule for a service."""
        services = self._services
        return bool(services) and (service in services or "*" in services)

    def hit(
        self, api: str, kinds: Collection[str], target: str, caller_name: str | None = None
    ) -> Hit | None:
        """Count a call and decide whether a fault of one of these kinds happens to it.

        A call that several rules hit gets the fault of the first one.

        Args:
            api: As rules spell it.
            kinds: Of `rules`.
            target: Where the name of a queue, function or other resource is looked for.
            caller_name: The caller's role; None: that of the current request.
        """
        by = caller.get() if caller_name is None else caller_name
        chosen: Rule | None = None
        with self._lock:
            for rule in self._rules:
                if rule.fault not in kinds or not rule.applies(api, target, by):
                    continue
                count = self._counts[rule.name]
                drawn = _draw(self._seed, rule.name, count.seen)
                count.seen += 1
                free = rule.limit is None or count.injected < rule.limit
                if chosen is None and free and drawn < rule.share:
                    chosen = rule
                    count.injected += 1
        if chosen is None:
            return None
        logger.info("%s of %s on %s: rule %r", chosen.fault, api, target, chosen.name)
        return Hit(chosen, self)

    def withdraw(self, name: str) -> None:
        """Take back that a rule hit a call."""
        with self._lock:
            if count := self._counts.get(name):
                count.injected -= 1
        logger.info("rule %r came too late", name)

    def _read(self, document: object) -> tuple[int, tuple[Rule, ...]]:
        if not isinstance(document, dict) or not document.keys() <= {"seed", "rules"}:
            raise InvalidRuleError(
                'the body must be {"seed": <whole number>, "rules": [<rule>...]}'
            )
        seed, given = document.get("seed", 0), document.get("rules", [])
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise InvalidRuleError(f"seed is {seed!r}: it must be a whole number")
        if not isinstance(given, list):
            raise InvalidRuleError(f"rules is {given!r}: it must be a list of rules")
        rules = tuple(Rule.read(rule, self._known) for rule in given)
        if twice := _first_repeated(rule.name for rule in rules):
            raise InvalidRuleError(f"two rules have the name {twice!r}: give each its own")
        return seed, rules


def _draw(seed: int, name: str, place: int) -> float:
    """A number from 0 to below 1 that depends on nothing else, so that a seed replays."""
    text = f"{seed}\0{name}\0{place}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) / 2**48


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
