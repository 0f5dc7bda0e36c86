"""DAG runs, their results, and whether these are as expected."""
