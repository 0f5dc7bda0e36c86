"""Fixtures of the executor's contract tests."""

from tests.support.scheduler import airflow_database, airflow_tables

__all__ = ["airflow_database", "airflow_tables"]
