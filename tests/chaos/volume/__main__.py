"""`python -m tests.chaos.volume`: one simulation by its seed; exit code 1 if a promise broke."""

from __future__ import annotations

import argparse
import sys

from tests.chaos.volume.faults import Faults
from tests.chaos.volume.simulation import run


def main() -> int:
    """Run one simulation, and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.volume", description=__doc__)
    parser.add_argument("--invocations", type=int, default=20_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (%(default)s)")
    arguments = parser.parse_args()
    figures = run(arguments.invocations, Faults(arguments.seed))
    print(figures)  # noqa: T201 - talks to a person
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())
