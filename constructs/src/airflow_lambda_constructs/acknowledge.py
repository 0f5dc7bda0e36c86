"""Acknowledged findings of cdk-nag's rule pack AwsSolutions."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import IConstruct


def acknowledge(construct: IConstruct, **reasons: str) -> None:
    """Record the reason why a construct and its children do not follow a rule: `VPC7="..."`."""
    cdk.Validations.of(construct).acknowledge(
        *(
            cdk.Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason)
            for rule, reason in reasons.items()
        )
    )


def acknowledge_any_resource(construct: IConstruct, reason: str) -> None:
    """Record the reason why a policy allows actions on any resource."""
    acknowledge(construct, **{"IAM5[Resource::*]": reason})


def acknowledge_registry_login(role: IConstruct) -> None:
    """Record why a role that pulls an image may log in to any registry."""
    acknowledge_any_resource(
        role,
        "ecr:GetAuthorizationToken, the log-in to the registry, has no resource-level "
        "permission: https://docs.aws.amazon.com/service-authorization/latest/reference/"
        "list_amazonelasticcontainerregistry.html",
    )


def shown(construct: IConstruct, text: str) -> str:
    """Return a text as the rule pack shows it, with each reference as `<name>`."""
    resolved = cdk.Stack.of(construct).resolve(text)
    parts = resolved["Fn::Join"][1] if isinstance(resolved, dict) else [resolved]
    return "".join(part if isinstance(part, str) else f"<{part['Ref']}>" for part in parts)
