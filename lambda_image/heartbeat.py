"""The health check of a program without a port: its heartbeat in Airflow's database.

`python -m lambda_image.heartbeat <job type>` exits with 0 if the program on this host sent a
heartbeat within the last minute. `airflow jobs check` answers the same question, and imports all of
Airflow for it: several seconds of a processor, every minute.
"""

from __future__ import annotations

import os
import socket
import sys

import psycopg2  # type: ignore[import-untyped]  # its types are a package of their own

from lambda_image.control_plane import (
    MissingSecretError,
    UnknownAuthorityError,
    airflow_environment,
)

#: Airflow's programs send one every 5 s by default.
LONGEST_SILENCE_S = 60
_CONNECT_TIMEOUT_S = 10

#: `airflow.jobs.job.Job`; times are stored with their zone.
_QUERY = """
SELECT EXTRACT(EPOCH FROM now() - max(latest_heartbeat)) FROM job
WHERE job_type = %s AND hostname = %s AND state = 'running'
"""


def host_address() -> str:
    """The IPv4 address of this host: the name under which Airflow's programs are registered.

    The value of `[core] hostname_callable`; the api-server asks a triggerer for logs at it.
    """
    return socket.gethostbyname(socket.gethostname())


def silence_s(job_type: str) -> float | None:
    """Seconds since the program's last heartbeat; None: it is not registered.

    Raises:
        MissingSecretError: A variable of the container is missing.
        UnknownAuthorityError: The database cannot be verified.
        psycopg2.Error: The database cannot be asked.
    """
    url = airflow_environment(os.environ)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    connection = psycopg2.connect(
        url.replace("postgresql+psycopg2://", "postgresql://", 1),
        connect_timeout=_CONNECT_TIMEOUT_S,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(_QUERY, (job_type, host_address()))
            (seconds,) = cursor.fetchone()
    finally:
        connection.close()
    return None if seconds is None else float(seconds)


def main(arguments: list[str]) -> None:
    """Exit with 0, or with a sentence that says why the program is not healthy."""
    if len(arguments) != 1:
        sys.exit("usage: python -m lambda_image.heartbeat JOB_TYPE, such as TriggererJob")
    (job_type,) = arguments
    try:
        silent_s = silence_s(job_type)
    except (MissingSecretError, UnknownAuthorityError, psycopg2.Error) as e:
        sys.exit(f"the heartbeat of {job_type} cannot be read: {e}")
    if silent_s is None:
        sys.exit(f"no {job_type} is registered as running on {host_address()}")
    if silent_s > LONGEST_SILENCE_S:
        sys.exit(
            f"the last heartbeat of {job_type} is {silent_s:.0f} s old, allowed are "
            f"{LONGEST_SILENCE_S} s"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
