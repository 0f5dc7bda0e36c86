"""Fixtures of the contract tests."""

from tests.contract.local_aws_fixtures import (
    bare_aws,
    bare_enforcing_aws,
    enforcing_aws,
    local_aws,
)
from tests.contract.scheduling import scheduler

__all__ = ["bare_aws", "bare_enforcing_aws", "enforcing_aws", "local_aws", "scheduler"]
