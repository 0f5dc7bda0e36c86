"""What runs inside the function: takes one invocation, runs its workload, reports its end.

The image installs this package beside `handler.py` (its entry) in /var/task. Of `lambda_executor`
it knows only what both sides agree on: wire, options, errors, probe, manifest, log lines and names.
"""
