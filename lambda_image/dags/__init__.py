"""The imports of the DAG files that are preloaded."""
