"""How awscrt reaches an endpoint: by the same proxy and certificates as boto3."""

from __future__ import annotations

import os
from typing import Any

from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.session import Session as BotocoreSession
from botocore.utils import get_environ_proxies

from lambda_executor.aws.http import Connections, Route


class Ways:
    """The connections of one client, by endpoint.

    Args:
        session: The session of the client, for its profile.
        client: A client of boto3.
    """

    def __init__(self, session: Any, client: Any) -> None:  # noqa: ANN401 - boto3 makes them at run time
        self._session = session
        self._client = client
        self._connections: dict[str, Connections] = {}

    def connections(self, url: str) -> Connections:
        """Return the connections to the endpoint of a URL.

        Raises:
            Exception: awscrt cannot make them; it raises many kinds, about certificates.
        """
        scheme, _, rest = url.partition("://")
        endpoint_url = f"{scheme}://{rest.partition('/')[0]}"
        if endpoint_url not in self._connections:
            config = self._client.meta.config
            self._connections[endpoint_url] = Connections(
                Route(
                    endpoint_url,
                    ca_file=self._ca_file(),
                    proxy_url=self._proxy_url(endpoint_url),
                    connect_s=config.connect_timeout,
                    read_s=config.read_timeout,
                )
            )
        return self._connections[endpoint_url]

    def _ca_file(self) -> str:
        """Return the certificates that boto3 trusts, by the same settings."""
        name = self._session.profile_name
        # boto3 calls it "default" if there is none.
        settings = BotocoreSession(profile=name if name != "default" else None)
        own = settings.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        return str(own or get_cert_path(True))

    def _proxy_url(self, endpoint_url: str) -> str | None:
        proxies = self._client.meta.config.proxies
        if proxies is None:
            proxies = get_environ_proxies(endpoint_url)
        url: str | None = ProxyConfiguration(proxies).proxy_url_for(endpoint_url)
        return url

    def unsupported(self) -> str | None:
        """Return why awscrt cannot go there; None: it can."""
        config, url = self._client.meta.config, self._client.meta.endpoint_url
        proxy_url = self._proxy_url(url)
        if config.client_cert or config.proxies_config:
            return "the client or its proxy has certificates of its own"
        if proxy_url and not proxy_url.startswith("http://"):
            return "the proxy is reached by TLS"
        return None
