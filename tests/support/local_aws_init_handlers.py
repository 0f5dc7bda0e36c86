"""A handler whose init phase does what the function's variables say; standard library only.

`ATTEMPTS` is a file that every init phase adds a line to. `INIT` lists what the first, the second
... does: `slow`, `exit` or `raise`; those beyond the list do nothing.
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
    """Tell which init phase it is that succeeded, and the time that is left."""
    return {
        "attempts": _count,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "stream": context.log_stream_name,
    }
