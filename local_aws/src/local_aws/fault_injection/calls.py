"""What a request is: which operation of which service, on what, and by whom."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ministack import app
from ministack.core import iam_actions
from ministack.core.iam_evaluator import resolve_caller_identity
from ministack.core.responses import get_account_id
from ministack.core.router import detect_service, extract_access_key_id, extract_region
from ministack.core.sigv4 import decode_header_value

from local_aws.fault_injection.rules import INVOKE
from local_aws.on_ministack.front import Message

#: The services that rules may name.
SERVICES = frozenset(iam_actions.SERVICE_TO_IAM_NAMESPACE.values())

#: Where requests of JSON name what they are about, beside what ministack finds.
_NAMES = (
    *("jobName", "jobQueue", "jobDefinition", "jobId"),
    *("cluster", "taskDefinition", "task"),
    *("imageIdentifier", "microvmIdentifier"),
    *("logGroupName", "Name", "SecretId", "repositoryName"),
)
#: What reading a request may raise that is not as ministack expects it.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
#: https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
_RPC = re.compile(r"/service/[^/]+/operation/([^/]+)")


@dataclass(frozen=True, slots=True)
class Request:
    """A request before its body is known.

    Attributes:
        service: ministack's name of the service.
        namespace: IAM's name of it; empty: it is none of a service of AWS.
    """

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, list[str]]
    service: str
    namespace: str

    @classmethod
    def read(cls, scope: Message) -> Request:
        """Find the service of an HTTP request."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers[name.decode("latin-1").lower()] = decode_header_value(value)
        query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
        method, path = scope["method"], scope["path"]
        # ministack's own paths, and ours.
        service = "" if path.startswith("/_") else detect_service(method, path, headers, query)
        namespace = iam_actions.SERVICE_TO_IAM_NAMESPACE.get(service, "")
        return cls(method, path, headers, query, service, namespace)

    def call(self, body: bytes) -> Call:
        """Find the operation, its target and its caller."""
        body = app._decompress_request_body(body, self.headers) if self.service != "s3" else body
        parameters = app._routing_params(self.method, self.path, self.headers, body, self.query)
        action = iam_actions.extract_iam_action(
            self.service, self.method, self.path, self.headers, body, parameters
        )
        if match := _RPC.fullmatch(self.path):
            action = f"{self.namespace}:{match[1]}"
        resource = "*"
        # It fails for some requests that the service refuses.
        with contextlib.suppress(*_UNREADABLE):
            resource = iam_actions.extract_resource_arn(
                *(self.service, self.method, self.path, self.headers, body, parameters),
                *(extract_region(self.headers, self.query), get_account_id()),
            )
        names = [resource.split(":", 5)[-1], *_named_in(body)]
        identity = resolve_caller_identity(extract_access_key_id(self.headers, self.query)) or {}
        action = action or f"{self.namespace}:"
        return Call(
            _as_rules_spell(action),
            action,
            " ".join(names),
            resource,
            str(identity.get("userArn", "")),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an API.

    Attributes:
        api: As rules spell it; nothing after the colon if the operation is unknown.
        action: As permissions spell it.
        target: The names of what it is about.
        caller_arn: Of the caller; empty if it is unknown.
    """

    api: str
    action: str
    target: str
    resource_arn: str
    caller_arn: str

    @property
    def caller(self) -> str:
        """The name of the caller's role or user, or `root`."""
        resource = self.caller_arn.rpartition(":")[2]
        return resource.split("/")[1] if "/" in resource else resource


def _as_rules_spell(action: str) -> str:
    if action == "lambda:InvokeFunction":
        return INVOKE
    # As for permissions, the calls of batches have the name of the single call.
    return action.removesuffix("Batch") if action.startswith("sqs:") else action


def _named_in(body: bytes) -> list[str]:
    """What a request of JSON names; nothing in any other."""
    if not body.startswith(b"{"):
        return []
    with contextlib.suppress(ValueError, RecursionError):
        request: Any = json.loads(body)
        return [request[name] for name in _NAMES if isinstance(request.get(name), str)]
    return []
