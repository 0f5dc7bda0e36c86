"""Collects what the oracle judges, after all DAG runs have ended."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from sqlalchemy import make_url

from demo.installation.environment import Environment
from demo.outcome.airflow_api import FINAL, Api, RunsError, Try, TryKey
from demo.outcome.exercise import log_groups
from demo.outcome.tries import log_messages
from demo.screen import Phase
from tests.chaos.attack import actions
from tests.chaos.attack.kinds import BY_NAME
from tests.chaos.attack.site import Attacked, Site, Size
from tests.support import executor_summary
from tests.support.executor_summary import ExecutorCounts

#: How long what is left may take to vanish, in seconds: a lost result frees its slot when Airflow's
#: state is looked at, and a message that was handed back is hidden for a while.
SETTLE_S = 150
#: How long messages that no scheduler claims may stay, in seconds: each of three schedulers that
#: share a queue has to note one for itself, and it is hidden for longer and longer between.
EMPTY_S = 1200
#: So much more than when it had just started may a scheduler hold: its pools of threads and
#: connections are bounded, and stay. It held up to 85 descriptors and 19 threads more.
MORE_DESCRIPTORS, MORE_THREADS = 110, 40
#: Events of the audit log that say nothing of a failure's cause.
_ORDINARY = {
    *("queued", "running", "success", "failed", "up_for_retry", "up_for_reschedule", "deferred"),
}
#: A run has more logs than this; with fewer, the search has looked at the wrong place.
FEWEST_LOGS = 50
#: A JSON Web Token with a signature, as every workload has one.
_TOKEN = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}")
_SESSION_SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
#: The embedded AWS's own key is a common word.
SHORTEST_SECRET = 16
_SECRET_SETTINGS = (
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__CORE__FERNET_KEY",
)


def wait_until_settled(
    site: Site, unclaimed: int, empty_s: float, phase: Phase
) -> tuple[list[str], list[str], dict[str, int]]:
    """Wait until nothing is in a slot or in a queue.

    Args:
        site: Where all DAG runs have ended.
        unclaimed: So many messages may be copies of what a dead scheduler has taken in, or forged.
            Schedulers delete what none of them claims only after some minutes.
        empty_s: How long to wait until those are gone, too; 0: they may be left.
        phase: Shows what is left.

    Returns:
        What is in slots, and what is left in queues, in words; by queue, how many messages were
        left and not waited for.
    """
    few = 0 if empty_s else unclaimed
    deadline_s = time.monotonic() + max(SETTLE_S, empty_s)
    while True:
        in_slots, left = in_slots_of(site), messages_left(site.environment)
        is_little = sum(left.values()) <= few
        if not in_slots and is_little:
            return [], [], left
        words = [f"{count} messages in {name}" for name, count in left.items()]
        if time.monotonic() > deadline_s:
            return (in_slots, [], left) if is_little else (in_slots, words, {})
        phase.detail("; ".join([*in_slots, *words]))
        time.sleep(2)


def in_slots_of(site: Site) -> list[str]:
    """What each scheduler's executor still counts; the reference's does not say it."""
    found: list[str] = []
    if site.attacked != Attacked.ours(site.environment.outputs):
        return found
    for name, child in site.schedulers.items():
        before = child.log.stat().st_size
        if (process := child.identity.find()) is None:
            found.append(f"{name} has ended")
            continue
        executor_summary.ask(process.pid)
        counts: ExecutorCounts | None = None
        for _ in range(100):
            with child.log.open(errors="replace") as log:
                log.seek(before)
                counts = ExecutorCounts.found_in(log.read())
            if counts is not None:
                break
            time.sleep(0.1)
        if counts is None:
            found.append(f"{name} does not answer")
        elif counts:
            found.append(f"{name}: {counts}")
    return found


def messages_left(environment: Environment) -> dict[str, int]:
    """Messages in queues, visible or not.

    Nothing receives from the failures queue: it holds AWS's records of failures for people.
    """
    sqs = environment.aws.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = {}
    for url in sqs.list_queues().get("QueueUrls", []):
        if url == environment.outputs["FailuresQueueUrl"]:
            continue
        counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        if total := sum(map(int, counts.values())):
            found[url.rpartition("/")[2]] = total
    return found


def processes_left(site: Site) -> list[str]:
    """Processes that tasks have left behind, and what schedulers hold more than at first."""
    found = [
        f"a job, a task or a MicroVM still runs: {process.pid}"
        for process in actions.processes(site, actions.JOBS)
    ]
    for process in site.emulator.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "left-behind" in process.cmdline():
                found.append(f"a process that a task has left: {process.pid}")
    for name, child in site.schedulers.items():
        if name not in site.baseline:
            found.append(f"{name} has never started")
            continue
        now, before = Size.of(child.identity.pid), site.baseline[name]
        if now.descriptors > before.descriptors + MORE_DESCRIPTORS:
            found.append(f"{name}: {before.descriptors} descriptors, now {now.descriptors}")
        if now.threads > before.threads + MORE_THREADS:
            found.append(f"{name}: {before.threads} threads, now {now.threads}")
    return found


def payloads_left(site: Site, tries: Iterable[Try], not_removed: int) -> list[str]:
    """Payloads that nobody has removed, if there are more than faults explain.

    Args:
        site: Where all has settled.
        tries: One that failed may not have fetched its payload. The bucket's lifecycle removes it.
        not_removed: So many removals have failed by a fault.
    """
    s3, outputs = site.environment.aws.client("s3"), site.environment.outputs
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=outputs["PayloadBucketName"])
    left = sum(page.get("KeyCount", 0) for page in pages)
    room = not_removed + sum(
        each.state in {"failed", "up_for_retry"} and BY_NAME[each.key.task_id].has_payload
        for each in tries
    )
    return [f"{left} payloads in the bucket, of at most {room}"] if left > room else []


def reasons(
    site: Site, tries: Collection[Try]
) -> tuple[dict[TryKey, str], dict[TryKey, float], list[TryKey]]:
    """Why and when each try failed.

    Returns:
        What Airflow's audit log and the errors in the task's own log say about each try; the time
        of the last event, in seconds since the epoch; and the tries of which Airflow has nothing
        but such events, because they failed while they were queued.
    """
    found, at_s = {}, {}
    with Api(site.environment.airflow.url) as api:
        events = _events(api)
        for each in tries:
            if each.state in FINAL | {"up_for_retry"} and each.state not in {"success", "skipped"}:
                said = events.get(each.key, [])
                if said:
                    at_s[each.key] = max(when_s for when_s, _ in said)
                texts = [text for _, text in said] + _errors(_task_log(api, each.key))
                found[each.key] = "\n".join(texts)
    unrecorded = sorted(events.keys() & older_without_record(tries))
    for key in unrecorded:
        at_s[key] = max(when_s for when_s, _ in events[key])
        found[key] = "\n".join(text for _, text in events[key])
    return found, at_s, unrecorded


def older_without_record(tries: Collection[Try]) -> set[TryKey]:
    """The tries before others of which Airflow keeps no record."""
    known = {each.key for each in tries}
    older = {replace(k, try_number=n) for k in known for n in range(1, k.try_number)}
    return older - known


def opened(site: Site, keys: Iterable[TryKey]) -> dict[TryKey, float]:
    """When Airflow has queued each of these tries, in seconds since the epoch, if it says so."""
    found = {}
    with Api(site.environment.airflow.url) as api:
        for key in keys:
            path = f"/dags/{key.dag_id}/dagRuns/{key.run_id}/taskInstances/{key.task_id}"
            with contextlib.suppress(RunsError):
                answer = api.call("GET", f"/api/v2{path}/{key.map_index}/tries/{key.try_number}")
                if queued := answer["queued_when"]:
                    found[key] = datetime.fromisoformat(queued).timestamp()
    return found


def airflow_version() -> tuple[int, int]:
    """The first two numbers of the version of the Airflow that is attacked."""
    major, minor, *_ = version("apache-airflow-core").split(".")
    return int(major), int(minor)


def secrets_in_logs(site: Site) -> list[str]:
    """Where a token, a key or a password of the run can be read."""
    settings = site.environment.airflow.settings
    password = make_url(settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]).password
    secrets = [settings[name] for name in _SECRET_SETTINGS] + [str(password)]
    secrets += _session_secrets(site)
    found = []
    logs = list(_logs(site.environment))
    if len(logs) < FEWEST_LOGS:
        found.append(f"only {len(logs)} logs were found to look at")
    for where, text in logs:
        if token := _TOKEN.search(text):
            found.append(f"a token in {where}: {token.group(0)[:20]}…")
        found += [f"a secret of the run in {where}" for each in secrets if each in text]
    return sorted(set(found))


def _session_secrets(site: Site) -> list[str]:
    """What is secret in the environment variables of the sandboxes that still run.

    An environment that was restored from a snapshot has a token by which it asks for its keys.
    """
    found: set[str] = set()
    for process in site.emulator.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            found |= {environment[name] for name in _SESSION_SECRETS if name in environment}
    return sorted(each for each in found if len(each) >= SHORTEST_SECRET)


def _logs(environment: Environment) -> Iterator[tuple[str, str]]:
    home = environment.home
    files = [*home.logs.rglob("*"), *home.task_logs.rglob("*"), *home.aws.rglob("*.log")]
    for file in files:
        if file.is_file():
            yield _short(file, home.path), file.read_text(errors="replace")
    for line in log_messages(environment.aws, log_groups(environment)):
        yield line.group, line.text


def _short(file: Path, home: Path) -> str:
    return str(file.relative_to(home))


def _events(api: Api) -> dict[TryKey, list[tuple[float, str]]]:
    """What the audit log says about each try, and when."""
    found: dict[TryKey, list[tuple[float, str]]] = {}
    for event in api.pages("/eventLogs", "event_logs"):
        if event.get("task_id") and event.get("run_id"):
            key = TryKey(
                event["dag_id"],
                event["run_id"],
                event["task_id"],
                -1 if event["map_index"] is None else event["map_index"],
                event["try_number"] or 0,
            )
            if event["event"] in _ORDINARY:
                continue
            text = f"{event['event']}: {event['extra']}"
            when = datetime.fromisoformat(event["when"])
            found.setdefault(key, []).append((when.timestamp(), text))
    return found


def _task_log(api: Api, key: TryKey) -> str:
    path = f"/api/v2/dags/{key.dag_id}/dagRuns/{key.run_id}/taskInstances/{key.task_id}/logs"
    try:
        return api.text(f"{path}/{key.try_number}", map_index=key.map_index)
    except RunsError as e:
        return f"no log: {e}"


def _errors(log: str) -> list[str]:
    """What a task's log says about errors: the events of its lines, as the UI shows them."""
    found = []
    for line in log.splitlines():
        with contextlib.suppress(ValueError):
            events = json.loads(line).get("content", [])
            found += [e["event"] for e in events if e.get("level") in {"error", "critical"}]
    return [str(event)[:500] for event in found][:40]
