"""Random numbers that a copy of this process does not share with its original.

The kernel's generator is safe, and with it `os.urandom`, `secrets` and `uuid.uuid4`. Generators
that a library seeded once are copied with the process: by a fork, and by a snapshot of Lambda's.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
"""

from __future__ import annotations

import os
import ssl
import sys
import tempfile

#: Modules with a generator of their own, whose `seed()` takes new entropy from the kernel.
_WITH_SEED = ("random", "numpy.random", "torch")

_ENTROPY_BYTES = 48


def renew() -> None:
    """Seed every generator that is loaded anew."""
    for name in _WITH_SEED:
        # Another module may have the name: a package without PyTorch's code is a namespace.
        if seed := getattr(sys.modules.get(name), "seed", None):
            seed()
    # OpenSSL sees a fork by the process id, which is the same in every copy of a snapshot.
    ssl.RAND_add(os.urandom(_ENTROPY_BYTES), _ENTROPY_BYTES)
    tempfile._name_sequence = None  # type: ignore[attr-defined]  # noqa: SLF001 - has its own, too
