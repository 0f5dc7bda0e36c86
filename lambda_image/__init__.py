"""What runs inside the function: takes one invocation, runs its workload, reports its end.

The image installs this package beside `handler.py` (its entry) in /var/task. It knows the wire
and the options of `lambda_executor` and Airflow's task runtime, nothing else of ours.
"""
