"""An Airflow on Fargate, its database and the way in."""
