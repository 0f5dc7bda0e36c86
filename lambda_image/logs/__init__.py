"""The function's log: one JSON object per line."""
