"""The page in Airflow and the links of a task, since Airflow 3.1.

Airflow loads this module in each of its processes (the entry point group `airflow.plugins`), also
in those of the image. So it imports nothing until the API server asks for what it has. `app` serves
the page and what is in its panels, `access` says who may see what, `links` has a task's links.
https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/plugins.html
"""

from __future__ import annotations

import functools
import logging
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.version import version

log = logging.getLogger(__name__)

#: The page's path below the API server's own.
PREFIX = "/lambda-executor"
NAME = "Lambda executor"


def airflow_path() -> str:
    """Return the path below which Airflow is, from the root of the API server's host."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def page_path() -> str:
    """Return the path of the page, from the root of the API server's host."""
    return f"{airflow_path()}{PREFIX}/"


def _is_of_use() -> bool:
    """Whether this Airflow has pages of plugins, and this package's executor."""
    has_pages = tuple(map(int, version.split(".")[:2])) >= (3, 1)
    return has_pages and "lambda_executor." in conf.get("core", "executor")


@functools.cache
def _app() -> Any:  # noqa: ANN401 - FastAPI's, which is not imported here
    """Return the app; None: this Airflow lacks a part of it, and is to start all the same."""
    try:
        from lambda_executor.plugin.app import make_app  # noqa: PLC0415 - the API server's alone
    except ImportError:
        log.warning("This Airflow cannot show the page of lambda_executor", exc_info=True)
        return None
    return make_app()


class LambdaExecutorPlugin(AirflowPlugin):
    """What Airflow finds here: a page in its navigation, the app behind it, and the links."""

    name = "lambda_executor"

    @property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """The app that serves the page."""
        if not _is_of_use() or _app() is None:
            return []
        return [{"app": _app(), "url_prefix": PREFIX, "name": NAME}]

    @property
    def external_views(self) -> list[Any]:  # type: ignore[override]
        """The entry in the navigation."""
        if not self.fastapi_apps:
            return []
        view = {"name": NAME, "href": page_path(), "url_route": "lambda-executor"}
        return [{**view, "destination": "nav", "category": "browse"}]

    @property
    def global_operator_extra_links(self) -> list[Any]:  # type: ignore[override]
        """The links of each task; those of another executor's task lead nowhere."""
        if not _is_of_use():
            return []
        from lambda_executor.plugin.links import LINKS  # noqa: PLC0415 - since Airflow 3.1

        return list(LINKS)
