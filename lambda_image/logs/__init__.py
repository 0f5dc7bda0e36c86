"""The function's own log: one JSON object a line."""
