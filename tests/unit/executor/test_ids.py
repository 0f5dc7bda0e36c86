"""Dispatch ids are fresh, also in a process that is forked off."""

from __future__ import annotations

import subprocess
import sys
import uuid

from lambda_executor.core.ids import BLOCK, Ids

#: Prints the next id of a process and of its child, which is forked in the middle of a block.
FORK = """
import os
from lambda_executor.core.ids import Ids
ids = Ids()
ids.draw()
child = os.fork()
os.write(1, ids.draw().encode() + b"\\n")
if child:
    os.waitpid(child, 0)
"""


def test_ids_are_random_uuids_and_all_different() -> None:
    """Over several blocks."""
    ids = Ids()
    drawn = [ids.draw() for _ in range(3 * BLOCK + 1)]
    assert len(set(drawn)) == len(drawn)
    assert {uuid.UUID(id).version for id in drawn} == {4}


def test_a_forked_process_draws_others() -> None:
    """It shares no rest of a block."""
    drawn = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert len(set(drawn)) == 2
