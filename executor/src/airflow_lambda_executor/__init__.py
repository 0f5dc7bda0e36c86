"""The distribution's name as a module. It has no content: the package is `lambda_executor`.

Airflow 3.3 and newer derive a provider's module from its distribution's name and look for example
DAGs in it. Without this module they log a traceback in every DAG processor and in every task.
https://github.com/apache/airflow/issues/66305
"""
