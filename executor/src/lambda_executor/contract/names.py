"""Names that several rooms have to agree on, each typed once."""

from __future__ import annotations

import re
from typing import Final

#: The value of `[core] executor`.
EXECUTOR: Final = "lambda_executor.LambdaExecutor"

#: The event of Airflow's audit log that holds the reason why a workload failed.
FAILURE_EVENT: Final = "lambda executor"

#: The event of Airflow's audit log that holds the reason why a task goes to another target than the
#: default one.
ROUTING_EVENT: Final = "lambda executor routing"

#: What Lambda allows as the name of a variable.
#: https://docs.aws.amazon.com/lambda/latest/api/API_Environment.html
VARIABLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]+")

#: Prefix of the variables of a control plane's containers. The stacks set these variables, from
#: Secrets Manager where they are secret; `lambda_image.control_plane` turns them into Airflow's
#: settings.
CONTAINER_PREFIX: Final = "AIRFLOW_LAMBDA_"
DATABASE_HOST: Final = f"{CONTAINER_PREFIX}DATABASE_HOST"
DATABASE_PORT: Final = f"{CONTAINER_PREFIX}DATABASE_PORT"
DATABASE_NAME: Final = f"{CONTAINER_PREFIX}DATABASE_NAME"
DATABASE_USERNAME: Final = f"{CONTAINER_PREFIX}DATABASE_USERNAME"
DATABASE_PASSWORD: Final = f"{CONTAINER_PREFIX}DATABASE_PASSWORD"
DATABASE: Final = (
    DATABASE_HOST,
    DATABASE_PORT,
    DATABASE_NAME,
    DATABASE_USERNAME,
    DATABASE_PASSWORD,
)
FERNET_KEY: Final = f"{CONTAINER_PREFIX}FERNET_KEY"
SIGNING_KEY: Final = f"{CONTAINER_PREFIX}SIGNING_KEY"
#: Set for the api-server only: it is where people log in.
ADMIN_PASSWORD: Final = f"{CONTAINER_PREFIX}ADMIN_PASSWORD"

#: The metrics that the stacks read from a function's log are in a namespace of this and its name.
FUNCTION_METRICS: Final = "AirflowLambda"
#: Two of them: how long the start of an execution environment took, and a restore, in milliseconds.
#: They have a sample for each cold start and for each restore.
INIT_TIME: Final = "InitTime"
RESTORE_DURATION: Final = "RestoreDuration"
