"""An Airflow on Fargate, its database, its load balancer and VPC endpoints."""
