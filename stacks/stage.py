"""What all stacks of a stage have in common: names, account, removal policy.

It must not know what any of the stacks contains.
"""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from stacks.config import StageConfig


class StageStack(cdk.Stack):
    """One stack of a stage, `airflow-lambda-<stage>-<part>`.

    Without a pinned account it is environment-agnostic, and it always is as to the Region: the
    same commit and context give the same template on any machine, without an AWS call.

    Args:
        scope: The app.
        part: What the stack is: the last part of its name.
        stage: The stage's name.
        config: The stage's configuration.
        description: Shown in the CloudFormation console.
        synthesizer: None: the CDK's default.

    Attributes:
        prefix: What the physical names of the stage start with.
        removal: What becomes of the stack's data when the stack is deleted.
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
    ) -> None:
        self.prefix = f"airflow-lambda-{stage}"
        retain = config.removal == "retain"
        self.removal = cdk.RemovalPolicy.RETAIN if retain else cdk.RemovalPolicy.DESTROY
        super().__init__(
            scope,
            f"{self.prefix}-{part}",
            description=f"Airflow on Lambda, stage {stage}: {description}",
            env=cdk.Environment(account=config.account),
            synthesizer=synthesizer,
            tags={"airflow-lambda:stage": stage},
            termination_protection=retain,
        )
