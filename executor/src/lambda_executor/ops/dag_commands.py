"""The command `airflow lambda-executor dags push`."""

from __future__ import annotations

import argparse
from pathlib import Path

from airflow.configuration import conf

from lambda_executor.aws import S3DagFolder
from lambda_executor.contract.dag_manifest import DagLocation
from lambda_executor.contract.errors import ConfigError
from lambda_executor.ops import dag_push
from lambda_executor.ops.doctor import checks
from lambda_executor.ops.terminal import Say, command
from lambda_executor.setup.connection import Gateway

#: Most foreign objects that are listed by name.
_NAMED = 5


@command
def push(args: argparse.Namespace, say: Say) -> bool:
    """Upload a folder of DAG files."""
    location = DagLocation.parse(args.uri)
    if location.is_archive:
        raise ConfigError(
            f"{location} is an archive, and push uploads a folder: give s3://bucket/prefix/, or "
            "make and upload the archive yourself; one `aws s3 cp` switches it in one step"
        )
    files = dag_push.read(Path(args.folder), args.exclude)
    store = S3DagFolder(Gateway(conf, checks.PATIENCE, dag_push.CONNECTIONS).first, location)
    plan = dag_push.plan(files, store)
    if plan.foreign:
        named = ", ".join(plan.foreign[:_NAMED]) + (", ..." if plan.foreign[_NAMED:] else "")
        say(f"{len(plan.foreign)} objects are not from a push and are left alone: {named}")
    counts = len(plan.upload), len(plan.delete), len(plan.keep)
    if args.dry_run:
        for path in plan.upload:
            say(f"would upload {path}")
        for path in plan.delete:
            say(f"would delete {path}")
        say("{} to upload, {} to delete, {} unchanged".format(*counts))
        return True
    manifest = dag_push.push(files, plan, store, say)
    summary = "{} uploaded, {} deleted, {} unchanged".format(*counts)
    say(f"{location} has version {manifest.version}: {summary}")
    return True
