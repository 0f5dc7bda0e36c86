"""A database instance has an endpoint where a database can be started.

ministack's CloudFormation returns an amazonaws.com host name, where nothing can listen. Here the
endpoint is 127.0.0.1 and a free port, which stays reserved for the instance.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from typing import Any

from ministack.services import rds
from ministack.services.cloudformation import provisioners

from local_aws.fixes.cloudformation._cloudformation import (
    Created,
    Properties,
    after_create_and_update,
)

_HOST = "127.0.0.1"

#: Below Linux's ports for outgoing connections (32768 and up), which could occupy the port.
_PORTS = range(15432, 32000)


def apply() -> None:
    """Set the endpoint after ministack has created or updated the instance."""
    after_create_and_update("AWS::RDS::DBInstance", _set_endpoint)


def _set_endpoint(name: str, _properties: Properties, _attributes: dict[str, Any]) -> Created:
    instance = rds._instances[name]
    port = instance.setdefault("_local_port", None) or _free_port()
    instance["_local_port"] = port
    instance["Endpoint"].update(Address=_HOST, Port=port)
    return name, provisioners._rds_db_instance_attrs(instance)


def _free_port() -> int:
    taken = {instance.get("_local_port") for instance in rds._instances.values()}
    while True:
        port = secrets.choice(_PORTS)
        if port not in taken:
            with contextlib.suppress(OSError), socket.create_server((_HOST, port)):
                return port
