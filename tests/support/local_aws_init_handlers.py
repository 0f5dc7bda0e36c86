"""A handler whose init phase does what the function's variables say; standard library only.

Every init phase adds a line to the file `ATTEMPTS`. `INIT` lists what the init phases do, in order:
`slow`, `exit` or `raise`; those beyond the list do nothing.
"""

import os
import time
from pathlib import Path
from typing import Any

_attempts = Path(os.environ["ATTEMPTS"])
with _attempts.open("a") as _file:
    _file.write("begun\n")
_count = len(_attempts.read_text().splitlines())
_plan = os.environ.get("INIT", "").split()
match _plan[_count - 1] if _count <= len(_plan) else "":
    case "slow":
        time.sleep(60)
    case "exit":
        os._exit(7)
    case "raise":
        raise ValueError("no init today")


def handle(_event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Return which init phase succeeded, and the remaining time."""
    return {
        "attempts": _count,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "stream": context.log_stream_name,
    }
