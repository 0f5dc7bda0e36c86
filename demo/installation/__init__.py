"""The demo's installation: deployed stacks, and an Airflow that uses them."""
