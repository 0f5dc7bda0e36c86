"""The control of faults: `PUT /_local_aws/faults` replaces the rules, `GET` answers them.

The body and the answer are `{"seed": 7, "rules": [<rule>, ...]}`; in the answer each rule also has
how many calls it has `seen` and how many faults it has `injected`. PUT answers 204, or 400 with the
value that is wrong and what is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from local_aws.fault_injection.faults import Faults
from local_aws.fault_injection.rules import InvalidRuleError
from local_aws.on_ministack.controls import Answer, Control


def controls(faults: Faults) -> Mapping[tuple[str, str], Control]:
    """The controls, by method and path."""

    def replace(body: bytes) -> Answer:
        try:
            faults.replace(json.loads(body))
        except InvalidRuleError as e:
            return Answer(400, f"{e}\n")
        except ValueError as e:
            return Answer(400, f"the body is not JSON: {e}\n")
        return Answer(204)

    def describe(_body: bytes) -> Answer:
        return Answer(200, json.dumps(faults.document()), "application/json")

    return {("PUT", "faults"): replace, ("GET", "faults"): describe}
