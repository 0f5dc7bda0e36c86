"""The AWS account and Region of a stage of cdk.json, for the commands that change what is there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import boto3

from stacks.config import StageConfig
from stacks.config.loading import load


class StageAccountError(Exception):
    """It is not known where the stage is, or these credentials are for another account."""


@dataclass(frozen=True, slots=True)
class StageAccount:
    """Where a stage is, with a session for it."""

    session: boto3.Session
    account: str

    def __str__(self) -> str:
        return f"{self.session.region_name}, account {self.account}"


def config_of(stage: str) -> StageConfig:
    """Return the configuration of a stage.

    Raises:
        StageConfigError: cdk.json does not have the stage, or has it with a value that is refused.
    """
    cdk_json = Path(__file__).with_name("cdk.json").read_text(encoding="utf-8")
    return load(json.loads(cdk_json)["context"]["stages"], stage)


def account_of(stage: str, config: StageConfig) -> StageAccount:
    """Return the stage's account, if the credentials are for it.

    Raises:
        StageAccountError: They are for another account, or the Region is not known.
        BotoCoreError, ClientError: There are no credentials, or AWS does not take them.
    """
    session = boto3.Session(region_name=_region(config))
    account = session.client("sts").get_caller_identity()["Account"]
    if config.account and config.account != account:
        raise StageAccountError(
            f"The stage {stage} is in account {config.account}, but these credentials are for "
            f"account {account}: use credentials for {config.account}."
        )
    return StageAccount(session, account)


def _region(config: StageConfig) -> str:
    """The Region that the CDK CLI deploys to; botocore alone ignores AWS_REGION."""
    if region := config.region or os.environ.get("AWS_REGION") or boto3.Session().region_name:
        return region
    raise StageAccountError(
        "The Region of the stage is not set, neither in cdk.json, nor by AWS_REGION, nor in the "
        "AWS profile: set AWS_REGION to the Region that the stage was deployed to."
    )
