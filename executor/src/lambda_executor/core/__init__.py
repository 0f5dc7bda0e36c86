"""The executor's decisions as plain values and state machines: no threads, no AWS, no Airflow."""
