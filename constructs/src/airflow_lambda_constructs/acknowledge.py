"""Why a finding of a rule pack (cdk-nag's AwsSolutions) does not hold for one construct."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import IConstruct


def acknowledge(construct: IConstruct, **reasons: str) -> None:
    """Record on the construct itself why each named AwsSolutions rule is not followed.

    Args:
        construct: The construct, its children included.
        reasons: Rule without its pack's name to reason: `VPC7="..."`.
    """
    cdk.Validations.of(construct).acknowledge(
        *(
            cdk.Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason)
            for rule, reason in reasons.items()
        )
    )


def shown(construct: IConstruct, text: str) -> str:
    """A text with references in it as the rule packs show it: what is not known yet as `<name>`."""
    resolved = cdk.Stack.of(construct).resolve(text)
    parts = resolved["Fn::Join"][1] if isinstance(resolved, dict) else [resolved]
    return "".join(part if isinstance(part, str) else f"<{part['Ref']}>" for part in parts)
