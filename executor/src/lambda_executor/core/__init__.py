"""The executor's decisions as plain values and state machines.

No threads, no AWS, no Airflow: given the same calls, it decides the same.
"""
