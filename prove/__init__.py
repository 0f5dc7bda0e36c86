"""`make prove`: does in an AWS account what could not be tried without one, and checks it.

Owns the plan of docs/unproven.md: its steps (`steps`), what each runs (`actions`), what must be
seen (`checks`), and the pre-flight that reads the account's quotas. It knows the stacks by their
configuration, their templates and their outputs. It is for a person with an account; no other room
imports it.
"""
