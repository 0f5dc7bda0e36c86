"""The files with an Airflow's settings, read as their users read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
import yaml  # type: ignore[import-untyped] # no stubs, and five calls do not need any
from aws_cdk.assertions import Template

from stacks.wiring.forms import Wiring, env_file, helm_values
from stacks.wiring.parameter import hand_out, secrets_policy

WIRING = Wiring(
    stage="dev",
    region="eu-west-1",
    config_parameter="/airflow-lambda/dev/executor",
    remote_log_folder="s3://logs/task-logs",
    dags_uri="s3://dags/dags/",
    dag_policy_arn="arn:aws:iam::123456789012:policy/dags",
    execution_api_url="https://airflow.example.com/execution/",
    scheduler_policy_arn="arn:aws:iam::123456789012:policy/scheduler",
    secrets_policy_arn="arn:aws:iam::123456789012:policy/secrets",
    task_queued_timeout_s=600,
    parallelism=32,
)

#: What the file, and what it has as a comment, says to Airflow.
SETTINGS = {
    ("core", "executor"): "lambda_executor.LambdaExecutor",
    ("lambda_executor", "config_parameter"): "/airflow-lambda/dev/executor",
    ("lambda_executor", "region_name"): "eu-west-1",
    ("logging", "remote_logging"): "True",
    ("logging", "remote_base_log_folder"): "s3://logs/task-logs",
    ("dag_processor", "dag_bundle_config_list"): (
        '[{"name": "dags-folder", "classpath": "lambda_executor.bundles.S3ManifestBundle", '
        '"kwargs": {"s3_uri": "s3://dags/dags/", "refresh_interval": 5}}]'
    ),
}
SECRETS = {
    ("secrets", "backend"): (
        "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"
    ),
    ("secrets", "backend_kwargs"): (
        '{"connections_prefix": "airflow-lambda/dev/connections", '
        '"variables_prefix": "airflow-lambda/dev/variables"}'
    ),
}


def variables(text: str) -> dict[str, str]:
    """An env file as Docker reads it: no quotes, and # starts a comment line.

    https://docs.docker.com/reference/cli/docker/container/run/#env
    """
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def uncommented(text: str) -> str:
    """The file with the secrets backend uncommented."""
    return text.replace("#AIRFLOW__", "AIRFLOW__")


def told(environment: Mapping[str, str], home: Path, *options: tuple[str, str]) -> list[str]:
    """The values that a real Airflow reads from these variables, or its error."""
    program = (
        "import json, sys\n"
        "from airflow.configuration import conf\n"
        "print(json.dumps([conf.get(*option) for option in json.loads(sys.argv[1])]))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, json.dumps(options)],
        env={"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def test_airflow_reads_the_env_file(tmp_path: Path) -> None:
    """Every line of the file, the optional ones included, is an option that a real Airflow has."""
    given = variables(uncommented(env_file(WIRING)))
    assert given.keys() == {
        f"AIRFLOW__{section.upper()}__{option.upper()}" for section, option in (*SETTINGS, *SECRETS)
    }
    wanted = {**SETTINGS, **SECRETS}
    assert told(given, tmp_path, *wanted) == list(wanted.values())


def test_secrets_backend_is_left_to_whoever_has_one() -> None:
    """The secrets backend is commented out, so it does not replace another one."""
    assert not [name for name in variables(env_file(WIRING)) if "SECRETS" in name]


def test_without_remote_logs_the_env_file_says_nothing_of_them() -> None:
    """Without remote logging in the stage, the file does not set it."""
    assert "LOGGING" not in env_file(replace(WIRING, remote_log_folder=None))


@pytest.mark.parametrize("form", [env_file, helm_values])
def test_dag_files_in_s3_come_with_the_policy_that_reads_them(
    form: Callable[[Wiring], str],
) -> None:
    """Without them neither the bundle nor its policy is named."""
    assert f"DAG processor needs the policy {WIRING.dag_policy_arn}\n" in form(WIRING)
    without = form(replace(WIRING, dags_uri=None, dag_policy_arn=None))
    assert "dagProcessor" not in without
    assert "DAG_PROCESSOR" not in without
    assert "DAG processor" not in without


def test_helm_values_say_the_same_in_the_charts_words() -> None:
    """The chart's documented keys, and the same settings as in the env file.

    https://airflow.apache.org/docs/helm-chart/stable/parameters-ref.html
    """
    values: dict[str, Any] = yaml.safe_load(helm_values(WIRING))
    assert values.keys() == {"executor", "env", "scheduler", "apiServer", "dagProcessor"}
    in_env = {item["name"]: item["value"] for item in values["env"]}
    assert {"AIRFLOW__CORE__EXECUTOR": values["executor"], **in_env} == variables(env_file(WIRING))
    for part in ("scheduler", "apiServer", "dagProcessor"):
        (annotation,) = values[part]["serviceAccount"]["annotations"]
        assert annotation == "eks.amazonaws.com/role-arn"


def test_helm_values_take_the_secrets_backend_when_it_is_uncommented() -> None:
    """Without the # the values are valid YAML with the settings of the env file."""
    text = helm_values(WIRING).replace("  #- name", "  - name").replace("  #  value", "    value")
    in_env = {item["name"]: item["value"] for item in yaml.safe_load(text)["env"]}
    given = variables(uncommented(env_file(WIRING)))
    given.pop("AIRFLOW__CORE__EXECUTOR")
    assert in_env == given


@pytest.fixture
def template(tmp_path: Path) -> Template:
    """A stack that hands the forms out."""
    stack = cdk.Stack(cdk.App(outdir=str(tmp_path)), "Theirs")
    hand_out(stack, replace(WIRING, region=stack.region))
    secrets_policy(stack, "dev", None)
    return Template.from_stack(stack)


def test_each_form_is_one_command_away(template: Template) -> None:
    """An output has the command, and its parameter has the whole file."""
    parameters = template.find_resources("AWS::SSM::Parameter")
    names = {value["Properties"]["Name"]: key for key, value in parameters.items()}
    assert names.keys() == {"/airflow-lambda/dev/env", "/airflow-lambda/dev/helm-values"}
    outputs = template.to_json()["Outputs"]
    for name, key in (("env", "EnvFileCommand"), ("helm-values", "HelmValuesCommand")):
        _, parts = outputs[key]["Value"]["Fn::Join"]
        command = "".join(p if isinstance(p, str) else "<token>" for p in parts)
        assert command == (
            "aws ssm get-parameter --region <token> --name <token> "
            "--query Parameter.Value --output text"
        )
        assert {"Ref": names[f"/airflow-lambda/dev/{name}"]} in parts


def test_forms_fit_into_a_parameter(template: Template) -> None:
    """The file uses at most half of a parameter's 4 KB, the rest is for generated names.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
    """
    for parameter in template.find_resources("AWS::SSM::Parameter").values():
        value = parameter["Properties"]["Value"]
        assert len(json.dumps(value)) < 2500


def test_secrets_policy_reads_one_stages_secrets(template: Template) -> None:
    """The secrets policy allows one action below one prefix."""
    (policy,) = template.find_resources("AWS::IAM::ManagedPolicy").values()
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "secretsmanager:GetSecretValue"
    assert statement["Resource"]["Fn::Join"][1][-1] == ":secret:airflow-lambda/dev/*"
