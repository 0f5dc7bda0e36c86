"""The database of the run, which gets no setting of Airflow's real one."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow.configuration import conf
from sqlalchemy.orm import sessionmaker

#: What Airflow passes to the driver, without and with asyncio; it adds to the first.
CONNECT_ARGS: dict[str, Any] = {}
CONNECT_ARGS_ASYNC: dict[str, Any] = {}
#: Airflow's own default.
session_maker = partial(sessionmaker, autocommit=False, autoflush=False, expire_on_commit=False)

#: Options of [database] that are meant for the real one, each with a value that does nothing: to
#: Airflow, an option with an empty variable is set.
_NEUTRAL = {
    "sql_alchemy_connect_args": f"{__name__}.CONNECT_ARGS",
    "sql_alchemy_connect_args_async": f"{__name__}.CONNECT_ARGS_ASYNC",
    "sql_alchemy_engine_args": "{}",
    "sql_alchemy_session_maker": f"{__name__}.session_maker",
}


def variables(path: str) -> dict[str, str]:
    """Return the environment variables that make an SQLite file Airflow's database.

    Args:
        path: The file's; empty for a database in memory.
    """
    options = {
        "sql_alchemy_conn": f"sqlite:///{path}" if path else "sqlite://",
        "sql_alchemy_conn_async": f"sqlite+aiosqlite:///{path}" if path else "sqlite+aiosqlite://",
        "sql_alchemy_schema": "",
    }
    options |= {
        name: value for name, value in _NEUTRAL.items() if conf.has_option("database", name)
    }
    return {f"AIRFLOW__DATABASE__{name.upper()}": value for name, value in options.items()}
