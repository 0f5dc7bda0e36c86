"""The decoders of what people set: options, the SSM parameter, a task's `executor_config`."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lambda_executor.aws.batch_jobs import submission
from lambda_executor.aws.ecs_tasks import completed
from lambda_executor.aws.job_requests import RequestKind
from lambda_executor.aws.micro_vms import RUN_MICROVM, run_request
from lambda_executor.aws.parameters import read_parameter
from lambda_executor.contract.dag_manifest import DagLocation
from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.contract.options import OPTIONS
from lambda_executor.contract.routing_reason import routed
from lambda_executor.contract.secret_reference import read_references
from lambda_executor.contract.wire import Invocation, InvocationId
from lambda_executor.core.adoption import invocation_of
from lambda_executor.core.offers import next_longer, of_queue, smallest
from lambda_executor.core.routing import overrides
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.core.task_settings import TaskSettings, moved_to, with_routed
from lambda_executor.setup import config, offers
from lambda_executor.setup.config import ExecutorConfig
from lambda_image import job
from lambda_image.machine.container import Container
from stacks.config import loading
from tests.fuzz.decoder import (
    ROOT,
    Decoder,
    NotJsonError,
    dumped,
    json_of,
    object_of,
    text_of,
    texts_of,
)
from tests.fuzz.wire_decoders import EVENTS
from tests.unit.executor.test_config import COMPLETE, Conf, no_parameter
from tests.unit.executor.test_reference_targets import BATCH as BATCH_SECTION
from tests.unit.executor.test_reference_targets import ECS as ECS_SECTION
from tests.unit.executor.test_reference_targets import OURS
from tests.unit.executor.test_targets_option import BATCH, ECS, VM

ID = InvocationId("0d4b3a7e-6a63-4b45-8f3d-3d0a7c0d6f10")
WITH_JOBS = {
    **COMPLETE,
    "payload_bucket": "payloads",
    "functions": '{"large": "function:live"}',
    "targets": json.dumps(
        {
            "long": {"batch": BATCH},
            "huge": {"ecs": {**ECS, "containerName": "task"}},
            "vm": {"microvm": VM},
        }
    ),
}
_OFFERS = {
    "large": {"timeout_s": 900, "memory_mb": 4096, "cpu": 2.5},
    "huge": {"memory_mb": 30_000, "gpu": 1, "disk_gb": 100},
}


def _used(loaded: ExecutorConfig) -> None:
    """Whatever was taken can be shown and used."""
    for queue in loaded.routes.queues():
        target = loaded.routes.target(queue)
        str(target)
        if isinstance(target, FunctionTarget):
            loaded.log_group_of(target)
        else:
            _start(target, {})
    for offer in loaded.offers:
        str(offer)
    loaded.own_queue("1")


def _start(target: JobTarget, added: Mapping[str, Any]) -> None:
    """Make the request that starts a job."""
    event = Invocation.for_workload(ID, "{}").encode()
    if target.service is Service.BATCH:
        submission(target, ID, event, added)
    elif target.service is Service.MICROVM:
        run_request(target, ID, event, added)
    else:
        kind = _kind(target)
        completed(kind.overridden(target, added), ID, event, target.container or "task")


def _kind(target: JobTarget) -> RequestKind:
    from lambda_executor.aws import RUN_TASK, SUBMIT_JOB  # noqa: PLC0415 - beside RUN_MICROVM

    kinds = {Service.BATCH: SUBMIT_JOB, Service.ECS: RUN_TASK, Service.MICROVM: RUN_MICROVM}
    return kinds[target.service]


def _parameter(data: bytes) -> None:
    """The value of the SSM parameter, read and used as the options of a scheduler."""

    class Ssm:
        @staticmethod
        def get_parameter(**_: object) -> Mapping[str, Any]:
            return {"Parameter": {"Value": text_of(data)}}

    class Clients:
        ssm = Ssm()
        errors = staticmethod(contextlib.nullcontext)

    clients: Any = Clients()
    conf = Conf(lambda_executor={"config_parameter": "/parameter"})
    _used(config.load(conf, partial(read_parameter, clients)))


def _options(data: bytes) -> None:
    """The options of our section, whatever they are."""
    _used(config.load(Conf(lambda_executor=texts_of(data)), no_parameter))


def _option(name: str) -> Callable[[bytes], None]:
    """One option beside valid ones."""

    def read(data: bytes) -> None:
        _used(config.load(Conf(lambda_executor={**WITH_JOBS, name: text_of(data)}), no_parameter))

    return read


def _each_option(data: bytes) -> None:
    """Options that hold no JSON: the first line names one, the rest is its value."""
    name, _, text = text_of(data).partition("\n")
    for option in OPTIONS:
        if option.name == name:
            option.read(text)


def _reference(section: str) -> Callable[[bytes], None]:
    """The section of one of the reference's executors."""

    def read(data: bytes) -> None:
        sections = {"lambda_executor": OURS, section: texts_of(data)}
        _used(config.load(Conf(**sections), no_parameter))

    return read


def _offers(data: bytes) -> None:
    """Offers, compared with what a task needs."""
    found = offers.read(text_of(data))
    need = TaskSettings.read({"lambda_executor": {"memory_mb": 1024, "cpu": 1}}).need
    smallest(found, need)
    for offer in found:
        str(offer)
        of_queue(found, offer.queue)
        next_longer(found, offer, need)


_ROUTES = config.load(Conf(lambda_executor=WITH_JOBS), no_parameter)
_OF_REFERENCE = tuple(
    config.load(Conf(lambda_executor=OURS, **{name: section}), no_parameter)
    for name, section in (("aws_batch_executor", BATCH_SECTION), ("aws_ecs_executor", ECS_SECTION))
)


def _executor_config(data: bytes) -> None:
    """A task's `executor_config` selects a target and changes the request of each kind of job."""
    given = object_of(data)
    settings = TaskSettings.read(given)
    str(settings.need)
    with_routed(given, "because")
    routed(given), moved_to(given)
    offered = offers.read(json.dumps(_OFFERS))
    smallest(offered, settings.need)
    for loaded in (_ROUTES, *_OF_REFERENCE):
        with contextlib.suppress(RouteError):
            target = loaded.routes.target("default", given)
            if isinstance(target, JobTarget):
                _start(target, overrides(target, given))
        for queue in loaded.routes.queues():
            with contextlib.suppress(RouteError):
                target = loaded.routes.target(queue)
                if isinstance(target, JobTarget):
                    _start(target, overrides(target, given))


def _external_id(data: bytes) -> None:
    """What Airflow's database holds as the id of an invocation."""
    key = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1, "try_number": 1}
    invocation_of(text_of(data), key)


def _secret_references(data: bytes) -> None:
    from lambda_executor.contract.options import WORKLOAD_SECRETS  # noqa: PLC0415 - as above

    read_references({WORKLOAD_SECRETS.environment_variable: text_of(data)})


def _dag_uri(data: bytes) -> None:
    place = DagLocation.parse(text_of(data))
    assert DagLocation.parse(str(place)) == place


def _job_arguments(data: bytes) -> None:
    """Each line is an argument of the program; it says what is wrong, and ends."""
    with contextlib.redirect_stderr(io.StringIO()):
        given = job._parsed(text_of(data).split("\n"))
    assert given.timeout_s > 0


def _container(data: bytes) -> None:
    """What the endpoint of ECS says, about the container and about the task."""
    found = json_of(data)
    answers = found if isinstance(found, list) else [found]
    container = Container.of(answers[0] if answers else None, answers[-1] if answers else None)
    assert container.region is None or container.region
    assert container.memory_mb is None or container.memory_mb > 0


def _stage(data: bytes) -> None:
    """A stage, changed by what a person gives to the CDK; a file would be named after an @."""
    loading.load(_STAGES, "dev", text_of(data).removeprefix("@"))


_STAGES: Mapping[str, Any] = json.loads((ROOT / "cdk.json").read_text())["context"]["stages"]
_NEED = {"memory_mb": 2048, "cpu": 2, "gpu": 1, "disk_gb": 20.5, "on_deadline": "next_target"}
_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
_METADATA = {
    "TaskARN": "arn:aws:ecs:eu-west-1:123456789012:task/tasks/0123456789abcdef",
    "Limits": {"CPU": 2, "Memory": 4096},
    "LogOptions": {"awslogs-stream": "job/default/0123"},
}

DECODERS = (
    Decoder("parameter", _parameter, (ConfigError,), dumped(COMPLETE, WITH_JOBS)),
    Decoder("options", _options, (NotJsonError, ConfigError), dumped(COMPLETE, WITH_JOBS)),
    Decoder(
        "option",
        _each_option,
        (ConfigError,),
        tuple(f"{option.name}\n{option.example}".encode() for option in OPTIONS),
    ),
    *(
        Decoder(f"option-{name}".replace("_", "-"), _option(name), (ConfigError,), examples)
        for name, examples in {
            "functions": dumped({"large": "function:live", "x": "function@tenant"}),
            "targets": (WITH_JOBS["targets"].encode(),),
            "offers": dumped(_OFFERS),
            "queue_urls": dumped(["https://sqs/a", "https://sqs/b"]),
            "max_in_flight": dumped(100, {"fn": 5, "function": 0}),
        }.items()
    ),
    Decoder(
        "reference-batch",
        _reference("aws_batch_executor"),
        (NotJsonError, ConfigError),
        dumped(
            {
                **BATCH_SECTION,
                "submit_job_kwargs": '{"container_overrides": {"environment": []}, "tags": {}}',
            }
        ),
    ),
    Decoder(
        "reference-ecs",
        _reference("aws_ecs_executor"),
        (NotJsonError, ConfigError),
        dumped(
            {
                **ECS_SECTION,
                "launch_type": "",
                "capacity_provider_strategy": "[{'capacityProvider': 'FARGATE_SPOT', 'weight': 1}]",
                "run_task_kwargs": '{"overrides": {"containerOverrides": [{"cpu": 1}]}}',
            }
        ),
    ),
    Decoder("offers", _offers, (ConfigError,), dumped(_OFFERS)),
    Decoder(
        "executor-config",
        _executor_config,
        (NotJsonError, RouteError),
        dumped(
            {"lambda_executor": _NEED},
            {"lambda_executor": {"target": "long"}, "batch": {"timeout": {}}},
            {"batch": {"containerOverrides": {"environment": [{"name": "a", "value": "b"}]}}},
            {"ecs": {"overrides": {"containerOverrides": [{"name": "task", "cpu": 1}]}}},
            {"microvm": {"logging": {"cloudWatch": {"logGroup": "g"}}}},
        ),
    ),
    Decoder(
        "external-id",
        _external_id,
        (ValueError,),
        (
            ID.encode(),
            b"arn:aws:ecs:eu-west-1:123456789012:task/tasks/0123",
            *dumped({"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}),
        ),
    ),
    Decoder(
        "secret-references",
        _secret_references,
        (ConfigError,),
        dumped({"DB": _ARN, "PASSWORD": f"{_ARN}:password::"}),
    ),
    Decoder("dag-uri", _dag_uri, (ConfigError,), (b"s3://bucket/dags/", b"s3://bucket")),
    Decoder(
        "job-arguments",
        _job_arguments,
        (SystemExit,),
        (EVENTS[1], b"--timeout-s\n3600\n" + EVENTS[1]),
    ),
    Decoder("container-metadata", _container, (NotJsonError,), dumped([_METADATA, _METADATA])),
    Decoder(
        "stage",
        _stage,
        (loading.StageConfigError,),
        dumped({"database": {"storage_gb": 50}}, {"execution": {"memory_mb": 2048}}),
    ),
)
