"""Four small functions that know nothing of Airflow.

Whatever calls them sends JSON and gets JSON. Their errors are Python's own.
"""

from __future__ import annotations

import json
from typing import Any

import boto3
from botocore.exceptions import ClientError

#: Made once for each execution environment, and used by all of its invocations.
s3 = boto3.client("s3")


def total(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Add up the prices of an order."""
    prices = event["prices"]
    print(f"adding up {len(prices)} prices")
    if any(price < 0 for price in prices):
        raise ValueError(f"the prices are {prices}: a price cannot be negative")
    return {"order": event["order"], "total": sum(prices)}


def invoice(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Write the invoice for what `total` returned."""
    return {"invoice": f"Order {event['order']}: {event['total']:.2f}"}


def summarise(event: dict[str, Any], _context: object) -> None:
    """Read a list of numbers from one object and write their summary to another.

    The event only says where both are, because an asynchronous event may have at most 1 MB.
    The summary is also the sign that the function has ended, so it is written last.
    """
    answer = s3.get_object(Bucket=event["bucket"], Key=event["input"])
    numbers = json.loads(answer["Body"].read())
    summary = json.dumps({"count": len(numbers), "sum": sum(numbers)})
    s3.put_object(Bucket=event["bucket"], Key=event["output"], Body=summary.encode())


def charge(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Charge an amount once for each key, however often this is called.

    S3 stores the object only if there is none of that key, also when two calls arrive at the same
    time: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html. The caller
    that comes second gets the receipt of the first.
    """
    where = {"Bucket": event["bucket"], "Key": f"receipts/{event['key']}"}
    receipt = {"key": event["key"], "amount": event["amount"]}
    try:
        s3.put_object(**where, Body=json.dumps(receipt).encode(), IfNoneMatch="*")
    except ClientError as e:
        if e.response["Error"]["Code"] != "PreconditionFailed":
            raise
        receipt = json.loads(s3.get_object(**where)["Body"].read())
        return {**receipt, "duplicate": True}
    return {**receipt, "duplicate": False}
