"""What a stage gives its workloads: refused values, and what the templates make of them."""

from __future__ import annotations

import pytest

from stacks.config.loading import StageConfigError, load

STAGES = {
    "dev": {
        "removal": "destroy",
        "execution": {"execution_api_url": "https://airflow.test/execution/"},
    }
}
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
BUCKET = "arn:aws:s3:::orders"


def statement(**changes: object) -> dict[str, object]:
    """A statement that is allowed, with these changes."""
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{BUCKET}/*", **changes}


def refusal(**workloads: object) -> str:
    """What a person is told about the section."""
    with pytest.raises(StageConfigError) as refused:
        load(STAGES, "dev", {"workloads": workloads})
    return str(refused.value)


@pytest.mark.parametrize("action", ["*", "*:*", "s3:*", "s3:**", "s*:GetObject", "s3:?*"])
def test_every_action_of_a_service_is_refused(action: str) -> None:
    """An Allow names a service and the beginning of an action; the message says what to write."""
    message = refusal(statements=[statement(Action=["s3:GetObject", action])])
    assert f"it allows {action}, which is more than a task needs" in message
    assert "s3:Get* and s3:List*" in message


@pytest.mark.parametrize("action", ["s3:Get*", "s3:*Object", "s3:GetObject"])
def test_families_of_actions_are_allowed(action: str) -> None:
    """The beginning or the end of an action's name is enough."""
    config = load(STAGES, "dev", {"workloads": {"statements": [statement(Action=action)]}})
    assert config.workloads.statements[0].as_json()["Action"] == [action]


def test_a_denial_may_name_everything() -> None:
    """A Deny only narrows what a role may do."""
    load(STAGES, "dev", {"workloads": {"statements": [statement(Effect="Deny", Action="*")]}})


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (statement(NotAction="s3:Get*"), "it has NotAction; it allows every action but a few"),
        (statement(Principal="*"), "it has Principal; a role's policy has no principal"),
        (statement(NotResource="*"), "it has NotResource; it covers every resource but a few"),
        (statement(action="s3:Get*"), "unknown key workloads.statements[0].action"),
        ({"Effect": "Allow", "Action": "s3:Get*"}, "workloads.statements[0].Resource is missing"),
        (statement(Effect="allow"), 'Effect is "allow", allowed is one of "Allow", "Deny"'),
        (statement(Action="GetObject"), 'allowed is a list of texts such as "s3:GetObject"'),
    ],
)
def test_a_statement_that_no_role_takes_is_refused(
    statements: dict[str, object], expected: str
) -> None:
    """The message has the key, the value and what is allowed."""
    assert expected in refusal(statements=[statements])


@pytest.mark.parametrize("reference", [SECRET[:-7], "orders", f"{SECRET}:key", f"{SECRET}:::"])
def test_a_secret_is_named_by_its_complete_arn(reference: str) -> None:
    """The message says what a complete ARN is, with an example."""
    message = refusal(secrets={"PASSWORD": reference})
    assert f'workloads.secrets.PASSWORD is "{reference}"' in message
    assert "the complete ARN of a secret, with the six characters at its end" in message


def test_a_functions_own_variable_wins() -> None:
    """A function gets what all have and more, and its own value of a variable."""
    secret = f"{SECRET}:password::"
    config = load(
        STAGES,
        "dev",
        {
            "workloads": {"environment": {"A1": "all", "B1": "all"}, "secrets": {"KEY": SECRET}},
            "functions": [
                {
                    "name": "default",
                    "environment": {"B1": "own"},
                    "secrets": {"KEY": secret},
                    "statements": [statement()],
                }
            ],
        },
    )
    given = config.workloads_of(config.default_function)
    assert given.environment == {"A1": "all", "B1": "own"}
    assert given.secrets == {"KEY": secret}
    assert [each.as_json()["Resource"] for each in given.statements] == [[f"{BUCKET}/*"]]
