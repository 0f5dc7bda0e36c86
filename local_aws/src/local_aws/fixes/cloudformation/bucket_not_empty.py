"""CloudFormation does not delete a bucket that holds objects.

On AWS the deletion fails ("The bucket you tried to delete is not empty"); ministack deletes the
objects, too.
"""

from __future__ import annotations

from ministack.services import s3

from local_aws.fixes.cloudformation._cloudformation import Properties, handler


def apply() -> None:
    """Check before ministack deletes."""
    bucket = handler("AWS::S3::Bucket")
    stock = bucket["delete"]

    def delete(physical_id: str, properties: Properties) -> None:
        if (s3._buckets.get(physical_id) or {}).get("objects"):
            raise ValueError(
                f"The bucket you tried to delete is not empty (Service: S3, Status Code: 409): "
                f"{physical_id}"
            )
        stock(physical_id, properties)

    bucket["delete"] = delete
