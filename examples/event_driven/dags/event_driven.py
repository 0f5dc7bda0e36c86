"""Waits for files without a running function, and runs DAGs when their data are there."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from urllib.parse import unquote_plus

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger
from airflow.sdk import Asset, AssetWatcher, Metadata, dag, get_current_context, task

#: Data that one DAG produces and another one consumes.
ORDERS = Asset("orders")

#: Data that no DAG produces: the bucket sends a message to the queue for each new file, and the
#: triggerer receives it. A watcher's queue must be known when this file is read.
RETURNS = Asset(
    "returns",
    watchers=[
        AssetWatcher(
            name="returns_queue",
            trigger=SqsSensorTrigger(
                sqs_queue=os.environ["RETURNS_QUEUE_URL"], waiter_delay=5, aws_conn_id=None
            ),
        )
    ],
)

BUCKET = "{{ var.value.orders_bucket }}"
DELIVERY = "incoming/orders.csv"


def products(bucket: str, key: str) -> Counter[str]:
    """How often each product is in a file."""
    # Without a connection: with the permissions of the function that runs the task.
    text = S3Hook(aws_conn_id=None).read_key(key, bucket)
    return Counter(line["product"] for line in csv.DictReader(text.splitlines()))


@dag(schedule=None, tags=["example"])
def load_orders() -> None:
    """Load a delivery as soon as it arrives, even hours later."""
    # The first look at the bucket is one short invocation. If there is no file yet, the task is
    # deferred: the triggerer looks every five seconds, no function runs, and nobody pays for one.
    # Another short invocation ends the task.
    wait_for_delivery = S3KeySensor(
        task_id="wait_for_delivery",
        bucket_name=BUCKET,
        bucket_key=DELIVERY,
        deferrable=True,
        poke_interval=5,
        timeout=6 * 60 * 60,
        aws_conn_id=None,
    )

    @task(outlets=[ORDERS])
    def load(bucket: str) -> Iterator[Metadata]:
        """Count what was delivered, and send the numbers along with the news."""
        yield Metadata(ORDERS, extra={"products": products(bucket, DELIVERY)})

    wait_for_delivery >> load(BUCKET)


@dag(schedule=[ORDERS], tags=["example"])
def report_orders() -> None:
    """Runs whenever a task has updated the orders; nobody triggers it."""

    @task
    def report() -> dict[str, int]:
        """Add up the news that started this run: there may be several."""
        total: Counter[str] = Counter()
        for event in get_current_context()["triggering_asset_events"][ORDERS]:
            total.update(event.extra["products"])
        return dict(total)

    report()


@dag(schedule=[RETURNS], tags=["example"])
def count_returns() -> None:
    """Runs whenever a file of returned goods arrives, without a task that waits for it."""

    @task
    def count() -> dict[str, int]:
        """Read every file that the messages name; S3's first message is a test without files."""
        total: Counter[str] = Counter()
        for event in get_current_context()["triggering_asset_events"][RETURNS]:
            for message in event.extra["payload"]["message_batch"]:
                for record in json.loads(message["Body"]).get("Records", []):
                    found = record["s3"]
                    # In a notification a key is encoded as in a URL: a space is a plus sign.
                    key = unquote_plus(found["object"]["key"])
                    total += products(found["bucket"]["name"], key)
        return dict(total)

    count()


load_orders()
report_orders()
count_returns()
