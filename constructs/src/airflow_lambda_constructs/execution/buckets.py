"""The buckets of an environment: payloads, DAG files and task logs.

Each class owns what expires in its bucket and which permissions on the objects it grants.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from airflow_lambda_constructs.execution.closed_bucket import ClosedBucket
from lambda_executor.contract.dag_manifest import KEPT_DAYS

#: The shortest expiration that S3 has. A workload's token lives for minutes.
_PAYLOAD_EXPIRATION = cdk.Duration.days(1)

#: How the keys of objects with ids of MicroVMs end (`contract.wire.micro_vm_key`).
_MICRO_VM_IDS = ".microvm"

#: How long a run can fetch the version that it started with after another one was pushed.
_OLD_VERSIONS = cdk.Duration.days(KEPT_DAYS)

#: The logs have a prefix, so that the bucket can hold something else one day.
_LOG_PREFIX = "task-logs"

_BROKEN_UPLOADS = cdk.Duration.days(1)


class PayloadBucket(ClosedBucket):
    """A bucket for invocations that are too large for one event.

    The handler reads every object once, seconds after it was written, and deletes it; an object
    that is never read expires. The keys begin with `prefix`. No grant allows listing the bucket:
    only those who know an invocation's id can find its key.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        prefix: str,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(
            scope,
            id,
            "Payloads",
            keys=f"{prefix}*",
            lifecycle_rule=s3.LifecycleRule(id="Expire", expiration=_PAYLOAD_EXPIRATION),
            why_no_access_log="Objects live for seconds and are read by one function, whose own "
            "log records each invocation; a bucket for access logs would outlive them and the "
            "stack.",
            removal_policy=removal_policy,
            encryption_key=encryption_key,
        )

    def grant_put(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler write payloads, and nothing else."""
        return self._allow(grantee, "s3:PutObject", and_list=False)

    def grant_find_micro_vms(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a scheduler read which MicroVM an invocation was given to, and no payload.

        Whoever starts a MicroVM writes its id beside the payload, because it has no name.
        """
        return self._allow(grantee, "s3:GetObject", and_list=False, ending=_MICRO_VM_IDS)

    def grant_take(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the handler read and delete the payloads whose keys it receives."""
        return self._allow(grantee, "s3:DeleteObject", "s3:GetObject", and_list=False)


class DagBucket(ClosedBucket):
    """A versioned bucket of DAG files; `key` is a folder, ending with a slash."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        key: str,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None,
    ) -> None:
        super().__init__(
            scope,
            id,
            "Dags",
            keys=f"{key}*",
            lifecycle_rule=s3.LifecycleRule(
                id="ExpireOldVersions",
                noncurrent_version_expiration=_OLD_VERSIONS,
                expired_object_delete_marker=True,
                abort_incomplete_multipart_upload_after=_BROKEN_UPLOADS,
            ),
            why_no_access_log="The files are source code with a history elsewhere, and old "
            "versions are kept; CloudTrail's data events record who read which object, if wanted.",
            removal_policy=removal_policy,
            encryption_key=encryption_key,
            versioned=True,
        )
        self.uri = f"s3://{self.bucket.bucket_name}/{key}"

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a function or a dag-processor fetch the DAG files.

        Old versions are included: a run keeps the version that it started with.
        """
        return self._allow(grantee, "s3:GetObject", "s3:GetObjectVersion", and_list=True)

    def grant_push(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a person or a pipeline replace the DAG files and delete old ones."""
        actions = ("s3:DeleteObject", "s3:GetObject", "s3:PutObject")
        return self._allow(grantee, *actions, and_list=True)


class TaskLogBucket(ClosedBucket):
    """A bucket of task logs; `folder` is Airflow's `[logging] remote_base_log_folder`."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        retention: cdk.Duration,
        removal_policy: cdk.RemovalPolicy,
        encryption_key: kms.IKey | None,
    ) -> None:
        super().__init__(
            scope,
            id,
            "Logs",
            keys=f"{_LOG_PREFIX}/*",
            lifecycle_rule=s3.LifecycleRule(
                id="Expire",
                expiration=retention,
                abort_incomplete_multipart_upload_after=_BROKEN_UPLOADS,
            ),
            why_no_access_log="The bucket holds logs itself, and a bucket for access logs would "
            "need one too; CloudTrail's data events record who read which object, if wanted.",
            removal_policy=removal_policy,
            encryption_key=encryption_key,
        )
        self.folder = f"s3://{self.bucket.bucket_name}/{_LOG_PREFIX}"

    def grant_write(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let functions append to task logs.

        Airflow reads a log before it appends, and S3 answers "not found" for a new log only if
        the caller may list the bucket.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        """
        return self._allow(grantee, "s3:GetObject", "s3:PutObject", and_list=True)

    #: A triggerer appends its part with the same permissions.
    grant_write_of_triggers = grant_write

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let an api-server or a scheduler read the logs."""
        return self._allow(grantee, "s3:GetObject", and_list=True)
