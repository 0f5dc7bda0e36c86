"""The command line `airflow lambda-executor`."""
