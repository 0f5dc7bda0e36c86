"""Fixtures of the contract tests."""

from tests.contract.account import account
from tests.contract.local_aws_fixtures import (
    bare_aws,
    bare_enforcing_aws,
    enforcing_aws,
    local_aws,
    strict_aws,
)
from tests.contract.scheduling import scheduler

__all__ = [
    "account",
    "bare_aws",
    "bare_enforcing_aws",
    "enforcing_aws",
    "local_aws",
    "scheduler",
    "strict_aws",
]
