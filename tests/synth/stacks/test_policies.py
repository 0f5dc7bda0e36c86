"""The policies of a stage, against AWS's service authorization reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.synth.judge.arns import misfits
from tests.synth.judge.rendered import Rendering
from tests.synth.policies import statements

QUEUE = "arn:aws:sqs:eu-west-1:111122223333:queue"


def test_every_statement_permits_what_it_says(rendering: Rendering) -> None:
    """Every action exists and is for one of its statement's resources, and the other way round."""
    found = [
        f"{resource}: {statement.get('Sid', '')}: {misfit}"
        for resource in rendering.resources()
        for statement in statements(resource)
        for misfit in misfits(statement)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ({"Action": "sqs:SendMessages", "Resource": QUEUE}, "is no action"),
        ({"Action": "sqss:SendMessage", "Resource": QUEUE}, "is no action"),
        ({"Action": "s3:GetObject", "Resource": QUEUE}, "s3:GetObject is for"),
        ({"Action": ["sqs:*", "s3:Get*"], "Resource": QUEUE}, "s3:Get* is for"),
        ({"Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:queue"}, "is no ARN"),
        ({"Action": "ec2:DescribeSubnets", "Resource": QUEUE}, "only Resource * permits it"),
        (
            {"Action": "sqs:SendMessage", "Resource": [QUEUE, "arn:aws:s3:::bucket"]},
            "arn:aws:s3:::bucket is nothing that sqs:SendMessage would be for",
        ),
        (
            {"Action": "kms:Decrypt", "Resource": "arn:aws:kms:eu-west-1:111122223333:alias/a"},
            "kms:Decrypt is for",
        ),
    ],
)
def test_misfits_are_found(statement: Mapping[str, Any], message: str) -> None:
    """A statement that permits nothing is found."""
    assert any(message in misfit for misfit in misfits(statement))


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": "*", "Resource": "*"},
        {
            "Action": ["s3:Get*", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
        },
        {"Action": "lambda:InvokeFunction", "Resource": "arn:aws:lambda:*:*:function:airflow-*"},
        {"NotAction": "iam:*", "Resource": QUEUE},
        {"Action": "sqs:*"},
    ],
)
def test_what_fits_is_not_found(statement: Mapping[str, Any]) -> None:
    """A sound statement is left alone; a repository's policy needs no resource."""
    assert list(misfits(statement)) == []
