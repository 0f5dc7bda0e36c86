"""Everything that all stacks of a stage have in common: names, account, removal policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.config import DEFAULT_FUNCTION, FunctionConfig, StageConfig
from stacks.stage import names
from stacks.stage.retention import RETENTION


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage and the ARN of the KMS key for its data; None: AWS's own keys."""

    name: str
    config: StageConfig
    key_arn: str | None

    @property
    def prefix(self) -> str:
        """The physical names of the stage begin with it."""
        return names.prefix(self.name)

    @property
    def log_retention(self) -> logs.RetentionDays:
        """How long the stage's logs are kept."""
        return RETENTION[self.config.logs.retention_days]

    def path(self, name: str) -> str:
        """Return the full name of a log group or a parameter of the stage."""
        return f"/{names.folder(self.name)}/{name}"

    def function_name(self, function: FunctionConfig) -> str:
        """Return the physical name of a function; the default one has the stage's prefix alone."""
        is_default = function.name == DEFAULT_FUNCTION
        return self.prefix if is_default else f"{self.prefix}-{function.name}"


class StageStack(cdk.Stack):
    """One stack of a stage, `airflow-lambda-<stage>-<part>`.

    The same commit and context give the same template on any machine, without an AWS call.
    `removal` decides what happens to the stage's data when the stack is deleted.
    """

    def __init__(
        self,
        scope: Construct,
        part: str,
        stage: Stage,
        *,
        description: str,
        synthesizer: cdk.IStackSynthesizer | None = None,
    ) -> None:
        self.stage = stage
        self.config = config = stage.config
        retain = config.removal == "retain"
        # If a first deploy fails, its resources are empty, and would block the names of the next
        # one. So the policy does not retain them (docs/howto/first-deploy-failed.md).
        self.removal = (
            cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if retain else cdk.RemovalPolicy.DESTROY
        )
        super().__init__(
            scope,
            f"{stage.prefix}-{part}",
            description=f"Airflow on Lambda, stage {stage.name}: {description}",
            env=cdk.Environment(account=config.account, region=config.region),
            synthesizer=synthesizer,
            tags={names.STAGE_TAG: stage.name},
            termination_protection=retain,
        )

    @cached_property
    def key(self) -> kms.IKey | None:
        """The KMS key for the stack's data; None: AWS's own keys."""
        key_arn = self.stage.key_arn
        return kms.Key.from_key_arn(self, "Key", key_arn) if key_arn else None

    def output(self, name: str, value: str, description: str | None = None) -> None:
        """Add an output to the stack."""
        cdk.CfnOutput(self, name, value=value, description=description)
