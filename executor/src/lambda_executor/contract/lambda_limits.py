"""Limits of Lambda that more than one room needs."""

from __future__ import annotations

from typing import Final

#: The longest time-out of a function, in seconds, for synchronous and asynchronous invocations.
#: From the API model in botocore 1.44.8 of 2026-11-20 (`CreateFunctionRequest.Timeout`). The
#: developer guide still says 900:
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html
LONGEST_TIMEOUT_S: Final = 1_800

#: The limit before, in seconds, which a Region may still have.
EARLIER_LONGEST_TIMEOUT_S: Final = 900

#: The longest life of a MicroVM, in seconds.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LONGEST_LIFE_S: Final = 28_800

#: Open files of a function, and processes and threads.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
DESCRIPTORS: Final = 1_024
THREADS: Final = 1_024
