"""The options, read into a frozen `ExecutorConfig`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, cast

from lambda_executor import aws
from lambda_executor.contract import options
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import OPTIONS, REFERENCE_CLASS, REFERENCE_SECTION, SECTION
from lambda_executor.core.offers import Offer
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget, JobTarget
from lambda_executor.setup import offers, reference_targets, targets
from lambda_executor.setup.option_values import Conf, OptionValues

log = logging.getLogger(__name__)

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class AwsConfig:
    """The options that are needed before the SSM parameter can be read."""

    conn_id: str | None
    region_name: str | None


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """Every option of one executor; `contract.options` describes each."""

    routes: Routes
    queue_urls: tuple[str, ...]
    dead_letter_queue_url: str | None  # None: no function is configured, so there are none.
    region_name: str | None
    check_health_on_startup: bool
    max_invoke_attempts: int
    end_wait_timeout_s: int
    dispatch_threads: int
    poll_threads: int
    log_group: str | None = None
    payload_bucket: str | None = None
    max_in_flight: Mapping[str, int] = field(default_factory=dict)  # By function; 0: no limit.
    offers: tuple[Offer, ...] = ()  # What the targets give, the smallest first.

    def log_group_of(self, target: FunctionTarget) -> str:
        """Return the name of a function's CloudWatch log group."""
        if self.log_group and target == self.routes.default:
            return self.log_group
        return f"/aws/lambda/{target.function.rpartition(':')[2]}"

    def own_queue(self, job_id: int | str | None) -> int:
        """Return the index in `queue_urls` of a scheduler's own queue, by the id of its job."""
        number = int(str(job_id)) if str(job_id).isdecimal() else 0
        return number % len(self.queue_urls)


def load_aws_config(conf: Conf) -> AwsConfig:
    """Read `conn_id` and `region_name`."""
    values = OptionValues(conf)
    return AwsConfig(values.get(options.CONN_ID), values.get(options.REGION_NAME))


def load(conf: Conf, read_parameter: Callable[[str], Mapping[str, str]]) -> ExecutorConfig:
    """Read and check every option; `read_parameter` is called if `config_parameter` is set.

    Raises:
        ConfigError: An option is missing or has an unusable value.
    """
    name = OptionValues(conf).get(options.CONFIG_PARAMETER)
    parameter = read_parameter(name) if name else {}
    unknown = sorted(set(parameter) - {option.name for option in OPTIONS})
    if unknown:
        log.warning(
            "SSM parameter %s holds options that this version does not know and ignores: %s",
            name,
            ", ".join(unknown),
        )
    values = OptionValues(conf, parameter)
    job = _job_of_reference(values)
    queue_urls = _queue_urls(values)
    routes = _routes(values, job, conf.get("operators", "default_queue", fallback=None))
    dead_letter_queue_url = _dead_letter_queue_url(values, queue_urls, routes)
    _refuse_shared_queues(values, {*queue_urls, dead_letter_queue_url})
    return ExecutorConfig(
        routes=routes,
        queue_urls=queue_urls,
        dead_letter_queue_url=dead_letter_queue_url,
        region_name=values.get(options.REGION_NAME),
        check_health_on_startup=values[options.CHECK_HEALTH_ON_STARTUP],
        max_invoke_attempts=values[options.MAX_INVOKE_ATTEMPTS],
        end_wait_timeout_s=values[options.END_WAIT_TIMEOUT],
        dispatch_threads=values[options.DISPATCH_THREADS],
        poll_threads=values[options.POLL_THREADS],
        log_group=values.get(options.LOG_GROUP),
        payload_bucket=_payload_bucket(values),
        max_in_flight=_max_in_flight(values, routes),
        offers=_offers(values, routes),
    )


def _job_of_reference(values: OptionValues) -> JobTarget | None:
    """Return the default target that a reference's section names; a function is stronger."""
    if values.get(options.FUNCTION_NAME) is None:
        return reference_targets.default(values)
    if unread := reference_targets.sections(values):
        log.warning(
            "The target of %s is not used, because function_name is set: tasks run on that "
            "function. Remove the section, or name its target in [%s] targets",
            unread,
            SECTION,
        )
    return None


def _routes(values: OptionValues, job: JobTarget | None, default_queue: str | None) -> Routes:
    default = job or FunctionTarget.parse(
        values[options.FUNCTION_NAME],
        qualifier=values.companion(options.FUNCTION_QUALIFIER, options.FUNCTION_NAME),
        where=f"[{SECTION}] function_name",
    )
    text = values.get(options.FUNCTIONS) or "{}"
    functions = _json(text)
    if not isinstance(functions, dict) or not all(isinstance(f, str) for f in functions.values()):
        raise ConfigError(
            f"[{SECTION}] functions is {text!r}",
            fix="set it to a JSON object from queue to function, for example "
            f"{options.FUNCTIONS.example}",
            command=options.FUNCTIONS.setting,
        )
    by_queue = {
        queue: FunctionTarget.parse(function, where=f"[{SECTION}] functions, queue {queue!r}")
        for queue, function in functions.items()
    }
    jobs = targets.read(values.get(options.TARGETS), functions, values.get(options.PAYLOAD_BUCKET))
    return Routes(default, default_queue or "default", by_queue, jobs)


def _offers(values: OptionValues, routes: Routes) -> tuple[Offer, ...]:
    for own in offers.REPLACE:
        if values.get(options.OFFERS) and values.companion(options.OFFERS, own) is None:
            log.warning(
                "The offers of SSM parameter %s are not used, because [%s] %s is set, and they are "
                "about other targets: set offers, too, to have tasks go to the targets that fit",
                values.get(options.CONFIG_PARAMETER),
                SECTION,
                own.name,
            )
            return ()
    found = offers.read(values.get(options.OFFERS))
    for offer in found:
        if offer.queue not in routes.queues():
            raise ConfigError(
                f"[{SECTION}] offers names the queue {offer.queue!r}, which has no target; known "
                f"queues: {', '.join(routes.queues())}",
                command=options.OFFERS.setting,
            )
    return found


def _queue_urls(values: OptionValues) -> tuple[str, ...]:
    text = values.companion(options.QUEUE_URLS, options.QUEUE_URL)
    if text is None:
        return (values[options.QUEUE_URL],)
    urls = _json(text)
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise ConfigError(
            f"[{SECTION}] queue_urls is {text!r}",
            fix="set it to a JSON list of one or more URLs of queues, for example "
            f"{options.QUEUE_URLS.example}",
            command=options.QUEUE_URLS.setting,
        )
    return tuple(dict.fromkeys(urls))


def _dead_letter_queue_url(
    values: OptionValues, queue_urls: Sequence[str], routes: Routes
) -> str | None:
    """Return the queue of what Lambda gives up on; without a function it need not be set."""
    option = options.DEAD_LETTER_QUEUE_URL
    url = values[option] if routes.targets() else values.get(option)
    if url in queue_urls:
        raise ConfigError(
            f"[{SECTION}] dead_letter_queue_url is {url!r}, which is also a results queue, and "
            "a result that is received as a dead letter fails its task",
            fix="set it to another queue, the one in the function's DeadLetterConfig",
            command=options.DEAD_LETTER_QUEUE_URL.setting,
        )
    return url


def _refuse_shared_queues(values: OptionValues, queue_urls: AbstractSet[str | None]) -> None:
    for option in (options.QUEUE_URL, options.DEAD_LETTER_QUEUE_URL):
        theirs = values.of_reference_beside_us(option)
        if theirs and theirs in queue_urls:
            raise ConfigError(
                f"{theirs} is a queue of this executor and also [{REFERENCE_SECTION}] "
                f"{option.name}, and {REFERENCE_CLASS} is in [core] executor too, so each of them "
                "would receive the other's results",
                fix=f"give each its own function and queues, ours in [{SECTION}]",
                command=options.CONFIG_PARAMETER.setting,
            )


def _max_in_flight(values: OptionValues, routes: Routes) -> Mapping[str, int]:
    text = values.get(options.MAX_IN_FLIGHT)
    if not text:
        return {}
    functions = {target.function for target in routes.targets()}
    found = _json(text)
    by_function: Mapping[str, Any] = (
        found if isinstance(found, dict) else dict.fromkeys(functions, found)
    )
    if not all(type(most) is int and most >= 0 for most in by_function.values()):
        raise ConfigError(
            f"[{SECTION}] max_in_flight is {text!r}",
            fix="set it to a whole number of at least 0, or a JSON object from function to such a "
            f"number, for example {options.MAX_IN_FLIGHT.example}",
            command=options.MAX_IN_FLIGHT.setting,
        )
    if unknown := sorted(set(by_function) - functions):
        raise ConfigError(
            f"[{SECTION}] max_in_flight names {unknown[0]!r}, which is neither function_name nor "
            "in functions",
            fix=f"write one of {', '.join(sorted(functions))}" if functions else "remove it",
            command=options.MAX_IN_FLIGHT.setting,
        )
    return by_function


def _json(text: str) -> object:
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):
        return None


def _payload_bucket(values: OptionValues) -> str | None:
    name = values.get(options.PAYLOAD_BUCKET)
    if name and not _BUCKET_NAME.fullmatch(name):
        raise ConfigError(
            f"[{SECTION}] payload_bucket is {name!r}",
            fix="set it to the name of a bucket, without s3:// and without a path, for example "
            f"{options.PAYLOAD_BUCKET.example}",
            command=options.PAYLOAD_BUCKET.setting,
        )
    return name


def session_factory(access: AwsConfig) -> aws.SessionFactory:
    """Return a factory of boto3 sessions, with the Airflow connection or boto3's own chain.

    Raises:
        ConfigError: `conn_id` is set and the Amazon provider is not installed.
    """
    conn_id = access.conn_id
    if not conn_id:
        return aws.Session
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import (  # noqa: PLC0415 - optional
            AwsGenericHook,
        )
    except ImportError as e:
        raise ConfigError(
            f"[{SECTION}] conn_id is {conn_id!r}, and reading AWS credentials from an Airflow "
            "connection needs apache-airflow-providers-amazon",
            fix="install it, or unset conn_id to use boto3's own credential chain",
            command="pip install apache-airflow-providers-amazon",
        ) from e

    def from_connection() -> aws.Session:
        hook: AwsGenericHook[Any] = AwsGenericHook(conn_id, region_name=access.region_name)
        session: aws.Session = hook.get_session()
        return session

    return from_connection
