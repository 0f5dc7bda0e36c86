"""`airflow lambda-executor explain`: why a task failed, or why it waits.

`airflow_records` and `aws_answers` read, `log_story` and `verdict` decide, and `command` prints.
"""
