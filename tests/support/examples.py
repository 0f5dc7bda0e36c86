"""The examples: what their `stage.json` gives to a task, on an embedded AWS that enforces it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.local_aws import ACCOUNT, REGION, ROOT, Server

EXAMPLES = ROOT / "examples"


def workload_variables(example: str, aws: Server) -> dict[str, str]:
    """The variables of a task of an example: the stage's, and a session with its permissions.

    The session also has those of the triggerer, because `dag.test()` runs triggers itself.
    """
    stage = json.loads((EXAMPLES / example / "stage.json").read_text())
    statements = [
        statement
        for section in ("workloads", "control_plane")
        for statement in stage.get(section, {}).get("statements", [])
    ]
    return {
        **stage["workloads"].get("environment", {}),
        **_session(aws, f"example-{example}".replace("_", "-"), statements),
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_DEFAULT_REGION": REGION,
    }


def folder(example: str) -> Path:
    """The folder of its DAGs."""
    return EXAMPLES / example / "dags"


def _session(aws: Server, role: str, statements: list[dict[str, Any]]) -> dict[str, str]:
    """The variables of a new role's session."""
    iam = aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=_policy([trust]))
    iam.put_role_policy(RoleName=role, PolicyName="stage", PolicyDocument=_policy(statements))
    arn = made["Role"]["Arn"]
    session = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="task")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }


def _policy(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
