"""Fixtures of the attacks."""

from tests.support.account import account
from tests.support.airflow_database import database
from tests.support.local_aws import local_aws
from tests.support.scheduler import airflow_database, airflow_tables, scheduler

__all__ = ["account", "airflow_database", "airflow_tables", "database", "local_aws", "scheduler"]
