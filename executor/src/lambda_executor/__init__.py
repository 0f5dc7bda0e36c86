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
        from lambda_executor.scheduler.executor import LambdaExecutor  # noqa: PLC0415 - on first use

        return LambdaExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
