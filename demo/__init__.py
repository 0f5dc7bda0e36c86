"""The product on one machine: `python -m demo run`, `up` and `down`."""
