"""Work on an odd or an even number: `python odd_even.py odd 7`.

Stands for a program that is too long or too large for a function. The last line that it prints is
its result, and an exit code other than 0 is a failure.
"""

from __future__ import annotations

import json
import sys


def steps(number: int) -> int:
    """The number of Collatz steps from a number to 1."""
    count = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        count += 1
    return count


def main(kind: str, text: str) -> None:
    """Check that the number is of this kind, and count its steps."""
    number = int(text)
    if number < 1:
        sys.exit(f"{number} is not a positive number")
    if (number % 2 == 0) is not (kind == "even"):
        sys.exit(f"{number} is not {kind}: the DAG took the wrong branch")
    print(f"counting the steps of {number}, which is {kind}", flush=True)
    print(json.dumps({"number": number, "kind": kind, "steps": steps(number)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
