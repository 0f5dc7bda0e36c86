"""The code in the function's image: it takes an invocation, runs its workload and sends a result.

The image installs this package and `handler.py`, the entry point, in /var/task.
"""
