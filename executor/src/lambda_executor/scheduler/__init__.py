"""The executor as Airflow's scheduler and its API server see it."""
