"""The executor class that Airflow's scheduler and API server load."""
