"""Everything that touches Airflow: task processes, task logs, DAG bundles."""
