"""The settings with which an Airflow uses a stage, and the files that hand them out.

Functions, the stage's own control plane and an Airflow elsewhere get the same settings. They
contain no secret, only names of secrets. Values that are unknown before a deploy are CDK tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lambda_executor.contract import options
from lambda_executor.contract.dag_manifest import bundle_config
from lambda_executor.contract.names import EXECUTOR
from stacks.config import StageConfig
from stacks.stage.names import folder

_SECRETS_BACKEND = "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The facts about a stage that an Airflow needs.

    Attributes:
        config_parameter: Name of the SSM parameter with the executor's options.
        remote_log_folder: Functions upload task logs to it; None: they do not.
        dags_uri: The folder in S3 with the DAG files; None: they come from elsewhere.
        dag_policy_arn: Managed policy for reading that folder.
        execution_api_url: Functions expect the Execution API of that Airflow there.
        scheduler_policy_arn: Managed policy for the role of that Airflow.
        secrets_policy_arn: Managed policy for reading connections and variables.
        task_queued_timeout_s: The stage expects this setting of that Airflow.
        parallelism: The stage expects this setting of each scheduler.
    """

    stage: str
    region: str
    config_parameter: str
    remote_log_folder: str | None
    dags_uri: str | None
    dag_policy_arn: str | None
    execution_api_url: str
    scheduler_policy_arn: str
    secrets_policy_arn: str
    task_queued_timeout_s: int
    parallelism: int


def executor_settings(config_parameter: str) -> Mapping[str, str]:
    """The settings that choose the executor and wire it."""
    return {
        "AIRFLOW__CORE__EXECUTOR": EXECUTOR,
        options.CONFIG_PARAMETER.environment_variable: config_parameter,
    }


def remote_logging_settings(folder: str | None) -> Mapping[str, str]:
    """The settings for writing and showing task logs; None: no remote logging."""
    if folder is None:
        return {}
    return {
        "AIRFLOW__LOGGING__REMOTE_LOGGING": "True",
        "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": folder,
    }


def secrets_settings(stage: str) -> Mapping[str, str]:
    """The settings for reading connections and variables from Secrets Manager first."""
    return {
        "AIRFLOW__SECRETS__BACKEND": _SECRETS_BACKEND,
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(
            {
                "connections_prefix": f"{folder(stage)}/connections",
                "variables_prefix": f"{folder(stage)}/variables",
            }
        ),
    }


def dag_settings(config: StageConfig, dags_uri: str | None) -> Mapping[str, str]:
    """The setting for Airflow's DAG bundles; none if the DAG files are in the image."""
    if config.dags.source == "bundle":
        return _bundle_settings(bundle.model_dump() for bundle in config.dags.bundles)
    return _bundle_settings([bundle_config(dags_uri)]) if dags_uri else {}


def _bundle_settings(bundles: Iterable[Mapping[str, object]]) -> Mapping[str, str]:
    return {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(list(bundles))}


def env_file(wiring: Wiring) -> str:
    """Return a file of variables for `docker run --env-file` and Compose."""
    return f"""\
# An Airflow that uses the stage {wiring.stage} of Airflow on Lambda. No secret is in here.
# Its role needs the policy {wiring.scheduler_policy_arn}
{_dag_policy(wiring)}# The functions call its Execution API at {wiring.execution_api_url}
# The stage takes its [scheduler] task_queued_timeout (before Airflow 3.2 also [execution_api] \
jwt_expiration_time)
# to be {wiring.task_queued_timeout_s}, and its [core] parallelism {wiring.parallelism}.
{_lines(_settings(wiring), "{0}={1}")}
# Connections and variables out of Secrets Manager, below {folder(wiring.stage)}/; not \
with another secrets backend.
# The role then needs {wiring.secrets_policy_arn}
{_lines(secrets_settings(wiring.stage), "#{0}={1}")}
"""


def helm_values(wiring: Wiring) -> str:
    """Return values for the official chart, whose `executor` takes any class since 1.19.

    https://airflow.apache.org/docs/helm-chart/stable/parameters-ref.html
    """
    environment = {k: v for k, v in _settings(wiring).items() if k != "AIRFLOW__CORE__EXECUTOR"}
    return f"""\
# An Airflow that uses the stage {wiring.stage} of Airflow on Lambda. No secret is in here.
# Your image (images.airflow) has to have the distribution airflow-lambda-executor.
{_dag_policy(wiring)}# The functions call its Execution API at {wiring.execution_api_url}
# The stage takes its [scheduler] task_queued_timeout (before Airflow 3.2 also [execution_api] \
jwt_expiration_time)
# to be {wiring.task_queued_timeout_s}, and its [core] parallelism {wiring.parallelism}.
executor: {EXECUTOR}
env:
{_lines(environment, "  - name: {0}{br}    value: '{1}'")}
  # Connections and variables out of Secrets Manager, below {folder(wiring.stage)}/; not \
with another secrets backend.
  # The role then needs {wiring.secrets_policy_arn}
{_lines(secrets_settings(wiring.stage), "  #- name: {0}{br}  #  value: '{1}'")}
scheduler:
  serviceAccount:
    annotations:
      # A role of yours that the cluster's service accounts may assume, with the policy
      # {wiring.scheduler_policy_arn}
      eks.amazonaws.com/role-arn: &role "arn:aws:iam::<account>:role/<role>"
apiServer:  # It shows the logs.
  serviceAccount:
    annotations:
      eks.amazonaws.com/role-arn: *role
{_dag_processor(wiring)}"""


def _settings(wiring: Wiring) -> Mapping[str, str]:
    return {
        **executor_settings(wiring.config_parameter),
        options.REGION_NAME.environment_variable: wiring.region,
        **remote_logging_settings(wiring.remote_log_folder),
        **(_bundle_settings([bundle_config(wiring.dags_uri)]) if wiring.dags_uri else {}),
    }


def _dag_policy(wiring: Wiring) -> str:
    """Return a comment line, empty without DAG files in S3."""
    if not wiring.dag_policy_arn:
        return ""
    return f"# The role of its DAG processor needs the policy {wiring.dag_policy_arn}\n"


def _dag_processor(wiring: Wiring) -> str:
    """Return the DAG processor's values, empty without DAG files in S3."""
    if not wiring.dag_policy_arn:
        return ""
    return f"""\
dagProcessor:
  serviceAccount:
    annotations:
      # This role, or another one, with the policy {wiring.dag_policy_arn}
      eks.amazonaws.com/role-arn: *role
"""


def _lines(settings: Mapping[str, str], form: str) -> str:
    return "\n".join(form.format(*setting, br="\n") for setting in settings.items())
