"""Whose key the stage's data is encrypted with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stacks.config.sections.section import ARN_HEAD, UUID, Section


class EncryptionConfig(Section):
    """The key of everything that the stage stores."""

    key: Literal["aws", "customer"] = Field(
        "aws",
        description='"aws": the keys that AWS manages, free; "customer": one KMS key for the '
        "stage, which can be disabled and whose use is audited.",
    )
    key_arn: str | None = Field(
        None,
        pattern=f"^{ARN_HEAD.format(service='kms')}key/({UUID}|mrk-[0-9a-f]{{32}})$",
        description="An existing KMS key to use; its policy must let the services in (see "
        "docs/howto/network.md). null: a key of the stage's own.",
        examples=["arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"],
    )
