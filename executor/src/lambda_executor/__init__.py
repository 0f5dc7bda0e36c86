"""An Airflow executor that runs each task as one asynchronous AWS Lambda invocation.

`LambdaExecutor` is imported on first use, so that the image and the stacks can import
`lambda_executor.contract` without Airflow and boto3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lambda_executor.scheduler.executor import LambdaExecutor

__all__ = ["LambdaExecutor"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name == "LambdaExecutor":
        _require_airflow_3()
        from lambda_executor.scheduler.executor import LambdaExecutor  # noqa: PLC0415 - on first use

        return LambdaExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _require_airflow_3() -> None:
    """Name the reason before an import of something that only Airflow 3 has fails.

    Raises:
        ConfigError: An older Airflow is installed.
    """
    from airflow.version import version  # noqa: PLC0415 - as above

    from lambda_executor.contract.errors import ConfigError  # noqa: PLC0415 - as above

    if int(version.partition(".")[0]) < 3:  # noqa: PLR2004 - the major version
        raise ConfigError(
            f"airflow-lambda-executor needs Airflow 3.0.6 or newer, and this is Airflow {version}: "
            "upgrade Airflow, or set [core] executor to one that this Airflow has"
        )
