"""The command line `airflow lambda-executor`: what an operator asks and repairs."""
