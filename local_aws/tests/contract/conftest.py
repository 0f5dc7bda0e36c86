"""The embedded AWS, with and without its fixes, as fixtures."""

from tests.support.local_aws import (
    bare_aws,
    bare_enforcing_aws,
    enforcing_aws,
    local_aws,
    strict_aws,
)

__all__ = ["bare_aws", "bare_enforcing_aws", "enforcing_aws", "local_aws", "strict_aws"]
