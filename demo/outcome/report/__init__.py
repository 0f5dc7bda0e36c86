"""The report of the demo: one HTML page that loads nothing."""
