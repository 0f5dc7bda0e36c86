"""The hooks of a MicroVM: which are enabled, how long they may take, and how they are called.

https://docs.aws.amazon.com/lambda/latest/microvm-api/API_MicrovmHooks.html
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local_aws.sandbox.hook_socket import HookSocket

_PATH = "/aws/lambda-microvms/runtime/v1/"
_OK, _NOT_YET = 200, 503
_ASK_AGAIN_S = 0.1
#: Of the hooks of the build no default is documented; this is the longest time-out.
_BUILD_DEFAULT_S = 3600
_DEFAULT_S = 1
_OF_BUILD, _OF_MICRO_VM = "microvmImageHooks", "microvmHooks"
_GROUPS = {
    _OF_BUILD: ("ready", "validate"),
    _OF_MICRO_VM: ("run", "resume", "suspend", "terminate"),
}


class HookError(Exception):
    """A hook failed; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of an image.

    Attributes:
        timeouts_s: Of each hook that is enabled.
    """

    port: int
    timeouts_s: Mapping[str, int]

    @classmethod
    def read(cls, hooks: Mapping[str, Any] | None) -> Hooks:
        """Read the parameter of the API.

        Raises:
            ValueError: The combination is refused.
        """
        given = hooks or {}
        timeouts_s = {
            name: int(given[group].get(f"{name}TimeoutInSeconds") or default_s)
            for group, default_s in ((_OF_BUILD, _BUILD_DEFAULT_S), (_OF_MICRO_VM, _DEFAULT_S))
            for name in _GROUPS[group]
            if (given.get(group) or {}).get(name) == "ENABLED"
        }
        port = int(given.get("port") or 0)
        if timeouts_s and not port:
            raise ValueError("hooks.port is required when hooks are enabled")
        if "ready" not in timeouts_s and set(timeouts_s) & set(_GROUPS[_OF_MICRO_VM]):
            raise ValueError("the hook ready must be enabled when a hook of the MicroVM is")
        return cls(port, timeouts_s)

    def enabled(self, name: str) -> bool:
        """Whether a hook is called."""
        return name in self.timeouts_s

    def call(self, name: str, hooks: HookSocket, body: Mapping[str, Any]) -> None:
        """Call a hook once.

        Raises:
            HookError: It did not answer 200 in time.
        """
        limit_s = self.timeouts_s[name]
        status = _post(name, hooks, body, limit_s)
        if status is None:
            raise HookError(f"the hook {name} did not answer within {limit_s} s")
        if status != _OK:
            raise HookError(f"the hook {name} answered {status} instead of 200")

    def call_until_done(
        self, name: str, hooks: HookSocket, goes_on: Callable[[float], bool]
    ) -> None:
        """Call a hook of the build, again while it answers 503.

        A process that begins anew leaves a call unanswered, so one more is made after the first
        such call.

        Args:
            name: The hook's.
            hooks: Leads to the hook server.
            goes_on: Waits so many seconds; whether to call again then.

        Raises:
            HookError: It did not answer 200 in time.
        """
        limit_s = self.timeouts_s[name]
        deadline_s = time.monotonic() + limit_s
        status: int | None = _NOT_YET
        unanswered = 0
        while status == _NOT_YET:
            left_s = deadline_s - time.monotonic()
            try:
                status = _post(name, hooks, {}, left_s) if left_s > 0 else None
            except HookError:
                unanswered += 1
                if unanswered > 1:
                    raise
            if status == _NOT_YET and not goes_on(_ASK_AGAIN_S):
                raise HookError(f"the hook {name} was interrupted")
        if status is None:
            raise HookError(f"the hook {name} did not answer 200 within {limit_s} s")
        if status != _OK:
            raise HookError(f"the hook {name} answered {status} instead of 200 or 503")


class _Connection(socket.socket):
    """A connection to a hook server, whose whole answer must come before a deadline."""

    #: On the monotonic clock.
    deadline_s: float

    @classmethod
    def make(cls, hooks: HookSocket, timeout_s: float) -> _Connection:
        """Make it; requests and answers together may take so many seconds from now on."""
        deadline_s = time.monotonic() + timeout_s
        made = cls(fileno=hooks.connect().detach())
        made.deadline_s = deadline_s
        made.settimeout(timeout_s)  # `sendall` takes it as the limit for all of its data.
        return made

    def recv_into(self, *arguments: Any, **options: Any) -> int:  # noqa: ANN401 - of the socket
        """Receive what comes next: what `makefile` reads by."""
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.settimeout(left_s)
        return super().recv_into(*arguments, **options)


def _post(name: str, hooks: HookSocket, body: Mapping[str, Any], timeout_s: float) -> int | None:
    """Call a hook; its status, or None if the time is over.

    Raises:
        HookError: Nobody answers.
    """
    connection = http.client.HTTPConnection("127.0.0.1", hooks.port)
    try:
        connection.sock = _Connection.make(hooks, timeout_s)
        connection.request(
            "POST", f"{_PATH}{name}", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        response.read()  # else a server that is still writing would see a broken connection
    except TimeoutError:
        return None
    except (OSError, http.client.HTTPException) as e:
        raise HookError(f"the hook {name} was not answered: {e or type(e).__name__}") from e
    else:
        return response.status
    finally:
        connection.close()
