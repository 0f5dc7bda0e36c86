"""Makes the clients of AWS for the scheduler and the command line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from lambda_executor import aws
from lambda_executor.contract.errors import ConfigError
from lambda_executor.core.ports import Endpoints, JobLauncher
from lambda_executor.core.targets import Service
from lambda_executor.setup import config
from lambda_executor.setup.limits import FunctionLimits
from lambda_executor.setup.option_values import Conf


@dataclass(frozen=True, slots=True)
class Connected:
    """The options, and clients of what they name."""

    config: config.ExecutorConfig
    clients: aws.Clients
    inspection: aws.Inspection
    job_inspection: aws.JobInspection
    functions: aws.LambdaFunctions
    results: tuple[aws.SqsQueue, ...]
    dead_letters: aws.SqsQueue | None  # None: no function is configured.
    payloads: aws.S3Payloads | None = None
    jobs: Mapping[Service, JobLauncher] = field(default_factory=dict)

    def existing_dead_letters(self) -> tuple[aws.SqsQueue, str]:
        """Return the dead-letter queue and its URL, for what is about dead letters alone.

        Raises:
            ConfigError: There is none.
        """
        url = self.config.dead_letter_queue_url
        if self.dead_letters is None or url is None:
            raise ConfigError(
                "no function is configured, and only a function has dead letters: the reason of a "
                "job that ended without a result is in its task's log"
            )
        return self.dead_letters, url

    @property
    def limits(self) -> FunctionLimits:
        """How many invocations the functions may run at once."""
        settings = self.config
        return FunctionLimits(settings.routes.targets(), settings.max_in_flight, self.inspection)

    @property
    def endpoints(self) -> Endpoints:
        """What of it the engine works with."""
        return Endpoints(
            self.functions,
            self.results,
            self.dead_letters,
            self.payloads,
            self.limits,
            self.jobs,
        )


class Gateway:
    """Makes clients of AWS, before the options are read and afterwards.

    Attributes:
        first: Clients that need no option but `conn_id` and `region_name`, for `connections` calls
            to one service at once.

    Raises:
        ConfigError: `conn_id` or `region_name` cannot be used.
    """

    def __init__(
        self, conf: Conf, patience: aws.Patience | None = None, connections: int = 1
    ) -> None:
        access = config.load_aws_config(conf)
        self._conf = conf
        self._patience = patience
        self._session_factory = config.session_factory(access)
        self.first = self._clients(access.region_name, connections)

    def settings(self) -> config.ExecutorConfig:
        """Read every option, the SSM parameter included.

        Raises:
            ConfigError: An option is missing or has an unusable value.
        """
        return config.load(self._conf, lambda name: aws.read_parameter(self.first, name))

    def clients(self, settings: config.ExecutorConfig, connections: int = 1) -> aws.Clients:
        """Make clients for `connections` calls to one service at once."""
        return self._clients(settings.region_name, connections)

    def _clients(self, region_name: str | None, connections: int) -> aws.Clients:
        return aws.Clients(
            self._session_factory,
            region_name=region_name,
            connections=connections,
            patience=self._patience,
        )


def connect(conf: Conf, patience: aws.Patience | None = None) -> Connected:
    """Read every option, the SSM parameter included, and make the clients.

    Raises:
        ConfigError: An option is missing or has an unusable value.
    """
    gateway = Gateway(conf, patience)
    return connected(gateway, gateway.settings())


def connected(gateway: Gateway, settings: config.ExecutorConfig) -> Connected:
    """Make the clients of what the options name."""
    dead_letters = settings.dead_letter_queue_url
    clients = gateway.clients(settings, settings.dispatch_threads + settings.poll_threads + 4)
    return Connected(
        settings,
        clients,
        aws.Inspection(clients),
        aws.JobInspection(clients),
        aws.LambdaFunctions(clients),
        tuple(aws.SqsQueue(clients, url) for url in settings.queue_urls),
        aws.SqsQueue(clients, dead_letters) if dead_letters else None,
        aws.S3Payloads(clients, settings.payload_bucket) if settings.payload_bucket else None,
        _launchers(
            clients,
            {target.service for target in settings.routes.job_targets()},
            settings.payload_bucket or "",
        ),
    )


def _launchers(
    clients: aws.Clients, services: Collection[Service], payload_bucket: str
) -> dict[Service, JobLauncher]:
    """Make the launchers of the services that targets name; with targets there is a bucket."""
    launchers: dict[Service, Callable[[aws.Clients], JobLauncher]] = {
        Service.BATCH: aws.BatchJobs,
        Service.ECS: aws.EcsTasks,
        Service.MICROVM: partial(aws.MicroVms, bucket=payload_bucket),
    }
    return {service: launchers[service](clients) for service in services}
