"""Everything that touches Airflow: the task's process, its log, its DAG bundles."""
