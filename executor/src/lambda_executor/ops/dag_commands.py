"""The command `airflow lambda-executor dags push`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lambda_executor.aws import S3DagFolder
from lambda_executor.contract.dag_manifest import DagLocation, DagManifest
from lambda_executor.ops import dag_push
from lambda_executor.ops.doctor import checks
from lambda_executor.ops.terminal import Say, command
from lambda_executor.setup.connection import Gateway
from lambda_executor.setup.team_conf import conf_of_team

#: Most objects that are listed by name in one line.
_NAMED = 5


@command
def push(args: argparse.Namespace, say: Say) -> bool:
    """Upload a folder of DAG files."""
    location = DagLocation.parse(args.uri)
    files = dag_push.read(Path(args.folder).expanduser(), args.exclude)
    gateway = Gateway(conf_of_team(args.team), checks.PATIENCE, dag_push.CONNECTIONS)
    store = S3DagFolder(gateway.first, location)
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
    say(f"{location} has version {manifest.version}, {len(manifest.files)} files: {summary}")
    say(*_what_a_run_sees(plan.before, manifest))
    return True


def _what_a_run_sees(before: DagManifest | None, now: DagManifest) -> list[str]:
    """Describe what the push changed for runs."""
    lines = []
    if before is None:
        lines.append(f"this is the first push: all runs use {now.version}")
    elif before.version == now.version:
        lines.append("the files are the same as before: nothing changes for any run")
    else:
        dag_files = _changed_dag_files(before, now)
        lines.append(f"changed Python files: {', '.join(dag_files) or 'none'}")
        if now.keeps_versions and before.keeps_versions:
            lines.append(
                f"runs that already started keep their version, the latest of them "
                f"{before.version}; new runs, and tasks of DAGs that are not versioned, use "
                f"{now.version}"
            )
        elif now.keeps_versions:
            lines.append(
                f"the bucket keeps versions from this push on; runs that already started have none "
                f"and use {now.version} too. New runs keep theirs once you restart the DAG "
                "processor"
            )
    if not now.keeps_versions:
        lines.append(
            f"the bucket keeps no versions: every task that starts from now on uses {now.version}, "
            "also in a run that already started. Turn on versioning for the bucket, push a change, "
            "and restart the DAG processor"
        )
    return lines


def _changed_dag_files(before: DagManifest, now: DagManifest) -> list[str]:
    """Return the Python files that were added, changed or removed, shortened to a few names."""
    contents = [
        {path: file.sha256 for path, file in each.files.items() if path.endswith(".py")}
        for each in (before, now)
    ]
    paths = sorted({path for path, _ in contents[0].items() ^ contents[1].items()})
    more = len(paths) - _NAMED
    return [*paths[:_NAMED], f"and {more} more"] if more > 0 else paths
