"""Cleans a day's orders, a file for each branch, and reports the revenue of each product."""

from __future__ import annotations

import io
import random
from typing import Any

import pandas as pd
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import Variable, dag, task

BRANCHES = 100
ORDERS_PER_BRANCH = 50
PRODUCTS = ("bread", "butter", "milk")


def s3() -> S3Hook:
    """S3 with the permissions of the function that runs the task, so without a connection."""
    return S3Hook(aws_conn_id=None)


def bucket() -> str:
    """The bucket of all files."""
    name: str = Variable.get("etl_bucket")
    return name


@dag(schedule=None, tags=["example"])
def s3_etl() -> None:
    """One mapped task for each file: Lambda starts as many at once as the function may run."""

    @task
    def export() -> list[str]:
        """Write what a shop system would deliver: a CSV file for each branch.

        In the data are the faults that such files have: an order twice, and orders without amount.
        """
        hook, name = s3(), bucket()
        keys = []
        for branch in range(BRANCHES):
            made = random.Random(branch)  # noqa: S311 - sample data, the same in each run
            lines = ["order,product,amount"]
            lines += [
                f"{branch}-{number},{made.choice(PRODUCTS)},{made.choice(['', '2.50', '4.20'])}"
                for number in range(ORDERS_PER_BRANCH)
            ]
            lines.append(lines[1])
            keys.append(f"raw/branch-{branch:03}.csv")
            hook.load_string("\n".join(lines), keys[-1], name, replace=True)
        return keys

    @task(retries=2)
    def clean(raw: str) -> str:
        """Read one file, drop its faults, write the revenue by product.

        A second try overwrites what the first one wrote, so a retry does no harm.
        """
        hook, name = s3(), bucket()
        orders = pd.read_csv(io.StringIO(hook.read_key(raw, name)))
        orders = orders.drop_duplicates("order").dropna(subset="amount")
        revenue = orders.groupby("product", as_index=False)["amount"].sum()
        cleaned = raw.replace("raw/", "clean/")
        hook.load_string(revenue.to_csv(index=False), cleaned, name, replace=True)
        return cleaned

    @task
    def report(cleaned: list[str]) -> dict[str, Any]:
        """Add up all branches. Only the names of the files come through XCom, not their content."""
        hook, name = s3(), bucket()
        branches = [pd.read_csv(io.StringIO(hook.read_key(key, name))) for key in cleaned]
        revenue = pd.concat(branches).groupby("product")["amount"].sum().round(2)
        hook.load_string(revenue.to_csv(), "report/revenue.csv", name, replace=True)
        by_product: dict[str, Any] = revenue.to_dict()
        return by_product

    report(clean.expand(raw=export()))


s3_etl()
