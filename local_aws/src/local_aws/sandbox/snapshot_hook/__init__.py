"""On `PYTHONPATH` of the runtimes of snapshots: `sitecustomize` is imported at their start."""
