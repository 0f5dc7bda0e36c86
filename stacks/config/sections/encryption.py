"""The key that encrypts the stage's data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stacks.config.sections.section import ARN_HEAD, UUID, Section, rule


class EncryptionConfig(Section):
    """The key that encrypts the stage's data."""

    key: Literal["aws", "customer"] = Field(
        "aws",
        description='"aws": the keys that AWS manages, which are free; "customer": a KMS key, '
        "which can be disabled and whose use is audited. Choose before the first deploy: a later "
        "change is refused, or replaces the database (docs/howto/network.md).",
    )
    key_arn: str | None = Field(
        None,
        pattern=f"^{ARN_HEAD.format(service='kms')}key/({UUID}|mrk-[0-9a-f]{{32}})$",
        description="An existing KMS key, whose policy must allow the services to use it (see "
        "docs/howto/network.md); null: the stage makes one.",
        examples=["arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"],
        json_schema_extra=rule("the ARN of a KMS key"),
    )
