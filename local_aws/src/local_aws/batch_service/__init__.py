"""AWS Batch's behaviour: which job starts next and where, how an attempt ends, what is retried.

It knows neither ministack nor sandboxes.
"""
