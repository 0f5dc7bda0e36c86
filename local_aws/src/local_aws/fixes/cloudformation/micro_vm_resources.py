"""CloudFormation knows MicroVM images and the network connectors of Lambda.

`Ref` of each is its ARN. An image is complete once it has been built, and fails with the reason of
its version. A change builds another version, a change of its name another image. ministack has only
the APIs.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-microvmimage.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-networkconnector.html
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from ministack.services import lambda_core, lambda_microvms
from ministack.services.cloudformation import stacks

from local_aws.fixes.cloudformation._cloudformation import (
    Created,
    Properties,
    call,
    handler,
    in_camel_case,
)

_IMAGE = "AWS::Lambda::MicrovmImage"
_CONNECTOR = "AWS::Lambda::NetworkConnector"
_POLL_S = 0.05


def apply() -> None:
    """Build images on a thread of the resource's own, as their processes may call this AWS."""
    stock_is_slow = stacks._runs_on_worker_thread
    stacks._runs_on_worker_thread = lambda kind: kind == _IMAGE or stock_is_slow(kind)
    handler(_IMAGE).update(create=_create_image, update=_update_image, delete=_delete_image)
    handler(_CONNECTOR).update(
        create=_create_connector, update=_update_connector, delete=_delete_connector
    )


def _create_image(_logical_id: str, properties: Properties, _stack: str) -> Created:
    answer = call(lambda_microvms._create_microvm_image, _image_request(properties))
    arn = str(json.loads(answer)["imageArn"])
    try:
        return _built(arn)
    except ValueError:
        # CloudFormation deletes what it has created in vain.
        _delete_image(arn, properties)
        raise


def _update_image(
    arn: str, old: Properties, new: Properties, stack: str, *logical_id: str
) -> Created:
    if old.get("Name") != new.get("Name"):
        created = _create_image(logical_id[0] if logical_id else "", new, stack)
        _delete_image(arn, old)
        return created
    call(lambda body: lambda_microvms._update_microvm_image(arn, body), _image_request(new))
    return _built(arn)


def _delete_image(arn: str, _properties: Properties) -> None:
    # `on_ministack/micro_vm_api.py` has added it.
    lambda_microvms._delete_microvm_image(arn)


def _image_request(properties: Properties) -> bytes:
    """The request of the API, which writes lists of keys and values as objects."""
    request = in_camel_case(properties, free=())
    for name in ("environmentVariables", "tags"):
        if name in request:
            request[name] = {entry["key"]: entry["value"] for entry in request[name]}
    logging = request.get("logging") or {}
    if logging.pop("disabled", False) in {True, "true"}:
        request["logging"] = {"disabled": {}}
    return json.dumps(request).encode()


def _built(arn: str) -> Created:
    """Wait until an image has been built.

    Raises:
        ValueError: It cannot be built.
    """
    name = arn.rpartition(":")[2]
    while True:
        record: dict[str, Any] = lambda_microvms._images.get(name) or {"state": "DELETED"}
        match record["state"]:
            case "CREATED" | "UPDATED":
                attributes = ("CreatedAt", "ImageArn", "LatestActiveImageVersion", "UpdatedAt")
                found = {a: str(record[a[0].lower() + a[1:]]) for a in attributes}
                return arn, {**found, "State": record["state"]}
            case "CREATING" | "UPDATING":
                time.sleep(_POLL_S)
            case state:
                raise ValueError(
                    f"Resource of type '{_IMAGE}' with identifier '{arn}' did not stabilize: "
                    f"{state}: {_reason(arn, record)}"
                )


def _reason(arn: str, record: dict[str, Any]) -> str:
    number = record.get("latestFailedImageVersion", "")
    _status, _headers, body = lambda_microvms._get_microvm_image_version(arn, number)
    return str(json.loads(body).get("stateReason", "it was deleted"))


def _create_connector(logical_id: str, properties: Properties, stack: str) -> Created:
    request = {
        "Name": f"{stack}-{logical_id}-{uuid.uuid4().hex[:8]}"[-64:],
        **properties,
        "Tags": {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])},
    }
    answer = call(lambda_core._create_network_connector, json.dumps(request).encode())
    return _connector(str(json.loads(answer)["Arn"]))


def _update_connector(
    arn: str, old: Properties, new: Properties, stack: str, *logical_id: str
) -> Created:
    if old.get("Name") != new.get("Name"):
        created = _create_connector(logical_id[0] if logical_id else "", new, stack)
        _delete_connector(arn, old)
        return created
    request = {name: new[name] for name in ("Configuration", "OperatorRole") if name in new}
    body = json.dumps(request).encode()
    call(lambda given: lambda_core._update_network_connector(arn, given), body)
    return _connector(arn)


def _delete_connector(arn: str, _properties: Properties) -> None:
    lambda_core._delete_network_connector(arn)


def _connector(arn: str) -> Created:
    # The first look makes it ACTIVE.
    found = json.loads(call(lambda_core._get_network_connector, arn))
    return arn, {"Arn": arn, "State": found["State"], "LatestVersion": str(found["Version"])}
