"""Faults on demand: calls that fail, messages that are lost or come twice, processes that die.

Rules say what goes wrong, and how often. `rules` and `faults` decide; the other modules carry it
out where a client meets it: `requests` for every API, `messages` in queues, `environments` in
functions. Without rules nothing here takes part in a request.
"""
