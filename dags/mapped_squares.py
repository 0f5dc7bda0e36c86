"""Fifty mapped tasks at once, and one that adds up their results."""

from __future__ import annotations

from airflow.sdk import dag, task

NUMBERS = list(range(50))


@dag(schedule=None, tags=["demo"])
def mapped_squares() -> None:
    """Square every number in its own task, then check the sum."""

    @task
    def square(number: int) -> int:
        return number * number

    @task
    def add_up(squares: list[int]) -> int:
        total = sum(squares)
        expected = sum(number * number for number in NUMBERS)
        if total != expected:
            raise ValueError(f"the squares add up to {total}, not to {expected}")
        return total

    add_up(square.expand(number=NUMBERS))


mapped_squares()
