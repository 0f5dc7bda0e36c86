"""What all stacks of a stage have in common: names, account, removal policy.

It must not know what any of the stacks contains.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from constructs import Construct

from stacks.config import DEFAULT_FUNCTION, FunctionConfig, StageConfig

#: On everything that is part of a stage, with the stage's name.
STAGE_TAG = "airflow-lambda:stage"


class StageStack(cdk.Stack):
    """One stack of a stage, `airflow-lambda-<stage>-<part>`.

    Without a pinned account or Region it is environment-agnostic as to them: the same commit and
    context give the same template on any machine, without an AWS call.

    Args:
        scope: The app.
        part: What the stack is: the last part of its name.
        stage: The stage's name.
        config: The stage's configuration.
        description: Shown in the CloudFormation console.
        synthesizer: None: the CDK's default.
        key_arn: Of the KMS key for what the stack stores; None: the keys of AWS's own.

    Attributes:
        prefix: What the physical names of the stage start with.
        removal: What becomes of the stack's data when the stack is deleted.
        key: The KMS key for what the stack stores; None: the keys of AWS's own.
    """

    def __init__(  # noqa: PLR0913 - a stack's own few words
        self,
        scope: Construct,
        part: str,
        *,
        stage: str,
        config: StageConfig,
        description: str,
        synthesizer: cdk.IStackSynthesizer | None = None,
        key_arn: str | None = None,
    ) -> None:
        self.prefix = f"airflow-lambda-{stage}"
        retain = config.removal == "retain"
        # What a first deploy that fails has made is empty, and its name would be in the way of the
        # next one (docs/howto/first-deploy-failed.md).
        self.removal = (
            cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if retain else cdk.RemovalPolicy.DESTROY
        )
        super().__init__(
            scope,
            f"{self.prefix}-{part}",
            description=f"Airflow on Lambda, stage {stage}: {description}",
            env=cdk.Environment(account=config.account, region=config.region),
            synthesizer=synthesizer,
            tags={STAGE_TAG: stage},
            termination_protection=retain,
        )
        self.key = kms.Key.from_key_arn(self, "Key", key_arn) if key_arn else None

    def function_name(self, function: FunctionConfig) -> str:
        """Physical name of a function of the stage; the default one has the stage's own."""
        is_default = function.name == DEFAULT_FUNCTION
        return self.prefix if is_default else f"{self.prefix}-{function.name}"
