"""The ECR repository of the stage's image, which outlives its images and the functions."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.stage.stage_stack import Stage, StageStack
from stacks.stage.synthesizer import qualified


class RegistryStack(StageStack):
    """The ECR repository that `cdk deploy` publishes the image into."""

    def __init__(self, scope: Construct, stage: Stage) -> None:
        super().__init__(scope, "registry", stage, description="the repository of the image")
        self.repository_name = stage.prefix
        repository = ecr.Repository(
            self,
            "Repository",
            repository_name=self.repository_name,
            # A tag is the hash of the image's sources, so it never moves.
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            image_scan_on_push=True,
            encryption=ecr.RepositoryEncryption.KMS if self.key else None,
            encryption_key=self.key,
            # Without lifecycle rules, which do not know what Lambda and ECS run: `make prune` does.
            # docs/decisions/0046-images-are-pruned.md
            removal_policy=self.removal,
            empty_on_delete=self.removal == cdk.RemovalPolicy.DESTROY,
        )
        repository.add_to_resource_policy(self._cdk_may_publish())
        repository.add_to_resource_policy(self._lambda_may_pull())

    def _cdk_may_publish(self) -> iam.PolicyStatement:
        """By default the bootstrap role may push only into its own repository."""
        role = qualified(
            self.synthesizer, cdk.DefaultStackSynthesizer.DEFAULT_IMAGE_ASSET_PUBLISHING_ROLE_ARN
        )
        return iam.PolicyStatement(
            sid="CdkImagePublishing",
            principals=[iam.ArnPrincipal(cdk.Fn.sub(role))],
            actions=[
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:CompleteLayerUpload",
                "ecr:DescribeImages",
                "ecr:DescribeRepositories",
                "ecr:GetDownloadUrlForLayer",
                "ecr:InitiateLayerUpload",
                "ecr:PutImage",
                "ecr:UploadLayerPart",
            ],
        )

    def _lambda_may_pull(self) -> iam.PolicyStatement:
        """Without this statement Lambda would add it itself, behind CloudFormation's back.

        It names each function, and all versions of it.
        https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#configuration-images-permissions
        """
        return iam.PolicyStatement(
            sid="LambdaECRImageRetrievalPolicy",
            principals=[iam.ServicePrincipal("lambda.amazonaws.com")],
            actions=["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            conditions={
                "StringLike": {
                    "aws:sourceArn": [
                        self.format_arn(
                            service="lambda",
                            resource="function",
                            resource_name=f"{self.stage.function_name(function)}{version}",
                            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                        )
                        for function in self.config.functions
                        for version in ("", ":*")
                    ]
                }
            },
        )
