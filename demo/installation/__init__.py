"""The deployed stacks, and an Airflow that uses them."""
