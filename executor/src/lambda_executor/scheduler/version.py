"""The minor version of the Airflow that the executor runs in."""

from __future__ import annotations

from airflow.version import version

#: For comparisons, such as `AIRFLOW >= (3, 4)`.
AIRFLOW = tuple(int(part) for part in version.split(".")[:2])
