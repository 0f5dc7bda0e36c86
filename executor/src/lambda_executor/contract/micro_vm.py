"""What the executor, the image and the stacks agree on about MicroVMs of AWS Lambda.

A MicroVM gets no command and no variables when it is run, only one text: `runHookPayload`, which
Lambda hands to the image's hook server with `POST .../run`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.numbers import finite

#: The command of the image that a MicroVM runs.
COMMAND = "microvm"
#: The port of the hook server inside the MicroVM.
HOOK_PORT = 9000
#: Where Lambda sends its hooks: the name of each follows.
HOOK_PATH = "/aws/lambda-microvms/runtime/v1/"
#: The most characters of `runHookPayload`: the API's model and the service itself say so, although
#: the same model's text says 16,384 bytes.
MOST_CHARACTERS = 4096

#: Seconds after `RunMicrovm` within which `/run` comes: a restore takes about 2 s, and with others
#: beside it up to 4 s.
_RUN_WITHIN_S = 5
#: The largest part of a short duration that is kept for that.
_RUN_PART = 10


def time_for_workload_s(duration_s: int) -> int:
    """Return what a workload has of `maximumDurationInSeconds`, in seconds after `/run`.

    AWS does not say from when it counts. If from `RunMicrovm`, the restore has taken some of it
    when `/run` comes, and the result must be sent before the MicroVM ends.
    """
    return duration_s - min(_RUN_WITHIN_S, duration_s // _RUN_PART)


@dataclass(frozen=True, slots=True)
class RunPayload:
    """The text that a MicroVM gets with `/run`.

    Attributes:
        event: The invocation, as a function gets it.
        timeout_s: When the workload must have ended, in seconds after `/run`.
    """

    event: Mapping[str, Any]
    timeout_s: int

    def encode(self) -> str:
        """Return the text; `MOST_CHARACTERS` is not checked."""
        fields = {"event": self.event, "timeout_s": self.timeout_s}
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> RunPayload:
        """Read the text.

        Raises:
            DecodeError: It is not one.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise DecodeError("the payload of /run is not JSON") from e
        if not isinstance(fields, dict) or not isinstance(fields.get("event"), dict):
            raise DecodeError("the payload of /run has no event")
        timeout_s = fields.get("timeout_s")
        if type(timeout_s) is not int or timeout_s <= 0 or finite(timeout_s) is None:
            raise DecodeError(f"the payload of /run has the timeout_s {timeout_s!r:.100}")
        return cls(fields["event"], timeout_s)
