"""From Airflow's configuration to clients that are connected and checked."""
