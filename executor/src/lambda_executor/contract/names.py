"""Names that several rooms have to agree on, each typed once. Plain Python."""

from __future__ import annotations

from typing import Final

#: What `[core] executor` is set to.
EXECUTOR: Final = "lambda_executor.LambdaExecutor"

#: The event of Airflow's audit log that holds the reason why a workload failed.
FAILURE_EVENT: Final = "lambda executor"

#: Variables of a control plane's containers. The stacks set them, out of Secrets Manager where they
#: are secret; `lambda_image.control_plane` makes Airflow's settings of them.
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
#: The api-server's alone: only there does somebody log in.
ADMIN_PASSWORD: Final = f"{CONTAINER_PREFIX}ADMIN_PASSWORD"
