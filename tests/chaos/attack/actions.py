"""What is done to the running environment: each action is a generator.

It yields the seconds until it goes on, so that several can be under way, and returns how many
things it has broken.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil

from tests.chaos.attack.faults import Fault
from tests.chaos.attack.site import CONCURRENCY, Site, kill

Action = Generator[float, None, int]
#: In the commands of the processes of jobs of AWS Batch and tasks of Amazon ECS, and of MicroVMs.
JOBS = ("lambda_image.job", "lambda_image.micro_vm")
#: How long an action looks for something to break, and how often, in seconds.
LOOKS, LOOK_EVERY_S = 40, 0.5
#: How often Airflow's API server is looked for, and how long for an answer, in seconds.
API_LOOKS, ANSWER_S = 120, 2.0


@dataclass(frozen=True, slots=True)
class Doing:
    """What an action has."""

    site: Site
    fault: Fault
    chance: random.Random


def kill_scheduler(do: Doing) -> Action:
    """Kill one of the schedulers; another one takes its place."""
    do.site.kill_scheduler(_any_scheduler(do))
    yield do.fault.seconds
    do.site.start_scheduler()
    return 1


def pause_scheduler(do: Doing) -> Action:
    """Stop a scheduler until Airflow takes it for dead, and wake it."""
    name = _any_scheduler(do)
    child = do.site.schedulers[name]
    do.site.paused.add(name)
    _signal(_family(child.identity.pid), signal.SIGSTOP)
    yield do.fault.seconds
    _signal(_family(child.identity.pid), signal.SIGCONT)
    do.site.paused.remove(name)
    return 1


def api_server_away(do: Doing) -> Action:
    """Kill the API server and start it again; it is away until it answers."""
    group, child = do.site.child("airflow-api-server")
    do.site.held.add(child)
    kill(child)
    yield do.fault.seconds
    do.site.restart(group, child)
    yield from _until_airflow_answers(do.site)
    return 1


def restart_database(do: Doing) -> Action:
    """End Postgres with every connection, and start it on the same data.

    Programs of Airflow may end with it, and are started again.
    """
    group, child = do.site.child("postgres")
    child.end()
    yield do.fault.seconds
    do.site.restart(group, child)
    yield from _until_airflow_answers(do.site)
    return 1


def cut_network(do: Doing) -> Action:
    """Take AWS away from the schedulers."""
    do.site.relay.cut()
    yield do.fault.seconds
    do.site.relay.mend()
    return 1


def withdraw_permissions(do: Doing) -> Action:
    """Take the policies of the schedulers' role away, and give them back."""
    iam, role = do.site.environment.aws.client("iam"), do.site.attacked.role
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    arns = [policy["PolicyArn"] for policy in attached]
    inline = {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }
    for arn in arns:
        iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    for name in inline:
        iam.delete_role_policy(RoleName=role, PolicyName=name)
    yield do.fault.seconds
    for arn in arns:
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    for name, document in inline.items():
        text = document if isinstance(document, str) else json.dumps(document)
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=text)
    return len(arns) + len(inline)


def expire_credentials(do: Doing) -> Action:
    """Let every call of the schedulers' role be answered as if its session had expired."""
    name = "expired credentials"
    rule = {"name": name, "api": "*", "fault": "expired", "share": 1.0}
    do.site.add_rules({**rule, "by": do.site.attacked.role})
    yield do.fault.seconds
    _, injected = do.site.injected()[name]
    do.site.remove_rules(name)
    return injected


def pause_function(do: Doing) -> Action:
    """Set the default function's concurrency to 0: Lambda gives up what waits for it."""
    client = do.site.environment.aws.client("lambda")
    client.put_function_concurrency(
        FunctionName=do.site.attacked.function, ReservedConcurrentExecutions=0
    )
    yield do.fault.seconds
    client.put_function_concurrency(
        FunctionName=do.site.attacked.function, ReservedConcurrentExecutions=CONCURRENCY
    )
    return 1


def deploy(do: Doing) -> Action:
    """Change the default function, which ends its environments once they are idle."""
    client, name = do.site.environment.aws.client("lambda"), do.site.attacked.function
    found = client.get_function_configuration(FunctionName=name)
    variables = found["Environment"]["Variables"] | {"DEPLOYED": str(do.chance.random())}
    client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    version = client.publish_version(FunctionName=name)["Version"]
    for alias in client.list_aliases(FunctionName=name)["Aliases"]:
        client.update_alias(FunctionName=name, Name=alias["Name"], FunctionVersion=version)
    yield 0
    return 1


def purge_results(do: Doing) -> Action:
    """Delete every message of the first results queue."""
    sqs = do.site.environment.aws.client("sqs")
    sqs.purge_queue(QueueUrl=do.site.attacked.results)
    yield 0
    return 1


def forge_messages(do: Doing) -> Action:
    """Send messages that nobody should believe to the queues."""
    sqs = do.site.environment.aws.client("sqs")
    sent = 0
    for url in (do.site.attacked.results, do.site.attacked.dead_letters):
        for body in _forged(do.chance):
            sqs.send_message(QueueUrl=url, MessageBody=body)
            sent += 1
    yield 0
    return sent


def interrupt_spot(do: Doing) -> Action:
    """Take back the capacity of a task or a job, once one runs."""
    aws = do.site.environment.aws
    for _ in range(LOOKS):
        arns = [*_running_tasks(do.site), *_running_jobs(do.site)]
        if arns and aws.interrupt(do.chance.choice(arns)):
            return 1
        yield LOOK_EVERY_S
    return 0


def kill_job(do: Doing) -> Action:
    """Kill the processes of a job, a task or a MicroVM, once one runs."""
    for _ in range(LOOKS):
        if found := processes(do.site, JOBS):
            return _signal([do.chance.choice(found)], signal.SIGKILL)
        yield LOOK_EVERY_S
    return 0


def kill_in_environment(do: Doing) -> Action:
    """Kill a process in a function's environment: the handler, its zygote or a task's."""
    for _ in range(LOOKS):
        if found := processes(do.site, ("awslambdaric",)):
            return _signal([do.chance.choice(found)], signal.SIGKILL)
        yield LOOK_EVERY_S
    return 0


ACTIONS: Mapping[str, Callable[[Doing], Action]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            *(kill_scheduler, pause_scheduler, api_server_away, restart_database, cut_network),
            *(withdraw_permissions, expire_credentials, pause_function, deploy, purge_results),
            *(forge_messages, interrupt_spot, kill_job, kill_in_environment),
        )
    }
)


def _until_airflow_answers(site: Site) -> Generator[float]:
    """Wait for the API server, and for the database behind it."""
    url = f"{site.environment.airflow.url}/api/v2/monitor/health"
    for _ in range(API_LOOKS):
        yield LOOK_EVERY_S
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(url, timeout=ANSWER_S, trust_env=False)
            if answer.is_success and answer.json()["metadatabase"]["status"] == "healthy":
                return
    raise TimeoutError(f"{url} did not answer")


def _any_scheduler(do: Doing) -> str:
    """One that works."""
    return do.chance.choice(sorted(do.site.schedulers.keys() - do.site.paused))


def _forged(chance: random.Random) -> Iterable[str]:
    """Bodies that are no report, or a report of an invocation that nobody made."""
    key = f"{chance.getrandbits(128):032x}"
    yield json.dumps({"task_key": key, "return_code": 0})
    yield json.dumps({"task_key": key, "return_code": 1, "reason": "\x1b[2Jforged"})
    yield json.dumps({"requestPayload": {"task_key": key}, "requestContext": {"condition": "x"}})
    yield json.dumps({"task_key": ["a", {"b": None}], "return_code": "0"})
    yield '{"task_key": '
    yield "[" * 10_000
    yield json.dumps({"task_key": "x" * 250_000})
    yield "null"


def _running_tasks(site: Site) -> list[str]:
    ecs = site.environment.aws.client("ecs")
    arns: list[str] = []
    for cluster in ecs.list_clusters()["clusterArns"]:
        found = ecs.list_tasks(cluster=cluster, desiredStatus="RUNNING")["taskArns"]
        if found:
            tasks = ecs.describe_tasks(cluster=cluster, tasks=found)["tasks"]
            arns += [task["taskArn"] for task in tasks if task["lastStatus"] == "RUNNING"]
    return arns


def _running_jobs(site: Site) -> list[str]:
    batch = site.environment.aws.client("batch")
    queues: Iterable[dict[str, Any]] = batch.describe_job_queues()["jobQueues"]
    return [
        job["jobArn"]
        for queue in queues
        for job in batch.list_jobs(jobQueue=queue["jobQueueArn"], jobStatus="RUNNING")[
            "jobSummaryList"
        ]
    ]


def _family(pid: int) -> list[psutil.Process]:
    """A process with its descendants; nothing if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def processes(site: Site, words: tuple[str, ...]) -> list[psutil.Process]:
    """The processes in sandboxes whose command has one of the words.

    The first process of a sandbox is the embedded AWS's own. What is older than the attack is left
    alone: snapshots, of which AWS loses none.
    """
    found = []
    for process in site.emulator.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            line = " ".join(process.cmdline())
            if (
                any(word in line for word in words)
                and process.create_time() > site.began_s
                and _inner_pid(process.pid) > 1
            ):
                found.append(process)
    return sorted(found, key=lambda each: each.pid)


def _inner_pid(pid: int) -> int:
    """The id of a process in its own namespace; 0: it is in ours."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            _, *inner = line.partition(":")[2].split()
            return int(inner[-1]) if inner else 0
    return 0


def _signal(processes: Iterable[psutil.Process], number: int) -> int:
    """Send a signal; return how many processes have got it."""
    sent = 0
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
            sent += 1
    return sent
