"""Fixtures of the contract tests."""

from tests.support.account import account
from tests.support.airflow_database import database
from tests.support.local_aws import (
    bare_aws,
    bare_enforcing_aws,
    enforcing_aws,
    local_aws,
    strict_aws,
)
from tests.support.scheduler import scheduler

__all__ = [
    "account",
    "bare_aws",
    "bare_enforcing_aws",
    "database",
    "enforcing_aws",
    "local_aws",
    "scheduler",
    "strict_aws",
]
