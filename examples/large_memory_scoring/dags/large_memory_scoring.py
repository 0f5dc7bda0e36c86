"""Finds the best product for each customer with a model that needs a large function."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from airflow.sdk import dag, task

BATCHES = 3
CUSTOMERS_PER_BATCH = 4
#: The model: as many numbers for each product. Together they fill 1 GiB.
PRODUCTS = 4 * 1024 * 1024
NUMBERS_PER_PRODUCT = 64

#: The Airflow queue that the large function serves.
LARGE = "large-memory"


def where() -> dict[str, Any]:
    """The function that runs this task, and its memory in MB, as Lambda says it."""
    return {
        "function": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        "memory_mb": int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
    }


@dag(schedule=None, tags=["example"])
def large_memory_scoring() -> None:
    """Only the task that needs much memory pays for it; `queue` chooses its function."""

    @task
    def choose_batches() -> list[int]:
        """Divide the customers. Nothing here needs memory, so the default function runs it."""
        return list(range(BATCHES))

    @task(queue=LARGE)
    def score(batch: int) -> dict[str, Any]:
        """Score one batch of customers against all products."""
        made = np.random.default_rng(seed=0)
        # Stands for a model that is loaded from S3.
        model = made.random((PRODUCTS, NUMBERS_PER_PRODUCT), dtype=np.float32)
        customers = np.random.default_rng(seed=batch).random(
            (NUMBERS_PER_PRODUCT, CUSTOMERS_PER_BATCH), dtype=np.float32
        )
        best = (model @ customers).argmax(axis=0)
        return where() | {"model_mb": model.nbytes // 2**20, "best": [int(one) for one in best]}

    @task
    def summarise(scored: list[dict[str, Any]]) -> dict[str, Any]:
        """Collect the results, again on the default function."""
        return where() | {"customers": sum(len(batch["best"]) for batch in scored)}

    summarise(score.expand(batch=choose_batches()))


large_memory_scoring()
