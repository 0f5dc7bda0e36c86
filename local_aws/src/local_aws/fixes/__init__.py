"""What ministack lacks or does unlike AWS, closed one small fix at a time.

Every module here is one fix. Its docstring says what AWS does and what ministack does; its
`apply` changes ministack in place, once, before it serves. `tests/contract` shows for each that
it works, and that ministack without it still needs it.
"""

from __future__ import annotations

from types import ModuleType

from local_aws.fixes.cloudformation import (
    alarm_metric_math,
    bucket_not_empty,
    function_properties,
    missing_image,
    network_attributes,
    network_records,
    rds_endpoint,
    records,
    secret_ref,
    security_group_rules,
)
from local_aws.fixes.permissions import (
    describe_repositories_permission,
    log_group_permission,
    secure_transport,
    sqs_batch_permission,
)
from local_aws.fixes.services import image_not_found, invoke_limits, prompt_receive
from local_aws.images.store import ImageStore

_FIXES: tuple[ModuleType, ...] = (
    alarm_metric_math,
    bucket_not_empty,
    describe_repositories_permission,
    function_properties,
    image_not_found,
    invoke_limits,
    log_group_permission,
    missing_image,
    network_attributes,
    network_records,
    prompt_receive,
    rds_endpoint,
    records,
    secret_ref,
    secure_transport,
    security_group_rules,
    sqs_batch_permission,
)

#: By name, as `--without-fix` takes them.
NAMES: tuple[str, ...] = tuple(fix.__name__.rpartition(".")[2] for fix in _FIXES)


def apply(images: ImageStore, *, without: frozenset[str]) -> None:
    """Apply every fix but those named; `all` names all.

    Raises:
        ValueError: There is no fix of that name.
    """
    if unknown := without - {*NAMES, "all"}:
        raise ValueError(
            f"there is no fix {', '.join(sorted(unknown))}: choose from {', '.join(NAMES)}"
        )
    for name, fix in zip(NAMES, _FIXES, strict=True):
        if name not in without and "all" not in without:
            fix.apply(images)
