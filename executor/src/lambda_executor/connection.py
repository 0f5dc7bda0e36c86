"""From Airflow's configuration to the functions and the queues, ready to be used.

The scheduler and the command line come the same way, so that a check sees what the scheduler
sees.
"""

from __future__ import annotations

from dataclasses import dataclass

from lambda_executor import aws, config


@dataclass(frozen=True, slots=True)
class Connected:
    """The environment that the configuration names."""

    config: config.ExecutorConfig
    functions: aws.LambdaFunctions
    results: tuple[aws.SqsQueue, ...]
    dead_letters: aws.SqsQueue
    payloads: aws.S3Payloads | None = None


def connect(conf: config.Conf) -> Connected:
    """Read every option, the SSM parameter included, and make the clients.

    Raises:
        ConfigError: An option is missing or has a value that cannot work.
    """
    aws_config = config.load_aws_config(conf)
    session_factory = config.session_factory(aws_config)
    first = aws.Clients(session_factory, region_name=aws_config.region_name, connections=1)
    settings = config.load(conf, lambda name: aws.read_parameter(first, name))
    clients = aws.Clients(
        session_factory,
        region_name=settings.region_name,
        connections=settings.dispatch_threads + settings.poll_threads + 4,
    )
    return Connected(
        settings,
        aws.LambdaFunctions(clients),
        tuple(aws.SqsQueue(clients, url) for url in settings.queue_urls),
        aws.SqsQueue(clients, settings.dead_letter_queue_url),
        aws.S3Payloads(clients, settings.payload_bucket) if settings.payload_bucket else None,
    )
