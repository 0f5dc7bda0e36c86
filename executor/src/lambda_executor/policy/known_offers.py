"""The offers as a process that reads DAG files knows them.

They are in Airflow's configuration, or in the SSM parameter that the stacks write. The DAG
processor forks a process for each file, and forgets what that one has read. So the parameter's
answer is kept in a file for `FRESH_S`: one read in that time on each machine.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow.configuration import conf

from lambda_executor.contract import options
from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.contract.options import SECTION
from lambda_executor.core.offers import Offer
from lambda_executor.setup import offers

log = logging.getLogger(__name__)

#: Seconds for which an answer, or a failure, is used without another read.
FRESH_S = 60


@functools.cache
def known_offers() -> tuple[Offer, ...]:
    """Return what the targets offer; nothing if nobody says so, or if that cannot be read.

    The scheduler has the same rules (`setup/config.py`).
    """
    try:
        if own := conf.get(SECTION, options.OFFERS.name, fallback=None):
            return offers.read(own)
        if any(conf.get(SECTION, each.name, fallback=None) for each in offers.REPLACE):
            return ()
        return offers.read(_parameter())
    except LambdaExecutorError as e:
        log.warning("Tasks stay on the targets of their queues: %s", e)
        return ()


def _parameter() -> str | None:
    """Return the option's value in the SSM parameter; None: there is no parameter, or no value."""
    name = conf.get(SECTION, options.CONFIG_PARAMETER.name, fallback=None)
    if not name:
        return None
    file = _file(name, conf.get(SECTION, options.REGION_NAME.name, fallback=None))
    known = _stored(file)
    value, failed = (known["offers"], known["failed"]) if known else (None, False)
    if known is not None and time.time() - known["at_s"] < FRESH_S:
        return value
    try:
        value, has_failed = _read(name), False
    except Exception as e:  # noqa: BLE001 - whatever botocore raises; files are read without AWS
        has_failed = True
        log.log(
            logging.INFO if failed else logging.WARNING,  # The first of several in a row.
            "The offers of the targets cannot be read; %s: %s",
            "those read before are used" if value else "tasks stay on the targets of their queues",
            e,
        )
    _store(file, value, failed=has_failed)
    return value


def _read(name: str) -> str | None:
    from lambda_executor import aws  # noqa: PLC0415 - imports boto3
    from lambda_executor.setup.connection import Gateway  # noqa: PLC0415 - as above

    gateway = Gateway(conf, aws.Patience(connect_s=2, read_s=5, attempts=1))
    return aws.read_parameter(gateway.first, name).get(options.OFFERS.name)


def _file(name: str, region: str | None) -> Path:
    digest = hashlib.sha256(f"{name}\n{region}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"airflow-lambda-offers-{os.getuid()}-{digest}.json"


def _stored(file: Path) -> dict[str, Any] | None:
    """Return what was stored; None: nothing, or not by this user."""
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as stored:
            if os.fstat(stored.fileno()).st_uid != os.getuid():
                return None
            found = json.load(stored)
        kinds = {"at_s": float, "offers": str | None, "failed": bool}
        is_right = all(isinstance(found[name], kind) for name, kind in kinds.items())
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if is_right else None


def _store(file: Path, value: str | None, *, failed: bool) -> None:
    """Store an answer; without a file the next process reads the parameter again."""
    with suppress(OSError):
        handle, name = tempfile.mkstemp(prefix=f"{file.stem}-", dir=file.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as new:
                json.dump({"at_s": time.time(), "offers": value, "failed": failed}, new)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
