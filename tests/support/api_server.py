"""Airflow's own API server in this process, with the plugin, and people who log in to it."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn
from airflow import plugins_manager, settings
from airflow.models.base import Base
from sqlalchemy.engine import Engine
from sqlalchemy.orm import sessionmaker

from lambda_executor.plugin import invocations, panels
from lambda_executor.plugin.places import places
from lambda_executor.plugin.wiring import Wiring
from tests.support.account import Account
from tests.support.waiting import until

with warnings.catch_warnings():
    # Airflow imports the client of tests, which warns of a package that it does not use yet.
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    warnings.filterwarnings("ignore", message="The anyio.abc.BlockingPortal alias is deprecated")
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

#: Opens the API server for somebody with a role of Airflow's simple auth manager; None: for
#: somebody who has not logged in.
Open = Callable[[str | None], TestClient]

#: What says who may read a DAG; and the tokens of people who have logged out, since Airflow 3.2.
TABLES = ("dag_bundle", "team", "dag_bundle_team", "revoked_token")
MANAGER = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"


@pytest.fixture
def open_as(account: Account, database: Engine, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open it with the executor's tables and an account of AWS."""
    account.options["max_in_flight"] = "5"  # moto does not know the account's limit.
    account.write_parameter()
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", MANAGER)
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "only-for-these-tests-" * 4)
    monkeypatch.setattr(settings, "Session", sessionmaker(database))
    known = Base.metadata.tables
    Base.metadata.create_all(database, tables=[known[each] for each in TABLES if each in known])
    with database.begin() as connection:
        connection.execute(known["dag_bundle"].insert().values(name="dags-folder", active=True))
    for module in (panels, invocations):
        monkeypatch.setattr(module, "WIRING", Wiring())
    invocations._found.cache_clear()
    app = _app()

    def open_it(role: str | None) -> TestClient:
        client = TestClient(app, base_url="http://localhost:8080")
        if role is not None:
            client.cookies.set("_token", token_of(role))
        return client

    return open_it


def token_of(role: str) -> str:
    """Return what the browser of somebody with a role keeps in the cookie `_token`."""
    return get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="someone", role=role))


@contextmanager
def served(client: TestClient) -> Iterator[str]:
    """Serve the app of a client on a port of this machine; yield its address."""
    config = uvicorn.Config(client.app, port=0, log_level="error", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started or None, "the API server", 60)
        (listening,) = server.servers[0].sockets
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def busy() -> Iterator[None]:
    """Let other people read as many panels as the page allows."""
    with ExitStack() as others:
        while places.acquire(blocking=False):
            others.callback(places.release)
        yield


@functools.cache
def _app() -> FastAPI:
    """Make it once for all tests of a process: that takes seconds."""
    # Airflow asks plugins once for each process, which may have been without the executor.
    for name in ("get_fastapi_plugins", "_get_ui_plugins"):
        if cached := getattr(plugins_manager, name, None):
            cached.cache_clear()
    for name in ("fastapi_apps", "fastapi_root_middlewares", "external_views"):
        if hasattr(plugins_manager, name):  # Airflow 3.1 keeps them in globals.
            setattr(plugins_manager, name, None)
    with warnings.catch_warnings():
        # Airflow 3.1 uses what its own packages have renamed since.
        warnings.filterwarnings("ignore", message="'HTTP_422_UNPROCESSABLE_ENTITY' is deprecated")
        return create_app(apps="core")
