"""The option `offers`, read into `Offer`s."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from lambda_executor.contract.numbers import finite
from lambda_executor.contract.options import FUNCTIONS, OFFERS, TARGETS
from lambda_executor.core.offers import Offer
from lambda_executor.setup import by_queue

#: The numbers of an offer, and whether each is a whole one.
_NUMBERS = {"timeout_s": False, "memory_mb": True, "cpu": False, "gpu": True, "disk_gb": False}

#: The options that say which targets there are. Where a person sets one and not `offers`, those of
#: the SSM parameter are about other targets.
REPLACE = (FUNCTIONS, TARGETS)

_unusable = partial(by_queue.unusable, OFFERS)


def read(text: str | None) -> tuple[Offer, ...]:
    """Return the offers in the order in which they are written, the smallest first.

    Args:
        text: The value of the option.

    Raises:
        ConfigError: The value is unusable.
    """
    if not text:
        return ()
    found = by_queue.read(OFFERS, text, "offer")
    return tuple(_offer(queue, value) for queue, value in found.items())


def _offer(queue: str, value: object) -> Offer:
    if not isinstance(value, dict):
        raise _unusable(f"has {value!r:.200} for the queue {queue!r}", "write an object of numbers")
    if unknown := sorted(set(value) - set(_NUMBERS)):
        raise _unusable(
            f"has {unknown[0]!r:.100} for the queue {queue!r}", f"allowed are {', '.join(_NUMBERS)}"
        )
    if wrong := [name for name in value if not _is_right(name, value)]:
        name = wrong[0]
        kind = "whole number" if _NUMBERS[name] else "number"
        least = "above 0" if name == "timeout_s" else "of at least 0"
        raise _unusable(
            f"has {value[name]!r:.100} for {name} of the queue {queue!r}",
            f"write a {kind} {least}, or leave it out",
        )
    return Offer(queue, **value)


def _is_right(name: str, values: Mapping[str, object]) -> bool:
    value = finite(values[name])
    if value is None or (_NUMBERS[name] and not isinstance(value, int)):
        return False
    return value > 0 or (value == 0 and name != "timeout_s")
