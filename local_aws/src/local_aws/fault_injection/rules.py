"""Rules of faults: what each says, and which ones are refused."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

#: What can happen to every request.
OF_REQUESTS = frozenset(
    {"throttle", "error", "denied", "expired", "delay", "reset", "lost_answer", "hang"}
)
#: What else can happen, by the only API that it can happen to.
OF_SENT_MESSAGES = frozenset({"lost", "duplicated", "delayed", "malformed"})
OF_RECEIVED_MESSAGES = frozenset({"redelivered"})
OF_EVENTS = frozenset({"duplicated"})
OF_INIT = frozenset({"init_error"})
OF_INVOCATIONS = frozenset({"killed", "frozen"})

SEND_MESSAGE = "sqs:SendMessage"
RECEIVE_MESSAGE = "sqs:ReceiveMessage"
INVOKE = "lambda:Invoke"
#: These two are no requests: the init phase of an environment, and an invocation in it.
INIT = "lambda:Init"
ENVIRONMENT = "lambda:Environment"

_SPECIAL: Mapping[str, frozenset[str]] = {
    SEND_MESSAGE: OF_SENT_MESSAGES,
    RECEIVE_MESSAGE: OF_RECEIVED_MESSAGES,
    INVOKE: OF_EVENTS,
    INIT: OF_INIT,
    ENVIRONMENT: OF_INVOCATIONS,
}
_NO_REQUESTS = frozenset({INIT, ENVIRONMENT})
_ALL = OF_REQUESTS.union(*_SPECIAL.values())
#: Faults that nobody would notice without a delay.
_NEED_DELAY = frozenset({"delay", "hang", "delayed", "frozen"})
_TAKE_DELAY = _NEED_DELAY | {"duplicated", "killed"}
#: When a warm runtime has begun with the event.
_FREEZES_AFTER_S = 0.05
#: IAM's name of an action whose API has another.
_OTHER_NAMES = {"lambda:invokefunction": INVOKE}


class InvalidRuleError(ValueError):
    """A rule that cannot be carried out; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of fault, and the share of the calls that it happens to.

    Attributes:
        api: `<service>:<operation>` as IAM spells it, `<service>:*`, or `*`.
        fault: One of the names in this module.
        share: From 0 to 1.
        queue: Part of the name of the queue, function or other target; empty: any.
        by: Part of the name of the caller's role, `root` without one; empty: anybody.
        delay_s: How long, or after how many seconds: the fault says which.
        after_s: With `frozen`: seconds from the invocation's start until it stops.
        limit: The most times that it happens; None: any number.
    """

    name: str
    api: str
    fault: str
    share: float
    queue: str = ""
    by: str = ""
    delay_s: float = 0.0
    after_s: float = 0.0
    limit: int | None = None

    @classmethod
    def read(cls, given: object, services: Collection[str]) -> Rule:
        """Read a rule; `services` are the names that may stand in `api` before the colon.

        Raises:
            InvalidRuleError: A field is unknown, missing or wrong.
        """
        if not isinstance(given, dict):
            raise InvalidRuleError(f"a rule is an object, not {given!r}")
        if unknown := given.keys() - cls.__slots__:
            raise InvalidRuleError(
                f"the rule {given.get('name')!r} has an unknown field {min(map(repr, unknown))}: "
                f"use {', '.join(cls.__slots__)}"
            )
        reader = _Fields(given)
        name = reader.text("name", "a name of its own")
        api = reader.text("api", "sqs:SendMessage, sqs:* or *")
        rule = cls(
            name,
            _OTHER_NAMES.get(api.casefold(), api),
            reader.text("fault", ", ".join(sorted(_ALL))),
            reader.number("share", None, most=1.0),
            reader.text("queue", "a part of a name", default=""),
            reader.text("by", "a part of a role's name", default=""),
            reader.number("delay_s", 0.0),
            reader.number("after_s", _FREEZES_AFTER_S if given.get("fault") == "frozen" else 0.0),
            reader.limit(),
        )
        rule._check(services)
        return rule

    @property
    def service(self) -> str:
        """The service before the colon, or `*`."""
        return self.api.partition(":")[0]

    def applies(self, api: str, target: str, caller: str) -> bool:
        """Whether a call of an API counts for this rule."""
        return self._names(api) and self.queue in target and self.by in caller

    def document(self) -> dict[str, Any]:
        """The rule as it is written."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value or name in {"name", "api", "fault", "share"}
        }

    def _names(self, api: str) -> bool:
        service, _, operation = self.api.partition(":")
        if api in _NO_REQUESTS or self.fault not in OF_REQUESTS:
            return api.casefold() == self.api.casefold()
        if service == "*":
            return True
        given_service, _, given_operation = api.partition(":")
        return service == given_service and (
            operation == "*" or operation.casefold() == given_operation.casefold()
        )

    def _check(self, services: Collection[str]) -> None:
        if self.fault not in _ALL:
            near = get_close_matches(self.fault, _ALL, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise self._wrong("fault", self.fault, f"one of {', '.join(sorted(_ALL))}{hint}")
        self._check_api(services)
        if self.fault in _NEED_DELAY and not self.delay_s:
            raise self._wrong("delay_s", None, f"a number of seconds for {self.fault}")
        if self.delay_s and self.fault not in _TAKE_DELAY:
            takers = ", ".join(sorted(_TAKE_DELAY))
            raise self._wrong("delay_s", self.delay_s, f"left out: it is for {takers}")
        if self.after_s and self.fault != "frozen":
            raise self._wrong("after_s", self.after_s, "left out: it is for frozen")

    def _check_api(self, services: Collection[str]) -> None:
        service, colon, operation = self.api.partition(":")
        if self.api != "*" and not (colon and operation and service in services):
            near = get_close_matches(service, services, 1)
            hint = f" (did you mean {near[0]}:{operation or '*'}?)" if near else ""
            raise self._wrong(
                *("api", self.api),
                f"<service>:<operation> as IAM spells it, <service>:* or *{hint}",
            )
        own = [api for api, faults in _SPECIAL.items() if self.fault in faults]
        if own and self.api not in own:
            raise self._wrong("api", self.api, f"{' or '.join(own)} for {self.fault}")
        if self.api in _NO_REQUESTS and self.fault not in _SPECIAL[self.api]:
            allowed = ", ".join(sorted(_SPECIAL[self.api]))
            raise self._wrong("fault", self.fault, f"{allowed} for {self.api}")

    def _wrong(self, field: str, value: object, allowed: str) -> InvalidRuleError:
        return _wrong(self.name, field, value, allowed)


class _Fields:
    """Reads the fields of a rule that has not been checked."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def text(self, field: str, allowed: str, default: str | None = None) -> str:
        value = self._given.get(field, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self._wrong(field, allowed)
        return value

    def number(self, field: str, default: float | None, most: float = math.inf) -> float:
        value = self._given.get(field, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= most or math.isinf(value):
            bounds = "of seconds, 0 or more" if math.isinf(most) else f"from 0 to {most:g}"
            raise self._wrong(field, f"a number {bounds}")
        return float(value)

    def limit(self) -> int | None:
        value = self._given.get("limit")
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong("limit", "a whole number, 1 or more, or left out")
        return value

    def _wrong(self, field: str, allowed: str) -> InvalidRuleError:
        return _wrong(self._given.get("name"), field, self._given.get(field), allowed)


def _wrong(name: object, field: str, value: object, allowed: str) -> InvalidRuleError:
    is_ = "is missing" if value is None else f"is {value!r}"
    return InvalidRuleError(f"{field} of the rule {name!r} {is_}: it must be {allowed}")
