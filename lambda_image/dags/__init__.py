"""DAG files from S3, and what is imported for them; it must not know Airflow."""
