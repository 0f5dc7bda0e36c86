"""The reference's function in an environment of the demo, beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from demo.installation.environment import Environment
from local_aws.images.store import ImageStore
from tests.e2e import migration

#: What the names of its function and of the roles begin with.
NAME = "airflow-lambda-reference"


def furnish_reference(
    environment: Environment, concurrency: int, more: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Make what the reference's documentation tells its users to make.

    Args:
        environment: The running one.
        concurrency: How many invocations the function runs at once.
        more: Variables of the function.

    Returns:
        The variables that its scheduler needs, which acts as a role of its own.
    """
    aws = environment.aws
    sqs = aws.client("sqs")
    results, dead = (
        sqs.create_queue(QueueName=f"reference-{name}")["QueueUrl"] for name in ("results", "dead")
    )
    variables = {
        "QUEUE_URL": results,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{environment.airflow.url}/execution/",
        "AIRFLOW__CORE__DAGS_FOLDER": str(environment.home.dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **more,
    }
    store = ImageStore(environment.home.aws / "images")
    image = migration.reference_image(aws, store, environment.home.dags)
    function = migration.make_function(aws, f"{NAME}-function", image, variables)
    aws.client("lambda").put_function_concurrency(
        FunctionName=function, ReservedConcurrentExecutions=concurrency
    )
    prefix = "AIRFLOW__AWS_LAMBDA_EXECUTOR__"
    role_arn = migration.make_role(aws, f"{NAME}-scheduler", *migration.CALLS_OF_REFERENCE)
    folder = environment.home.airflow / NAME
    folder.mkdir()
    return {
        **aws.environment_as(role_arn, folder),
        f"{prefix}FUNCTION_NAME": function,
        f"{prefix}QUEUE_URL": results,
        f"{prefix}DEAD_LETTER_QUEUE_URL": dead,
        f"{prefix}REGION_NAME": aws.region,
    }
