"""What the workloads may do and know: their variables, secrets and permissions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from lambda_executor.contract import secret_reference
from lambda_executor.contract.secret_reference import SecretReference
from stacks.config.sections.section import Section, rule

#: Keys of a statement that a stage refuses, and what to write in their place.
_REFUSED_KEYS: Mapping[str, str] = {
    "NotAction": "it allows every action but a few: list the actions in Action",
    "NotPrincipal": "a role's policy has no principal: the role itself is who may act",
    "NotResource": "it covers every resource but a few: list the resources in Resource",
    "Principal": "a role's policy has no principal: the role itself is who may act",
}


def _a_list(value: object) -> object:
    """IAM writes a list of one as its item."""
    return [value] if isinstance(value, str) else value


def _a_secret(value: str) -> str:
    return str(SecretReference.parse(value))


Secret = Annotated[str, AfterValidator(_a_secret), Field(examples=[secret_reference.EXAMPLE])]
ActionName = Annotated[
    str,
    Field(
        pattern=r"^(\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+)$",
        examples=["s3:GetObject"],
        json_schema_extra=rule("an action of IAM with its service"),
    ),
]
ResourceName = Annotated[str, Field(min_length=1, examples=["arn:aws:s3:::orders/*"])]


class Statement(Section):
    """A statement of an IAM policy, spelled as in IAM.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
    """

    sid: str | None = Field(
        None,
        alias="Sid",
        pattern=r"^[A-Za-z0-9]+$",
        description="Its name.",
        examples=["ReadOrders"],
        json_schema_extra=rule("letters and digits"),
    )
    effect: Literal["Allow", "Deny"] = Field(
        alias="Effect", description="Whether it allows or denies the actions."
    )
    action: Annotated[list[ActionName], BeforeValidator(_a_list)] = Field(
        alias="Action",
        min_length=1,
        description="The actions, or one as a text. To allow, each names its service and the "
        "beginning or the end of its name at least: `s3:Get*`, but neither `*` nor `s3:*`.",
    )
    resource: Annotated[list[ResourceName], BeforeValidator(_a_list)] = Field(
        alias="Resource", min_length=1, description="The resources, or one as a text."
    )
    condition: dict[str, JsonValue] = Field(
        {}, alias="Condition", description="When it applies; {}: always."
    )

    @model_validator(mode="before")
    @classmethod
    def _keys_are_those_of_a_role(cls, given: Any) -> Any:  # noqa: ANN401 - not yet checked
        for key in given if isinstance(given, Mapping) else ():
            if why := _REFUSED_KEYS.get(key):
                raise ValueError(f"it has {key}; {why}")
        return given

    @model_validator(mode="after")
    def _what_is_allowed_has_a_name(self) -> Statement:
        for action in self.action if self.effect == "Allow" else ():
            service, _, name = action.partition(":")
            if {"*", "?"} & {*service} or {name[:1], name[-1:]} <= {"*", "?", ""}:
                example = "s3" if {"*", "?"} & {*service} else service
                raise ValueError(
                    f"it allows {action}, which is more than a task needs: list the actions, such "
                    f"as {example}:Get* and {example}:List*, or name one of AWS's managed policies "
                    "in `policies`"
                )
        return self

    def as_json(self) -> dict[str, Any]:
        """The statement as IAM takes it."""
        return self.model_dump(by_alias=True, exclude_defaults=True)


Environment = Annotated[
    dict[str, str],
    Field(
        description="Variables by their names, in plain text: everybody who may read the function "
        "sees them. A password belongs in `secrets`.",
        examples=[{"ORDERS_BUCKET": "orders"}],
    ),
]
Secrets = Annotated[
    dict[str, Secret],
    Field(
        description="Secrets of Secrets Manager by the names of the variables that hold their "
        "values, which are in no template and no setting of the function. `:<key>::` after the "
        "ARN takes one key of a JSON secret.",
        examples=[{"AIRFLOW_CONN_ORDERS": secret_reference.EXAMPLE}],
    ),
]
Policies = Annotated[
    list[
        Annotated[
            str,
            Field(
                pattern=r"^arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/[A-Za-z0-9+=,.@_/-]{1,640}$",
                examples=["arn:aws:iam::aws:policy/AmazonAthenaFullAccess"],
                json_schema_extra=rule("the ARN of a managed policy"),
            ),
        ]
    ],
    Field(description="ARNs of managed policies of IAM, AWS's own or the account's."),
]
Statements = Annotated[
    list[Statement], Field(description="Statements of IAM policies, in IAM's own JSON.")
]


class WorkloadsConfig(Section):
    """What the workloads of every function may do, and the variables they have."""

    environment: Environment = Field({})
    secrets: Secrets = Field({})
    policies: Policies = Field([])
    statements: Statements = Field([])
