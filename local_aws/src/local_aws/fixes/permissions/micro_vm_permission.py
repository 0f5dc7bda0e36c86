"""Calls about MicroVMs are permitted by the MicroVM image, and pass roles and network connectors.

AWS checks RunMicrovm against the ARN of the image, and so what gets or terminates a MicroVM. The
caller needs `iam:PassRole` for the execution role or the build role, and
`lambda:PassNetworkConnector` for each connector that it names. ministack under `--auth` allows
everybody all of it.
https://docs.aws.amazon.com/lambda/latest/dg/microvms-security.html
https://docs.aws.amazon.com/lambda/latest/dg/microvms-networking.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ministack.core import iam_actions
from ministack.core.responses import request_scope
from ministack.services import lambda_microvms

from local_aws.fixes._requests import request_of
from local_aws.fixes.permissions._more_checks import Check, also_check

_SERVICE = "lambda-microvms"
_TO_LAMBDA = {"iam:PassedToService": "lambda.amazonaws.com"}
_ROLES = ("buildRoleArn", "executionRoleArn")
_CONNECTORS = ("egressNetworkConnectors", "ingressNetworkConnectors")


def apply() -> None:
    """Name the actions as the API's model does, and check them against these ARNs."""
    iam_actions._BOTOCORE_SERVICE_MAP[_SERVICE] = [_SERVICE]
    stock = iam_actions.extract_resource_arn

    def extract_resource_arn(*request: Any) -> str:  # noqa: ANN401 - passed through
        service, _method, path, _headers, body, _query, region, account = request
        if service == _SERVICE:
            with request_scope(account, region):
                return _resource(unquote(path), request_of(body))
        return str(stock(*request))

    iam_actions.extract_resource_arn = extract_resource_arn
    also_check(lambda_microvms, "lambda", _passed)


def _resource(path: str, request: dict[str, Any]) -> str:
    """The ARN of the image that a request is about; `*`: of none in particular."""
    _version, root, *rest = path.strip("/").split("/")
    if root.endswith("microvm-images"):
        name = request.get("name", "")
        return rest[0] if rest else (name and lambda_microvms._image_arn(name)) or "*"
    if rest:
        record = lambda_microvms._microvms.get(rest[0]) or {}
        return str(record.get("imageArn", "*"))
    return str(request.get("imageIdentifier") or "*")


def _passed(_name: str, request: dict[str, Any], _scope: str) -> Iterator[Check]:
    for role in filter(None, map(request.get, _ROLES)):
        yield Check("iam:PassRole", role, _TO_LAMBDA)
    for connectors in filter(None, map(request.get, _CONNECTORS)):
        for connector in connectors:
            yield Check("lambda:PassNetworkConnector", connector)
