"""DAG runs, what became of them, and whether that was expected."""
