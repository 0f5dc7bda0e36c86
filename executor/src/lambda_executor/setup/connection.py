"""From Airflow's configuration to the functions and the queues, ready to be used.

The scheduler and the command line come the same way, so that a check sees what the scheduler
sees.
"""

from __future__ import annotations

from dataclasses import dataclass

from lambda_executor import aws
from lambda_executor.setup import config
from lambda_executor.setup.option_values import Conf


@dataclass(frozen=True, slots=True)
class Connected:
    """The environment that the configuration names."""

    config: config.ExecutorConfig
    inspection: aws.Inspection
    functions: aws.LambdaFunctions
    results: tuple[aws.SqsQueue, ...]
    dead_letters: aws.SqsQueue
    payloads: aws.S3Payloads | None = None


class Reach:
    """The ways to AWS: before the options are read, and after.

    Args:
        conf: Airflow's configuration.
        patience: With every call; None: what suits the scheduler.
        connections: How many calls to one service of `first` may be under way at once.

    Attributes:
        first: Clients that need no option but how AWS is reached.

    Raises:
        ConfigError: How AWS is reached cannot be used.
    """

    def __init__(
        self, conf: Conf, patience: aws.Patience | None = None, connections: int = 1
    ) -> None:
        how = config.load_aws_config(conf)
        self._conf = conf
        self._patience = patience
        self._session_factory = config.session_factory(how)
        self.first = self._clients(how.region_name, connections)

    def settings(self) -> config.ExecutorConfig:
        """Read every option, the SSM parameter included.

        Raises:
            ConfigError: An option is missing or has a value that cannot work.
        """
        return config.load(self._conf, lambda name: aws.read_parameter(self.first, name))

    def clients(self, settings: config.ExecutorConfig, connections: int = 1) -> aws.Clients:
        """Clients for what the options name.

        Args:
            settings: The options.
            connections: How many calls to one service may be under way at once.
        """
        return self._clients(settings.region_name, connections)

    def _clients(self, region_name: str | None, connections: int) -> aws.Clients:
        return aws.Clients(
            self._session_factory,
            region_name=region_name,
            connections=connections,
            patience=self._patience,
        )


def connect(conf: Conf) -> Connected:
    """Read every option, the SSM parameter included, and make the clients.

    Raises:
        ConfigError: An option is missing or has a value that cannot work.
    """
    reach = Reach(conf)
    settings = reach.settings()
    clients = reach.clients(settings, settings.dispatch_threads + settings.poll_threads + 4)
    return Connected(
        settings,
        aws.Inspection(clients),
        aws.LambdaFunctions(clients),
        tuple(aws.SqsQueue(clients, url) for url in settings.queue_urls),
        aws.SqsQueue(clients, settings.dead_letter_queue_url),
        aws.S3Payloads(clients, settings.payload_bucket) if settings.payload_bucket else None,
    )
